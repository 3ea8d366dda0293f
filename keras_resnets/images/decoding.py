"""Pixels from the bytes of an image file, as TensorFlow operations."""

import tensorflow as tf

from keras_resnets.images.headers import Header


def decode_image(data, channels=3):
    """Decodes JPEG, PNG, GIF (first frame), BMP or WebP (no animation), recognised by content.

    Grey, palette, CMYK and 16-bit images and images with an alpha channel (which is dropped) become
    `channels` channels of uint8. An EXIF rotation is *not* applied, as TensorFlow has no such
    operation: rotate photos on disk where it matters.

    Args:
        data: Scalar string tensor, the bytes of the file.
        channels: 1 or 3 (1 for PNG and JPEG only). Defaults to 3.

    Returns:
        uint8 tensor of shape `(height, width, channels)`.

    Raises (when the operation runs):
        tf.errors.InvalidArgumentError: If it is not a whole image of these formats.
    """
    header = Header(data)

    def decode_other():
        if channels != 3:
            return tf.io.decode_image(data, channels, expand_animations=False)
        return tf.cond(
            header.is_palette_bmp,
            lambda: _decode_palette_bmp(data, header),
            lambda: tf.io.decode_image(data, 3, expand_animations=False),
        )

    # The default, a fast integer DCT, is up to 19 grey levels away from libjpeg's own, which PIL
    # and so torchvision use. `decode_image` has no choice of it.
    return tf.cond(
        header.is_jpeg,
        lambda: tf.io.decode_jpeg(data, channels, dct_method="INTEGER_ACCURATE"),
        decode_other,
    )


def _decode_palette_bmp(data, header):
    """TensorFlow takes the 8-bit indices of a BMP for grey values, and refuses others."""
    palette_start, start = 14 + header.number(14, 4), header.number(10, 4)
    width, height = header.number(18, 4), header.number(22, 4)
    goes_up = height < 2**31  # a negative height, two's complement, says that the rows go down
    height = tf.minimum(height, 2**32 - height)
    bits = header.number(28, 2)
    row = (width * bits + 31) // 32 * 4  # bytes
    packed = tf.io.decode_raw(tf.strings.substr(data, start, height * row), tf.uint8)
    packed = tf.reshape(packed, [height, row, 1])
    shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)  # the first pixel is the highest
    mask = tf.cast(2**bits - 1, tf.uint8)
    indices = tf.bitwise.bitwise_and(tf.bitwise.right_shift(packed, shifts), mask)
    indices = tf.reshape(indices, [height, -1])[:, :width]
    indices = tf.where(goes_up, tf.reverse(indices, [0]), indices)
    palette = tf.strings.substr(data, palette_start, (start - palette_start) // 4 * 4)
    palette = tf.reshape(tf.io.decode_raw(palette, tf.uint8), (-1, 4))[:, 2::-1]
    return tf.gather(palette, tf.cast(indices, tf.int32))
