"""Every layer against an independent computation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import layers
from keras_resnets.layers import convolution


def numpy_conv(x, kernel, stride, dilation, groups, pad):
    """A convolution as its definition says it, one output pixel at a time."""
    height, width, _, filters = kernel.shape
    x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    rows = (x.shape[1] - (height - 1) * dilation - 1) // stride + 1
    columns = (x.shape[2] - (width - 1) * dilation - 1) // stride + 1
    y = np.zeros((len(x), rows, columns, filters))
    channels, per_group = kernel.shape[2], filters // groups
    for r in range(rows):
        for c in range(columns):
            top, left = r * stride, c * stride
            patch = x[
                :,
                top : top + (height - 1) * dilation + 1 : dilation,
                left : left + (width - 1) * dilation + 1 : dilation,
            ]
            for g in range(groups):
                part = patch[..., g * channels : (g + 1) * channels]
                span = slice(g * per_group, (g + 1) * per_group)
                y[:, r, c, span] = np.einsum("bhwi,hwio->bo", part, kernel[..., span])
    return y


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation", "groups"),
    [(1, 1, 1, 1), (1, 2, 1, 1), (3, 1, 1, 1), (3, 2, 1, 1), (7, 2, 1, 1), (3, 1, 2, 1),
     (3, 1, 1, 4), (3, 2, 1, 4), (3, 1, 2, 4)],
)
def test_convolution_is_torchs(rng, size, kernel_size, stride, dilation, groups):
    x = rng.standard_normal((2, size, size, 8)).astype("float32")
    layer = layers.Conv2D(12, kernel_size, stride, dilation_rate=dilation, groups=groups)
    y = layer(x)
    pad = (kernel_size - 1) * dilation // 2
    expected = numpy_conv(x, np.array(layer.kernel), stride, dilation, groups, pad)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == y.shape


def test_convolution_has_keras_variables_and_config(rng):
    ours = layers.Conv2D(8, 3, groups=2, use_bias=True, name="conv")
    config = ours.get_config()
    stock = keras.layers.Conv2D.from_config(config)
    x = rng.standard_normal((2, 6, 6, 4)).astype("float32")
    ours(x), stock.build(x.shape)
    assert config == stock.get_config()
    assert [(v.name, v.shape) for v in ours.weights] == [(v.name, v.shape) for v in stock.weights]
    stock.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(x), stock(x), atol=1e-5)
    assert layers.Conv2D.from_config(config).get_config() == config


def test_convolution_starts_he_normal_by_fan_out():
    layer = layers.Conv2D(256, 3)
    layer.build((1, 8, 8, 64))
    deviation = np.std(layer.kernel)
    assert deviation == pytest.approx(np.sqrt(2 / (9 * 256)), rel=0.02)
    assert np.abs(layer.kernel).max() > 3 * deviation  # not truncated
    assert layer.bias is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_fallback_for_groups_gives_the_same_values_and_gradients(rng, monkeypatch, dtype):
    has_raw_op = convolution.raw_convolution_works(dtype, "CPU", groups=2)
    x = tf.cast(rng.standard_normal((2, 6, 6, 8)), dtype)
    kernel = tf.cast(rng.standard_normal((3, 3, 2, 8)), dtype)

    def values(works):
        monkeypatch.setattr(convolution, "raw_convolution_works", lambda *_, **__: works)
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolution.convolve(x, kernel, (2, 2), "same", (1, 1), 4)
        return [y, *tape.gradient(y, [x, kernel])]

    tolerance = {"float32": 1e-5, "bfloat16": 0.1, "float16": 0.02}[dtype]
    slow = values(False)
    if has_raw_op:
        for raw, fallback in zip(values(True), slow, strict=True):
            np.testing.assert_allclose(
                tf.cast(raw, "float32"), tf.cast(fallback, "float32"), atol=tolerance, rtol=0.02
            )
    assert all(np.isfinite(tf.cast(value, "float32")).all() for value in slow)


def test_groups_train_without_onednn(run_python):
    code = """
import numpy as np, tensorflow as tf
from keras_resnets import layers
from keras_resnets.layers.convolution import raw_convolution_works
assert not raw_convolution_works("float32", "CPU", groups=2)
x = tf.constant(np.random.default_rng(0).standard_normal((2, 6, 6, 8)), tf.float32)
layer = layers.Conv2D(8, 3, groups=4)
with tf.GradientTape() as tape:
    y = layer(x)
