"""Colours: what Pillow's ImageOps and ImageEnhance do, for batches, and operations made of it.

The functions take images `(batch, height, width, channels)` in 0..255, 1 (grey) or 3 (RGB)
channels, and one value an image, `(batch,)`, and return float32 in 0..255, not rounded. Sums over
an image are those of integers: they do not depend on how a batch is split over threads.
"""

import dataclasses
import itertools
from typing import ClassVar

import tensorflow as tf

from keras_resnets.data.operations import Operation
from keras_resnets.errors import UserError

# ImageNet's principal components of RGB in 0..1 (facebookarchive/fb.resnet.torch,
# datasets/imagenet.lua): variances by which alpha is scaled, and a column for each component.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
_LUMA = (19595, 38470, 7471)  # of 65536: ITU-R 601 as Pillow has it
_ORDERS = tuple(itertools.permutations(range(4)))


def apply_chosen(images, choice, branches):
    """Gives each image to one of several functions.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        choice: int32 tensor `(batch,)`, the number of an image's branch.
        branches: Sequence of (function, values): the function takes the images that chose it and
            their part of the values `(batch,)`, and returns images of the same type and shape.

    Returns:
        Tensor of the shape of `images`.
    """
    rows = tf.range(tf.shape(images)[0])
    places = tf.dynamic_partition(rows, choice, len(branches))
    results = []
    for (function, values), chosen in zip(branches, places, strict=True):
        part, value = tf.gather(images, chosen), tf.gather(values, chosen)
        results.append(_unless_empty(function, part, value))
    return tf.ensure_shape(tf.dynamic_stitch(places, results), images.shape)


def grey(images):
    """Luminance `(batch, height, width, 1)` in whole grey levels, Pillow's `convert("L")`."""
    images = tf.cast(images, tf.float32)
    if images.shape[-1] == 1:
        return images
    weighted = images * [weight / 65536 for weight in _LUMA]
    return tf.floor(tf.reduce_sum(weighted, axis=-1, keepdims=True) + 0.5)


def blend(degenerate, images, factor):
    """From `degenerate` at 0 over `images` at 1 and on, within 0..255."""
    images = tf.cast(images, tf.float32)
    return _clip(degenerate + _column(factor) * (images - degenerate))


def brightness(images, factor):
    """Blends with black: `ImageEnhance.Brightness`."""
    return blend(0.0, images, factor)


def contrast(images, factor):
    """Blends with the mean grey level: `ImageEnhance.Contrast`."""
    levels = tf.cast(tf.round(grey(images)), tf.int64)
    total = tf.cast(tf.reduce_sum(levels, axis=(1, 2, 3), keepdims=True), tf.float32)
    mean = total / tf.cast(tf.reduce_prod(tf.shape(images)[1:3]), tf.float32)
    return blend(tf.floor(mean + 0.5), images, factor)


def saturation(images, factor):
    """Blends with grey: `ImageEnhance.Color`."""
    return blend(grey(images), images, factor)


def sharpness(images, factor):
    """Blends with the smoothed image: `ImageEnhance.Sharpness`. The border stays as it is."""
    images = tf.cast(images, tf.float32)
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    shifts = itertools.product(range(3), repeat=2)
    around = tf.add_n([padded[:, y : y + height, x : x + width] for y, x in shifts])
    smooth = tf.floor((around + 4 * images) / 13 + 0.5)
    rows, columns = _is_inner(height), _is_inner(width)
    inner = (rows[:, None] & columns[None])[None, :, :, None]
    return blend(tf.where(inner, smooth, images), images, factor)


def hue(images, shift):
    """Turns the hue by a share of the circle, in -0.5..0.5: torchvision's `adjust_hue`."""
    if images.shape[-1] == 1:
        return tf.cast(images, tf.float32)
    hsv = tf.image.rgb_to_hsv(tf.cast(images, tf.float32) / 255)
    turned = tf.math.floormod(hsv[..., :1] + _column(shift), 1.0)
    return _clip(255 * tf.image.hsv_to_rgb(tf.concat([turned, hsv[..., 1:]], axis=-1)))


def autocontrast(images):
    """Stretches each channel to 0..255: `ImageOps.autocontrast`."""
    levels = _levels(images)
    low = tf.reduce_min(levels, axis=(1, 2), keepdims=True)
    extent = tf.reduce_max(levels, axis=(1, 2), keepdims=True) - low
    stretched = (levels - low) * 255 // tf.maximum(extent, 1)
    return tf.cast(tf.where(extent > 0, stretched, levels), tf.float32)


