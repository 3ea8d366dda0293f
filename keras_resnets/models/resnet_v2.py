"""ResNet V2: He 2016, *Identity Mappings in Deep Residual Networks* (arXiv 1603.05027).

Full pre-activation, BN-ReLU-convolution, of the nets of `resnet` and `resnet_cifar`, whose
docstrings say which of the released wirings is followed where they differ.
"""

from keras_resnets.models.builders import variant
from keras_resnets.models.resnet import resnet, resnet_cifar

ResNet18V2 = variant("ResNet18V2", "resnet18_v2", resnet, depth=18, activation="full_preact")
ResNet34V2 = variant("ResNet34V2", "resnet34_v2", resnet, depth=34, activation="full_preact")
ResNet50V2 = variant("ResNet50V2", "resnet50_v2", resnet, depth=50, activation="full_preact")
ResNet101V2 = variant("ResNet101V2", "resnet101_v2", resnet, depth=101, activation="full_preact")
ResNet152V2 = variant("ResNet152V2", "resnet152_v2", resnet, depth=152, activation="full_preact")
ResNet200V2 = variant("ResNet200V2", "resnet200_v2", resnet, depth=200, activation="full_preact")
ResNet20V2 = variant(
    "ResNet20V2", "resnet20_v2", resnet_cifar, depth=20, activation="full_preact", block="basic"
)
ResNet56V2 = variant(
    "ResNet56V2", "resnet56_v2", resnet_cifar, depth=56, activation="full_preact", block="basic"
)
ResNet110V2 = variant(
    "ResNet110V2", "resnet110_v2", resnet_cifar, depth=110, activation="full_preact", block="basic"
)
ResNet164V2 = variant(
    "ResNet164V2",
    "resnet164_v2",
    resnet_cifar,
    depth=164,
    activation="full_preact",
    block="bottleneck",
)
ResNet1001V2 = variant(
    "ResNet1001V2",
    "resnet1001_v2",
    resnet_cifar,
    depth=1001,
    activation="full_preact",
    block="bottleneck",
)
