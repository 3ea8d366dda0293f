"""What ResNets for ImageNet and for CIFAR share: basic and bottleneck blocks in doubling stages.

The blocks are those of He 2015, *Deep Residual Learning for Image Recognition* (arXiv 1512.03385).
"""

import abc
import dataclasses
import functools
from typing import ClassVar, Literal

from keras_resnets.checks import Count, must
from keras_resnets.models.assembly import Stage, Trunk
from keras_resnets.models.options import Options, Unused
from keras_resnets.models.stochastic_depth import StochasticDepth
from keras_resnets.models.units import residual_unit
from keras_resnets.models.wiring import Wiring, final_activation


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResidualNet(Options, Wiring, StochasticDepth):
    """Stages of basic or bottleneck blocks, of doubling width, the first without stride."""

    shortcut: Literal["A", "B", "C"] | None = None
    stride_in: Literal["3x3", "1x1"] = "3x3"
    width: Count = 64
    groups: Count = 1
    width_per_group: Count = 64

    decides_blocks: ClassVar[str]  # the option that decides between basic and bottleneck

    @property
    @abc.abstractmethod
    def block_kind(self):
        """`"basic"` or `"bottleneck"`."""

    @property
    def usual_shortcut(self):
        """The shortcut of these blocks unless another is asked for."""
        return "B"

    @property
    def shortcut_kind(self):
        """`"A"`, `"B"` or `"C"`."""
        return "C" if self.skip == "conv" else self.shortcut or self.usual_shortcut

    def unused(self):
        legal = {"none": (self.usual_shortcut,), "conv": (self.usual_shortcut, "C")}
        if self.shortcut not in legal.get(self.skip, (self.shortcut,)):
            yield Unused(("shortcut",), f"skip={self.skip!r}", "skip")
        if self.skip == "none":
            names = ("shortcut_pad", "survival", "survival_rule", "survival_draw")
            yield Unused(names, "skip='none'", "skip")
        elif self.shortcut_kind != "A":
            yield Unused(("shortcut_pad",), f"shortcut={self.shortcut_kind!r}", "shortcut")
        if self.block_kind == "basic":
            yield Unused(
                ("stride_in", "groups", "width_per_group"), "basic blocks", self.decides_blocks
            )

    def check(self):
        must(
            "width_per_group",
            self.width_per_group,
            self.width * self.width_per_group >= 64,
            f"at least 64 / width = {64 / self.width:g}, for one channel a group",
        )
        if self.shortcut_kind == "A" and self.skip != "none":
            channels = self.width * (1 if self.block_kind == "basic" else 4)
            must(
                "stem_width",
                self.stem_width,
                (self.stem_width or 0) <= channels,
                f"at most {channels}, the channels of the first stage, with shortcut='A'",
            )

    def build_block(self, x, place):
        """`basic` or `bottleneck`."""
        make = basic if self.block_kind == "basic" else bottleneck
        return make(x, place, net=self)

    def unit(self, x, convolutions, place):
        """The convolutions of a block with what is around them."""
        return residual_unit(
            x,
            convolutions,
            place,
            net=self,
            shortcut=self.shortcut_kind,
            activated=not self.has_bare_stem,
            plain_start=self.has_plain_start,
            end=self.end_branch,
        )

    def end_branch(self, y, place):
        """What ends every branch, before the addition: nothing. For families with attention."""
        return y

    def wiring(self):
        skip = "identity" if self.skip == "conv" else self.skip  # of a shortcut C
        return super().wiring() | {"shortcut": self.shortcut_kind, "skip": skip}

    @property
    def has_bare_stem(self):
        """Whether the stem leaves its batch norm and ReLU to the first block.

        A max-pool follows those of the imagenet stem, which hence keeps them.
        """
        return self.activation == "full_preact" and self.stem == "cifar"

    @property
    def has_plain_start(self):
        """Whether the first block of the net begins as every other."""
        return False

    def trunk_of(self, depths, replaced):
        """The trunk with so many blocks a stage; `replaced` strides become dilation."""
        stages, dilation = [Stage(self.build_block, depths[0], self.width)], 1
        for index, (depth, is_dilated) in enumerate(zip(depths[1:], replaced, strict=True), 1):
            dilation *= 2 if is_dilated else 1
            stride = 1 if is_dilated else 2
            stages.append(Stage(self.build_block, depth, self.width * 2**index, stride, dilation))
        return Trunk(
            functools.partial(
                self.build_stem, width=self.width, activated=not self.has_bare_stem
            ),
            stages,
            functools.partial(final_activation, net=self),
        )


def basic(x, place, *, net):
    """3x3 with the stride, BN, ReLU, 3x3, BN; added to the shortcut, ReLU (He 2015, Fig. 5, left).

    Both convolutions have the dilation.
    """
    convolutions = (
        {
            "filters": place.width,
            "kernel_size": 3,
            "strides": place.stride,
            "dilation_rate": place.dilation,
        },
        {"filters": place.width, "kernel_size": 3, "dilation_rate": place.dilation},
    )
    return net.unit(x, convolutions, place)


def bottleneck(x, place, *, net):
    """1x1, BN, ReLU, 3x3, BN, ReLU, 1x1 to 4 times the width, BN; added, ReLU (Fig. 5, right).

    The stride is on the 3x3 (v1.5: fb.resnet.torch, torchvision) or on the first 1x1 (v1: the
    paper's released Caffe nets). The 3x3 is grouped in ResNeXt (Xie 2017, Fig. 3c); the first two
    convolutions have `int(width * width_per_group / 64) * groups` channels, the last one
    `4 * width` whatever the groups.
    """
    inner = int(place.width * (net.width_per_group / 64)) * net.groups
    first, second = (1, place.stride) if net.stride_in == "3x3" else (place.stride, 1)
    convolutions = (
        {"filters": inner, "kernel_size": 1, "strides": first},
        {
            "filters": inner,
            "kernel_size": 3,
            "strides": second,
            "dilation_rate": place.dilation,
            "groups": net.groups,
        },
        {"filters": 4 * place.width, "kernel_size": 1},
    )
    return net.unit(x, convolutions, place)
