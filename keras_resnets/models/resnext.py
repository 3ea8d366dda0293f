"""ResNeXt: Xie 2017, *Aggregated Residual Transformations* (arXiv 1611.05431).

Bottlenecks with a grouped 3x3, form (c) of the paper's Figure 3, which equals (a), separate
branches summed, and (b), branches concatenated before the last 1x1. As in facebookresearch/ResNeXt
(`models/resnext.lua`) the blocks are post-activated, the CIFAR nets too (the paper's are
pre-activated: `resnet_cifar(..., activation="full_preact")`), only the 3x3 is grouped, and it
has the stride.
"""

from keras_resnets.models.registry import variant
from keras_resnets.models.resnet import resnet, resnet_cifar


def _resnext(family_builder, depth, cardinality, width_per_group, **fixed):
    variant(
        f"ResNeXt{depth}_{cardinality}x{width_per_group}d",
        f"resnext{depth}_{cardinality}x{width_per_group}d",
        family_builder,
        depth=depth,
        groups=cardinality,
        width_per_group=width_per_group,
        **fixed,
    )


for _depth, _cardinality, _width in ((50, 32, 4), (101, 32, 4), (101, 32, 8), (101, 64, 4)):
    _resnext(resnet, _depth, _cardinality, _width)
for _cardinality, _width in ((8, 64), (16, 64), (32, 4)):
    _resnext(
        resnet_cifar, 29, _cardinality, _width, block="bottleneck", stride_in="3x3", width=64
    )
