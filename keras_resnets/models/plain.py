"""Plain nets: the networks of `resnet` and `resnet_cifar` without their shortcuts.

With them He 2015 shows the degradation that residual learning cures: the deeper net trains worse
(Figures 1, 4 and 6; Plain-20 against Plain-56, Plain-18 against Plain-34).
"""

from keras_resnets.models.registry import variant
from keras_resnets.models.resnet import resnet, resnet_cifar

for _depth in (20, 32, 44, 56, 110):
    variant(
        f"Plain{_depth}", f"plain{_depth}", resnet_cifar, depth=_depth, block="basic", skip="none"
    )
for _depth in (18, 34):
    variant(f"Plain{_depth}", f"plain{_depth}", resnet, depth=_depth, skip="none")
