"""Plain nets: the networks of `resnet` and `resnet_cifar` without their shortcuts.

With them He 2015 shows the degradation that residual learning cures: the deeper net trains worse
(Figures 1, 4 and 6; Plain-20 against Plain-56, Plain-18 against Plain-34).
"""

from keras_resnets.models.builders import variant
from keras_resnets.models.resnet import resnet, resnet_cifar

Plain20 = variant("Plain20", "plain20", resnet_cifar, depth=20, block="basic", skip="none")
Plain32 = variant("Plain32", "plain32", resnet_cifar, depth=32, block="basic", skip="none")
Plain44 = variant("Plain44", "plain44", resnet_cifar, depth=44, block="basic", skip="none")
Plain56 = variant("Plain56", "plain56", resnet_cifar, depth=56, block="basic", skip="none")
Plain110 = variant("Plain110", "plain110", resnet_cifar, depth=110, block="basic", skip="none")
Plain18 = variant("Plain18", "plain18", resnet, depth=18, skip="none")
Plain34 = variant("Plain34", "plain34", resnet, depth=34, skip="none")
