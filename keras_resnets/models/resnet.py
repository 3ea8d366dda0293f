"""Residual networks: He 2015, *Deep Residual Learning for Image Recognition* (arXiv 1512.03385)."""

import functools

from keras_resnets.models.network import STEMS, Stage
from keras_resnets.models.options import check_choice, shares
from keras_resnets.models.registry import Trunk, family, variant
from keras_resnets.models.residual import Wiring, final_activation, residual_unit
from keras_resnets.models.stochastic_depth import StochasticDepth

DEPTHS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}
# Stride of the whole net before dilation takes some of it.
FULL_STRIDE = {"imagenet": 32, "cifar": 8}


def basic(x, width, stride, dilation, name, position, *, unit):
    """3x3 with the stride, BN, ReLU, 3x3, BN; added to the shortcut, ReLU (He 2015, Fig. 5, left).

    Both convolutions have the dilation.
    """
    convolutions = (
        {"filters": width, "kernel_size": 3, "strides": stride, "dilation_rate": dilation},
        {"filters": width, "kernel_size": 3, "dilation_rate": dilation},
    )
    return unit(x, convolutions, stride, name, position)


def bottleneck(
    x, width, stride, dilation, name, position, *, unit, stride_in, groups, width_per_group
):
    """1x1, BN, ReLU, 3x3, BN, ReLU, 1x1 to 4 times the width, BN; added, ReLU (Fig. 5, right).

    The stride is on the 3x3 (v1.5: fb.resnet.torch, torchvision) or on the first 1x1 (v1: the
    paper's released Caffe nets). The 3x3 is grouped in ResNeXt (Xie 2017, Fig. 3c); the first two
    convolutions have `int(width * width_per_group / 64) * groups` channels, the last one
    `4 * width` whatever the groups.
    """
    inner = int(width * (width_per_group / 64)) * groups
    first, second = (1, stride) if stride_in == "3x3" else (stride, 1)
    convolutions = (
        {"filters": inner, "kernel_size": 1, "strides": first},
        {
            "filters": inner,
            "kernel_size": 3,
            "strides": second,
            "dilation_rate": dilation,
            "groups": groups,
        },
        {"filters": 4 * width, "kernel_size": 1},
    )
    return unit(x, convolutions, stride, name, position)


def _bind_block(kind, unit, *, width, stride_in, groups, width_per_group):
    """`basic` or `bottleneck` with everything bound that is the same for all blocks of a net."""
    numbers = {"width": width, "groups": groups, "width_per_group": width_per_group}
    for key, value in numbers.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"`{key}` must be a positive integer. Received: {key}={value!r}")
    check_choice("stride_in", stride_in, ("3x3", "1x1"))
    if kind == "basic":
        if (groups, width_per_group) != (1, 64):
            raise ValueError(
                "`groups` and `width_per_group` must be 1 and 64 with basic blocks, whose "
                f"convolutions are not grouped. Received: groups={groups}, "
                f"width_per_group={width_per_group}"
            )
        return functools.partial(basic, unit=unit)
    if width * width_per_group < 64:
        raise ValueError(
            f"`width_per_group` must be at least 64 / width = {64 / width:g}, for one channel a "
            f"group. Received: width_per_group={width_per_group}"
        )
    return functools.partial(
        bottleneck, unit=unit, stride_in=stride_in, groups=groups, width_per_group=width_per_group
    )


def _trunk(
    kind,
    depths,
    replaced,
    *,
    shortcut,
    stem,
    norm,
    wiring,
    stochastic_depth,
    width,
    **block_options,
):
    """Stages of doubling width, the first without stride; `replaced` strides become dilation."""
    check_choice("shortcut", shortcut, ("A", "B", "C"))
    if wiring.skip == "none" and stochastic_depth.survival < 1:
        raise ValueError(
            "`survival` must be 1 with skip='none': a plain net cannot do without a block. "
            f"Received: survival={stochastic_depth.survival}"
        )
    # A max-pool follows the BN-ReLU of the imagenet stem; the cifar stem leaves them to the block.
    is_bare = wiring.activation == "full_preact" and stem == "cifar"
    unit = functools.partial(
        residual_unit,
        shortcut=shortcut,
        norm=norm,
        wiring=wiring,
        stochastic_depth=stochastic_depth,
        activated=not is_bare,
    )
    block = _bind_block(kind, unit, width=width, **block_options)
    stages, dilation = [Stage(block, depths[0], width)], 1
    for index, (depth, is_dilated) in enumerate(zip(depths[1:], replaced, strict=True), 1):
        dilation *= 2 if is_dilated else 1
        stride = 1 if is_dilated else 2
        stages.append(Stage(block, depth, width * 2**index, stride, dilation))
    return Trunk(
        functools.partial(STEMS[stem], width=width, norm=None if is_bare else norm),
        stages,
        functools.partial(final_activation, norm=norm, wiring=wiring),
    )


