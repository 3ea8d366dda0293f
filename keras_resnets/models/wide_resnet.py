"""Wide residual networks: Zagoruyko 2016, *Wide Residual Networks* (arXiv 1605.07146)."""

import dataclasses
import functools
import re
from typing import Any, ClassVar, Literal

import keras

from keras_resnets.checks import Count, Rate, is_count, is_number, must
from keras_resnets.layers import Dropout
from keras_resnets.layers.initializers import HE_FAN_IN
from keras_resnets.models.assembly import Stage, Trunk
from keras_resnets.models.builders import family, variant
from keras_resnets.models.options import Options
from keras_resnets.models.stochastic_depth import StochasticDepth
from keras_resnets.models.units import residual

BLOCK_TYPES = ("B(3,3)", "B(3,1)", "B(1,3)", "B(1,3,1)", "B(3,1,1)", "B(3,1,3)")


def wide(x, place, *, net, kernels):
    """BN, ReLU, 3x3 with the stride, BN, ReLU, dropout, 3x3; added to the shortcut (Fig. 1d).

    With other kernels, every further convolution has its own BN, ReLU and dropout before it.
    Where the shape changes, the first BN-ReLU is shared: the branch and the shortcut, a 1x1
    convolution with the stride and without BN, both start from its output.
    """
    name, width, stride = place.name, place.width, place.stride
    changes = stride > 1 or x.shape[-1] != width

    def preactivate(y, number):
        y = net.normalization(name=f"{name}_bn{number}")(y)
        return keras.layers.ReLU(name=f"{name}_relu{number}")(y)

    def branch(y):
        y = y if changes else preactivate(y, 1)
        first, *others = kernels
        options = {"dilation_rate": place.dilation}
        y = net.conv(width, first, strides=stride, name=f"{name}_conv1", **options)(y)
        for number, kernel in enumerate(others, 2):
            y = preactivate(y, number)
            if net.dropout:
                y = Dropout(net.dropout, name=f"{name}_dropout{number}")(y)
            y = net.conv(width, kernel, name=f"{name}_conv{number}", **options)(y)
        return y

    shortcut = x
    if changes:
        x = preactivate(x, 1)
        place.activated.append(x)
        shortcut = net.conv(width, 1, strides=stride, name=f"{name}_shortcut_conv")(x)
    return residual(shortcut, x, branch, place, net=net)


def _parse_kernels(block_type):
    """`"B(3,1,3)"` or `(3, 1, 3)` as the tuple of kernel sizes."""
    kernels = block_type
    if isinstance(block_type, str) and re.fullmatch(r"B\(\d+(, ?\d+)*\)", block_type):
        kernels = tuple(int(size) for size in re.findall(r"\d+", block_type))
    must(
        "block_type",
        block_type,
        isinstance(kernels, tuple)
        and len(kernels) > 0
        and all(is_count(size) and size % 2 for size in kernels),
        f"one of {BLOCK_TYPES} or a tuple of odd kernel sizes such as (3, 3, 3)",
    )
    return kernels