def equalize(images):
    """Makes each channel's histogram even: `ImageOps.equalize`."""
    levels = _levels(images)
    batch, channels = tf.shape(levels)[0], levels.shape[-1]
    first = 256 * tf.reshape(tf.range(batch * channels), (batch, 1, 1, channels))
    places = tf.reshape(first + levels, [-1])
    counts = tf.math.bincount(places, minlength=256 * batch * channels)
    counts = tf.reshape(counts, (-1, 256))
    before = tf.cumsum(counts, axis=1, exclusive=True)
    highest = 255 - tf.argmax(tf.reverse(counts, [1]) > 0, axis=1, output_type=tf.int32)
    rest = tf.reduce_sum(counts, axis=1) - tf.gather(counts, highest, batch_dims=1)
    step = (rest // 255)[:, None]
    table = tf.minimum((step // 2 + before) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    mapped = tf.gather(tf.reshape(table, [-1]), places)
    return tf.cast(tf.reshape(mapped, tf.shape(levels)), tf.float32)


def invert(images):
    """`255 - images`: `ImageOps.invert`."""
    return 255 - tf.cast(images, tf.float32)


def solarize(images, threshold):
    """Inverts the levels from `threshold` on: `ImageOps.solarize`."""
    images = tf.cast(images, tf.float32)
    return tf.where(images < _column(threshold), images, 255 - images)


def solarize_add(images, addition):
    """Adds to the levels below 128, up to 255."""
    images = tf.cast(images, tf.float32)
    return tf.where(images < 128, tf.minimum(images + _column(addition), 255), images)


def posterize(images, bits):
    """Keeps the highest `bits` of each level, 0 to 8: `ImageOps.posterize`."""
    step = tf.pow(2.0, 8 - _column(tf.cast(bits, tf.float32)))
    return tf.floor(tf.cast(_levels(images), tf.float32) / step) * step


@dataclasses.dataclass(frozen=True)
class ColorJitter(Operation):
    """Changes brightness, contrast, saturation and hue, as torchvision's `ColorJitter`.

    Factors are uniform in `[max(0, 1 - x), 1 + x]` for brightness, contrast and saturation, the
    turn of the hue in `[-hue, hue]` of the circle; the order of the four is drawn for each image.
    The defaults are those of fb.resnet.torch and timm. Levels are not rounded in between.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.0
    numbers: ClassVar[int] = 6

    def __post_init__(self):
        super().__post_init__()
        for field in ("brightness", "contrast", "saturation"):
            value = getattr(self, field)
            self._require(field, 0 <= value < float("inf"), "0 or more")
        self._require("hue", 0 <= self.hue <= 0.5, "in 0..0.5")

    def __call__(self, images, numbers, context):
        branches = [
            (function, _between(numbers[:, 2 + place], max(0.0, 1 - extent), 1 + extent))
            for place, (function, extent) in enumerate(
                ((brightness, self.brightness), (contrast, self.contrast),
                 (saturation, self.saturation))
            )
        ]
        branches.append((hue, _between(numbers[:, 5], -self.hue, self.hue)))
        order = tf.cast(numbers[:, 1] * len(_ORDERS), tf.int32)
        order = tf.gather(tf.constant(_ORDERS), order)
        images = tf.cast(images, tf.float32)
        jittered = images
        for turn in range(len(branches)):
            jittered = apply_chosen(jittered, order[:, turn], branches)
        return tf.where(_column(self._chosen(numbers)), jittered, images)


@dataclasses.dataclass(frozen=True)
class Lighting(Operation):
    """Shifts colours along ImageNet's principal components (Krizhevsky et al. 2012, section 4.1).

    The shift is the sum of the components, each times its variance and a normal draw of standard
    deviation `std`, as in fb.resnet.torch (`alphastd`). Levels may go beyond 0..255, as there.
    RGB images only.
    """

    std: float = 0.1
    numbers: ClassVar[int] = 4

    def __post_init__(self):
        super().__post_init__()
        self._require("std", 0 <= self.std < float("inf"), "0 or more")

    def __call__(self, images, numbers, context):
        if images.shape[-1] != 3:
            raise UserError("it needs RGB images")
        alpha = self.std * normal(numbers[:, 1:]) * EIGENVALUES
        shift = 255 * tf.reduce_sum(alpha[:, None] * EIGENVECTORS, axis=2)
        shift = tf.where(self._chosen(numbers)[:, None], shift, 0.0)
        return tf.cast(images, tf.float32) + shift[:, None, None]


@dataclasses.dataclass(frozen=True)
class Grayscale(Operation):
    """Grey, in as many channels as before: torchvision's `RandomGrayscale`."""

    p: float = 0.1

    def __call__(self, images, numbers, context):
        return blend(grey(images), images, tf.where(self._chosen(numbers), 0.0, 1.0))


def normal(numbers):
    """Standard normal draws from uniform ones in [0, 1)."""
    return tf.math.ndtri(tf.maximum(numbers, 1e-7))


def _unless_empty(function, images, values):
    return tf.cond(tf.size(values) > 0, lambda: function(images, values), lambda: images)


def _between(numbers, low, high):
    return low + numbers * (high - low)


def _column(values):
    return values[:, None, None, None]


def _clip(images):
    return tf.clip_by_value(images, 0.0, 255.0)


def _levels(images):
    if images.dtype == tf.uint8:
        return tf.cast(images, tf.int32)
    return tf.cast(_clip(tf.round(tf.cast(images, tf.float32))), tf.int32)


def _is_inner(length):
    places = tf.range(length)
    return (places > 0) & (places < length - 1)