def _replaced_strides(output_stride, replace_stride_with_dilation, stem):
    """Which of the last three stages have dilation instead of a stride."""
    replaced, full = replace_stride_with_dilation, FULL_STRIDE[stem]
    if replaced is None:
        legal = tuple(stride for stride in (32, 16, 8) if stride <= full)
        output_stride = full if output_stride is None else output_stride
        if output_stride not in legal:
            raise ValueError(
                f"`output_stride` must be one of {legal} with stem={stem!r}. "
                f"Received: output_stride={output_stride!r}"
            )
        return tuple(output_stride <= full // 2**left for left in (3, 2, 1))
    if (
        not isinstance(replaced, tuple)
        or len(replaced) != 3
        or not all(isinstance(is_replaced, bool) for is_replaced in replaced)
    ):
        raise ValueError(
            "`replace_stride_with_dilation` must be None or three booleans, for stages 2, 3 and "
            f"4. Received: replace_stride_with_dilation={replaced!r}"
        )
    if output_stride not in (None, full // 2 ** sum(replaced)):
        raise ValueError(
            f"`output_stride` must be None or {full // 2 ** sum(replaced)} with "
            f"replace_stride_with_dilation={replaced}. Received: output_stride={output_stride!r}"
        )
    return replaced


@family(num_classes=1000, stem="imagenet")
@shares("wiring", Wiring)
@shares("stochastic_depth", StochasticDepth)
def resnet(
    depth=50,
    shortcut="B",
    stride_in="3x3",
    width=64,
    groups=1,
    width_per_group=64,
    output_stride=None,
    replace_stride_with_dilation=None,
    *,
    stem,
    norm,
    wiring,
    stochastic_depth,
):
    """ResNet for ImageNet: four stages of 64, 128, 256, 512 channels (He 2015, Table 1).

    The wiring is that of torchvision's `resnet.py` (v1.5), and so are the initialisers, so that
    its weights give the same outputs. With `activation="full_preact"` it is ResNet V2, as in
    facebookarchive/fb.resnet.torch (`models/preresnet.lua`): the stem's BN-ReLU stand before the
    max-pool and the first block has none of its own, the first blocks of the later stages share
    theirs with a 1x1 shortcut without batch norm, and BN-ReLU follow the last block.
    keras.applications' V2 differs: biases, no BN in the stem, the stride in a stage's last block.

    Args:
        depth: Int. 18 and 34 have basic blocks, 50, 101, 152 and 200 bottlenecks. Defaults to 50.
        shortcut: `"A"` (identity, zeros for new channels), `"B"` (a 1x1 convolution with batch
            norm where the shape changes) or `"C"` (in every block). Defaults to `"B"`.
        stride_in: Of bottlenecks: `"3x3"` strides in the 3x3 convolution (v1.5), `"1x1"` in the
            first one (v1, He's Caffe nets). Defaults to `"3x3"`.
        width: Int. Channels of the stem and the first stage. Defaults to 64.
        groups: Int. Groups of the bottlenecks' 3x3, ResNeXt's cardinality. Defaults to 1.
        width_per_group: Int. Channels of a group in the first stage at width 64 (in proportion
            at other widths, rounded down before it is multiplied by the groups). Defaults to 64.
        output_stride: 32, 16 or 8: input pixels a pixel of the last map. Below 32 the strides of
            the last stages become dilation, and the first block of such a stage keeps the
            dilation before it. The cifar stem's 8 has nothing to replace. `None` leaves all
            strides. Defaults to `None`.
        replace_stride_with_dilation: `None` or three booleans, for stages 2, 3 and 4, as in
            torchvision; basic blocks, which torchvision refuses, are dilated by the same rule.
            Defaults to `None`.
    """
    check_choice("depth", depth, DEPTHS)
    kind, depths = DEPTHS[depth]
    return _trunk(
        kind,
        depths,
        _replaced_strides(output_stride, replace_stride_with_dilation, stem),
        shortcut=shortcut,
        stem=stem,
        norm=norm,
        wiring=wiring,
        stochastic_depth=stochastic_depth,
        width=width,
        stride_in=stride_in,
        groups=groups,
        width_per_group=width_per_group,
    )


@family(num_classes=10, stem="cifar")
@shares("wiring", Wiring)
@shares("stochastic_depth", StochasticDepth)
def resnet_cifar(
    depth=20,
    block="basic",
    shortcut=None,
    stride_in="1x1",
    width=16,
    groups=1,
    width_per_group=64,
    *,
    stem,
    norm,
    wiring,
    stochastic_depth,
):
    """ResNet for CIFAR: three stages of 16, 32, 64 channels (He 2015, section 4.2).

    With `activation="full_preact"` it is ResNet V2, as in KaimingHe/resnet-1k-layers
    (`resnet-pre-act.lua`): the stem is one convolution, the first block of the net and those with
    new channels share their first BN-ReLU with a shortcut without batch norm, and BN-ReLU follow
    the last block. That file has bottlenecks only; basic blocks follow
    facebookarchive/fb.resnet.torch (`models/preresnet.lua`) and the paper's appendix.

    Args:
        depth: Int. 6n+2 with basic blocks, 9n+2 with bottlenecks. Defaults to 20.
        block: `"basic"` or `"bottleneck"` (He 2016, whose stages end in 64, 128 and 256
            channels). Defaults to `"basic"`.
        shortcut: `"A"`, `"B"` or `"C"`, as for `resnet`. `None` is A for basic blocks, as in the
            paper, and B for bottlenecks. Defaults to `None`.
        stride_in: Of bottlenecks: `"1x1"` strides in the first convolution, as in
            KaimingHe/resnet-1k-layers, `"3x3"` in the second. Defaults to `"1x1"`.
        width: Int. Channels of the stem and the first stage. Defaults to 16.
        groups: Int, as for `resnet`. Defaults to 1.
        width_per_group: Int, as for `resnet`. Defaults to 64.
    """
    check_choice("block", block, ("basic", "bottleneck"))
    layers_a_row = 6 if block == "basic" else 9
    blocks, rest = divmod(depth - 2, layers_a_row) if type(depth) is int else (0, 1)
    if blocks < 1 or rest:
        raise ValueError(
            f"`depth` must be {layers_a_row}n+2 with block={block!r} "
            f"({', '.join(str(layers_a_row * n + 2) for n in (1, 2, 3))}, ...). "
            f"Received: depth={depth!r}"
        )
    if shortcut is None:
        shortcut = "A" if block == "basic" else "B"
    return _trunk(
        block,
        (blocks,) * 3,
        (False, False),
        shortcut=shortcut,
        stem=stem,
        norm=norm,
        wiring=wiring,
        stochastic_depth=stochastic_depth,
        width=width,
        stride_in=stride_in,
        groups=groups,
        width_per_group=width_per_group,
    )


for _depth in (18, 34, 50, 101, 152):
    variant(f"ResNet{_depth}", f"resnet{_depth}", resnet, depth=_depth)
for _depth in (20, 32, 44, 56, 110, 1202):
    variant(f"ResNet{_depth}", f"resnet{_depth}", resnet_cifar, depth=_depth, block="basic")
for _depth in (164, 1001):
    variant(f"ResNet{_depth}", f"resnet{_depth}", resnet_cifar, depth=_depth, block="bottleneck")
for _depth in (50, 101):
    variant(
        f"WideResNet{_depth}_2", f"wide_resnet{_depth}_2", resnet, depth=_depth, width_per_group=128
    )
