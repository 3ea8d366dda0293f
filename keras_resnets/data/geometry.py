"""Shearing, shifting and turning images about, as Pillow's `Image.transform` does."""

import math

import tensorflow as tf

INTERPOLATIONS = ("nearest", "bilinear")


def transform(images, matrices, fill, interpolation="bilinear"):
    """Applies an affine map to each image of a batch.

    As in Pillow, pixel `(x, y)` has its centre at `(x + 0.5, y + 0.5)`, the map leads from an
    output pixel's centre to the place `(a x + b y + c, d x + e y + f)` that it shows, and what lies
    beyond the image is filled: pixels at the border are not blended with it.

    Args:
        images: uint8 tensor `(batch, height, width, channels)`.
        matrices: float32 tensor `(batch, 6)` of a, b, c, d, e, f.
        fill: Sequence of floats in 0..255, one a channel.
        interpolation: String, `"nearest"` or `"bilinear"`. Defaults to `"bilinear"`.

    Returns:
        uint8 tensor of the shape of `images`.
    """
    a, b, c, d, e, f = tf.unstack(matrices, axis=1)
    zero = tf.zeros_like(a)
    # TensorFlow's pixels have their centres at whole numbers.
    centred = [a, b, c + (a + b - 1) / 2, d, e, f + (d + e - 1) / 2, zero, zero]
    size = tf.shape(images)[1:3]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack(centred, axis=1),
        output_shape=size,
        fill_value=0.0,
        interpolation=interpolation.upper(),
        fill_mode="NEAREST",
    )
    height, width = tf.unstack(tf.cast(size, tf.float32))
    x = (tf.range(width) + 0.5)[None, None, :]
    y = (tf.range(height) + 0.5)[None, :, None]
    a, b, c, d, e, f = (values[:, None, None] for values in (a, b, c, d, e, f))
    across, down = a * x + b * y + c, d * x + e * y + f
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    made = tf.where(inside[..., None], tf.round(moved), tf.round(tf.constant(fill, tf.float32)))
    return tf.ensure_shape(tf.cast(made, tf.uint8), images.shape)


def shear_x(images, factor, fill, interpolation):
    """Moves each row by `factor` times its height in the image."""
    return transform(images, _matrices(factor, b=factor), fill, interpolation)


def shear_y(images, factor, fill, interpolation):
    """Moves each column by `factor` times its place in the image."""
    return transform(images, _matrices(factor, d=factor), fill, interpolation)


def translate_x(images, pixels, fill, interpolation):
    """Moves left by so many pixels."""
    return transform(images, _matrices(pixels, c=pixels), fill, interpolation)


def translate_y(images, pixels, fill, interpolation):
    """Moves up by so many pixels."""
    return transform(images, _matrices(pixels, f=pixels), fill, interpolation)


def rotate(images, degrees, fill, interpolation):
    """Turns about the centre, against the clock: `Image.rotate`."""
    angle = -degrees * (math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    y, x = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32) / 2)
    shifts = dict(c=x - cos * x - sin * y, f=y + sin * x - cos * y)
    matrices = _matrices(degrees, a=cos, b=sin, d=-sin, e=cos, **shifts)
    return transform(images, matrices, fill, interpolation)


def _matrices(like, a=1.0, b=0.0, c=0.0, d=0.0, e=1.0, f=0.0):
    return tf.stack([value + tf.zeros_like(like) for value in (a, b, c, d, e, f)], axis=1)
