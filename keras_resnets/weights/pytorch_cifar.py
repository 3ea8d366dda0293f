"""The names of three repositories with ResNets for CIFAR."""

from keras_resnets.weights.dialect import Dialect
from keras_resnets.weights.guessing import residual_net
from keras_resnets.weights.torchvision import IMAGENET, TORCHVISION

# BSD-2-Clause. He's nets of 6n+2 layers; the identity shortcut has half its zeros on either side.
AKAMASTER = Dialect(
    name="akamaster",
    source="akamaster/pytorch_resnet_cifar10, resnet.py and trainer.py",
    ends={"stem_conv": "conv1", "stem_bn": "bn1", "logits": "linear"},
    block="layer{stage}.{before}",
    parts=TORCHVISION.parts | {"shortcut_conv": "shortcut.0", "shortcut_bn": "shortcut.1"},
    family="resnet_cifar",
    describe=residual_net,
    options={"shortcut_pad": "both", "stride_in": "3x3"},
    **IMAGENET,
)

# MIT. ResNets of torchvision's widths behind a 3x3 stem.
KUANGLIU = Dialect(
    name="kuangliu",
    source="kuangliu/pytorch-cifar, models/resnet.py and main.py",
    ends=AKAMASTER.ends,
    block="layer{stage}.{before}",
    parts=AKAMASTER.parts,
    family="resnet",
    describe=residual_net,
    options={"stride_in": "3x3"},
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)

# No licence is stated. The same nets for CIFAR-100, with the layers of a branch in a row.
WEIAICUNZAI = Dialect(
    name="weiaicunzai",
    source="weiaicunzai/pytorch-cifar100, models/resnet.py and conf/global_settings.py",
    ends={"stem_conv": "conv1.0", "stem_bn": "conv1.1", "logits": "fc"},
    block="conv{next}_x.{before}",
    parts={
        "conv1": "residual_function.0",
        "bn1": "residual_function.1",
        "conv2": "residual_function.3",
        "bn2": "residual_function.4",
        "conv3": "residual_function.6",
        "bn3": "residual_function.7",
        "shortcut_conv": "shortcut.0",
        "shortcut_bn": "shortcut.1",
    },
    family="resnet",
    describe=residual_net,
    options={"stride_in": "3x3"},
    mean=(0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
    std=(0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
)
