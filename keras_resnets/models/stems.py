"""What stands between the image and the first stage."""

import dataclasses
from collections.abc import Callable

import keras


@dataclasses.dataclass(frozen=True)
class Stem:
    """A stem of networks.

    Attributes:
        build: `build(image, width, *, net, **arguments) -> maps`, where `net` is the `Options` of
            the network, whose convolutions, norms and pools are taken, and the arguments are the
            family's. The maps are a dictionary from stride (input pixels a pixel) to Keras tensor,
            ascending; the last enters the first stage.
        stride: Int. Input pixels a pixel of the last map.
        smallest_side: Int. Smallest side of an image, in pixels.
        default_shape: `(height, width, channels)` of the input unless another is given.
    """

    build: Callable
    stride: int
    smallest_side: int
    default_shape: tuple[int | None, int | None, int]


def _imagenet(image, width, *, net, activated=True, kernel_size=None):
    """7x7 stride 2, BN, ReLU, 3x3 max-pool stride 2 (He 2015, Table 1).

    BN and ReLU are left to the first block unless `activated`.
    """
    x = net.conv(width, kernel_size or 7, strides=2, name="stem_conv")(image)
    x = _activation(x, net) if activated else x
    return {2: x, 4: net.max_pool(3, strides=2, name="stem_pool")(x)}


def _cifar(image, width, *, net, activated=True, kernel_size=None):
    """3x3, BN, ReLU (He 2015, section 4.2); the latter two only if `activated`."""
    x = net.conv(width, kernel_size or 3, name="stem_conv")(image)
    return {1: _activation(x, net) if activated else x}


def _none(image, width, *, net):
    """Nothing: the image enters the first stage."""
    return {1: image}


def _activation(x, net):
    x = net.normalization(name="stem_bn")(x)
    return keras.layers.ReLU(name="stem_relu")(x)


STEMS = {
    "imagenet": Stem(_imagenet, stride=4, smallest_side=32, default_shape=(224, 224, 3)),
    "cifar": Stem(_cifar, stride=1, smallest_side=8, default_shape=(32, 32, 3)),
}
# For families whose first block can take the image itself (FractalNet).
NO_STEM = Stem(_none, stride=1, smallest_side=1, default_shape=(32, 32, 3))
