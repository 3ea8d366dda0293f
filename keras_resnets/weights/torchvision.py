"""The names of torchvision's networks: resnet*, resnext*, wide_resnet* (BSD-3-Clause)."""

from keras_resnets.weights.dialect import Dialect
from keras_resnets.weights.guessing import residual_net

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

_PARTS = {f"{kind}{number}": f"{kind}{number}" for kind in ("conv", "bn") for number in (1, 2, 3)}

TORCHVISION = Dialect(
    name="torchvision",
    source="pytorch/vision, torchvision/models/resnet.py; timm's resnet.py has the same names",
    ends={"stem_conv": "conv1", "stem_bn": "bn1", "logits": "fc"},
    block="layer{stage}.{before}",
    parts=_PARTS | {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"},
    family="resnet",
    describe=residual_net,
    options={"stride_in": "3x3"},
    resize_share=0.875,
    **IMAGENET,
)
