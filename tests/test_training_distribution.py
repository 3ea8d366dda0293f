"""Replicas: each test in a process of its own, as TensorFlow's collectives want it."""

import json

import numpy as np
import pytest
import tensorflow as tf

from keras_resnets.training import make_strategy
from keras_resnets.training.distribution import describe_devices

ONE_STEP = """
import keras, numpy as np
import keras_resnets
from keras_resnets.training import SGD, make_strategy

def one_step(strategy):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = keras_resnets.create_model(
            "resnet_cifar", depth=8, width=4, input_shape=(8, 8, 1), norm="sync_batch"
        )
        model.compile(
            SGD(0.1, 0.9, True, 1e-2),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
    rng = np.random.default_rng(0)
    images = rng.normal(size=(16, 8, 8, 1)).astype("float32")
    labels = np.eye(10, dtype="float32")[rng.integers(10, size=16)]
    before = [np.array(w) for w in model.weights]
    model.fit(images, labels, batch_size=16, epochs=1, shuffle=False, verbose=0)
    return before, [np.array(w) for w in model.weights]

two = make_strategy("auto", 2)
assert two.num_replicas_in_sync == 2
# A second one of the same devices would end in "Collective ops is aborted".
assert make_strategy(logical_devices=2) is make_strategy("mirrored", 2) is two
before, mirrored = one_step(two)
start, single = one_step(make_strategy("none"))
for a, b in zip(before, start):
    np.testing.assert_array_equal(a, b)
assert max(np.abs(a - b).max() for a, b in zip(single, start)) > 1e-2
for a, b in zip(mirrored, single):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
"""

MIRRORED_RUN = """
import json
import keras
from keras_resnets import data
from keras_resnets.training import Recipe, evaluate, train
from keras_resnets.models.files import load_model
from keras_resnets.training.run_directory import read_checkpoint

settings = dict(
    model="resnet_cifar", option=("depth=8", "width=4", "head_dropout=0.2"), dataset="digits",
    train_split="train[:128]", validation_split="test[:45]", test_split="test[:45]",
    batch_size=32, lr=0.1, label_smoothing=0.1, logical_devices=2,
)
train(Recipe(**settings, epochs=1), "run")
results = train(Recipe(**settings, epochs=2), "run")
history = read_checkpoint("run/last.keras").history
test = data.load_splits("digits", test_split="test[:45]", splits=("test",)).test
evaluation = evaluate(load_model("run/last.keras"), test, 45)
single = {"loss": evaluation.loss, "top1": evaluation.top1}
model = load_model("run/last.keras")
model.compile(
    loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
)
batches = data.evaluation_dataset(test, model.preprocessing, 45).map(lambda *batch: batch[:2])
single["val_loss"] = model.evaluate(batches, verbose=0, return_dict=True)["loss"]
try:
    train(Recipe(**{**settings, "batch_size": 33}, epochs=1), "other")
except ValueError as error:
    refusal = str(error)
print(json.dumps([results, history, single, refusal]))
"""


COMPOSED = """
import keras, numpy as np, keras_resnets
from keras_resnets.training import make_strategy
with make_strategy("mirrored", 2).scope():
    net = keras_resnets.create_model("resnet_cifar", depth=8, width=4, input_shape=(8, 8, 1))
    head = keras.layers.Dense(3)(net.get_layer("pool").output)
    model = keras.Model(net.input, head)
    model.compile("sgd", "mse", jit_compile=False)
x = np.arange(16)[:, None, None, None] * np.ones((16, 8, 8, 1), "float32")
model.fit(x, np.zeros((16, 3)), batch_size=16, epochs=2, shuffle=False, verbose=0)
norm = net.get_layer("stem_bn")
copies = [np.array(copy) for copy in norm.moving_mean.value.values]
assert np.abs(copies[0] - copies[1]).max() > 1e-3
model.save("model.keras")
saved = keras.saving.load_model("model.keras").get_layer("stem_bn")
np.testing.assert_allclose(saved.moving_mean, np.mean(copies, 0), rtol=1e-6)
for copy in norm.moving_mean.value.values:
    np.testing.assert_array_equal(copy, saved.moving_mean)
"""

EQUAL_COPIES = """
import keras, numpy as np, tensorflow as tf
from keras_resnets.layers.normalization import average_copies
from keras_resnets.models import several_hosts
from keras_resnets.training import make_strategy
values = np.random.default_rng(0).uniform(-10, 10, 1000).astype("float32")
several_hosts.is_on_several_hosts = lambda strategy: True  # its three replicas stand for hosts
strategy = make_strategy("mirrored", 3)
with strategy.scope():
    statistics = keras.Variable(values, trainable=False, aggregation="mean")
average_copies(statistics)
np.testing.assert_array_equal(statistics, values)
several_hosts.mean_over_hosts(strategy, [statistics])
np.testing.assert_array_equal(statistics, values)
for place, copy in enumerate(statistics.value.values):
    copy.assign(values + place)
average_copies(statistics)
for copy in statistics.value.values:
    np.testing.assert_allclose(copy, values + 1, atol=1e-5)
"""


def test_a_composed_model_saves_averaged_statistics(run_code):
    run_code(COMPOSED)


def test_equal_statistics_of_three_replicas_stay_to_the_last_bit(run_code):
    run_code(EQUAL_COPIES)


def test_one_step_on_two_devices_is_one_step_on_one(run_code):
    run_code(ONE_STEP)


def test_a_mirrored_run_scores_what_it_saves(run_code):
    output = run_code(MIRRORED_RUN).stdout
    assert "replicas: 2, batch: 32 = 2 x 16" in output and "going on after epoch 1" in output
    results, history, single, refusal = json.loads(output.splitlines()[-1])
    assert [row["epoch"] for row in history] == [1, 2]
    assert results["last"]["epoch"] == 2 and results["test_images"] == 45
    # 45 images on 2 replicas: the last batch is filled up.
    for found in (results["last"]["loss"], history[-1]["val_cross_entropy"]):
        np.testing.assert_allclose(found, single["loss"], rtol=1e-4)
    assert history[-1]["val_loss"] == pytest.approx(single["val_loss"], rel=1e-5)
    assert results["last"]["top1"] == single["top1"]
    np.testing.assert_allclose(history[-1]["val_accuracy"], single["top1"], rtol=1e-6)
    assert refusal == "`batch_size` must be divisible by the 2 replicas. Received: batch_size=33"


def test_one_device_is_not_mirrored():
    strategy = make_strategy("auto")
    assert strategy.num_replicas_in_sync == 1
    assert make_strategy() is make_strategy(name="auto", logical_devices=1) is strategy
    assert not isinstance(strategy, tf.distribute.MirroredStrategy)
    assert describe_devices(strategy).startswith("1 x ")


@pytest.mark.parametrize(
    "arguments, wrong",
    [(("horovod", 1), "strategy"), (("none", 2), "logical_devices"), (("auto", 0), "logical"),
     (("auto", 1_000_000), "logical_devices")],
)
def test_bad_arguments(arguments, wrong):
    with pytest.raises(ValueError, match=f"`{wrong}"):
        make_strategy(*arguments)


def test_the_cpu_is_split_before_it_is_used():
    tf.constant(1.0) + 1.0
    with pytest.raises(ValueError, match="`logical_devices` must be set before"):
        make_strategy("auto", 3)
