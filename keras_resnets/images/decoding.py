"""Pixels from the bytes of an image file, as TensorFlow operations."""

import tensorflow as tf


def decode_image(data, channels=3):
    """Decodes JPEG, PNG, GIF (first frame) or BMP, recognised by content.

    Grey, palette, CMYK and 16-bit images and images with an alpha channel (which is dropped) become
    `channels` channels of uint8. An EXIF rotation is *not* applied, as TensorFlow has no such
    operation: rotate photos on disk where it matters.

    Args:
        data: Scalar string tensor, the bytes of the file.
        channels: 1 or 3 (1 for PNG and JPEG only). Defaults to 3.

    Returns:
        uint8 tensor of shape `(height, width, channels)`.
    """
    start = _start(data)

    def decode_other():
        if channels != 3:
            return tf.io.decode_image(data, channels, expand_animations=False)
        # tf.io.decode_image takes the palette indices of an 8-bit BMP for grey values.
        return tf.cond(
            _has(start, b"BM") & (start[28] == 8),
            lambda: _decode_palette_bmp(data),
            lambda: tf.io.decode_image(data, 3, expand_animations=False),
        )

    # The default, a fast integer DCT, is up to 19 grey levels away from libjpeg's own, which PIL
    # and so torchvision use. `decode_image` has no choice of it.
    return tf.cond(
        _has(start, b"\xff\xd8\xff"),
        lambda: tf.io.decode_jpeg(data, channels, dct_method="INTEGER_ACCURATE"),
        decode_other,
    )


def _start(data):
    """The first bytes of a file as numbers, zeros where it has fewer."""
    return tf.io.decode_raw(data, tf.uint8, fixed_length=34)


def _has(start, magic, at=0):
    return tf.reduce_all(start[at : at + len(magic)] == tf.constant(list(magic), tf.uint8))


def _decode_palette_bmp(data):
    def integer(offset):
        return tf.io.decode_raw(tf.strings.substr(data, offset, 4), tf.int32)[0]

    start, end = 14 + integer(14), integer(10)  # the palette lies between header and pixels
    palette = tf.io.decode_raw(tf.strings.substr(data, start, end - start), tf.uint8)
    indices = tf.io.decode_bmp(data)[..., 0]
    return tf.gather(tf.reshape(palette, (-1, 4))[:, 2::-1], tf.cast(indices, tf.int32))
