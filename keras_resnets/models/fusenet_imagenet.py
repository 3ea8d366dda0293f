"""Merge-and-run networks for ImageNet: Zhao 2016 (arXiv 1611.07718), by zlmzju/fusenet."""

import dataclasses
import functools
from typing import Any, ClassVar, Literal

import keras

from keras_resnets.checks import Count, is_count, must
from keras_resnets.layers.initializers import HE_FAN_IN
from keras_resnets.models.assembly import Stage, Trunk
from keras_resnets.models.builders import family, variant
from keras_resnets.models.fusenet import EPSILON
from keras_resnets.models.options import Options
from keras_resnets.models.stochastic_depth import StochasticDepth
from keras_resnets.models.units import residual


def bottleneck(x, place, *, net, name):
    """1x1, BN, ReLU, 3x3 with the stride, BN, ReLU, 1x1 to 4 times the width, BN."""
    middle = {"strides": place.stride, "dilation_rate": place.dilation}
    rows = ((place.width, 1, {}), (place.width, 3, middle), (4 * place.width, 1, {}))
    for number, (filters, kernel, arguments) in enumerate(rows, 1):
        x = net.conv(filters, kernel, name=f"{name}_conv{number}", **arguments)(x)
        x = net.normalization(name=f"{name}_bn{number}")(x)
        if number < len(rows):
            x = keras.layers.ReLU(name=f"{name}_relu{number}")(x)
    return x


def unit(line, x, place, *, net, name):
    """line + H(x), ReLU; where the shape changes there is no shortcut: H(x), ReLU."""
    branch = functools.partial(bottleneck, place=place, net=net, name=name)
    if _changes(x, place):
        return keras.layers.ReLU(name=f"{name}_relu3")(branch(x))
    return residual(line, x, branch, place, net=net, name=name, activation="relu")


def resnet(x, place, *, net):
    """x + H(x), ReLU; where the shape changes there is no shortcut: H(x), ReLU."""
    return unit(x, x, place, net=net, name=place.name)


def cross(x, place, *, net):
    """m = (x1 + x2) / 2;  y1 = ReLU(m + H1(x1)),  y2 = ReLU(m + H2(x2)).

    Where the shape changes there is no shortcut: y1 = ReLU(H1(x1)), y2 = ReLU(H2(x2)). Both paths
    start from the stem's output.
    """
    paths = x if isinstance(x, tuple) else (x, x)
    mean = None
    if not _changes(paths[0], place):
        mean = keras.layers.Average(name=f"{place.name}_average")(list(paths))
    return tuple(
        unit(mean, y, place, net=net, name=f"{place.name}_path{number}")
        for number, y in enumerate(paths, 1)
    )


def _changes(x, place):
    return place.stride > 1 or x.shape[-1] != 4 * place.width


def _concatenate(x):
    return keras.layers.Concatenate(name="final_concat")(list(x))


# kind -> (block, join of the paths)
KINDS = {
    "cross": (cross, _concatenate),
    "resnet": (resnet, None),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FuseNetImageNet(Options, StochasticDepth):
    """Merge-and-run nets for ImageNet, and the ResNet they are compared with (Zhao 2016).

    Four stages of bottlenecks as in ResNet-50. Exact to the authors' code (`symbol_cross.py`,
    `symbol_resnet.py`), which differs from the paper's CIFAR nets: no shortcut, identity or
    projection, where the shape changes; the two paths are concatenated before the pool, not added
    in the last block; no BN-ReLU in the stem; the stride is on the 3x3. Batch norm has epsilon
    2e-5, the initialisation is He's by fan-in. What deviates: the classifier's bias starts
    uniform, not at 0.

    Args:
        kind: `"cross"` (merge-and-run) or `"resnet"`.
        blocks: Tuple of four ints, the blocks of the stages. (1, 2, 11, 2) are the 50
            layers of DFN-MR; the released ResNet-98 has (2, 4, 22, 4).
        width: Int. Channels of the stem and of the first stage's 3x3.
    """

    stem: Literal["imagenet", "cifar"] = "imagenet"
    kind: Literal["cross", "resnet"] = "cross"
    blocks: tuple[int, int, int, int] = (1, 2, 11, 2)
    width: Count = 64

    epsilon: ClassVar[float] = EPSILON
    kernel_initializer: ClassVar[Any] = HE_FAN_IN

    def check(self):
        must(
            "blocks",
            self.blocks,
            isinstance(self.blocks, tuple)
            and len(self.blocks) == 4
            and all(map(is_count, self.blocks)),
            "four positive integers, such as (1, 2, 11, 2)",
        )

    def trunk(self):
        block, final = KINDS[self.kind]
        stages = [
            Stage(
                functools.partial(block, net=self),
                number,
                self.width * 2**index,
                stride=1 if index == 0 else 2,
            )
            for index, number in enumerate(self.blocks)
        ]
        stem = functools.partial(self.build_stem, width=self.width, activated=False)
        return Trunk(stem, stages, final)


fusenet_imagenet = family("fusenet_imagenet", FuseNetImageNet)

DFNMR50 = variant("DFNMR50", "dfn_mr50", fusenet_imagenet, kind="cross", blocks=(1, 2, 11, 2))
DFNResNet98 = variant(
    "DFNResNet98", "dfn_resnet98", fusenet_imagenet, kind="resnet", blocks=(2, 4, 22, 4)
)
