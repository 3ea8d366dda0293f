"""Networks under random statistics, and the comparison of their inference form with them."""

import keras
import numpy as np
import tensorflow as tf

from keras_resnets import create_model
from keras_resnets.serving.inference import InferenceForm

MEMBERS = {
    "resnet imagenet stem": ("resnet", dict(depth=50, width=4)),
    "resnet stride in the first": ("resnet", dict(depth=50, width=4, stride_in="1x1")),
    "resnet cifar stem": ("resnet", dict(depth=18, width=4, stem="cifar")),
    "wide bottleneck": ("resnet", dict(depth=50, width=16, width_per_group=32)),
    "resnet_cifar A": ("resnet_cifar", dict(depth=8, width=4)),
    "resnet_cifar B": ("resnet_cifar", dict(depth=8, width=4, shortcut="B")),
    "V2": ("resnet_cifar", dict(depth=11, block="bottleneck", width=4,
                                activation="full_preact")),
    "relu before add": ("resnet_cifar", dict(depth=8, width=4, activation="relu_before_add")),
    "bn after add": ("resnet_cifar", dict(depth=8, width=4, activation="bn_after_add")),
    "relu-only preact": ("resnet_cifar", dict(depth=8, width=4, activation="relu_preact")),
    "resnext": ("resnet_cifar", dict(depth=11, block="bottleneck", width=16, groups=4,
                                     width_per_group=16)),
    "plain": ("resnet_cifar", dict(depth=8, width=4, skip="none")),
    "stochastic depth": ("resnet_cifar", dict(depth=8, width=4, survival=0.5)),
    "stochastic depth V2": ("resnet_cifar", dict(depth=11, block="bottleneck", width=4,
                                                 activation="full_preact", survival=0.5)),
    "by the image": ("resnet_cifar", dict(depth=8, width=4, survival=0.5,
                                          survival_draw="sample")),
    "wide": ("wide_resnet", dict(depth=10, widen=2, width=4, dropout=0.3)),
    "dpn": ("dpn", dict(depths=(1, 1, 1, 1), increments=(4, 4, 4, 4), k_r=8, groups=2,
                        base_width=16, stem_width=8, stem="cifar")),
    "fractalnet": ("fractalnet", dict(columns=3, blocks=3, width=4)),
    "fractalnet without drop-path": ("fractalnet", dict(columns=3, blocks=3, width=4,
                                                        drop_path=0.0)),
    "fractalnet by the image": ("fractalnet", dict(columns=2, blocks=3, width=4,
                                                   drop_path_draw="sample")),
    **{f"fusenet {kind}": ("fusenet", dict(kind=kind, depth=26, width=4))
       for kind in ("cross", "half", "side", "fuse3", "ensemble")},
    "fusenet_imagenet": ("fusenet_imagenet", dict(blocks=(1, 1, 1, 1), width=8, stem="cifar")),
}


def randomize(model, seed=0):
    """Statistics, factors and summands as no initializer makes them.

    The factors of a thousand layers are small, or their maps grow beyond float32.
    """
    rng = np.random.default_rng(seed)
    gain = 1.0 if len(model.layers) < 1500 else 0.2
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                low = 0.3 if "variance" in variable.name or "gamma" in variable.name else -0.7
                values = rng.uniform(low, low + 1.4, variable.shape)
                variable.assign(gain * values if "gamma" in variable.name else values)
    return model


def images_for(model, count=3, seed=1):
    shape = [side or 33 for side in model.input_shape[1:]]
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype("float32")


def assert_same(model, images, tolerance=1e-5, precision="float32"):
    logits = model(images, training=False).numpy()
    form = InferenceForm(model, precision)
    outputs = form(images)
    assert outputs.dtype == tf.float32
    assert np.abs(outputs - logits).max() <= tolerance * np.abs(logits).max()
    return form


def member(name, **options):
    family, own = MEMBERS[name]
    size = (64, 64, 3) if own.get("stem") != "cifar" and "resnet " in name else (32, 32, 3)
    return randomize(create_model(family, num_classes=7, input_shape=size, **own, **options))


def count(form, kind):
    return sum(type(operation) is kind for operation in form.operations)
