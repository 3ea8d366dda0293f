"""The optimizers, step by step, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import UserError
from keras_resnets.training import LAMB, SGD, AdamW

WEIGHT_DECAY = 0.5
RATES = (0.25, 0.25, 0.03, 0.7, 0.01)


class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """The rates of RATES in float64: float32's 0.03 is off by 1e-9."""

    def __call__(self, step):
        return tf.gather(tf.constant(RATES, tf.float64), tf.cast(step, tf.int64))


def run(optimizer, starts, gradients, in_graph=True):
    """The variables after one step for each row of the gradients, in float64."""
    variables = [keras.Variable(w, name=name, dtype="float64") for name, w in starts.items()]
    optimizer.build(variables)

    def apply(values):
        optimizer.apply(values, variables)

    apply = tf.function(apply) if in_graph else apply
    for step in range(len(RATES)):
        apply([tf.constant(g[step]) for g in gradients.values()])
    return dict(zip(starts, map(np.array, variables), strict=True))


@pytest.fixture
def problem(rng):
    """Starts of three variables, and a gradient of each for every rate."""
    shapes = {"kernel": (3, 2), "scale": (4, 1), "gamma": (2,)}
    starts = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return starts, {name: rng.normal(size=(len(RATES), *s)) for name, s in shapes.items()}


DECAYED = {"all": ("kernel", "scale", "gamma"), "kernels": ("kernel",),
           "no_1d": ("kernel", "scale")}


def torch_sgd(w, gradients, decay, nesterov):
    buffer = None
    for g, rate in zip(gradients, RATES, strict=True):
        g = g + decay * w
        buffer = g if buffer is None else 0.9 * buffer + g
        w = w - rate * (g + 0.9 * buffer if nesterov else buffer)
    return w


def caffe_sgd(w, gradients, decay, nesterov):
    """Caffe's SGDSolver and NesterovSolver: the history is a step to subtract."""
    history = np.zeros_like(w)
    for g, rate in zip(gradients, RATES, strict=True):
        old, history = history, 0.9 * history + rate * (g + decay * w)
        w = w - (1.9 * history - 0.9 * old if nesterov else history)
    return w


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", DECAYED)
def test_the_two_forms_of_momentum_while_the_rate_changes(nesterov, decay, problem):
    starts, gradients = problem
    for form, reference in (("torch", torch_sgd), ("keras", caffe_sgd)):
        optimizer = SGD(Rates(), 0.9, nesterov, WEIGHT_DECAY, decay, form)
        for name, w in run(optimizer, starts, gradients).items():
            amount = WEIGHT_DECAY if name in DECAYED[decay] else 0.0
            expected = reference(starts[name], gradients[name], amount, nesterov)
            np.testing.assert_allclose(w, expected, rtol=0, atol=1e-13)
    parted = [reference(starts["kernel"], gradients["kernel"], 0.5, nesterov)
              for reference in (torch_sgd, caffe_sgd)]
    assert np.abs(parted[0] - parted[1]).max() > 0.01


def torch_adamw(w, gradients, decay):
    m = v = np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(gradients, RATES, strict=True), 1):
        w = w * (1 - rate * decay)
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        denominator = np.sqrt(v) / np.sqrt(1 - 0.95**t) + 1e-3
        w = w - rate / (1 - 0.8**t) * m / denominator
    return w


@pytest.mark.parametrize("in_graph", [False, True])
def test_adamw(in_graph, problem):
    starts, gradients = problem
    optimizer = AdamW(Rates(), 0.8, 0.95, 1e-3, WEIGHT_DECAY, decay="no_1d")
    for name, w in run(optimizer, starts, gradients, in_graph).items():
        amount = WEIGHT_DECAY if name != "gamma" else 0.0
        expected = torch_adamw(starts[name], gradients[name], amount)
        np.testing.assert_allclose(w, expected, rtol=0, atol=1e-13)


def timm_lamb(starts, gradients, decayed, most, always_adapt):
    """timm/optim/lamb.py: all variables, as the norm that clips is that of all gradients."""
    w = dict(starts)
    m = {name: 0.0 for name in w}
    v = {name: 0.0 for name in w}
    for t, rate in enumerate(RATES, 1):
        norm = np.sqrt(sum((g[t - 1] ** 2).sum() for g in gradients.values()))
        for name in w:
            g = gradients[name][t - 1] / (max(norm / most, 1.0) if most else 1.0)
            m[name] = 0.8 * m[name] + 0.2 * g
            v[name] = 0.95 * v[name] + 0.05 * g * g
            update = m[name] / (1 - 0.8**t) / (np.sqrt(v[name] / (1 - 0.95**t)) + 1e-6)
            if name in decayed:
                update = update + WEIGHT_DECAY * w[name]
            if name in decayed or always_adapt:
                sizes = np.linalg.norm(w[name]), np.linalg.norm(update)
                update = update * (sizes[0] / sizes[1] if all(sizes) else 1.0)
            w[name] = w[name] - rate * update
    return w


