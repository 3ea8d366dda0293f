"""Residual networks: He 2015, *Deep Residual Learning for Image Recognition* (arXiv 1512.03385)."""

import dataclasses
from typing import ClassVar, Literal

from keras_resnets.checks import Count, is_count, must
from keras_resnets.models.builders import family, variant
from keras_resnets.models.options import Unused
from keras_resnets.models.residual_net import ResidualNet

BLOCKS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet(ResidualNet):
    """ResNet for ImageNet: four stages of 64, 128, 256, 512 channels (He 2015, Table 1).

    The wiring is that of torchvision's `resnet.py` (v1.5), and so are the initialisers, so that
    its weights give the same outputs. With `activation="full_preact"` it is ResNet V2, as in
    facebookarchive/fb.resnet.torch (`models/preresnet.lua`): the stem's BN-ReLU stand before the
    max-pool and the first block has none of its own, the first blocks of the later stages share
    theirs with a 1x1 shortcut without batch norm, and BN-ReLU follow the last block.
    keras.applications' V2 differs: biases, no BN in the stem, the stride in a stage's last block.

    Args:
        depth: Int. 18 and 34 have basic blocks, 50, 101, 152 and 200 bottlenecks.
        shortcut: `"A"` (identity, zeros for new channels), `"B"` (a 1x1 convolution with batch
            norm where the shape changes) or `"C"` (in every block).
        stride_in: Of bottlenecks: `"3x3"` strides in the 3x3 convolution (v1.5), `"1x1"` in the
            first one (v1, He's Caffe nets).
        width: Int. Channels of the first stage.
        groups: Int. Groups of the bottlenecks' 3x3, ResNeXt's cardinality.
        width_per_group: Int. Channels of a group in the first stage at width 64 (in proportion
            at other widths, rounded down before it is multiplied by the groups).
        output_stride: 32, 16 or 8: input pixels a pixel of the last map. Below 32 the strides of
            the last stages become dilation, and the first block of such a stage keeps the
            dilation before it. With the cifar stem 8, all there is. `None` leaves all strides.
        bare_stem: Boolean, with `activation="full_preact"`: the stem is a convolution and the pool
            alone, and the first block begins as every other (timm's `resnetv2.py`).
        replace_stride_with_dilation: `None` or three booleans, for stages 2, 3 and 4, as in
            torchvision; basic blocks, which torchvision refuses, are dilated by the same rule.
    """

    stem: Literal["imagenet", "cifar"] = "imagenet"
    depth: Literal[18, 34, 50, 101, 152, 200] = 50
    shortcut: Literal["A", "B", "C"] = "B"
    output_stride: Literal[8, 16, 32] | None = None
    bare_stem: bool = False
    replace_stride_with_dilation: tuple[bool, bool, bool] | None = None

    decides_blocks: ClassVar[str] = "depth"

    @property
    def block_kind(self):
        return BLOCKS[self.depth][0]

    @property
    def has_bare_stem(self):
        return self.bare_stem or super().has_bare_stem

    @property
    def has_plain_start(self):
        return self.bare_stem

    def unused(self):
        for option, value in (("activation", "full_preact"), ("stem", "imagenet")):
            if getattr(self, option) != value:
                yield Unused(("bare_stem",), f"{option}={getattr(self, option)!r}", option)

    def check(self):
        full, replaced = self._full_stride, self.replace_stride_with_dilation
        if replaced is None:
            legal = tuple(stride for stride in (32, 16, 8) if stride <= full)
            must(
                "output_stride",
                self.output_stride,
                self.output_stride is None or self.output_stride in legal,
                f"one of {legal} with stem={self.stem!r}",
            )
            return
        must(
            "replace_stride_with_dilation",
            replaced,
            isinstance(replaced, tuple)
            and len(replaced) == 3
            and all(isinstance(is_replaced, bool) for is_replaced in replaced),
            "None or three booleans, for stages 2, 3 and 4",
        )
        left = full // 2 ** sum(replaced)
        must(
            "output_stride",
            self.output_stride,
            self.output_stride in (None, left),
            f"None or {left} with replace_stride_with_dilation={replaced}",
        )

    def wiring(self):
        wiring = super().wiring()
        if not self.include_top:  # as segmentation nets take the weights of classifiers
            del wiring["output_stride"], wiring["replace_stride_with_dilation"]
        return wiring

    @property
    def _full_stride(self):
        """Stride of the whole net before dilation takes some of it."""
        return self.stems[self.stem].stride * 8

    def trunk(self):
        replaced = self.replace_stride_with_dilation
        if replaced is None:
            wanted = self.output_stride or self._full_stride
            replaced = tuple(wanted <= self._full_stride // 2**left for left in (3, 2, 1))
        return self.trunk_of(BLOCKS[self.depth][1], replaced)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetCifar(ResidualNet):
    """ResNet for CIFAR: three stages of 16, 32, 64 channels (He 2015, section 4.2).

    With `activation="full_preact"` it is ResNet V2, as in KaimingHe/resnet-1k-layers
    (`resnet-pre-act.lua`): the stem is one convolution, the first block of the net and those with
    new channels share their first BN-ReLU with a shortcut without batch norm, and BN-ReLU follow
    the last block. That file has bottlenecks only; basic blocks follow
    facebookarchive/fb.resnet.torch (`models/preresnet.lua`) and the paper's appendix.

    Args:
        depth: Int. 6n+2 with basic blocks, 9n+2 with bottlenecks.
        block: `"basic"` or `"bottleneck"` (He 2016, whose stages end in 64, 128 and 256
            channels).
        shortcut: `"A"`, `"B"` or `"C"`, as for `resnet`. `None` is A for basic blocks, as in the
            paper, and B for bottlenecks.
        stride_in: Of bottlenecks: `"1x1"` strides in the first convolution, as in
            KaimingHe/resnet-1k-layers, `"3x3"` in the second.
        width: Int. Channels of the first stage.
        groups: Int, as for `resnet`.
        width_per_group: Int, as for `resnet`.
    """

    num_classes: Count = 10
    stem: Literal["imagenet", "cifar"] = "cifar"
    depth: int = 20
    block: Literal["basic", "bottleneck"] = "basic"
    stride_in: Literal["3x3", "1x1"] = "1x1"
    width: Count = 16

    decides_blocks: ClassVar[str] = "block"

    @property
    def block_kind(self):
        return self.block

    @property
    def usual_shortcut(self):
        return "A" if self.block == "basic" else "B"

    @property
    def _layers_a_row(self):
        """Convolutions of one block in each of the three stages."""
        return 6 if self.block == "basic" else 9

    def check(self):
        layers = self._layers_a_row
        examples = ", ".join(str(layers * n + 2) for n in (1, 2, 3))
        must(
            "depth",
            self.depth,
            is_count(self.depth) and self.depth > 2 and (self.depth - 2) % layers == 0,
            f"{layers}n+2 with block={self.block!r} ({examples}, ...)",
        )

    def trunk(self):
        return self.trunk_of(((self.depth - 2) // self._layers_a_row,) * 3, (False, False))


resnet = family("resnet", ResNet)
resnet_cifar = family("resnet_cifar", ResNetCifar)

ResNet18 = variant("ResNet18", "resnet18", resnet, depth=18)
ResNet34 = variant("ResNet34", "resnet34", resnet, depth=34)
ResNet50 = variant("ResNet50", "resnet50", resnet, depth=50)
ResNet101 = variant("ResNet101", "resnet101", resnet, depth=101)
ResNet152 = variant("ResNet152", "resnet152", resnet, depth=152)
ResNet20 = variant("ResNet20", "resnet20", resnet_cifar, depth=20, block="basic")
ResNet32 = variant("ResNet32", "resnet32", resnet_cifar, depth=32, block="basic")
ResNet44 = variant("ResNet44", "resnet44", resnet_cifar, depth=44, block="basic")
ResNet56 = variant("ResNet56", "resnet56", resnet_cifar, depth=56, block="basic")
ResNet110 = variant("ResNet110", "resnet110", resnet_cifar, depth=110, block="basic")
ResNet1202 = variant("ResNet1202", "resnet1202", resnet_cifar, depth=1202, block="basic")
ResNet164 = variant(
    "ResNet164", "resnet164", resnet_cifar, depth=164, block="bottleneck"
)
ResNet1001 = variant(
    "ResNet1001", "resnet1001", resnet_cifar, depth=1001, block="bottleneck"
)
WideResNet50_2 = variant(
    "WideResNet50_2", "wide_resnet50_2", resnet, depth=50, width_per_group=128
)
WideResNet101_2 = variant(
    "WideResNet101_2", "wide_resnet101_2", resnet, depth=101, width_per_group=128
)
