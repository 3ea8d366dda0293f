"""Residual networks: He 2015, *Deep Residual Learning for Image Recognition* (arXiv 1512.03385)."""

import functools

import keras

from keras_resnets.layers import Conv2D, Merge, ZeroPadShortcut
from keras_resnets.models.network import STEMS, Stage
from keras_resnets.models.registry import Trunk, family, variant

DEPTHS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


def conv_shortcut(x, channels, stride, name, *, norm):
    """1x1 with the stride, BN."""
    x = Conv2D(channels, 1, strides=stride, name=f"{name}_shortcut_conv")(x)
    return norm(name=f"{name}_shortcut_bn")(x)


def shortcut_path(x, channels, stride, name, *, kind, pad, norm):
    """The shortcut of a block, by the types of He 2015, section 4.1.

    A: identity, subsampled and with zeros for new channels where the shape changes; no parameters.
    B: identity, and a convolution where the shape changes. C: a convolution in every block.
    """
    changes = stride > 1 or x.shape[-1] != channels
    if kind == "C" or (kind == "B" and changes):
        return conv_shortcut(x, channels, stride, name, norm=norm)
    if changes:
        return ZeroPadShortcut(channels, stride, pad, name=f"{name}_shortcut_pad")(x)
    return x


def basic(x, width, stride, dilation, name, position, *, norm, last_norm, shortcut):
    """3x3 with the stride, BN, ReLU, 3x3, BN; added to the shortcut, ReLU (Fig. 5, left)."""
    y = Conv2D(width, 3, strides=stride, dilation_rate=dilation, name=f"{name}_conv1")(x)
    y = norm(name=f"{name}_bn1")(y)
    y = keras.layers.ReLU(name=f"{name}_relu1")(y)
    y = Conv2D(width, 3, dilation_rate=dilation, name=f"{name}_conv2")(y)
    y = last_norm(name=f"{name}_bn2")(y)
    return Merge("relu", name=f"{name}_merge")([shortcut(x, width, stride, name), y])


def bottleneck(x, width, stride, dilation, name, position, *, norm, last_norm, shortcut, stride_in):
    """1x1, BN, ReLU, 3x3, BN, ReLU, 1x1 to 4 times the width, BN; added, ReLU (Fig. 5, right).

    The stride is on the 3x3 (v1.5: fb.resnet.torch, torchvision) or on the first 1x1 (v1: the
    paper's released Caffe nets).
    """
    first, second = (1, stride) if stride_in == "3x3" else (stride, 1)
    y = Conv2D(width, 1, strides=first, name=f"{name}_conv1")(x)
    y = norm(name=f"{name}_bn1")(y)
    y = keras.layers.ReLU(name=f"{name}_relu1")(y)
    y = Conv2D(width, 3, strides=second, dilation_rate=dilation, name=f"{name}_conv2")(y)
    y = norm(name=f"{name}_bn2")(y)
    y = keras.layers.ReLU(name=f"{name}_relu2")(y)
    y = Conv2D(4 * width, 1, name=f"{name}_conv3")(y)
    y = last_norm(name=f"{name}_bn3")(y)
    return Merge("relu", name=f"{name}_merge")([shortcut(x, 4 * width, stride, name), y])


def _residual_block(kind, *, norm, shortcut, shortcut_pad, stride_in, zero_init_residual):
    """`basic` or `bottleneck` with everything bound that is the same for all blocks of a net."""
    legal = {"kind": ("basic", "bottleneck"), "shortcut": ("A", "B", "C")}
    legal |= {"shortcut_pad": ("end", "both"), "stride_in": ("3x3", "1x1")}
    given = {"kind": kind, "shortcut": shortcut}
    given |= {"shortcut_pad": shortcut_pad, "stride_in": stride_in}
    for key, value in given.items():
        if value not in legal[key]:
            raise ValueError(f"`{key}` must be one of {legal[key]}. Received: {key}={value!r}")
    path = functools.partial(shortcut_path, kind=shortcut, pad=shortcut_pad, norm=norm)
    last_norm = functools.partial(norm, gamma_initializer="zeros") if zero_init_residual else norm
    common = {"norm": norm, "last_norm": last_norm, "shortcut": path}
    if kind == "basic":
        return functools.partial(basic, **common)
    return functools.partial(bottleneck, stride_in=stride_in, **common)


def _check_width(width):
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"`width` must be a positive number of channels. Received: width={width}")


