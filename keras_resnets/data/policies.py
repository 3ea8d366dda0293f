"""Policies that choose among many operations: RandAugment and TrivialAugment.

They work in whole grey levels, as Pillow does, whose results theirs are within two levels of.
"""

import dataclasses
import functools
import math
import re
from typing import ClassVar

import tensorflow as tf

from keras_resnets.data import colour, geometry
from keras_resnets.data.operations import Operation
from keras_resnets.errors import UserError

# timm's `_RAND_TRANSFORMS`, in their order.
RAND_OPERATIONS = (
    "auto_contrast", "equalize", "invert", "rotate", "posterize", "solarize", "solarize_add",
    "color", "contrast", "brightness", "sharpness",
    "shear_x", "shear_y", "translate_x", "translate_y",
)
# torchvision's `TrivialAugmentWide`, in their order.
TRIVIAL_OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness",
    "color", "contrast", "sharpness", "posterize", "solarize", "auto_contrast", "equalize",
)
TRIVIAL_BINS = 31
_TENTHS = 10  # what timm's magnitudes are divided by
_COLOURS = {
    "auto_contrast": lambda images, _: colour.autocontrast(images),
    "equalize": lambda images, _: colour.equalize(images),
    "invert": lambda images, _: colour.invert(images),
    "identity": lambda images, _: images,
    "posterize": colour.posterize,
    "solarize": colour.solarize,
    "solarize_add": colour.solarize_add,
    "color": colour.saturation,
    "contrast": colour.contrast,
    "brightness": colour.brightness,
    "sharpness": colour.sharpness,
}
_SHAPES = {
    "rotate": geometry.rotate,
    "shear_x": geometry.shear_x,
    "shear_y": geometry.shear_y,
    "translate_x": geometry.translate_x,
    "translate_y": geometry.translate_y,
}


def rand_values(magnitude, sign, size, increasing):
    """What RandAugment's operations are given at a magnitude: timm's `LEVEL_TO_ARG`.

    Args:
        magnitude: float32 tensor `(batch,)`, from 0 up.
        sign: float32 tensor `(batch,)`, 1 or -1, the direction of what has two.
        size: float32 tensor `(2,)`, the images' height and width.
        increasing: Boolean. Whether all operations get stronger with the magnitude.

    Returns:
        Dictionary from the name of an operation to its values `(batch,)`: degrees, bits, grey
        levels, factors, or pixels.
    """

    def share(most):
        return magnitude * most / _TENTHS

    bits, threshold = tf.floor(share(4)), tf.minimum(tf.floor(share(256)), 256.0)
    factor = share(1.8) + 0.1
    if increasing:
        bits, threshold = 4 - bits, 256 - threshold
        factor = tf.maximum(1 + sign * share(0.9), 0.1)
    return {
        "rotate": sign * share(30),
        "posterize": tf.maximum(bits, 0.0),
        "solarize": threshold,
        "solarize_add": tf.minimum(tf.floor(share(110)), 128.0),
        "color": factor,
        "contrast": factor,
        "brightness": factor,
        "sharpness": factor,
        "shear_x": sign * share(0.3),
        "shear_y": sign * share(0.3),
        "translate_x": sign * share(0.45) * size[1],
        "translate_y": sign * share(0.45) * size[0],
    }


def trivial_values(step, sign):
    """What TrivialAugment's operations are given at a step: torchvision's `TrivialAugmentWide`.

    Args:
        step: float32 tensor `(batch,)`, of 0..30.
        sign: float32 tensor `(batch,)`, 1 or -1.

    Returns:
        Dictionary as that of `rand_values`.
    """
    share = step / (TRIVIAL_BINS - 1)
    factor = 1 + sign * 0.99 * share
    pixels = sign * tf.floor(32 * step / (TRIVIAL_BINS - 1))
    return {
        "shear_x": sign * 0.99 * share,
        "shear_y": sign * 0.99 * share,
        "translate_x": pixels,
        "translate_y": pixels,
        "rotate": sign * 135 * share,
        "brightness": factor,
        "color": factor,
        "contrast": factor,
        "sharpness": factor,
        "posterize": 8 - tf.round(step / 5),
        "solarize": 255 * (1 - share),
    }


