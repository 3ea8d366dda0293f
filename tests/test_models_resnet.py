"""Post-activation ResNets, torchvision's options, plain nets: forward references and invariants."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from residual_reference import Net, convolve, images, max_pool, randomize, relu

import keras_resnets
from keras_resnets.layers import Conv2D, GroupNormalization


def bottleneck_net(model, x, depths, stride_at):
    """torchvision's net: conv, BN, ReLU, max-pool; bottlenecks with option B; the average."""
    net = Net(model)
    x = max_pool(net.bn_relu(net.conv(x, "stem_conv", 2), "stem_bn"))
    for stage, depth in enumerate(depths, 1):
        for block in range(1, depth + 1):
            name = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            strides = [stride if number == stride_at else 1 for number in (1, 2, 3)]
            f = net.bn_relu(net.conv(x, f"{name}_conv1", strides[0]), f"{name}_bn1")
            f = net.bn_relu(net.conv(f, f"{name}_conv2", strides[1]), f"{name}_bn2")
            f = net.bn(net.conv(f, f"{name}_conv3"), f"{name}_bn3")
            if block == 1:
                x = net.bn(net.conv(x, f"{name}_shortcut_conv", stride), f"{name}_shortcut_bn")
            x = relu(x + f)
    return net.logits(x)


@pytest.mark.parametrize(
    "options",
    [
        {"stride_in": "1x1"},
        {"groups": 4, "width_per_group": 32},
    ],
)
def test_bottlenecks_are_those_of_torchvision(options):
    model = randomize(keras_resnets.resnet(depth=50, width=8, input_shape=(45, 34, 2), **options))
    x = images(2, 45, 34, 2)
    stride_at = 1 if options.get("stride_in") == "1x1" else 2
    expected = bottleneck_net(model, x, (3, 4, 6, 3), stride_at)
    assert np.abs(model(x) - expected).max() / np.abs(expected).max() < 1e-5


def dilated(model):
    """(stride, dilation) of every 3x3, stage by stage."""
    table = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3):
            stage = int(layer.name[5]) if layer.name.startswith("stage") else 0
            table.setdefault(stage, []).append((layer.strides[0], layer.dilation_rate[0]))
    return table


def test_dilation_is_torchvisions():
    def stages(depth=50, **options):
        model = keras_resnets.resnet(depth=depth, width=4, input_shape=(64, 64, 3), **options)
        table = dilated(model)
        return model, [(table[s][0], set(table[s][1:])) for s in (2, 3, 4)]

    model, table = stages(output_stride=16, include_top=False)
    assert table == [((2, 1), {(1, 1)}), ((2, 1), {(1, 1)}), ((1, 1), {(1, 2)})]
    assert model.output_shape[1:3] == (4, 4)
    model, table = stages(output_stride=8, include_top=False)
    assert table == [((2, 1), {(1, 1)}), ((1, 1), {(1, 2)}), ((1, 2), {(1, 4)})]
    assert model.output_shape[1:3] == (8, 8)
    # A stride after a dilated stage strides and dilates at once.
    _, table = stages(replace_stride_with_dilation=(True, False, False))
    assert table == [((1, 1), {(1, 2)}), ((2, 2), {(1, 2)}), ((2, 2), {(1, 2)})]
    # In basic blocks both convolutions are dilated.
    model, table = stages(18, replace_stride_with_dilation=(False, True, True), include_top=False)
    assert table == [((2, 1), {(1, 1)}), ((1, 1), {(1, 1), (1, 2)}), ((1, 2), {(1, 2), (1, 4)})]
    assert model.output_shape[1:3] == (8, 8)


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"replace_stride_with_dilation": [True, False, False]}, 2),
        (
            {"output_stride": 8, "groups": 2, "width_per_group": 32, "activation": "full_preact"},
            4,
        ),
    ],
)
def test_dilated_net_contains_the_strided_one(options, step):
    """Every `step`-th pixel of the dilated net's map is a pixel of the strided net's map."""
    common = {"width": 4, "include_top": False, "input_shape": (70, 97, 3)}
    replaced = {key: options[key] for key in options if key.startswith(("output_", "replace_"))}
    rest = {key: value for key, value in options.items() if key not in replaced}
    dense = randomize(keras_resnets.resnet(**options, **common))
    strided = keras_resnets.resnet(**rest, **common)
    strided.set_weights(dense.get_weights())
    x = images(1, 70, 97, 3)
    expected = np.asarray(strided(x))
    ours = np.asarray(dense(x))[:, ::step, ::step]
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_with_stride_and_dilation(groups):
    layer = Conv2D(6, 3, strides=2, dilation_rate=2, groups=groups)
    x = tf.constant(images(2, 9, 12, 4))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    assert y.shape == layer.compute_output_shape(x.shape) == (2, 5, 6, 6)
    np.testing.assert_allclose(
        y, convolve(np.float64(x), np.float64(layer.kernel), 2, 2), rtol=1e-4, atol=1e-5
    )
    same = Conv2D(6, 3, dilation_rate=2, groups=groups)
    same.build(x.shape)
    same.kernel.assign(layer.kernel)
    gradients = tape.gradient(y, [x, layer.kernel.value])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = same(x)[:, ::2, ::2]
    for ours, theirs in zip(gradients, tape.gradient(y, [x, same.kernel.value]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    again = Conv2D.from_config(layer.get_config())
    assert (again.strides, again.dilation_rate) == ((2, 2), (2, 2))
    with pytest.raises(ValueError, match="`strides` must be a positive integer"):
        Conv2D(6, 3, strides=0)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (16, 16), (10, 2)])