@family(num_classes=1000, stem="imagenet")
def resnet(
    depth=50,
    shortcut="B",
    shortcut_pad="end",
    stride_in="3x3",
    width=64,
    zero_init_residual=False,
    *,
    stem,
    norm,
):
    """ResNet for ImageNet: four stages of 64, 128, 256, 512 channels (He 2015, Table 1).

    The wiring is that of torchvision's `resnet.py` (v1.5), and so are the initialisers, so that
    its weights give the same outputs.

    Args:
        depth: Int. 18 and 34 have basic blocks, 50, 101 and 152 bottlenecks. Defaults to 50.
        shortcut: `"A"` (identity, zeros for new channels), `"B"` (a 1x1 convolution with batch
            norm where the shape changes) or `"C"` (in every block). Defaults to `"B"`.
        shortcut_pad: Where shortcut A puts the zero channels: `"end"` (fb.resnet.torch) or
            `"both"` (half before, half after). Defaults to `"end"`.
        stride_in: `"3x3"` strides in the bottleneck's 3x3 convolution (v1.5), `"1x1"` in its
            first convolution (v1, He's Caffe nets). Defaults to `"3x3"`.
        width: Int. Channels of the stem and the first stage. Defaults to 64.
        zero_init_residual: Boolean. The last batch norm of every block starts with gamma 0, so
            that the block starts as its shortcut (Goyal 2017, section 5.1). Defaults to `False`.
    """
    if depth not in DEPTHS:
        raise ValueError(f"`depth` must be one of {tuple(DEPTHS)}. Received: depth={depth!r}")
    _check_width(width)
    kind, depths = DEPTHS[depth]
    block = _residual_block(
        kind,
        norm=norm,
        shortcut=shortcut,
        shortcut_pad=shortcut_pad,
        stride_in=stride_in,
        zero_init_residual=zero_init_residual,
    )
    stages = [
        Stage(block, number, width * 2**index, stride=1 if index == 0 else 2)
        for index, number in enumerate(depths)
    ]
    return Trunk(functools.partial(STEMS[stem], width=width, norm=norm), stages)


@family(num_classes=10, stem="cifar")
def resnet_cifar(
    depth=20,
    block="basic",
    shortcut=None,
    shortcut_pad="end",
    stride_in="1x1",
    width=16,
    zero_init_residual=False,
    *,
    stem,
    norm,
):
    """ResNet for CIFAR: three stages of 16, 32, 64 channels (He 2015, section 4.2).

    Args:
        depth: Int. 6n+2 with basic blocks, 9n+2 with bottlenecks. Defaults to 20.
        block: `"basic"` or `"bottleneck"` (He 2016, whose stages end in 64, 128 and 256
            channels). Defaults to `"basic"`.
        shortcut: `"A"`, `"B"` or `"C"`, as for `resnet`. `None` is A for basic blocks, as in the
            paper, and B for bottlenecks. Defaults to `None`.
        shortcut_pad: Where shortcut A puts the zero channels: `"end"` (fb.resnet.torch) or
            `"both"` (akamaster/pytorch_resnet_cifar10). Defaults to `"end"`.
        stride_in: Of bottlenecks: `"1x1"` strides in the first convolution, as in
            KaimingHe/resnet-1k-layers, `"3x3"` in the second. Defaults to `"1x1"`.
        width: Int. Channels of the stem and the first stage. Defaults to 16.
        zero_init_residual: Boolean, as for `resnet`. Defaults to `False`.
    """
    _check_width(width)
    shortcut = shortcut or ("A" if block == "basic" else "B")
    build_block = _residual_block(
        block,
        norm=norm,
        shortcut=shortcut,
        shortcut_pad=shortcut_pad,
        stride_in=stride_in,
        zero_init_residual=zero_init_residual,
    )
    layers_a_row = 6 if block == "basic" else 9
    blocks, rest = divmod(depth - 2, layers_a_row) if isinstance(depth, int) else (0, 1)
    if blocks < 1 or rest:
        raise ValueError(
            f"`depth` must be {layers_a_row}n+2 with block={block!r} "
            f"({', '.join(str(layers_a_row * n + 2) for n in (1, 2, 3))}, ...). "
            f"Received: depth={depth!r}"
        )
    stages = [
        Stage(build_block, blocks, width * 2**index, stride=1 if index == 0 else 2)
        for index in range(3)
    ]
    return Trunk(functools.partial(STEMS[stem], width=width, norm=norm), stages)


for _depth in DEPTHS:
    variant(f"ResNet{_depth}", f"resnet{_depth}", resnet, depth=_depth)
for _depth in (20, 32, 44, 56, 110, 1202):
    variant(f"ResNet{_depth}", f"resnet{_depth}", resnet_cifar, depth=_depth, block="basic")