@pytest.mark.parametrize(
    "settings",
    [{}, {"clip_norm": 0.0}, {"always_adapt": True}, {"decay": "kernels", "clip_norm": 100.0}],
    ids=str,
)
def test_lamb(settings, problem):
    starts, gradients = problem
    starts["scale"] = np.zeros((4, 1))  # whose trust ratio is 1
    optimizer = LAMB(Rates(), 0.8, 0.95, weight_decay=WEIGHT_DECAY, **settings)
    found = run(optimizer, starts, gradients)
    expected = timm_lamb(
        starts, gradients, DECAYED[settings.get("decay", "no_1d")], settings.get("clip_norm", 1.0),
        settings.get("always_adapt", False),
    )
    for name, w in found.items():
        np.testing.assert_allclose(w, expected[name], rtol=0, atol=1e-12)


def test_clipping_is_by_the_norm_of_all_gradients_and_before_the_decay():
    variables = [keras.Variable([1.0]), keras.Variable([2.0])]
    optimizer = SGD(1.0, 0.0, weight_decay=WEIGHT_DECAY, clip_norm=1.0, ema_decay=0.0)
    optimizer.build(variables)
    optimizer.apply([tf.constant([3.0]), tf.constant([4.0])])
    np.testing.assert_allclose(variables[0], [1.0 - 0.6 - 0.5], rtol=1e-6)
    np.testing.assert_allclose(variables[1], [2.0 - 0.8 - 1.0], rtol=1e-6)
    optimizer.apply([tf.constant([0.3]), tf.constant([0.4])])  # short enough
    np.testing.assert_allclose(variables[0], [(1.0 - 1.1) * 0.5 - 0.3], rtol=1e-5)


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


def test_config():
    changes = {"decay": "kernels", "clip_norm": 2.0, "accumulate_steps": 3, "ema_decay": 0.9,
               "weight_decay": 0.25}
    for kind in (SGD, AdamW, LAMB):
        for settings in ({}, changes):
            config = kind(**settings).get_config()
            assert settings.items() <= config.items()
            assert kind.from_config(config).get_config() == config


BAD = [
    (SGD, {"weight_decay": -1e-4}),
    (SGD, {"weight_decay": float("nan")}),
    (SGD, {"weight_decay": "1"}),
    (SGD, {"momentum": 1.5}),
    (SGD, {"momentum": "0.9"}),
    (SGD, {"ema_decay": "0.9"}),
    (SGD, {"backbone_lr": None}),
    (SGD, {"decay": "none"}),
    (SGD, {"momentum_form": "caffe"}),
    (SGD, {"clip_norm": -1.0}),
    (LAMB, {"accumulate_steps": 0}),
    (LAMB, {"accumulate_steps": 2.0}),
    (AdamW, {"ema_decay": 1.0}),
    (AdamW, {"beta_1": 1.0}),
    (LAMB, {"beta_2": -0.1}),
    (AdamW, {"beta_1": "0.9"}),
    (AdamW, {"epsilon": 0.0}),
    (LAMB, {"epsilon": None}),
]


def test_bad_arguments():
    for kind, arguments in BAD:
        with pytest.raises(UserError, match=f"`{next(iter(arguments))}` must be .* Received"):
            kind(**arguments)


def test_keras_own_ways_do_not_mix_with_ours():
    with pytest.raises(UserError, match="Keras' own. Received: use_ema=True"):
        SGD(use_ema=True, accumulate_steps=2)


@pytest.mark.parametrize("make", [SGD, AdamW, LAMB])
def test_the_backbone_learns_at_a_part_of_the_rate(make, rng):
    """Of two equal layers, the classifier moves as without the factor, the other a tenth as far."""
    moved = {}
    for factor in (1.0, 0.1):
        x = keras.Input((3,))
        model = keras.Model(x, keras.layers.Dense(2, name="logits")(keras.layers.Dense(3)(x)))
        for variable in model.weights:
            variable.assign(np.ones(variable.shape))
        before = [variable.numpy() for variable in model.weights]
        optimizer = make(0.01, weight_decay=0.0, backbone_lr=factor)
        optimizer.build(model.trainable_variables)
        gradients = [tf.ones(variable.shape) for variable in model.weights]
        optimizer.apply(gradients, model.trainable_variables)
        moved[factor] = [v.numpy() - b for v, b in zip(model.weights, before, strict=True)]
        assert keras.optimizers.deserialize(keras.optimizers.serialize(optimizer)).get_config() == (
            optimizer.get_config()
        )
    for place, (slow, full) in enumerate(zip(moved[0.1], moved[1.0], strict=True)):
        np.testing.assert_allclose(slow, full * (0.1 if place < 2 else 1.0), rtol=1e-4)
    with pytest.raises(UserError, match="`backbone_lr` must be in .0, 1.. Received"):
        make(backbone_lr=0.0)
