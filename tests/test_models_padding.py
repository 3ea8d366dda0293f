"""`padding="tensorflow"`, `stem_width`: nets that were trained in TensorFlow, and odd widths."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from residual_reference import images, randomize

import keras_resnets
from keras_resnets import layers


@pytest.mark.parametrize("side", [7, 8, 9, 10])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (3, 2), (7, 2), (3, 3), (2, 2), (3, 1)])
def test_convolution_and_pool_are_those_of_keras(kernel, stride, side):
    x = images(2, side, side + 1, 3)
    pool = keras.layers.MaxPooling2D(kernel, stride, "same")
    if kernel % 2:
        ours = layers.Conv2D(4, kernel, stride, same_padding="tensorflow")
        stock = keras.layers.Conv2D(4, kernel, stride, "same", use_bias=False)
        y = ours(x)
        stock.build(x.shape)
        stock.set_weights(ours.get_weights())
        np.testing.assert_allclose(y, stock(x), atol=1e-5)
        assert ours.compute_output_shape(x.shape) == y.shape
        own = layers.MaxPooling2D(kernel, stride, same_padding="tensorflow")
        np.testing.assert_array_equal(own(x), pool(x))


@pytest.mark.parametrize("side", [9, 10])
def test_strided_dilated_convolutions_start_where_tensorflows_do(side):
    x = images(1, side, side, 2)
    layer = layers.Conv2D(3, 3, 2, dilation_rate=2, same_padding="tensorflow")
    y = layer(x)
    total = max((-(-side // 2) - 1) * 2 + 5 - side, 0)
    pads = [[0, 0], [total // 2, total - total // 2], [total // 2, total - total // 2], [0, 0]]
    dense = tf.nn.convolution(np.pad(x, pads), layer.kernel.value, dilations=[2, 2])
    np.testing.assert_allclose(y, dense[:, ::2, ::2], atol=1e-5)


def test_sides_that_are_known_in_the_run_only():
    layer = layers.Conv2D(4, 3, 2, same_padding="tensorflow")
    stock = keras.layers.Conv2D(4, 3, 2, "same", use_bias=False)
    stock.build((None, None, None, 3))
    layer.build((None, None, None, 3))
    stock.set_weights(layer.get_weights())
    spec = tf.TensorSpec([None, None, None, 3])
    own, other = (tf.function(f, input_signature=[spec]) for f in (layer, stock))
    for side in (6, 7):
        x = images(1, side, side + 3, 3)
        np.testing.assert_allclose(own(x), other(x), atol=1e-5)


def stock_resnet(model, x):
    """ResNet-18 by TensorFlow's own ops with SAME, from a model's weights."""
    layer = model.get_layer

    def conv(x, name, stride=1):
        return tf.nn.conv2d(x, layer(name).kernel.value, stride, "SAME")

    def bn(x, name):
        own = layer(name)
        return tf.nn.batch_normalization(
            x, own.moving_mean, own.moving_variance, own.beta, own.gamma, own.epsilon
        )

    x = tf.nn.relu(bn(conv(x, "stem_conv", 2), "stem_bn"))
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for stage in (1, 2, 3, 4):
        for block in (1, 2):
            name = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            y = tf.nn.relu(bn(conv(x, f"{name}_conv1", stride), f"{name}_bn1"))
            y = bn(conv(y, f"{name}_conv2"), f"{name}_bn2")
            if stride > 1:
                x = bn(conv(x, f"{name}_shortcut_conv", stride), f"{name}_shortcut_bn")
            x = tf.nn.relu(x + y)
    return layer("logits")(tf.reduce_mean(x, (1, 2)))


@pytest.mark.parametrize("sides", [(64, 64), (97, 75)])
def test_a_net_trained_in_tensorflow_gives_its_outputs(sides, tmp_path):
    options = dict(width=4, input_shape=(None, None, 3), num_classes=5)
    model = randomize(keras_resnets.ResNet18(padding="tensorflow", **options))
    x = images(2, *sides, 3)
    np.testing.assert_allclose(model(x), stock_resnet(model, x), rtol=1e-4, atol=1e-4)
    symmetric = keras_resnets.ResNet18(**options)
    symmetric.set_weights(model.get_weights())
    assert np.abs(symmetric(x) - model(x)).max() > 1e-2
    model.save(tmp_path / "x.keras")
    loaded = keras.saving.load_model(tmp_path / "x.keras")
    assert loaded.options["padding"] == "tensorflow"
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("name", ["resnet20", "wide_resnet16_4", "dpn68", "fractalnet5",
                                  "dfn_mr1", "dfn_mr50"])
def test_padding_reaches_every_strided_layer(name):
    model = keras_resnets.create_model(name, padding="tensorflow", include_top=False)
    strided = [
        layer for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and max(layer.strides) > 1
        or isinstance(layer, layers.MaxPooling2D) and layer.padding == "same"
    ]
    assert strided or name == "fractalnet5"
    assert {layer.same_padding for layer in strided} <= {"tensorflow"}
    with pytest.raises(ValueError, match="`padding` must be one of"):
        keras_resnets.create_model(name, padding="same")


def test_a_half_width_net_with_a_full_stem():
    half = keras_resnets.ResNet50(width=32, stem_width=64, input_shape=(64, 64, 3))
    assert half.get_layer("stem_conv").filters == 64
    assert half.get_layer("stage1_block1_conv1").kernel.shape == (1, 1, 64, 32)
    narrow = keras_resnets.ResNet50(width=32, input_shape=(64, 64, 3))
    # The stem's kernel and batch norm, and the two convolutions that read it.
    more = 7 * 7 * 3 * 32 + 4 * 32 + 32 * 32 + 32 * 128
    assert half.count_params() - narrow.count_params() == more
    basic = keras_resnets.ResNet18(width=32, stem_width=64, input_shape=(64, 64, 3))
    assert basic.get_layer("stage1_block1_shortcut_conv").kernel.shape == (1, 1, 64, 32)
    for name in ("resnet164_v2", "wide_resnet16_4", "dfn_mr1", "dfn_mr50"):
        model = keras_resnets.create_model(name, stem_width=24)
        assert model.get_layer("stem_conv").filters == 24
    with pytest.raises(ValueError, match="`stem_width` must be at most 16.*shortcut='A'"):
        keras_resnets.ResNet20(stem_width=32)