@dataclasses.dataclass(frozen=True)
class RandAugment(Operation):
    """RandAugment (Cubuk et al. 2020) with timm's operations, magnitudes and settings.

    `layers` operations are drawn with replacement out of 15; each is applied with probability `p`,
    at a magnitude drawn from a normal distribution about `magnitude` of deviation `std`, within 0
    and `max_magnitude`. timm's `rand-m7-mstd0.5-inc1` is
    `rand_augment:magnitude=7:std=0.5:increasing=true`, and may be written as timm does.

    What comes from beyond the image has the set's mean colour, as in timm. Interpolation is
    bilinear; timm draws between bilinear and bicubic, or takes that of its resizing.

    Args:
        p: Float in 0..1, timm's `p`. Defaults to 0.5.
        magnitude: Float in 0..`max_magnitude`, timm's `m`. Defaults to 10.
        layers: Int, timm's `n`. Defaults to 2.
        std: Float, timm's `mstd`; above 100 the magnitude is uniform in 0..`magnitude`. Defaults
            to 0.
        increasing: Boolean, timm's `inc`: whether posterizing, solarizing and the four
            enhancements get stronger with the magnitude, as the others do. Defaults to `False`.
        max_magnitude: Float, timm's `mmax`. Defaults to 10.
        interpolation: String, `"bilinear"` or `"nearest"`. Defaults to `"bilinear"`.
    """

    p: float = 0.5
    magnitude: float = 10.0
    layers: int = 2
    std: float = 0.0
    increasing: bool = False
    max_magnitude: float = 10.0
    interpolation: str = "bilinear"

    def __post_init__(self):
        super().__post_init__()
        self._require("max_magnitude", 0 < self.max_magnitude < math.inf, "above 0")
        most = self.max_magnitude
        self._require("magnitude", 0 <= self.magnitude <= most, f"in 0..max_magnitude={most}")
        self._require("layers", self.layers >= 1, "1 or more")
        self._require("std", self.std >= 0, "0 or more")
        self._require(
            "interpolation", self.interpolation in geometry.INTERPOLATIONS, "nearest or bilinear"
        )

    @classmethod
    def from_timm(cls, settings):
        """Reads timm's settings: `rand-m9-n3-p0.5-mstd0.5-mmax15-inc1`.

        Raises:
            ValueError: If a part is not one of these, or a value is not legal.
        """
        fields = {"m": "magnitude", "n": "layers", "p": "p", "mstd": "std", "inc": "increasing",
                  "mmax": "max_magnitude"}
        arguments = {}
        for part in settings.split("-")[1:]:
            found = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", part)
            whole = found and "." not in found[2]
            if not found or found[1] not in fields or (found[1] in ("n", "inc") and not whole):
                raise UserError(
                    "RandAugment's settings must be rand and parts m9, n2, p0.5, mstd0.5, mmax10, "
                    f"inc1. Received: {settings!r}"
                )
            kind = {"n": int, "inc": lambda text: bool(int(text))}.get(found[1], float)
            arguments[fields[found[1]]] = kind(found[2])
        return cls(**arguments)

    @property
    def numbers(self):
        """Random numbers an image: choice, chance, magnitude and direction of each layer."""
        return 4 * self.layers

    def __call__(self, images, numbers, context):
        images = _whole(images)
        size = tf.cast(tf.shape(images)[1:3], tf.float32)
        for layer in range(self.layers):
            choice, chance, level, direction = tf.unstack(
                numbers[:, 4 * layer : 4 * layer + 4], axis=1
            )
            if self.std > 100:
                magnitude = level * self.magnitude
            else:
                magnitude = self.magnitude + self.std * colour.normal(level)
            magnitude = tf.clip_by_value(magnitude, 0.0, self.max_magnitude)
            values = rand_values(magnitude, _sign(direction), size, self.increasing)
            names = (*RAND_OPERATIONS, "identity")
            choice = tf.cast(choice * len(RAND_OPERATIONS), tf.int32)
            choice = tf.where(chance < self.p, choice, len(RAND_OPERATIONS))
            images = _apply(images, names, choice, values, context.mean, self.interpolation)
        return images


@dataclasses.dataclass(frozen=True)
class TrivialAugment(Operation):
    """TrivialAugment (Müller & Hutter 2021), its wide space, as torchvision has it.

    One of 14 operations, at one of 31 magnitudes. What comes from beyond the image is black.

    Args:
        interpolation: String, `"bilinear"` (torchvision's recipes) or `"nearest"` (the authors').
            Defaults to `"bilinear"`.
    """

    interpolation: str = "bilinear"
    numbers: ClassVar[int] = 4

    def __post_init__(self):
        super().__post_init__()
        self._require(
            "interpolation", self.interpolation in geometry.INTERPOLATIONS, "nearest or bilinear"
        )

    def __call__(self, images, numbers, context):
        step = tf.floor(numbers[:, 2] * TRIVIAL_BINS)
        values = trivial_values(step, _sign(numbers[:, 3]))
        choice = tf.cast(numbers[:, 1] * len(TRIVIAL_OPERATIONS), tf.int32)
        choice = tf.where(self._chosen(numbers), choice, 0)
        black = (0.0,) * images.shape[-1]
        return _apply(
            _whole(images), TRIVIAL_OPERATIONS, choice, values, black, self.interpolation
        )


def operation(name, fill=(0.0,), interpolation="bilinear"):
    """The function of uint8 images and values `(batch,)` to uint8 images behind a name."""
    if name in _SHAPES:
        return functools.partial(_SHAPES[name], fill=fill, interpolation=interpolation)
    # Pillow cuts fractions off.
    return lambda images, values: tf.cast(_COLOURS[name](images, values), tf.uint8)


def _apply(images, names, choice, values, fill, interpolation):
    none = tf.zeros(tf.shape(choice))
    branches = [
        (operation(name, fill, interpolation), values.get(name, none)) for name in names
    ]
    return colour.apply_chosen(images, choice, branches)


def _sign(numbers):
    return tf.where(numbers < 0.5, 1.0, -1.0)


def _whole(images):
    """Images in whole grey levels."""
    if images.dtype == tf.uint8:
        return images
    return tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)
