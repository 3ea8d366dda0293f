"""ResNet V2: He 2016, *Identity Mappings in Deep Residual Networks* (arXiv 1603.05027).

Full pre-activation, BN-ReLU-convolution, of the nets of `resnet` and `resnet_cifar`, whose
docstrings say which of the released wirings is followed where they differ.
"""

from keras_resnets.models.registry import variant
from keras_resnets.models.resnet import resnet, resnet_cifar


def _v2(family_builder, depth, **fixed):
    variant(
        f"ResNet{depth}V2",
        f"resnet{depth}_v2",
        family_builder,
        depth=depth,
        activation="full_preact",
        **fixed,
    )


for _depth in (18, 34, 50, 101, 152, 200):
    _v2(resnet, _depth)
for _depth in (20, 56, 110):
    _v2(resnet_cifar, _depth, block="basic")
for _depth in (164, 1001):
    _v2(resnet_cifar, _depth, block="bottleneck")
