"""Averages of weights and of batch norm's statistics, and statistics computed again."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import UserError
from keras_resnets.training import (
    SGD,
    averaged_copy,
    averaged_weights,
    recalibrate_batch_norm,
)


def network(optimizer, **options):
    options = {"depth": 8, "width": 4, "input_shape": (8, 8, 1), **options}
    model = keras_resnets.create_model("resnet_cifar", **options)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    return model


def weights(model):
    return {variable.path: np.array(variable) for variable in model.weights}


@pytest.fixture
def images(rng):
    return rng.normal(size=(16, 8, 8, 1)).astype("float32")


@pytest.fixture
def labels(rng):
    return np.eye(10, dtype="float32")[rng.integers(10, size=16)]


def test_the_averages_of_five_steps(images, labels, tmp_path):
    model = network(SGD(0.1, ema_decay=0.75))
    with averaged_weights(model):  # before any update
        assert [*weights(model)] == [v.path for v in model.weights]
    expected = None
    for _ in range(5):
        model.fit(images, labels, batch_size=16, verbose=0)
        raw = weights(model)
        expected = expected or raw
        expected = {path: 0.75 * old + 0.25 * raw[path] for path, old in expected.items()}
    with averaged_weights(model) as same:
        assert same is model
        for path, w in weights(model).items():
            np.testing.assert_allclose(w, expected[path], rtol=1e-5, atol=1e-6)
            assert (w != raw[path]).any() or not w.any(), path
        outputs = model.predict(images, verbose=0)
        model.save(tmp_path / "averaged.keras")
    for path, w in weights(model).items():
        np.testing.assert_array_equal(w, raw[path])
    with pytest.raises(KeyError), averaged_weights(model):  # whatever happens inside
        raise KeyError
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, raw["stem_conv/kernel"])
    copy = averaged_copy(model)
    assert type(copy) is type(model) and copy.options == model.options
    for other in (copy, keras_resnets.load_model(tmp_path / "averaged.keras")):
        np.testing.assert_allclose(other.predict(images, verbose=0), outputs, atol=1e-5)
    assert np.abs(model.predict(images, verbose=0) - outputs).max() > 1e-3


def test_a_model_of_another_kind(images):
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(
        keras_resnets.layers.BatchNormalization()(inputs)))
    model = keras.Model(inputs, outputs)
    model.compile(SGD(0.01, ema_decay=0.5), "mse")
    model.optimizer.build(model.trainable_variables)
    with pytest.raises(UserError, match=r"call optimizer.follow\(model\) before the first step"):
        model.train_on_batch(images, np.ones((16, 2)))
    model.optimizer.follow(model)
    model.optimizer.follow(model)  # once is enough
    for _ in range(2):
        model.train_on_batch(images, np.ones((16, 2)))
    raw = np.array(model.layers[-1].kernel)
    copy = averaged_copy(model)
    assert (np.array(copy.layers[-1].kernel) != raw).any()
    np.testing.assert_array_equal(model.layers[-1].kernel, raw)


def test_without_averages():
    plain = network(SGD(0.1))
    foreign = network(keras.optimizers.SGD(0.1))
    for model in (plain, foreign, keras_resnets.create_model("resnet20", width=4)):
        with pytest.raises(UserError, match="There are no averaged weights"), \
                averaged_weights(model):
            pass
    with pytest.raises(UserError, match="no `ema_decay`"):
        plain.optimizer.averages()


def moments(model, name, batches):
    """Mean and variance of all values at the input of a layer, in training mode."""
    maps = keras.Model(model.input, model.get_layer(name).input)
    values = np.concatenate([maps(batch, training=True).numpy() for batch in batches])
    return values.mean((0, 1, 2), np.float64), values.var((0, 1, 2), np.float64)


@pytest.mark.parametrize("kind", ["tuples", "arrays", "dataset"])
def test_statistics_computed_again(kind, rng):
    model = network("sgd", head_dropout=0.5)
    frozen = model.get_layer("stage1_block1_bn1")
    frozen.trainable = False
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer is not frozen:
            layer.moving_mean.assign(np.full(layer.moving_mean.shape, np.nan))
    batches = [rng.normal(size=(n, 8, 8, 1), loc=n).astype("float32") for n in (8, 4, 8)]
    before = weights(model)
    dataset = {
        "tuples": [(batch, None) for batch in batches],
        "arrays": batches,
        "dataset": tf.data.Dataset.from_generator(
            lambda: iter(batches), "float32", (None, 8, 8, 1)
        ),
    }[kind]
    steps = None if kind != "arrays" else 2
    seeds = [np.array(v) for v in model.variables if v.name == "seed_generator_state"]
    recalibrate_batch_norm(model, dataset, steps)
    after = weights(model)
    for name in ("stem_bn", "stage2_block1_bn2"):
        mean, variance = moments(model, name, batches[:steps])
        np.testing.assert_allclose(after[f"{name}/moving_mean"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(after[f"{name}/moving_variance"], variance, rtol=1e-4)
    for path, w in before.items():
        if "moving" not in path or path.startswith(frozen.name):
            np.testing.assert_array_equal(after[path], w)
        else:
            assert np.isfinite(after[path]).all()
    assert seeds
    now = [np.array(v) for v in model.variables if v.name == "seed_generator_state"]
    np.testing.assert_array_equal(now, seeds)
    assert "call" not in vars(frozen) and "call" not in vars(model.get_layer("stem_bn"))


def test_skipped_branches_count_what_they_see(rng):
    model = network("sgd", survival=0.5)
    model.get_layer("stage1_block1_bn1").moving_mean.assign(np.full(4, 7.0))
    batches = rng.normal(size=(12, 4, 8, 8, 1)).astype("float32")
    recalibrate_batch_norm(model, batches)
    mean, _ = moments(model, "stem_bn", batches)
    np.testing.assert_allclose(model.get_layer("stem_bn").moving_mean, mean, atol=1e-5)
    first = np.array(model.get_layer("stage1_block1_bn1").moving_mean)
    assert np.isfinite(first).all() and (np.abs(first) < 3).all()


def test_recalibration_refuses(images):
    model = network("sgd")
    with pytest.raises(UserError, match="no batch"):
        recalibrate_batch_norm(model, [])
    with pytest.raises(UserError, match="`steps` must be"):
        recalibrate_batch_norm(model, [images], 0)
    before = weights(model)
    for wrong, shape in (
        (images, r"\(8, 8, 1\)"),
        ([images, images[:, :4]], rf"\({len(images)}, 4, 8, 1\)"),
        ([np.repeat(images, 3, -1)], rf"\({len(images)}, 8, 8, 3\)"),
    ):
        words = rf"images \(None, 8, 8, 1\): .* \[images\]. Received: a batch of shape {shape}"
        with pytest.raises(UserError, match=words):
            recalibrate_batch_norm(model, wrong)
    for path, value in weights(model).items():
        np.testing.assert_array_equal(value, before[path])
    with pytest.raises(UserError, match="no trainable batch normalization"):
        recalibrate_batch_norm(network("sgd", norm="group"), [images])
