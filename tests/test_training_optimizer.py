"""SGD with the papers' weight decay."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets.training import SGD

WEIGHT_DECAY = 0.5


def torch_steps(w, gradients, rate, momentum, nesterov, weight_decay):
    """torch.optim.SGD's formulas, which at a constant rate are Caffe's and Keras'."""
    velocity = np.zeros_like(w)
    for gradient in gradients:
        gradient = gradient + weight_decay * w
        velocity = momentum * velocity + gradient
        w = w - rate * (gradient + momentum * velocity if nesterov else velocity)
    return w


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("decay", ["all", "kernels"])
@pytest.mark.parametrize("in_graph", [False, True])
def test_three_steps(momentum, nesterov, decay, in_graph, rng):
    starts = {"kernel": rng.normal(size=(3, 2)), "gamma": rng.normal(size=(2,))}
    gradients = {name: rng.normal(size=(3, *w.shape)) for name, w in starts.items()}
    variables = [keras.Variable(w, name=name, dtype="float32") for name, w in starts.items()]
    optimizer = SGD(0.1, momentum, nesterov, WEIGHT_DECAY, decay)
    optimizer.build(variables)

    def apply(values):
        optimizer.apply(values, variables)

    apply = tf.function(apply) if in_graph else apply
    for step in range(3):
        apply([tf.constant(g[step], tf.float32) for g in gradients.values()])
    for variable, (name, w) in zip(variables, starts.items(), strict=True):
        amount = WEIGHT_DECAY if decay == "all" or name == "kernel" else 0.0
        expected = torch_steps(w, gradients[name], 0.1, momentum, nesterov, amount)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_after_a_change_of_the_rate_the_velocity_keeps_the_old_one():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.1])
    variable = keras.Variable([0.0])
    optimizer = SGD(schedule, momentum=0.5)
    optimizer.build([variable])
    for _ in range(2):
        optimizer.apply([tf.constant([1.0])])
    # Velocities -1 and 0.5 * -1 - 0.1; torch's second step would be 0.1 * (0.5 * 1 + 1) long.
    np.testing.assert_allclose(variable.numpy(), [-1.6], rtol=1e-6)


def test_which_variables_decay():
    model = keras_resnets.create_model("resnet20", width=4)
    decayed = [v.path for v in model.trainable_variables if SGD(weight_decay=1e-4).decays(v)]
    assert len(decayed) == len(model.trainable_variables)
    kernels = SGD(weight_decay=1e-4, decay="kernels")
    decayed = [v.path for v in model.trainable_variables if kernels.decays(v)]
    # 19 convolutions and the classifier; shortcuts A have no parameters.
    assert len(decayed) == 20
    assert {"stem_conv/kernel", "stage3_block3_conv2/kernel", "logits/kernel"} < set(decayed)
    assert not [path for path in decayed if "bn" in path or path.endswith("bias")]
    assert not any(SGD(weight_decay=0.0).decays(v) for v in model.trainable_variables)


def test_under_a_loss_scale_the_decay_is_not_scaled():
    variable = keras.Variable([2.0], name="kernel")
    optimizer = keras.optimizers.LossScaleOptimizer(
        SGD(0.1, 0.0, weight_decay=WEIGHT_DECAY), initial_scale=1024.0
    )
    optimizer.build([variable])
    optimizer.apply([tf.constant([3.0 * 1024])], [variable])
    np.testing.assert_allclose(variable.numpy(), [2.0 - 0.1 * (3.0 + 0.5 * 2.0)], rtol=1e-6)


def test_a_saved_model_keeps_its_optimizer(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(SGD(0.2, 0.8, True, 1e-3, "kernels"), "mse")
    model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert loaded.get_config() == model.optimizer.get_config()
    assert loaded.get_config()["weight_decay"] == 1e-3
    assert [loaded.decays(v) for v in model.trainable_variables] == [True, False]
    for ours, theirs in zip(model.optimizer.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "arguments", [{"weight_decay": -1e-4}, {"weight_decay": float("nan")}, {"decay": "none"}]
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` must be .* Received"):
        SGD(**arguments)
