"""Updates of several steps' gradients, on one device, on two, and through a file."""

import keras
import numpy as np
import pytest

import keras_resnets
from keras_resnets.training import LAMB, SGD, AdamW

IMAGES, CLASSES = 16, 10


def batch(rng, count=IMAGES):
    images = rng.normal(size=(count, 8, 8, 1)).astype("float32")
    return images, np.eye(CLASSES, dtype="float32")[rng.integers(CLASSES, size=count)]


def network(optimizer, has_norm=True):
    keras.utils.set_random_seed(0)
    if has_norm:
        model = keras_resnets.create_model("resnet_cifar", depth=8, width=4, input_shape=(8, 8, 1))
    else:
        model = keras.Sequential([
            keras.Input((8, 8, 1)),
            keras_resnets.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES),
        ])
    model.compile(
        optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False
    )
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: SGD(0.1, weight_decay=1e-2, momentum_form="torch", **k),
        lambda **k: LAMB(0.01, epsilon=1e-3, **k),
        lambda **k: AdamW(0.01, epsilon=1e-3, clip_norm=0.5, **k),
    ],
    ids=["sgd", "lamb", "adamw"],
)
def test_two_steps_of_8_are_one_of_16(make, rng):
    images, labels = batch(rng, 32)
    whole, parts = network(make(), False), network(make(accumulate_steps=2), False)
    start = [np.array(w) for w in whole.weights]
    whole.fit(images, labels, batch_size=16, shuffle=False, verbose=0)
    parts.fit(images, labels, batch_size=8, shuffle=False, verbose=0)
    assert max(np.abs(a - b).max() for a, b in zip(whole.weights, start, strict=True)) > 1e-3
    for a, b in zip(whole.weights, parts.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert int(parts.optimizer.iterations) == int(whole.optimizer.iterations) == 2


def test_schedules_count_updates_and_statistics_move_every_step(rng):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], [0.5, 0.25, 0.0])
    model = network(SGD(schedule, 0.0, accumulate_steps=3, ema_decay=0.5))
    images, labels = batch(rng)
    kernel, mean = model.get_layer("logits").kernel, model.get_layer("stem_bn").moving_mean
    seen = [(np.array(kernel), np.array(mean))]
    for step in range(1, 10):
        assert float(model.optimizer.learning_rate) == (0.5, 0.25, 0.0)[(step - 1) // 3]
        model.train_on_batch(images, labels)
        seen.append((np.array(kernel), np.array(mean)))
        assert int(model.optimizer.iterations) == step // 3
    moved = [bool((a[0] != b[0]).any()) for a, b in zip(seen, seen[1:], strict=False)]
    assert moved == [False, False, True] * 2 + [False] * 3  # the last update is at rate 0
    assert all((a[1] != b[1]).any() for a, b in zip(seen, seen[1:], strict=False))
    averages = {v.path: np.array(average) for v, average in model.optimizer.averages()}
    expected = (seen[3][0] + seen[6][0]) / 4 + seen[9][0] / 2
    np.testing.assert_allclose(averages[kernel.path], expected, rtol=1e-5, atol=1e-7)
    expected = (seen[3][1] + seen[6][1]) / 4 + seen[9][1] / 2  # the statistics at the updates
    np.testing.assert_allclose(averages[mean.path], expected, rtol=1e-5, atol=1e-7)


SMALL = """
import keras, numpy as np
import keras_resnets
from keras_resnets.training import (
    LAMB, SGD, averaged_weights, make_strategy, recalibrate_batch_norm
)

def small(optimizer, synchronized=False, policy="float32"):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    image = keras.Input((8, 8, 1))
    x = keras_resnets.layers.Conv2D(4, 3)(image)
    x = keras_resnets.layers.BatchNormalization(synchronized=synchronized)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = keras.Model(image, keras.layers.Dense(10, dtype="float32")(x))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    getattr(model.optimizer, "inner_optimizer", model.optimizer).follow(model)
    return model

rng = np.random.default_rng(0)
images = rng.normal(size=(80, 8, 8, 1)).astype("float32")
labels = np.eye(10, dtype="float32")[rng.integers(10, size=80)]
"""
TWO_DEVICES = SMALL + """
def trained(strategy, optimizer):
    with strategy.scope():
        model = small(optimizer(), synchronized=True)
    start = [np.array(w) for w in model.weights]
    model.fit(images, labels, batch_size=16, epochs=1, shuffle=False, verbose=0)
    raw = [np.array(w) for w in model.weights]
    assert max(np.abs(a - b).max() for a, b in zip(raw, start)) > 1e-2
    with averaged_weights(model):
        averaged = [np.array(w) for w in model.weights]
    for a, b in zip(raw, model.weights):
        np.testing.assert_array_equal(a, b)
    assert max(np.abs(a - b).max() for a, b in zip(raw, averaged)) > 1e-3
    recalibrate_batch_norm(model, [images[:48], images[48:]])
    again = [np.array(w) for w in model.weights]
    return again + raw + averaged + [np.array(v) for v in model.optimizer.variables]

two, one = make_strategy("mirrored", 2), make_strategy("none")
assert two.num_replicas_in_sync == 2
for optimizer in (
    lambda: SGD(0.5, 0.9, True, 1e-2, clip_norm=0.1, accumulate_steps=2, ema_decay=0.5),
    lambda: LAMB(0.02, epsilon=1e-2, ema_decay=0.5),
):
    for a, b in zip(trained(two, optimizer), trained(one, optimizer)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
# Inside of the loss scale, which applies gradients under a condition.
with two.scope():
    optimizer = SGD(0.5, accumulate_steps=2, ema_decay=0.5)
    model = small(optimizer, policy="mixed_float16")
model.fit(images, labels, batch_size=16, epochs=1, shuffle=False, verbose=0)
assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
assert int(model.optimizer.iterations) == 2
# The replicas' statistics differ, and so do their averages; a file has the means.
moving, average = optimizer._statistics[0], optimizer._averaged_statistics[0]
for variable in (moving, average):
    parts = [np.array(part) for part in variable.value.values]
    assert np.abs(parts[0] - parts[1]).max() > 1e-4
    if variable is average:
        model.save("model.keras")
        np.testing.assert_allclose(average, np.mean(parts, 0), rtol=1e-6)
"""


def test_two_devices_compute_what_one_does(run_code):
    run_code(TWO_DEVICES)


OVERFLOW = SMALL + """
from keras_resnets.training import LossScaleOptimizer

with make_strategy("mirrored", 2).scope():
    model = small(LossScaleOptimizer(SGD(0.5), name="scale"), policy="mixed_float16")
assert isinstance(model.optimizer, LossScaleOptimizer)
for place in (0, 15):  # an image of the first replica, and one of the second
    before = [np.array(w) for w in model.trainable_variables]
    scale = np.array(model.optimizer.dynamic_scale)
    weights = np.ones(16)
    weights[place] = 1e6  # the loss fits float32, its gradients times the scale do not fit float16
    model.fit(images[:16], labels[:16], sample_weight=weights, batch_size=16, verbose=0)
    for copy in model.optimizer.dynamic_scale.value.values:
        assert np.array(copy) == scale / 2
    for a, b in zip(before, model.trainable_variables):
        np.testing.assert_array_equal(a, b)
model.fit(images[:16], labels[:16], batch_size=16, verbose=0)
assert max(np.abs(a - b).max() for a, b in zip(before, model.trainable_variables)) > 1e-3
assert np.array(model.optimizer.iterations) == 1
"""


def test_an_overflow_on_any_device_leaves_the_step_out(run_python):
    run_python(OVERFLOW)


GO_ON = SMALL + """
images, labels = images[:16], labels[:16]
loaded = keras.saving.load_model("network.keras")
again = small(LAMB(0.01, accumulate_steps=2, ema_decay=0.9), policy="mixed_float16")
again.load_weights("model.keras")
for name, model in (("network", loaded), ("model", again)):
    for _ in range(3):
        model.train_on_batch(images, labels)
    end = [np.array(v) for v in (*model.weights, *model.optimizer.variables)]
    np.savez(f"{name}.npz", *end)
"""


def test_sums_and_averages_go_on_from_a_file(run_code, tmp_path):
    optimizer = LAMB(0.01, accumulate_steps=2, ema_decay=0.9)
    models, scope = {"network": network(optimizer)}, {}
    exec(SMALL, scope)
    models["model"] = scope["small"](LAMB.from_config(optimizer.get_config()), False,
                                     "mixed_float16")
    for name, model in models.items():
        for step in range(6):
            if step == 3:  # and a half update is left
                model.save(tmp_path / f"{name}.keras")
            model.train_on_batch(scope["images"][:16], scope["labels"][:16])
    run_code(GO_ON)
    for name, model in models.items():
        assert int(model.optimizer.iterations) == 3
        with np.load(tmp_path / f"{name}.npz") as end:
            found = [end[name] for name in end.files]
        for a, b in zip([*model.weights, *model.optimizer.variables], found, strict=True):
            np.testing.assert_array_equal(a, b)
