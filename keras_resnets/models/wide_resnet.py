"""Wide residual networks: Zagoruyko 2016, *Wide Residual Networks* (arXiv 1605.07146)."""

import functools
import re

import keras

from keras_resnets.layers import Conv2D
from keras_resnets.layers.initializers import HE_FAN_IN
from keras_resnets.models.network import STEMS, Stage
from keras_resnets.models.options import shares
from keras_resnets.models.registry import Trunk, family, variant
from keras_resnets.models.residual import residual
from keras_resnets.models.stochastic_depth import StochasticDepth

BLOCK_TYPES = ("B(3,3)", "B(3,1)", "B(1,3)", "B(1,3,1)", "B(3,1,1)", "B(3,1,3)")

_conv = functools.partial(Conv2D, kernel_initializer=HE_FAN_IN)


def wide(
    x, width, stride, dilation, name, position, *, kernels, dropout, norm, stochastic_depth
):
    """BN, ReLU, 3x3 with the stride, BN, ReLU, dropout, 3x3; added to the shortcut (Fig. 1d).

    With other kernels, every further convolution has its own BN, ReLU and dropout before it.
    Where the shape changes, the first BN-ReLU is shared: the branch and the shortcut, a 1x1
    convolution with the stride and without BN, both start from its output.
    """
    changes = stride > 1 or x.shape[-1] != width

    def preactivate(y, number):
        y = norm(name=f"{name}_bn{number}")(y)
        return keras.layers.ReLU(name=f"{name}_relu{number}")(y)

    def branch(y):
        y = y if changes else preactivate(y, 1)
        first, *others = kernels
        options = {"dilation_rate": dilation}
        y = _conv(width, first, strides=stride, name=f"{name}_conv1", **options)(y)
        for number, kernel in enumerate(others, 2):
            y = preactivate(y, number)
            if dropout:
                y = keras.layers.Dropout(dropout, name=f"{name}_dropout{number}")(y)
            y = _conv(width, kernel, name=f"{name}_conv{number}", **options)(y)
        return y

    shortcut = x
    if changes:
        x = preactivate(x, 1)
        shortcut = _conv(width, 1, strides=stride, name=f"{name}_shortcut_conv")(x)
    return residual(shortcut, x, branch, name, position, stochastic_depth=stochastic_depth)


def _last_activation(x, *, norm):
    """BN, ReLU."""
    x = norm(name="final_bn")(x)
    return keras.layers.ReLU(name="final_relu")(x)


def _parse_kernels(block_type):
    """`"B(3,1,3)"` or `(3, 1, 3)` as the tuple of kernel sizes."""
    kernels = block_type
    if isinstance(block_type, str) and re.fullmatch(r"B\(\d+(, ?\d+)*\)", block_type):
        kernels = tuple(int(size) for size in re.findall(r"\d+", block_type))
    is_legal = isinstance(kernels, tuple) and len(kernels) > 0
    if not is_legal or not all(type(size) is int and size > 0 and size % 2 for size in kernels):
        raise ValueError(
            f"`block_type` must be one of {BLOCK_TYPES} or a tuple of odd kernel sizes such as "
            f"(3, 3, 3). Received: block_type={block_type!r}"
        )
    return kernels


def _blocks_a_stage(depth, kernels):
    """n of 6n+4, or of 3ln+4 for a block of l convolutions that are all larger than 1x1."""
    layers = 6 if 1 in kernels else 3 * len(kernels)
    blocks, rest = divmod(depth - 4, layers) if type(depth) is int else (0, 1)
    if blocks < 1 or rest:
        legal = ", ".join(str(layers * n + 4) for n in (1, 2, 3, 4))
        raise ValueError(
            f"`depth` must be {layers}n+4 ({legal}, ...) for blocks B{kernels}. "
            f"Received: depth={depth!r}"
        )
    return blocks


def _check_numbers(widen, dropout, width):
    if type(width) is not int or width < 1:
        raise ValueError(f"`width` must be a positive integer. Received: width={width!r}")
    if type(widen) not in (int, float) or not 1 <= width * widen < float("inf"):
        raise ValueError(
            f"`widen` must be a finite number from 1/{width} up, for at least one channel. "
            f"Received: widen={widen!r}"
        )
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={dropout!r}")


@family(num_classes=10, stem="cifar")
@shares("stochastic_depth", StochasticDepth)
def wide_resnet(
    depth=28,
    widen=10,
    dropout=0.0,
    block_type="B(3,3)",
    width=16,
    *,
    stem,
    norm,
    stochastic_depth,
):
    """Wide ResNet for CIFAR: stages of 16, 32, 64 times `widen` channels (Zagoruyko 2016, Table 1).

    The wiring is that of szagoruyko/wide-residual-networks (`models/wide-resnet.lua`):
    pre-activation blocks, a stem of one convolution of 16 channels that is not widened, 1x1
    shortcuts without batch norm, BN-ReLU after the last block, He initialisation by fan-in. With
    `widen=1` the first stage has no shortcut convolution. The authors' classifier starts with
    bias 0; here kernel and bias start as in all families. With the imagenet stem, the 7x7
    convolution and the max-pool too have no BN-ReLU between them.

    Args:
        depth: Int, 6n+4: n blocks in each of the three stages. So it is with every block type of
            the paper's Table 2, whatever its number of convolutions: only then are the parameters
            those printed there (1.4M for B(1,3,1) at depth 40, 1.1M for B(3,1,3) at depth 22).
            Blocks of l convolutions without a 1x1 have 3ln+4, as in Table 3, where all nets of
            depth 40 have 2.2M parameters. Defaults to 28.
        widen: Number, the widening factor k. Channels are rounded down. Defaults to 10.
        dropout: Float in [0, 1). Dropout between the convolutions of a block, after BN-ReLU. The
            paper uses 0.3 on CIFAR, 0.4 on SVHN. Defaults to 0.
        block_type: `"B(3,3)"`, `"B(3,1)"`, `"B(1,3)"`, `"B(1,3,1)"`, `"B(3,1,1)"` or
            `"B(3,1,3)"`, the kernel sizes of a block's convolutions, which all have the same
            channels (section 2.2); or any tuple of odd kernel sizes such as `(3, 3, 3)`. The first
            convolution has the stride. Defaults to `"B(3,3)"`.
        width: Int. Channels of the stem, and of the first stage before widening. Defaults to 16.
    """
    kernels = _parse_kernels(block_type)
    blocks = _blocks_a_stage(depth, kernels)
    _check_numbers(widen, dropout, width)
    block = functools.partial(
        wide, kernels=kernels, dropout=dropout, norm=norm, stochastic_depth=stochastic_depth
    )
    stages = [
        Stage(block, blocks, int(width * 2**index * widen), stride=1 if index == 0 else 2)
        for index in range(3)
    ]
    return Trunk(
        functools.partial(STEMS[stem], width=width, norm=None, conv=_conv),
        stages,
        functools.partial(_last_activation, norm=norm),
    )


_NETS = (
    *((16, 4), (16, 8), (16, 10), (22, 8), (22, 10), (28, 10), (28, 12)),
    *((40, 1), (40, 2), (40, 4), (40, 8), (40, 10), (52, 1)),
)
for _depth, _widen in _NETS:
    variant(
        f"WideResNet{_depth}_{_widen}",
        f"wide_resnet{_depth}_{_widen}",
        wide_resnet,
        depth=_depth,
        widen=_widen,
    )