@dataclasses.dataclass(frozen=True, kw_only=True)
class WideResNet(Options, StochasticDepth):
    """Wide ResNet for CIFAR: stages of 16, 32, 64 times `widen` channels (Zagoruyko 2016, Table 1).

    The wiring is that of szagoruyko/wide-residual-networks (`models/wide-resnet.lua`):
    pre-activation blocks, a stem of one convolution of 16 channels that is not widened, 1x1
    shortcuts without batch norm, BN-ReLU after the last block, He initialisation by fan-in. With
    `widen=1` the first stage has no shortcut convolution. The authors' classifier starts with
    bias 0; here kernel and bias start as in all families. With the imagenet stem, the 7x7
    convolution and the max-pool too have no BN-ReLU between them.

    Args:
        depth: Int, 6n+4: n blocks in each of the three stages, also with the block types of the
            paper's Table 2 that have one or three convolutions: only then are the parameters those
            printed there (1.4M for B(1,3,1) at depth 40, 1.1M for B(3,1,3) at depth 22). Blocks of
            l convolutions without a 1x1 have 3ln+4, as in Table 3, where all nets of depth 40 have
            2.2M parameters.
        widen: Number, the widening factor k. Channels are rounded down.
        dropout: Float in [0, 1). Dropout between the convolutions of a block, after BN-ReLU. The
            paper uses 0.3 on CIFAR, 0.4 on SVHN.
        block_type: `"B(3,3)"`, `"B(3,1)"`, `"B(1,3)"`, `"B(1,3,1)"`, `"B(3,1,1)"` or
            `"B(3,1,3)"`, the kernel sizes of a block's convolutions, which all have the same
            channels (section 2.2); or any tuple of odd kernel sizes such as `(3, 3, 3)`. The first
            convolution has the stride.
        width: Int. Channels of the stem, and of the first stage before widening.
    """

    num_classes: Count = 10
    stem: Literal["imagenet", "cifar"] = "cifar"
    depth: int = 28
    widen: float = 10
    dropout: Rate = 0.0
    block_type: str | tuple[int, ...] = "B(3,3)"
    width: Count = 16

    kernel_initializer: ClassVar[Any] = HE_FAN_IN
    interchangeable: ClassVar[tuple[str, ...]] = ("dropout",)

    def wiring(self):
        return super().wiring() | {"block_type": _parse_kernels(self.block_type)}

    @property
    def _layers_a_row(self):
        """6, or 3l for a block of l convolutions that are all larger than 1x1."""
        kernels = _parse_kernels(self.block_type)
        return 6 if 1 in kernels else 3 * len(kernels)

    def check(self):
        layers = self._layers_a_row
        examples = ", ".join(str(layers * n + 4) for n in (1, 2, 3, 4))
        must(
            "depth",
            self.depth,
            is_count(self.depth) and self.depth > 4 and (self.depth - 4) % layers == 0,
            f"{layers}n+4 ({examples}, ...) for blocks B{_parse_kernels(self.block_type)}",
        )
        must(
            "widen",
            self.widen,
            is_number(self.widen) and self.width * self.widen >= 1,
            f"a finite number from 1/{self.width} up, for at least one channel",
        )

    def trunk(self):
        block = functools.partial(wide, net=self, kernels=_parse_kernels(self.block_type))
        blocks = (self.depth - 4) // self._layers_a_row
        stages = [
            Stage(block, blocks, int(self.width * 2**index * self.widen), 1 if index == 0 else 2)
            for index in range(3)
        ]
        stem = functools.partial(self.build_stem, width=self.width, activated=False)
        return Trunk(stem, stages, self._last_activation)

    def _last_activation(self, x):
        """BN, ReLU."""
        x = self.normalization(name="final_bn")(x)
        return keras.layers.ReLU(name="final_relu")(x)


wide_resnet = family("wide_resnet", WideResNet)

WideResNet16_4 = variant("WideResNet16_4", "wide_resnet16_4", wide_resnet, depth=16, widen=4)
WideResNet16_8 = variant("WideResNet16_8", "wide_resnet16_8", wide_resnet, depth=16, widen=8)
WideResNet16_10 = variant("WideResNet16_10", "wide_resnet16_10", wide_resnet, depth=16, widen=10)
WideResNet22_8 = variant("WideResNet22_8", "wide_resnet22_8", wide_resnet, depth=22, widen=8)
WideResNet22_10 = variant("WideResNet22_10", "wide_resnet22_10", wide_resnet, depth=22, widen=10)
WideResNet28_10 = variant("WideResNet28_10", "wide_resnet28_10", wide_resnet, depth=28, widen=10)
WideResNet28_12 = variant("WideResNet28_12", "wide_resnet28_12", wide_resnet, depth=28, widen=12)
WideResNet40_1 = variant("WideResNet40_1", "wide_resnet40_1", wide_resnet, depth=40, widen=1)
WideResNet40_2 = variant("WideResNet40_2", "wide_resnet40_2", wide_resnet, depth=40, widen=2)
WideResNet40_4 = variant("WideResNet40_4", "wide_resnet40_4", wide_resnet, depth=40, widen=4)
WideResNet40_8 = variant("WideResNet40_8", "wide_resnet40_8", wide_resnet, depth=40, widen=8)
WideResNet40_10 = variant("WideResNet40_10", "wide_resnet40_10", wide_resnet, depth=40, widen=10)
WideResNet52_1 = variant("WideResNet52_1", "wide_resnet52_1", wide_resnet, depth=52, widen=1)