print(float(tf.norm(tape.gradient(y, layer.trainable_variables)[0])) > 0)
"""
    assert run_python(code, TF_ENABLE_ONEDNN_OPTS="0").stdout.strip() == "True"


@pytest.mark.parametrize(("isa", "batch", "channels"), [("AVX2", 128, 4), ("DEFAULT", 63, 12)])
def test_few_channels_subsampled_have_the_right_gradient(run_python, isa, batch, channels):
    """Of a shortcut: oneDNN's was wrong 1 time in 20 (AVX2), or corrupted the heap (AVX-512)."""
    code = f"""
import numpy as np, tensorflow as tf
from keras_resnets import layers
rng = np.random.default_rng(0)
x = tf.constant(rng.standard_normal(({batch}, 28, 28, {channels})), tf.float32)
g = tf.constant(rng.standard_normal(({batch}, 14, 14, 16)), tf.float32)
layer = layers.Conv2D(16, 1, 2)
expected = np.einsum("bhwi,bhwo->io", x.numpy()[:, ::2, ::2], g.numpy())
for _ in range(400):
    with tf.GradientTape() as tape:
        y = layer(x)
    found = tape.gradient(y, layer.kernel.value, g)[0, 0]
    np.testing.assert_allclose(found, expected, atol=0.1)
"""
    run_python(code, ONEDNN_MAX_CPU_ISA=isa, TF_ENABLE_ONEDNN_OPTS="1")


def test_no_xla_in_the_graph_of_a_grouped_convolution():
    layer = layers.Conv2D(8, 3, groups=4)
    layer.build((1, 6, 6, 8))
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((1, 6, 6, 8))).graph
    assert "_XlaMustCompile" not in str(graph.as_graph_def())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dilated_kernels_train_in_every_type(rng, dtype, groups):
    x = tf.cast(rng.standard_normal((2, 9, 9, 4)), dtype)
    layer = layers.Conv2D(6, 3, dilation_rate=(2, 1), groups=groups, dtype=dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    gradients = tape.gradient(y, [x, layer.kernel.value])
    x, kernel = (tf.cast(t, "float32") for t in (x, layer.kernel.value))
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        expected = convolution.convolve(x, kernel, (1, 1), "same", (2, 1), groups)
    for own, other in zip([y, *gradients], [expected, *tape.gradient(expected, [x, kernel])],
                          strict=True):
        np.testing.assert_allclose(tf.cast(own, "float32"), other, atol=0.2, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"kernel_size": 2}, "kernel_size"), ({"data_format": "channels_first"}, "data_format")],
)
def test_convolution_refuses(options, word):
    with pytest.raises(ValueError, match=word):
        layers.Conv2D(4, **{"kernel_size": 3, **options})


def both_norms(**options):
    ours = layers.BatchNormalization(**options)
    stock = keras.layers.BatchNormalization.from_config(ours.get_config())
    return ours, stock


def train_step(layer, x, mask=None):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True, **({} if mask is None else {"mask": mask}))
        loss = tf.reduce_sum(tf.sin(tf.cast(y, "float32")))
    return [y, *tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])]


