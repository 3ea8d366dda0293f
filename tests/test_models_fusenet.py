"""Merge-and-run nets and their kin: an independent forward pass of every kind, and invariants."""

import itertools
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnets.models.fusenet_imagenet  # noqa: F401  (registers the families)
from keras_resnets import create_model
from keras_resnets.models.fusenet import Kind, split_depth

KINDS = typing.get_args(Kind)
SMALL_DEPTH = {kind: {"half": 14, "side": 14, "cross": 14}.get(kind, 8) for kind in KINDS}


def randomize(model, rng):
    """Weights under which every layer matters, also the batch norms in inference."""
    for weight in model.weights:
        scale = 0.8 / np.sqrt(np.prod(weight.shape[:-1])) if len(weight.shape) > 1 else 0.2
        values = rng.normal(0, scale, weight.shape)
        is_near_1 = weight.name in ("gamma", "moving_variance")
        weight.assign(np.abs(1 + values) if is_near_1 else values)


def relu(x):
    return np.maximum(x, 0)


class Reference:
    """The authors' networks on the weights of a model, in NumPy but for the convolution."""

    def __init__(self, model, training=False):
        self.model, self.training = model, training

    def conv(self, x, name, stride=1):
        kernel = self.model.get_layer(name).kernel.numpy()
        pad = kernel.shape[0] // 2
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(x, kernel, stride, "VALID").numpy()

    def normalize(self, x, scale, statistics):
        gamma, beta = (w.numpy() for w in self.model.get_layer(scale).weights[:2])
        mean, variance = (w.numpy() for w in self.model.get_layer(statistics).weights[-2:])
        if self.training:
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - mean) / np.sqrt(variance + 2e-5) * gamma + beta

    def unit(self, x, at, number, stride=1):
        """`get_conv` without ReLU."""
        bn = f"{at}_bn{number}"
        return self.normalize(self.conv(x, f"{at}_conv{number}", stride), bn, bn)

    def chain(self, x, at, convs, stride=1):
        for number in range(1, convs + 1):
            x = self.unit(x, at, number, stride if number == 1 else 1)
            x = relu(x) if number < convs else x
        return x

    def line(self, x, at, stride):
        names = {layer.name for layer in self.model.layers}
        if f"{at}_shortcut_conv" not in names:
            return x
        bn = f"{at}_shortcut_bn"
        return self.normalize(self.conv(x, f"{at}_shortcut_conv", stride), bn, bn)

    def stem(self, x):
        return relu(self.normalize(self.conv(x, "stem_conv"), "stem_bn", "stem_bn"))

    def logits(self, x):
        kernel, bias = self.model.get_layer("logits").get_weights()
        return x.mean((1, 2)) @ kernel + bias

    def plain(self, x, at, stride):
        return relu(self.chain(x, at, 1, stride))

    def resnet(self, x, at, stride):
        return relu(self.line(x, at, stride) + self.chain(x, at, 2, stride))

    def half(self, x, at, stride):
        h1, h2 = (self.chain(x, f"{at}_path{n}", 2, stride) for n in (1, 2))
        return relu(self.line(x, at, stride) + h1 + h2)

    def side(self, x, at, stride):
        h1, h2 = (self.chain(x, f"{at}_path{n}", 2, stride) for n in (1, 2))
        return relu(h1 + h2)

    def net(self, x, kind, blocks):
        x = self.stem(x)
        for stage, count in enumerate(blocks, 1):
            for block in range(1, count + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                x = getattr(self, kind)(x, f"stage{stage}_block{block}", stride)
        return self.logits(x)

    def cross(self, x, blocks):
        x1 = x2 = self.stem(x)
        for stage, count in enumerate(blocks, 1):
            for block in range(1, count + 1):
                at, stride = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
                fused = self.line(x1, f"{at}_path1", stride) + self.line(x2, f"{at}_path2", stride)
                h1 = self.chain(x1, f"{at}_path1", 2, stride)
                h2 = self.chain(x2, f"{at}_path2", 2, stride)
                x1, x2, last = fused / 2 + h1, fused / 2 + h2, fused / 2 + h1 + h2
                x1, x2 = relu(x1), relu(x2)
        return self.logits(relu(last))

    def fuse(self, x, blocks, convs):
        x = self.stem(x)
        for stage, count in enumerate(blocks, 1):
            for block in range(1, count + 1):
                at, stride = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
                has_line = (stage > 1 and block == 1) or at == "stage1_block1"
                line = self.line(x, at, stride)
                assert (line is not x) == has_line
                x = relu(line + self.chain(x, at, convs, stride))
        return self.logits(x)

    def member(self, x, convs, sides):
        """One of the eight nets of the ensemble, which knows nothing of the others."""
        x, path = self.stem(x), 0
        for stage, (side, number) in enumerate(zip(sides, convs, strict=True), 1):
            units = number if side == "right" else 1
            at = f"stage{stage}_block1_{side}"
            for unit in range(1, units + 1):
                y = self.conv(x, f"{at}_conv{unit}", 2 if stage > 1 and unit == 1 else 1)
                x = relu(self.normalize(y, f"{at}_scale{unit}", f"{at}_bn{unit}_path{path + 1}"))
            path += 2 ** (stage - 1) * (side == "right")
        return self.logits(x)


def build(kind, depth, shape=(16, 16, 3), **options):
    return create_model("fusenet", kind=kind, depth=depth, width=4, input_shape=shape, **options)


@pytest.mark.parametrize(
    ("kind", "depth", "shape"),
    [
        ("plain", 6, (13, 16, 3)),
        ("resnet", 14, (16, 11, 3)),
        ("half", 27, (16, 16, 2)),
        ("side", 14, (9, 9, 3)),
        ("cross", 14, (15, 10, 1)),
        ("cross", 30, (16, 16, 3)),
    ],
)
def test_blocks_equal_an_independent_forward_pass(kind, depth, shape, rng):
    model = build(kind, depth, shape)
    randomize(model, rng)
    blocks = split_depth(depth, {"plain": 1, "resnet": 2}.get(kind, 4))
    x = rng.normal(size=(8, *shape)).astype("float32")
    for training in (False, True):
        ref = Reference(model, training)
        expected = ref.cross(x, blocks) if kind == "cross" else ref.net(x, kind, blocks)
        outputs = model(x, training=training).numpy()
        np.testing.assert_allclose(outputs, expected, rtol=1e-4 if training else 1e-5, atol=2e-5)


@pytest.mark.parametrize(("kind", "depth", "convs"), [("fuse3", 11, 3), ("fuse6", 14, 2)])
def test_fusions_equal_an_independent_forward_pass(kind, depth, convs, rng):
    model = build(kind, depth, (13, 16, 3))
    randomize(model, rng)
    x = rng.normal(size=(2, 13, 16, 3)).astype("float32")
    blocks = {"fuse3": (1, 1, 1), "fuse6": (2, 2, 2)}[kind]
    expected = Reference(model).fuse(x, blocks, convs)
    np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_the_ensemble_is_the_mean_of_eight_nets_with_shared_weights(rng):
    model = build("ensemble", 9, (13, 16, 3))
    randomize(model, rng)
    x = rng.normal(size=(8, 13, 16, 3)).astype("float32")
    choices = list(itertools.product(("left", "right"), repeat=3))
    for training in (False, True):
        reference = Reference(model, training)
        members = [reference.member(x, split_depth(9, 1), sides) for sides in choices]
        outputs = model(x, training=training).numpy()
        np.testing.assert_allclose(outputs, np.mean(members, 0), rtol=1e-4, atol=2e-5)
        assert np.std(members, 0).min() > 1e-3


def test_the_ensemble_has_the_parameters_of_the_net_that_it_unfolds():
    sizes = []
    for kind in ("fuse3", "ensemble"):
        model = build(kind, 11)
        sizes.append(sorted(tuple(weight.shape) for weight in model.trainable_weights))
    assert sizes[0] == sizes[1]


def test_the_merge_and_run_matrix_is_idempotent(rng):
    model = build("cross", 38, (8, 8, 3))
    for layer in model.layers:
        if layer.name.startswith("stage2") and layer.name.endswith("_bn2"):
            layer.gamma.assign(tf.zeros_like(layer.gamma))

    def paths(block):
        return [model.get_layer(f"stage2_block{block}_path{n}_merge").output for n in (1, 2)]

    one, two = (keras.Model(paths(1), paths(block)) for block in (2, 3))
    unit, zero = (np.full((1, 4, 4, 8), value, "float32") for value in (1, 0))
    columns = [one([unit, zero]), one([zero, unit])]
    matrix = np.array([[column[row].numpy().flat[0] for column in columns] for row in (0, 1)])
    np.testing.assert_array_equal(matrix, np.full((2, 2), 0.5))
    np.testing.assert_array_equal(matrix @ matrix, matrix)
    streams = [np.abs(rng.normal(size=unit.shape)).astype("float32") for _ in range(2)]
    once, twice = one(streams), two(streams)
    np.testing.assert_allclose(once, np.broadcast_to(np.mean(streams, 0), (2, *unit.shape)))
    np.testing.assert_array_equal(once, twice)


def test_both_streams_start_from_the_stem_and_project_before_the_average():
    model = build("cross", 26)
    stem = model.get_layer("stem_relu").output
    for path in (1, 2):
        assert model.get_layer(f"stage1_block1_path{path}_conv1").input is stem
    average = model.get_layer("stage2_block1_average")
    expected = [model.get_layer(f"stage2_block1_path{n}_shortcut_bn").output for n in (1, 2)]
    assert [id(tensor) for tensor in average.input] == [id(tensor) for tensor in expected]
    assert model.get_layer("stage3_block2_path1_merge").activation is None
    assert model.get_layer("pool").input is model.get_layer("stage3_block2_path2_merge").output


def test_depth_is_that_of_the_plain_net():
    assert split_depth(110, 4) == [9, 9, 9]
    assert split_depth(62, 4) == [5, 5, 5]
    assert split_depth(98, 4) == [8, 8, 8]
    assert split_depth(56, 4) == [4, 4, 5]
    assert split_depth(26, 1) == [8, 8, 8]
    model = create_model("fusenet", kind="cross", depth=56)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 886_234


def test_imagenet_nets_have_the_sizes_of_the_authors_readme():
    for name, millions, features in (("dfn_mr50", 46.4, 4096), ("dfn_resnet98", 45.0, 2048)):
        model = create_model(name)
        count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        assert round(count / 1e6, 1) == millions
        assert model.get_layer("logits").kernel.shape == (features, 1000)
        assert "stem_bn" not in {layer.name for layer in model.layers}


@pytest.mark.parametrize("kind", ["cross", "resnet"])
def test_bottlenecks_equal_an_independent_forward_pass(kind, rng):
    model = create_model(
        "fusenet_imagenet", kind=kind, blocks=(1, 2, 1, 3), width=4, num_classes=5,
        input_shape=(45, 32, 3),
    )  # fmt: skip
    randomize(model, rng)
    x = rng.normal(size=(2, 45, 32, 3)).astype("float32")
    reference = Reference(model)

    def branch(y, at, stride):
        y = relu(reference.unit(y, at, 1))
        return reference.unit(relu(reference.unit(y, at, 2, stride)), at, 3)

    y = tf.pad(reference.conv(x, "stem_conv", 2), [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    streams = [tf.nn.max_pool2d(y, 3, 2, "VALID").numpy()] * (2 if kind == "cross" else 1)
    for stage, count in enumerate((1, 2, 1, 3), 1):
        for block in range(1, count + 1):
            at, stride = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
            names = [f"{at}_path1", f"{at}_path2"] if kind == "cross" else [at]
            mean = sum(streams) / len(streams) if block > 1 else 0
            runs = zip(streams, names, strict=True)
            streams = [relu(mean + branch(stream, name, stride)) for stream, name in runs]
    expected = reference.logits(np.concatenate(streams, -1))
    np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_and_reach_every_weight(kind, rng):
    model = build(kind, SMALL_DEPTH[kind])
    x = rng.normal(size=(8, 16, 16, 3)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(x, training=True) ** 2)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_any_size_norm_and_precision_and_saves(kind, tmp_path, rng):
    depth = SMALL_DEPTH[kind]
    model = build(kind, depth, (None, None, 2), num_classes=3)
    x = rng.normal(size=(2, 17, 12, 2)).astype("float32")
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(model(x), loaded(x))
    features = build(kind, depth, (17, 12, 2), include_top=False, norm="group")
    assert features(x).shape == (2, 5, 3, 16)
    keras.config.set_dtype_policy("mixed_bfloat16")
    logits = build(kind, depth, (17, 12, 2), norm="sync_batch")(x, training=True)
    assert logits.dtype == "float32" and np.isfinite(logits).all()


def test_initialisation_and_batch_norm_are_the_authors():
    model = create_model("fusenet", kind="cross", depth=14, widen=4)
    for name in ("stem_conv", "stage2_block1_path1_conv1", "stage3_block1_path2_shortcut_conv"):
        kernel = model.get_layer(name).kernel.numpy()
        deviation = np.sqrt(2 / np.prod(kernel.shape[:3]))
        np.testing.assert_allclose(kernel.std(), deviation, rtol=0.08)
    one, other = (model.get_layer(f"stage1_block1_path{n}_conv1").kernel.numpy() for n in (1, 2))
    assert np.abs(one - other).max() > 0.01
    norms = [m for m in model.layers if isinstance(m, keras.layers.BatchNormalization)]
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(2e-5, 0.9)}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fusenet", {"kind": "crossed"}, "`kind` must be one of ('plain', 'resnet', 'half'"),
        ("fusenet", {"depth": 13}, "must be an integer from 14 up with kind='cross'"),
        ("fusenet", {"kind": "resnet", "depth": 7}, "from 8 up with kind='resnet'"),
        ("fusenet", {"kind": "fuse6", "depth": 7}, "from 8 up with kind='fuse6'"),
        ("fusenet", {"kind": "ensemble", "depth": 4}, "from 5 up with kind='ensemble'"),
        ("fusenet", {"depth": "62"}, "`depth` must be an integer from 14 up"),
        ("fusenet", {"widen": 0}, "`widen` must be a positive integer"),
        ("fusenet", {"width": -16}, "`width` must be a positive integer"),
        ("fusenet_imagenet", {"kind": "half"}, "`kind` must be one of ('cross', 'resnet')"),
        ("fusenet_imagenet", {"blocks": (1, 2, 11)}, "`blocks` must be four positive integers"),
        ("fusenet_imagenet", {"blocks": (1, 2, 11, 0)}, "`blocks` must be four positive integers"),
        ("fusenet_imagenet", {"width": 0}, "`width` must be a positive integer"),
    ],
)
def test_wrong_options_end_in_one_line(name, options, words):
    with pytest.raises(ValueError) as error:
        create_model(name, **options)
    message = str(error.value)
    assert words in message and "Received: " in message and "\n" not in message