def test_group_norm_takes_any_number_of_channels(channels, groups):
    layer = GroupNormalization()
    x = images(2, 5, 4, channels)
    y = layer(x)
    assert layer.groups == groups
    parts = np.float64(x).reshape(2, 20, groups, channels // groups)
    mean = parts.mean((1, 3), keepdims=True)
    deviation = np.sqrt(parts.var((1, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, ((parts - mean) / deviation).reshape(x.shape), atol=1e-5)


def test_group_norm_replaces_every_batch_norm(tmp_path):
    model = keras_resnets.resnet_cifar(
        depth=8, norm="group", shortcut="B", zero_init_residual=True, input_shape=(None, None, 1)
    )
    batch = keras_resnets.resnet_cifar(depth=8, shortcut="B", input_shape=(None, None, 1))
    norms = [layer.name for layer in model.layers if isinstance(layer, GroupNormalization)]
    assert norms == [
        layer.name for layer in batch.layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert model.count_params() == sum(w.size for w in map(np.asarray, batch.trainable_weights))
    assert not np.any(model.get_layer("stage1_block1_bn2").gamma)
    model.save(tmp_path / "group.keras")
    x = images(2, 11, 13, 1)
    np.testing.assert_array_equal(model(x), keras.saving.load_model(tmp_path / "group.keras")(x))
    # One example's output does not depend on the others, in training neither.
    np.testing.assert_allclose(model(x, training=True)[:1], model(x[:1], training=True), atol=1e-5)


def test_plain_nets_are_the_same_nets_without_shortcuts():
    model = randomize(keras_resnets.Plain20())
    resnet = keras_resnets.ResNet20()
    assert model.count_params() == resnet.count_params() == 271098
    kinds = {type(layer).__name__ for layer in model.layers}
    assert not kinds & {"Merge", "ZeroPadShortcut"}
    net, x = Net(model), images(1, 32, 32, 3)
    y = net.bn_relu(net.conv(x, "stem_conv"), "stem_bn")
    for stage in (1, 2, 3):
        for block in (1, 2, 3):
            name = f"stage{stage}_block{block}"
            y = net.conv(y, f"{name}_conv1", 2 if stage > 1 and block == 1 else 1)
            y = net.conv(net.bn_relu(y, f"{name}_bn1"), f"{name}_conv2")
            y = net.bn_relu(y, f"{name}_bn2")
    expected = net.logits(y)
    np.testing.assert_allclose(model(x), expected, atol=1e-5 * np.abs(expected).max())
    names = set(keras_resnets.list_models("plain*"))
    assert names == {f"plain{depth}" for depth in (18, 20, 32, 34, 44, 56, 110)}


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_zero_init_makes_every_block_its_shortcut(block):
    depth = {"basic": 14, "bottleneck": 20}[block]
    model = keras_resnets.resnet_cifar(
        depth=depth, block=block, zero_init_residual=True, input_shape=(8, 8, 3)
    )
    ends = [model.get_layer(f"stage2_block{number}_merge").output for number in (1, 2)]
    first, second = keras.Model(model.input, ends)(images(2, 8, 8, 3))
    assert float(tf.reduce_max(first)) > 0
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "options", [{"output_stride": 8}, {"groups": 2, "norm": "group"}, {"skip": "none", "depth": 18}]
)
def test_gradients_are_finite_and_reach_the_stem(options):
    model = keras_resnets.resnet(
        **{"depth": 50, "width": 8, "num_classes": 4, "input_shape": (33, 37, 3), **options}
    )
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(images(4, 33, 37, 3), training=True) ** 2)
    kernel = model.get_layer("stem_conv").kernel.value
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables] + [kernel])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert np.abs(gradients[-1]).max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 4}, "`output_stride` must be one of (None, 8, 16, 32)"),
        ({"output_stride": 16, "stem": "cifar"}, "`output_stride` must be one of (8,) with stem"),
        (
            {"output_stride": 16, "replace_stride_with_dilation": (False, True, True)},
            "`output_stride` must be None or 8 with replace_stride_with_dilation=",
        ),
        (
            {"replace_stride_with_dilation": (False, True)},
            "`replace_stride_with_dilation` must be None or three booleans",
        ),
        ({"depth": 51}, "`depth` must be one of (18, 34, 50, 101, 152, 200)"),
        ({"norm": "layer"}, "`norm` must be one of ('batch', 'sync_batch', 'group')"),
        ({"width": 0}, "`width` must be a positive integer"),
        ({"shortcut": "D"}, "`shortcut` must be one of ('A', 'B', 'C')"),
        ({"stride_in": "5x5"}, "`stride_in` must be one of ('3x3', '1x1')"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError) as error:
        keras_resnets.resnet(**options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options", [{"block": "wide"}, {"depth": 21}, {"depth": 2}, {"width": 1.5}]
)
def test_bad_options_of_the_cifar_nets(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be") as error:
        keras_resnets.resnet_cifar(**options)
    assert "\n" not in str(error.value)
