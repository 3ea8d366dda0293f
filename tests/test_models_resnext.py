"""ResNeXt: the paper's three forms of one block, and the rows of the table."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from residual_reference import Net, convolve, images, randomize, relu

import keras_resnets

CARDINALITY = 4


@pytest.fixture(scope="module")
def model():
    return randomize(
        keras_resnets.resnet_cifar(
            depth=11,
            block="bottleneck",
            width=16,
            groups=CARDINALITY,
            width_per_group=12,  # 16 * 12 / 64 = 3 channels a group
            stride_in="3x3",
            input_shape=(9, 10, 3),
        )
    )


def three_forms(net, x, name, stride):
    """The block's branch as (a) branches summed, (b) early concatenation, (c) grouped."""
    kernels = [net.weights[f"{name}_conv{number}"]["kernel"] for number in (1, 2, 3)]
    group = kernels[1].shape[2]  # channels of a branch
    parts = [slice(group * g, group * (g + 1)) for g in range(CARDINALITY)]

    def bn_relu(y, number, part=slice(None)):
        w = {k: v[part] for k, v in net.weights[f"{name}_bn{number}"].items()}
        scale = w["gamma"] / np.sqrt(w["moving_variance"] + 1e-5)
        return relu((y - w["moving_mean"]) * scale + w["beta"])

    def one_branch(part):
        y = bn_relu(convolve(x, kernels[0][..., part]), 1, part)
        return bn_relu(convolve(y, kernels[1][..., part], stride), 2, part)

    separate = sum(convolve(one_branch(part), kernels[2][:, :, part]) for part in parts)
    early = convolve(np.concatenate([one_branch(part) for part in parts], -1), kernels[2])
    grouped = bn_relu(convolve(x, kernels[0]), 1)
    grouped = bn_relu(convolve(grouped, kernels[1], stride), 2)
    grouped = convolve(grouped, kernels[2])
    return [net.bn(form, f"{name}_bn3") for form in (separate, early, grouped)]


@pytest.mark.parametrize(("stage", "stride"), [(1, 1), (2, 2), (3, 2)])
def test_three_equivalent_forms(model, stage, stride):
    name = f"stage{stage}_block1"
    block = keras.Model(
        model.input,
        [model.get_layer(f"{name}_conv1").input, model.get_layer(f"{name}_bn3").output],
    )
    x, ours = (np.asarray(part) for part in block(images(2, 9, 10, 3)))
    forms = three_forms(Net(model), np.float64(x), name, stride)
    size = np.abs(ours).max()
    for form in forms:
        np.testing.assert_allclose(ours / size, form / size, atol=1e-5)


def test_only_the_3x3_is_grouped(model):
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    grouped = {layer.name: layer.groups for layer in convolutions if layer.groups > 1}
    assert grouped == {f"stage{stage}_block1_conv2": CARDINALITY for stage in (1, 2, 3)}
    widths = [model.get_layer(f"stage{stage}_block1_conv2").filters for stage in (1, 2, 3)]
    assert widths == [12, 24, 48]
    ends = [model.get_layer(f"stage{stage}_block1_conv3").filters for stage in (1, 2, 3)]
    assert ends == [64, 128, 256]


def test_the_width_is_rounded_down_before_it_is_multiplied():
    net = keras_resnets.resnet_cifar(
        depth=11, block="bottleneck", width=16, groups=8, width_per_group=6, input_shape=(8, 8, 3)
    )
    widths = [net.get_layer(f"stage{stage}_block1_conv2").filters for stage in (1, 2, 3)]
    assert widths == [8 * 1, 8 * 3, 8 * 6]  # 16, 32, 64 times 6 / 64: 1.5, 3, 6


def test_gradients_are_finite_and_reach_the_stem(model):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(images(4, 9, 10, 3), training=True) ** 2)
    kernel = model.get_layer("stem_conv").kernel.value
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables] + [kernel])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert np.abs(gradients[-1]).max() > 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {"depth": 50, "groups": 0}, "`groups` must be a positive integer"),
        ("resnet", {"groups": 2.5}, "`groups` must be a positive integer"),
        ("resnet", {"depth": 18, "groups": 32}, "`groups` must be 1 with basic blocks"),
        ("resnet", {"depth": 34, "width_per_group": 4}, "`width_per_group` must be 64 with basic"),
        (
            "resnet_cifar",
            {"depth": 29, "block": "bottleneck", "groups": 32, "width_per_group": 3},
            "`width_per_group` must be at least 64 / width = 4",
        ),
        ("resnext29_8x64d", {"groups": 16}, "ResNeXt29_8x64d fixes `groups` at 8"),
        ("resnext50_32x4d", {"depth": 38}, "ResNeXt50_32x4d fixes `depth` at 50"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError) as error:
        keras_resnets.create_model(name, **options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_cardinality_that_does_not_divide_the_channels():
    layer = keras_resnets.layers.Conv2D(8, 3, groups=4)
    with pytest.raises(ValueError, match="group"):
        layer.build((None, 8, 8, 6))
    with pytest.raises(ValueError, match="group"):
        keras_resnets.layers.Conv2D(8, 3, groups=3)
