"""ResNeXt: Xie 2017, *Aggregated Residual Transformations* (arXiv 1611.05431).

Bottlenecks with a grouped 3x3, form (c) of the paper's Figure 3, which equals (a), separate
branches summed, and (b), branches concatenated before the last 1x1. As in facebookresearch/ResNeXt
(`models/resnext.lua`) the blocks are post-activated, the CIFAR nets too (the paper's are
pre-activated: `resnet_cifar(..., activation="full_preact")`), only the 3x3 is grouped, and it
has the stride.
"""

from keras_resnets.models.builders import variant
from keras_resnets.models.resnet import resnet, resnet_cifar

ResNeXt50_32x4d = variant(
    "ResNeXt50_32x4d", "resnext50_32x4d", resnet, depth=50, groups=32, width_per_group=4
)
ResNeXt101_32x4d = variant(
    "ResNeXt101_32x4d", "resnext101_32x4d", resnet, depth=101, groups=32, width_per_group=4
)
ResNeXt101_32x8d = variant(
    "ResNeXt101_32x8d", "resnext101_32x8d", resnet, depth=101, groups=32, width_per_group=8
)
ResNeXt101_64x4d = variant(
    "ResNeXt101_64x4d", "resnext101_64x4d", resnet, depth=101, groups=64, width_per_group=4
)
ResNeXt29_8x64d = variant(
    "ResNeXt29_8x64d",
    "resnext29_8x64d",
    resnet_cifar,
    depth=29,
    groups=8,
    width_per_group=64,
    block="bottleneck",
    stride_in="3x3",
    width=64,
)
ResNeXt29_16x64d = variant(
    "ResNeXt29_16x64d",
    "resnext29_16x64d",
    resnet_cifar,
    depth=29,
    groups=16,
    width_per_group=64,
    block="bottleneck",
    stride_in="3x3",
    width=64,
)
ResNeXt29_32x4d = variant(
    "ResNeXt29_32x4d",
    "resnext29_32x4d",
    resnet_cifar,
    depth=29,
    groups=32,
    width_per_group=4,
    block="bottleneck",
    stride_in="3x3",
    width=64,
)
