"""Stochastic depth: rule, draws, skipped computation, and weights that load both ways."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from slow import first

import keras_resnets
from keras_resnets import layers


def net(**options):
    return keras_resnets.resnet_cifar(depth=14, width=4, shortcut="B", **options)


def batch(rng, size=4):
    return tf.constant(rng.standard_normal((size, 32, 32, 3)), tf.float32)


def merges(model):
    return [layer for layer in model.layers if isinstance(layer, layers.Merge)]


def test_expected_depth_is_the_papers():
    model = keras_resnets.ResNet110(width=1, survival=0.5)
    assert keras_resnets.expected_depth(model) == pytest.approx(40.25)
    survivals = [layer.survival for layer in merges(model)]
    np.testing.assert_allclose(survivals, 1 - np.arange(1, 55) / 54 * 0.5)
    uniform = net(survival=0.5, survival_rule="uniform")
    assert keras_resnets.expected_depth(uniform) == 3.0
    assert keras_resnets.expected_depth(net()) == 6.0


def own_layers(model):
    """The layers that hold weights; a skipping merge lists those of its branch again."""
    return [layer for layer in model.layers if not isinstance(layer, layers.Merge)]


@pytest.mark.parametrize("survival_draw", ["batch", "sample"])
def test_survival_of_one_is_the_plain_net(rng, survival_draw):
    plain, deep = net(), net(survival=1.0, survival_draw=survival_draw)
    deep.set_weights(plain.get_weights())
    x = batch(rng)
    np.testing.assert_array_equal(plain(x, training=True), deep(x, training=True))
    assert {type(layer) for layer in merges(deep)} == {layers.Merge}


@pytest.mark.parametrize(
    "options",
    [{"survival": 0.5}, {"survival": 0.5, "survival_draw": "sample"},
     {"survival": 0.7, "norm": "sync_batch"}],
)
def test_names_and_weights_do_not_depend_on_it(rng, tmp_path, options):
    plain = net(norm=options.get("norm", "batch"))
    deep = net(**options)
    assert [layer.name for layer in plain.layers] == [layer.name for layer in deep.layers]
    assert sorted(v.path for v in plain.weights) == sorted(v.path for v in deep.weights)
    assert plain.count_params() == deep.count_params()
    for source, target in ((plain, deep), (deep, plain)):
        for variable in source.weights:
            variable.assign(rng.standard_normal(variable.shape))
        source.save_weights(tmp_path / "x.weights.h5")
        target.load_weights(tmp_path / "x.weights.h5")
        for layer in own_layers(source):
            own, other = layer.get_weights(), target.get_layer(layer.name).get_weights()
            for a, b in zip(own, other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_off_training_the_branch_counts_its_probability(rng):
    model, plain = net(survival=0.5), net()
    for layer in own_layers(plain):
        layer.set_weights(model.get_layer(layer.name).get_weights())
    names = ["stage1_block1_bn2", "stem_relu"]
    taps = keras.Model(plain.input, [plain.get_layer(name).output for name in names])
    x = batch(rng)
    branch, shortcut = taps(x)
    merged = keras.Model(model.input, model.get_layer("stage1_block1_merge").output)
    expected = np.maximum(shortcut + (1 - 0.5 / 6) * branch, 0)
    np.testing.assert_allclose(merged(x), expected, atol=1e-5)


@pytest.mark.parametrize("norm", first(1, ["batch", "sync_batch"]))
def test_a_step_computes_blocks_whole_or_not_at_all(rng, norm):
    model = net(survival=0.5, survival_rule="uniform", norm=norm)
    kind = layers.SkippingMerge if norm == "batch" else layers.StochasticMerge
    assert {type(layer) for layer in merges(model)} == {kind}
    x = batch(rng)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x, training=True) ** 2)
        kernels = [layer.kernel.value for layer in model.layers if layer.name.endswith("conv2")]
        return [tf.norm(gradient) for gradient in tape.gradient(loss, kernels)]

    alive = np.array([[float(norm) > 0 for norm in step()] for _ in range(60)])
    share = alive.mean(0)
    assert (np.abs(share - 0.5) < 0.25).all()
    assert len({tuple(row) for row in alive}) > 20  # each block draws for itself


def test_an_off_block_keeps_its_moving_statistics(rng):
    model = net(survival=1e-6, survival_rule="uniform")
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model(batch(rng), training=True)
    for name in ("stage1_block1_bn1", "stage3_block2_bn2"):
        for old, new in zip(before[name], model.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    moved = model.get_layer("stem_bn").get_weights()[2]
    assert np.abs(moved - before["stem_bn"][2]).max() > 0


def test_an_off_block_moves_the_counters_of_its_branch(rng):
    model = keras_resnets.wide_resnet(depth=10, width=2, dropout=0.3, survival=0.1)
    model.compile("sgd", "mse", jit_compile=False)
    x, y = batch(rng, 1), np.zeros((1, 10), "float32")
    for _ in range(3):  # in which the last block is on once at most, or hardly ever
        model.train_on_batch(x, y)
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    assert len(states) == 6 and {int(np.array(state)[1]) for state in states} == {3}


def test_draws_are_keyed_by_seed_and_step(rng):
    def losses(steps_before):
        keras.utils.set_random_seed(3)
        model = net(survival=0.5)
        for layer in merges(model):
            state = layer.seed_generator.state
            state.assign([state.numpy()[0], steps_before])
        x = batch(np.random.default_rng(1))
        return [float(tf.reduce_sum(model(x, training=True))) for _ in range(4)]

    assert losses(0) == losses(0)
    assert losses(0) != losses(7)


def test_mean_of_the_samples_form_is_the_sum(rng):
    layer = layers.StochasticMerge(0.25, draw="sample")
    shortcut, branch = np.ones((4000, 1, 1, 2), "float32"), np.full((4000, 1, 1, 2), 3, "float32")
    y = layer([shortcut, branch], training=True).numpy()
    assert set(np.unique(y)) == {1.0, 13.0}
    assert (y[..., 0] == y[..., 1]).all()
    assert y.mean() == pytest.approx(4.0, rel=0.1)
    np.testing.assert_array_equal(layer([shortcut, branch]), shortcut + branch)


@pytest.mark.slow
def test_it_trains_saves_and_loads(rng, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = net(survival=0.5)
    keras.config.set_dtype_policy("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, jit_compile=False)
    x, y = batch(rng), np.arange(4)
    for _ in range(3):
        assert np.isfinite(model.train_on_batch(x, y))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert isinstance(loaded.optimizer, keras.optimizers.SGD)


def test_a_plain_model_around_it_saves_and_loads(rng, tmp_path):
    inner = net(survival=0.5)
    features = inner.get_layer("stage1_block1_merge").output
    model = keras.Model(inner.input, keras.layers.GlobalAveragePooling2D()(features))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = batch(rng)
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)


def test_families_have_it():
    for model in (
        keras_resnets.WideResNet16_4(survival=0.5, width=2),
        keras_resnets.ResNet20V2(survival=0.5, width=4),
        keras_resnets.ResNet50(survival=0.5, width=4),
        keras_resnets.ResNeXt29_32x4d(survival=0.5),
        keras_resnets.fusenet(kind="fuse3", depth=32, width=4, survival=0.5),
    ):
        blocks = len(merges(model))
        assert keras_resnets.expected_depth(model) == pytest.approx((3 * blocks - 1) / 4)
    paths = keras_resnets.fusenet(kind="cross", depth=26, width=4, survival=0.5)
    assert {type(layer) for layer in merges(paths)} == {layers.SkippingMerge}
    with pytest.raises(ValueError, match="`survival` must be 1 with kind='side'"):
        keras_resnets.fusenet(kind="side", survival=0.5)


def test_gated_shortcuts_are_computed_and_multiplied(rng):
    model = net(survival=0.5, skip="shortcut_gate")
    assert {type(layer) for layer in merges(model)} == {layers.StochasticMerge}
    assert np.isfinite(model(batch(rng), training=True)).all()


@pytest.mark.parametrize(
    "options",
    [{"survival": 0}, {"survival": 1.1}, {"survival": "0.5"}, {"survival_rule": "cosine"},
     {"survival_draw": "pixel"}, {"survival": 0.5, "skip": "none"}],
)
def test_refuses(options):
    with pytest.raises(ValueError, match="must be .*Received") as caught:
        net(**options)
    assert "\n" not in str(caught.value)
