"""Dual Path Networks: Chen 2017, *Dual Path Networks* (arXiv 1707.01629)."""

import dataclasses
import functools
from typing import ClassVar, Literal

import keras

from keras_resnets.checks import Count, Counts, OddCount
from keras_resnets.errors import UserError
from keras_resnets.layers import SplitChannels
from keras_resnets.models.assembly import Stage, Trunk
from keras_resnets.models.builders import family, variant
from keras_resnets.models.options import Options
from keras_resnets.models.units import residual


def join(x, name):
    """The paths `(residual, dense)` as one map, the residual channels first."""
    if not isinstance(x, tuple):
        return x
    return keras.layers.Concatenate(name=name and f"{name}_concat")(x)


def projection(x, place, *, net, added, increment):
    """BN, ReLU, 1x1 with the stride; its last 2 * increment channels start a new dense path."""
    name, sizes = f"{place.name}_shortcut", (added, 2 * increment)
    x = net.normalization(name=f"{name}_bn")(x)
    x = keras.layers.ReLU(name=f"{name}_relu")(x)
    place.activated.append(x)
    x = net.conv(sum(sizes), 1, strides=place.stride, name=f"{name}_conv")(x)
    return SplitChannels(sizes, name=f"{name}_split")(x)


def dual_path(x, place, *, net, added, increment):
    """BN, ReLU, 1x1, BN, ReLU, grouped 3x3 with the stride, BN, ReLU, 1x1 (Fig. 2d).

    The input is both paths side by side. Of the last convolution's channels the first `added` ones
    are added to the residual path, the other `increment` are appended to the dense path; variant b
    computes them by two 1x1 convolutions. A stage's first block projects its shortcut, and with
    2 * increment channels of that the dense path begins anew: after k blocks it has (k + 2) *
    increment.
    """
    name = place.name

    def preactivate(y, number):
        y = net.normalization(name=f"{name}_bn{number}")(y)
        return keras.layers.ReLU(name=f"{name}_relu{number}")(y)

    joined = join(x, name)
    y = preactivate(joined, 1)
    y = net.conv(place.width, 1, name=f"{name}_conv1")(y)
    y = net.conv(
        place.width,
        3,
        strides=place.stride,
        dilation_rate=place.dilation,
        groups=net.groups,
        name=f"{name}_conv2",
    )(preactivate(y, 2))
    y = preactivate(y, 3)
    if net.variant_b:
        branch = net.conv(added, 1, name=f"{name}_conv3")(y)
        appended = net.conv(increment, 1, name=f"{name}_dense_conv")(y)
    else:
        y = net.conv(added + increment, 1, name=f"{name}_conv3")(y)
        branch, appended = SplitChannels((added, increment), name=f"{name}_split")(y)
    goes_on = isinstance(x, tuple) and x[0].shape[-1] == added and place.stride == 1
    shortcut, dense = (
        x if goes_on else projection(joined, place, net=net, added=added, increment=increment)
    )
    return (
        residual(shortcut, joined, lambda _: branch, place),
        keras.layers.Concatenate(name=f"{name}_dense")([dense, appended]),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DualPathNet(Options):
    """Dual Path Network: a residual path that adds and a dense path that concatenates.

    Every block reads both paths (Chen 2017, section 4 and Table 1). Widths and wiring are those of
    the released MXNet symbols (cypw/DPNs, `settings/symbol_dpn*.py`), and so is the epsilon of
    1e-3. Stage i, from 0, has `base_width * 2**i` residual channels and 3x3 convolutions of
    `k_r * 2**i` channels; its dense path starts at 2 increments and grows by one with each block.

    Args:
        depths: Tuple of ints. Blocks of each stage.
        increments: Tuple of ints, one for each stage. Channels that a block appends to the dense
            path.
        k_r: Int, a multiple of `groups`. Channels of the grouped 3x3 convolutions in the first
            stage.
        groups: Int. Cardinality of the 3x3 convolutions.
        base_width: Int. Channels of the residual path in the first stage: 256, or 64 in DPN-68.
        stem_width: Int. Channels of the stem.
        stem_kernel: Odd int, the kernel of the stem's convolution, or `None` for the stem's own
            (7 for imagenet, 3 for cifar). DPN-68 has 3.
        variant_b: Boolean. The end of a block as two 1x1 convolutions instead of one that is
            split, with as many parameters (`symbol_dpn_b.py`, DPN-68b).
        head_activation: `"relu"`, as the released symbols and timm, which declares ELU but computes
            ReLU, or `"elu"`.
    """

    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_width: Count = 64
    depths: Counts = (3, 4, 20, 3)
    increments: Counts = (16, 32, 24, 128)
    k_r: Count = 96
    groups: Count = 32
    base_width: Count = 256
    stem_kernel: OddCount | None = None
    variant_b: bool = False
    head_activation: Literal["relu", "elu"] = "relu"

    # MXNet's default, which the released weights were trained with.
    epsilon: ClassVar[float] = 1e-3

    def check(self):
        if len(self.depths) != len(self.increments):
            raise UserError(
                "`depths` and `increments` must have one number for each stage. "
                f"Received: depths={self.depths}, increments={self.increments}"
            )
        if self.k_r % self.groups:
            raise UserError(
                "`groups` must divide `k_r`, the channels of the 3x3 convolutions. "
                f"Received: groups={self.groups}, k_r={self.k_r}"
            )

    def trunk(self):
        stages = [
            Stage(
                functools.partial(
                    dual_path, net=self, added=self.base_width * 2**index, increment=increment
                ),
                depth,
                self.k_r * 2**index,
                stride=1 if index == 0 else 2,
            )
            for index, (depth, increment) in enumerate(
                zip(self.depths, self.increments, strict=True)
            )
        ]
        stem = functools.partial(
            self.build_stem, width=self.stem_width, kernel_size=self.stem_kernel
        )
        return Trunk(stem, stages, self._join_and_activate, functools.partial(join, name=None))

    def _join_and_activate(self, x):
        """The paths side by side, BN, ReLU or ELU."""
        x = self.normalization(name="final_bn")(join(x, "final"))
        return keras.layers.Activation(
            self.head_activation, name=f"final_{self.head_activation}"
        )(x)


dpn = family("dpn", DualPathNet)

# cypw/DPNs, settings/symbol_dpn-*.py.
_SMALL = {
    "depths": (3, 4, 12, 3),
    "increments": (16, 32, 32, 64),
    "k_r": 128,
    "groups": 32,
    "base_width": 64,
    "stem_width": 10,
    "stem_kernel": 3,
}
DPN68 = variant("DPN68", "dpn68", dpn, variant_b=False, **_SMALL)
DPN68b = variant("DPN68b", "dpn68b", dpn, variant_b=True, **_SMALL)
DPN92 = variant(
    "DPN92",
    "dpn92",
    dpn,
    depths=(3, 4, 20, 3),
    increments=(16, 32, 24, 128),
    k_r=96,
    groups=32,
    base_width=256,
    stem_width=64,
)
DPN98 = variant(
    "DPN98",
    "dpn98",
    dpn,
    depths=(3, 6, 20, 3),
    increments=(16, 32, 32, 128),
    k_r=160,
    groups=40,
    base_width=256,
    stem_width=96,
)
DPN131 = variant(
    "DPN131",
    "dpn131",
    dpn,
    depths=(4, 8, 28, 3),
    increments=(16, 32, 32, 128),
    k_r=160,
    groups=40,
    base_width=256,
    stem_width=128,
)
DPN107 = variant(
    "DPN107",
    "dpn107",
    dpn,
    depths=(4, 8, 20, 3),
    increments=(20, 64, 64, 128),
    k_r=200,
    groups=50,
    base_width=256,
    stem_width=128,
)
