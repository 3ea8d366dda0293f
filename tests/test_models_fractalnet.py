"""FractalNet against a wiring after the released generator's loop, and its drop-path."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from slow import first

from keras_resnets.layers.fractal import ColumnDraw, FractalJoin
from keras_resnets.models import create_model
from keras_resnets.models.fractalnet import extract_column, fractalnet

SMALL = {"columns": 3, "blocks": 2, "width": 4, "num_classes": 5, "input_shape": (9, 8, 3)}


def small(**options):
    return fractalnet(**{**SMALL, **options})


def images(*shape):
    return np.random.default_rng(0).normal(size=shape or (4, 9, 8, 3)).astype("float32")


def shake(model):
    """Random weights, batch statistics too, so that every term of the forward pass shows."""
    random = np.random.default_rng(1)
    for variable in model.trainable_variables + model.non_trainable_variables:
        if "seed" not in variable.path:
            low, high = (-0.5, 0.5) if "kernel" in variable.path else (0.5, 1.5)
            variable.assign(random.uniform(low, high, variable.shape))
    return model


def reference_unit(model, x, block, column, index):
    prefix = f"stage{block}_block1_column{column}"
    kernel = model.get_layer(f"{prefix}_conv{index}").kernel.numpy()
    norm = model.get_layer(f"{prefix}_bn{index}")
    x = tf.nn.conv2d(x, kernel, 1, "SAME").numpy()
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    x = (x - mean) / np.sqrt(variance + 1e-5) * norm.gamma.numpy() + norm.beta.numpy()
    return np.maximum(x, 0)


def reference_pool(x):
    rows, cols = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :rows, :cols].reshape(len(x), rows // 2, 2, cols // 2, 2, -1)
    return x.max(axis=(2, 4))


def reference_logits(model, x):
    dense = model.get_layer("logits")
    return x.mean((1, 2)) @ dense.kernel.numpy() + dense.bias.numpy()


def reference_fractal(model, x, columns, blocks, pool):
    """By depth: a unit of column c (from 0) ends at every 2**(columns - 1 - c)-th convolution."""
    depth = 2 ** (columns - 1)
    for block in range(1, blocks + 1):
        lasts, done = [x] * columns, [0] * columns
        for level in range(1, depth + 1):
            ending = [c for c in range(columns) if level % 2 ** (columns - 1 - c) == 0]
            for c in ending:
                done[c] += 1
                lasts[c] = reference_unit(model, lasts[c], block, c + 1, done[c])
                if level == depth and pool == "before_join":
                    lasts[c] = reference_pool(lasts[c])
            joined = np.mean([lasts[c] for c in ending], axis=0)
            for c in ending:
                lasts[c] = joined
        x = lasts[0] if pool == "before_join" else reference_pool(lasts[0])
    return reference_logits(model, x)


@pytest.mark.parametrize("pool", ["before_join", "after_join"])
@pytest.mark.parametrize("columns", [1, 3, 4])
def test_forward_equals_the_generators_wiring(columns, pool):
    model = shake(small(columns=columns, pool=pool))
    x = images()
    expected = reference_fractal(model, x, columns, 2, pool)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model(x), model(x))  # no drop-path in inference


@pytest.mark.parametrize("column", [1, 2, 3])
def test_extracted_column_is_the_plain_net_of_its_convolutions(column):
    model = shake(small())
    net = extract_column(model, column)
    x = y = images()
    for block in (1, 2):
        for index in range(1, 2 ** (column - 1) + 1):
            y = reference_unit(model, y, block, column, index)
        y = reference_pool(y)
    np.testing.assert_allclose(net(x), reference_logits(model, y), rtol=1e-5, atol=1e-5)
    convs = [layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convs) == 2 * 2 ** (column - 1)
    assert not [layer for layer in net.layers if isinstance(layer, FractalJoin | ColumnDraw)]


def test_global_drop_path_is_one_column_of_the_whole_net():
    keras.utils.set_random_seed(0)
    model = small(columns=3, blocks=3, dropout=0.0, global_ratio=1.0, input_shape=(16, 16, 3))
    x = images(4, 16, 16, 3)
    alone = [extract_column(model, column)(x, training=True) for column in (1, 2, 3)]
    seen = set()
    for _ in range(20):
        y = model(x, training=True)
        same = [c for c, other in enumerate(alone) if np.allclose(y, other, atol=1e-5)]
        assert len(same) == 1
        seen.update(same)
    assert seen == {0, 1, 2}


def test_extracted_column_keeps_what_the_model_remembers(tmp_path):
    with_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(include_top=True)
    finally:
        keras.config.set_dtype_policy(with_policy)
    model.class_names = "abcde"
    model.get_layer("logits").trainable = False
    net = extract_column(model, 2)
    assert net.class_names == tuple("abcde") and net.options["column"] == 2
    assert not net.get_layer("logits").trainable
    conv = "stage1_block1_column2_conv1"
    assert net.get_layer(conv).dtype_policy.name == "mixed_bfloat16"
    assert model.options["column"] is None
    x = images()
    for kept in (model, net):
        kept.save(tmp_path / "net.keras")
        loaded = keras.models.load_model(tmp_path / "net.keras")
        np.testing.assert_array_equal(kept(x), loaded(x))
    # A copy: training the column leaves the fractal as it is.
    net.get_layer(conv).kernel.assign_add(tf.ones_like(net.get_layer(conv).kernel))
    assert not np.allclose(net.get_layer(conv).kernel, model.get_layer(conv).kernel)
    for bad, column in ((net, 1), (model, 4), (model, 0), (model, None), (keras.Model(), 1)):
        with pytest.raises(ValueError, match="`column` must be|`model` must be"):
            extract_column(bad, column)


@pytest.mark.parametrize("rate", [0.15, 0.9, 1.0])
def test_a_join_is_never_without_input(rate):
    keras.utils.set_random_seed(0)
    columns, inputs, rows = 4, 3, 4000
    weights = FractalJoin(rate).weights_of(tf.zeros((rows, columns)), inputs).numpy()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    alive = (weights > 0).sum(1)
    assert alive.min() >= 1
    # An input lives by itself, or is the one revived of `inputs` that are all dropped.
    expected = 1 - rate + rate**inputs / inputs
    np.testing.assert_allclose((weights > 0).mean(0), expected, atol=0.03)
    np.testing.assert_allclose(weights[weights > 0], np.repeat(1 / alive, alive), atol=1e-6)


def test_joins_off_the_drawn_column_give_the_mean():
    drawn = tf.one_hot([0, 1, 2, 3], 4)
    weights = FractalJoin(0.5).weights_of(drawn, 2).numpy()
    np.testing.assert_array_equal(weights, [[0.5, 0.5], [0.5, 0.5], [1, 0], [0, 1]])


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_draws_are_global_and_local_by_the_ratio(ratio):
    keras.utils.set_random_seed(0)
    x = tf.zeros((3000, 2, 2, 1))
    drawn = ColumnDraw(3, ratio, "sample")(x, training=True).numpy()
    assert drawn.shape == (3000, 3) and set(np.unique(drawn)) <= {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), [ratio / 3] * 3, atol=0.03)
    assert drawn.sum(1).max() <= 1
    assert not ColumnDraw(3, ratio, "sample")(x, training=False).numpy().any()
    assert ColumnDraw(3, ratio)(x, training=True).shape == (1, 3)


def test_draw_by_sample_differs_between_images_and_by_batch_does_not():
    keras.utils.set_random_seed(0)
    maps = [tf.fill((64, 1, 1, 1), float(value)) for value in (1, 2, 4)]
    image = tf.zeros((64, 1, 1, 1))
    spread = {}
    for draw in ("batch", "sample"):
        drawn = ColumnDraw(3, 0.5, draw)(image, training=True)
        spread[draw] = np.ptp(FractalJoin(0.5)(maps, drawn=drawn, training=True))
    assert spread["batch"] == 0 and spread["sample"] > 0


@pytest.mark.parametrize("policy", first(1, ["float32", "mixed_bfloat16"]))
@pytest.mark.parametrize("draw", ["batch", "sample"])
def test_trains_in_a_function_with_finite_gradients(policy, draw):
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small(drop_path_draw=draw, drop_path=0.5)
    finally:
        keras.config.set_dtype_policy(before)

    @tf.function
    def gradients(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        return loss, tape.gradient(loss, model.trainable_variables)

    reached = [False] * len(model.trainable_variables)
    losses = set()
    for _ in range(12):
        loss, grads = gradients(images(8, 9, 8, 3), np.arange(8) % 5)
        losses.add(float(loss))
        assert all(np.isfinite(grad).all() for grad in grads)
        reached = [was or grad.numpy().any() for was, grad in zip(reached, grads, strict=True)]
    assert all(reached)
    assert len(losses) > 1
    statistics = [w for w in model.non_trainable_variables if "moving" in w.path]
    assert all(np.isfinite(w).all() for w in statistics)


def test_dropout_by_block():
    def rates(**options):
        model = fractalnet(columns=1, width=2, **options)
        found = []
        for block in range(1, model.options["blocks"] + 1):
            name = f"stage{block}_block1_column1_dropout1"
            layers = [layer for layer in model.layers if layer.name == name]
            found.append(layers[0].rate if layers else 0)
        return found

    np.testing.assert_allclose(rates(), [0, 0.1, 0.2, 0.3, 0.4])
    assert rates(dropout=0) == [0] * 5
    assert rates(dropout=(0.5, 0, 0.1), blocks=3) == [0.5, 0, 0.1]


def test_widths_shapes_and_stems():
    model = fractalnet(columns=2, blocks=6, width=2, input_shape=(None, None, 1), include_top=False)
    assert model(images(1, 64, 79, 1)).shape == (1, 1, 1, 16)
    widths = [model.get_layer(f"stage{b}_block1_join1").output.shape[-1] for b in range(1, 7)]
    assert widths == [2, 4, 8, 16, 16, 16]
    model = small(stem="imagenet", input_shape=(33, 40, 2))
    assert model.get_layer("stem_conv").output.shape == (None, 17, 20, 4)
    assert small(stem="cifar").get_layer("stem_conv").strides == (1, 1)
    assert create_model("fractalnet5", width=2).output_shape == (None, 10)
    with pytest.raises(ValueError, match="`stem` must be one of"):
        create_model("resnet20", stem=None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("columns", 0),
        ("columns", 2.0),
        ("blocks", 0),
        ("width", -1),
        ("dropout", 1.0),
        ("dropout", "much"),
        ("dropout", (0.1,)),
        ("drop_path", 1.5),
        ("drop_path", None),
        ("global_ratio", -0.1),
        ("drop_path_draw", "step"),
        ("pool", "never"),
        ("column", 4),
        ("column", 0),
        ("stem", "vgg"),
        ("input_shape", (9, 3, 3)),
    ],
)
def test_bad_options(option, value):
    with pytest.raises(ValueError, match=rf"`{option}` must .* Received: {option}=") as info:
        small(**{option: value})
    assert "\n" not in str(info.value)