@pytest.mark.parametrize(
    ("shape", "options"),
    [((4, 5, 5, 6), {}), ((4, 5, 5, 6), {"synchronized": True}), ((4, 6, 5, 5), {"axis": 1}),
     ((16, 6), {}), ((4, 5, 5, 6), {"scale": False}), ((4, 5, 5, 6), {"center": False}),
     ((2, 3, 4, 5, 6), {}), ((1, 1, 1, 6), {})],
)
def test_batch_norm_is_keras_but_for_the_unbiased_variance(rng, shape, options):
    ours, stock = both_norms(**options)
    x = tf.constant(3 + 2 * rng.standard_normal(shape), tf.float32)
    for _ in range(3):
        for own, other in zip(train_step(ours, x), train_step(stock, x), strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, stock.moving_mean, atol=1e-6)
    axes = tuple(a for a in range(len(shape)) if a != ours.axis % len(shape))
    n = max(x.shape.num_elements() // 6, 2)
    unbiased = np.var(x, axis=axes) * n / (n - 1)
    expected = 0.9**3 + (1 - 0.9**3) * unbiased
    np.testing.assert_allclose(ours.moving_variance, expected, rtol=1e-5)
    stock.moving_variance.assign(ours.moving_variance)
    np.testing.assert_allclose(ours(x), stock(x), atol=1e-5)


def test_batch_norm_with_a_mask_counts_what_is_unmasked(rng):
    ours, stock = both_norms()
    x = tf.constant(rng.standard_normal((8, 5, 6)), tf.float32)
    mask = tf.constant(rng.random((8, 5)) < 0.5)
    for own, other in zip(train_step(ours, x, mask), train_step(stock, x, mask), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-4)
    kept = x.numpy()[mask.numpy()]
    expected = 0.9 + 0.1 * kept.var(0, ddof=1)
    np.testing.assert_allclose(ours.moving_variance, expected, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_batch_norm_in_half_precision(rng, dtype):
    ours = layers.BatchNormalization(dtype=f"mixed_{dtype}")
    stock = keras.layers.BatchNormalization.from_config(ours.get_config())
    x = tf.cast(3 + 2 * rng.standard_normal((4, 5, 5, 6)), dtype)
    y = ours(x, training=True)
    assert y.dtype == dtype
    assert {v.dtype for v in ours.variables} == {"float32"}
    expected = stock(x, training=True)
    np.testing.assert_allclose(tf.cast(y, "float32"), tf.cast(expected, "float32"), atol=0.02)
    np.testing.assert_allclose(ours.moving_mean, stock.moving_mean, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("options", [{}, {"scale": False}])
def test_batch_norm_with_variables_of_another_type(rng, dtype, options):
    ours, stock = both_norms(dtype=dtype, **options)
    x = tf.cast(3 + 2 * rng.standard_normal((4, 5, 5, 6)), dtype)
    for training in (True, False):
        y, expected = (tf.cast(norm(x, training=training), "float32") for norm in (ours, stock))
        assert ours(x).dtype == dtype
        np.testing.assert_allclose(y, expected, atol=0.1)
    assert {v.dtype for v in ours.variables} == {dtype}


def test_batch_norm_frozen_keeps_its_statistics(rng):
    layer = layers.BatchNormalization()
    layer.trainable = False
    x = tf.constant(5 + rng.standard_normal((4, 5, 5, 6)), tf.float32)
    np.testing.assert_allclose(layer(x, training=True), x / np.sqrt(1 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(6))


def test_batch_norm_uses_the_fused_op():
    layer = layers.BatchNormalization()
    layer.build((1, 5, 5, 6))
    step = tf.function(lambda x: layer(x, training=True))
    graph = step.get_concrete_function(tf.TensorSpec((2, 5, 5, 6))).graph
    assert "FusedBatchNormV3" in {operation.type for operation in graph.get_operations()}
    assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)


def test_merge_adds_then_activates(rng):
    a, b = (tf.constant(rng.standard_normal((2, 3, 3, 4)), tf.float32) for _ in "ab")
    np.testing.assert_allclose(layers.Merge()([a, b]), a + b)
    np.testing.assert_allclose(layers.Merge("relu")([a, b]), np.maximum(a + b, 0))
    with pytest.raises(ValueError, match="one shape"):
        layers.Merge()([keras.Input((4, 4, 8)), keras.Input((4, 4, 16))])


@pytest.mark.parametrize(("pad", "first"), [("end", 0), ("both", 2)])
def test_zero_pad_shortcut_subsamples_and_adds_zeros(rng, pad, first):
    x = rng.standard_normal((2, 5, 6, 4)).astype("float32")
    y = layers.ZeroPadShortcut(8, 2, pad)(x).numpy()
    expected = np.zeros((2, 3, 3, 8), "float32")
    expected[..., first : first + 4] = x[:, ::2, ::2]
    np.testing.assert_array_equal(y, expected)
    assert layers.ZeroPadShortcut(8, 2, pad).compute_output_shape(x.shape) == y.shape
    with pytest.raises(ValueError, match="channels"):
        layers.ZeroPadShortcut(2)(keras.Input((4, 4, 4)))
    with pytest.raises(ValueError, match="pad"):
        layers.ZeroPadShortcut(8, pad="front")


@pytest.mark.parametrize("size", [8, 9])
def test_max_pooling_pads_with_minus_infinity_on_both_sides(rng, size):
    x = (rng.standard_normal((2, size, size, 3)) - 5).astype("float32")  # zeros would win
    y = layers.MaxPooling2D()(x).numpy()
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    side = (size - 1) // 2 + 1
    expected = [
        [padded[:, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3].max((1, 2)) for c in range(side)]
        for r in range(side)
    ]
    np.testing.assert_array_equal(y, np.array(expected).transpose(2, 0, 1, 3))
    with pytest.raises(ValueError, match="pool_size"):
        layers.MaxPooling2D(2)
