"""Random numbers of layers: one draw a step, alike or apart on the replicas of a strategy."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import layers
from keras_resnets.training.callbacks import ReseedLayers
from keras_resnets.training.watch import Watch

X = np.ones((64, 2, 2, 4), "float32")
LAYERS = {
    "dropout": (lambda: layers.Dropout(0.5), lambda layer: layer(X, training=True)),
    "column draw": (lambda: layers.ColumnDraw(4, 0.5, "sample"),
                    lambda layer: layer(X, training=True)),
    "join": (lambda: layers.FractalJoin(0.5, "sample"),
             lambda layer: layer.weights_of(tf.zeros((64, 4)), 3)),
    "merge by sample": (lambda: layers.StochasticMerge(0.5, draw="sample"),
                        lambda layer: layer([X, X], training=True)),
    "merge by batch": (lambda: layers.StochasticMerge(0.5),
                       lambda layer: layer([X, X], training=True)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_call_moves_the_counter_by_one(name):
    make, call = LAYERS[name]
    layer = make()
    for step in range(1, 4):
        call(layer)
        assert layer.seed_generator.state.numpy()[1] == step


@pytest.mark.parametrize("name", ["dropout", "column draw", "join", "merge by sample"])
def test_no_epoch_repeats_the_numbers_of_another(name):
    """Counters are set to the number of the step at each epoch's start, as in training."""
    make, call = LAYERS[name]
    layer = make()
    model = keras.Sequential([layer]) if name == "dropout" else None
    reseed = ReseedLayers(Watch(steps_per_epoch=4))
    reseed.set_model(model or type("Model", (), {"variables": [layer.seed_generator.state]})())
    seen = []
    for epoch in range(3):
        reseed.on_epoch_begin(epoch)
        seen += [call(layer).numpy().tobytes() for _ in range(4)]
    assert len(set(seen)) == len(seen)


def test_dropout_is_kerass_in_the_mean(rng):
    layer = layers.Dropout(0.25)
    x = np.ones((50, 8, 8, 20), "float32")
    y = layer(x, training=True).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert y.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(layer(x), x)
    config = layer.get_config()
    assert keras.layers.Dropout.from_config(config).rate == 0.25


def test_column_draws_have_their_shares():
    drawn = layers.ColumnDraw(4, 0.25, "sample")(np.ones((20000, 1, 1, 1)), training=True).numpy()
    assert drawn.sum(-1).mean() == pytest.approx(0.25, abs=0.015)
    np.testing.assert_allclose(drawn.mean(0), 0.0625, atol=0.008)
    weights = layers.FractalJoin(0.5).weights_of(tf.zeros((20000, 3)), 3).numpy()
    # All three dropped in an eighth of the cases, of which each revives a third.
    assert (weights == 1).mean(0) == pytest.approx(1 / 8 + 1 / 24, abs=0.01)


def test_networks_take_dropout_from_here():
    for model in (
        keras_resnets.ResNet20(width=4, head_dropout=0.5, skip="dropout"),
        keras_resnets.WideResNet16_4(width=4, dropout=0.3),
        keras_resnets.fractalnet(columns=2, blocks=2, width=4),
    ):
        found = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        assert found and {type(layer) for layer in found} == {layers.Dropout}


def test_replicas_draw_apart_by_the_image_and_alike_by_the_batch(run_code):
    code = """
import json
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras_resnets
from keras_resnets import layers
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x = np.ones((32, 2, 2, 4), "float32")
calls = {
    "dropout": (layers.Dropout, (0.5,), lambda l: l(x, training=True)),
    "merge sample": (layers.StochasticMerge, (0.5, "sample"), lambda l: l([x, x], training=True)),
    "merge batch": (layers.StochasticMerge, (0.5, "batch"), lambda l: l([x, x], training=True)),
    "columns sample": (layers.ColumnDraw, (8, 0.9, "sample"), lambda l: l(x, training=True)),
    "columns batch": (layers.ColumnDraw, (8, 0.9, "batch"), lambda l: l(x, training=True)),
    "join sample": (layers.FractalJoin, (0.5, "sample"),
                    lambda l: l.weights_of(tf.zeros((32, 3)), 3)),
    "join batch": (layers.FractalJoin, (0.5,), lambda l: l.weights_of(tf.zeros((1, 3)), 3)),
}
alike = {}
for name, (kind, arguments, call) in calls.items():
    with strategy.scope():
        layer = kind(*arguments)
    run = tf.function(lambda: strategy.experimental_local_results(strategy.run(call, (layer,))))
    alike[name] = [bool(np.array_equal(*run())) for _ in range(4)]
print(json.dumps(alike))
"""
    alike = json.loads(run_code(code).stdout.splitlines()[-1])
    for name, steps in alike.items():
        assert steps == [("batch" in name)] * 4, name
