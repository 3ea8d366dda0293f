"""Each family trains: a small member learns the embedded digits better than a linear model does."""

import keras
import pytest

from keras_resnets import Preprocessing, create_model, data
from keras_resnets.training import SGD, evaluate, make_schedule

# name: options of a small member, epochs
SMALL = {
    "resnet_cifar": (dict(depth=8, width=16), 10),
    "wide_resnet": (dict(depth=10, widen=2, width=8), 10),
    "resnet_cifar V2": (dict(depth=8, width=16, activation="full_preact"), 10),
    "resnet": (dict(depth=18, width=16, stem="cifar"), 10),
    "resnet_cifar ResNeXt": (dict(depth=11, block="bottleneck", width=32, groups=4,
                                  width_per_group=16, stride_in="3x3"), 10),
    "resnet_cifar plain": (dict(depth=8, width=16, skip="none"), 10),
    "resnet_cifar stochastic": (dict(depth=14, width=16, survival=0.8), 15),
    "resnet_cifar per sample": (dict(depth=8, width=16, survival=0.8, survival_draw="sample"), 15),
    "dpn": (dict(depths=(1, 1, 1, 1), increments=(4, 4, 4, 4), k_r=32, groups=4, base_width=32,
                 stem_width=16, stem="cifar"), 12),
    "fractalnet": (dict(columns=2, blocks=3, width=16, dropout=0.0), 15),
    "fusenet": (dict(kind="cross", depth=26, width=16), 10),
    "fusenet_imagenet": (dict(blocks=(1, 1, 1, 1), width=16, stem="cifar"), 12),
}
QUICK = ("resnet_cifar",)


@pytest.fixture(scope="module")
def digits():
    return data.load_splits("digits", train_split="train", validation_split="test")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in SMALL],
)
def test_learns_the_digits(name, digits):
    options, epochs = SMALL[name]
    model = create_model(name.split()[0], num_classes=10, input_shape=(8, 8, 1), **options)
    model.preprocessing = Preprocessing(*data.statistics(digits.train))
    steps = digits.train.num_examples // 64
    schedule = make_schedule(
        "one_cycle", 0.1, steps_per_epoch=steps, epochs=epochs, warmup_epochs=3
    )
    model.compile(
        SGD(schedule, nesterov=True, weight_decay=5e-4),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    batches = data.training_dataset(digits.train, model.preprocessing, (), 64, seed=0)
    model.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=0)
    assert evaluate(model, digits.test).top1 >= 0.96
