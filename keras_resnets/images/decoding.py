"""Image files: which they are, and their pixels."""

import tensorflow as tf

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic")


def is_image(path):
    """Whether a file is a JPEG, PNG, GIF or BMP image by its first bytes, or named like an image.

    A file that is named like one and cannot be decoded is corrupt, not to be overlooked.
    """
    if path.lower().endswith(IMAGE_SUFFIXES):
        return True
    try:
        with open(path, "rb") as file:
            start = file.read(18)
    except OSError:
        return False
    if start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")):
        return True
    # Text may begin with BM too; the length of a bitmap's second header is one of these.
    is_bitmap = start.startswith(b"BM") and len(start) == 18
    return is_bitmap and int.from_bytes(start[14:], "little") in (40, 52, 56, 108, 124)


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
    if channels != 3:
        return tf.io.decode_image(data, channels, expand_animations=False)
    # tf.io.decode_image takes the palette indices of an 8-bit BMP for grey values.
    return tf.cond(
        tf.strings.regex_full_match(data, r"(?s)BM\C{26}\x08\C*"),
        lambda: _decode_palette_bmp(data),
        lambda: tf.io.decode_image(data, 3, expand_animations=False),
    )


def _decode_palette_bmp(data):
    def integer(offset):
        return tf.io.decode_raw(tf.strings.substr(data, offset, 4), tf.int32)[0]

    start, end = 14 + integer(14), integer(10)  # the palette lies between header and pixels
    palette = tf.io.decode_raw(tf.strings.substr(data, start, end - start), tf.uint8)
    indices = tf.io.decode_bmp(data)[..., 0]
    return tf.gather(tf.reshape(palette, (-1, 4))[:, 2::-1], tf.cast(indices, tf.int32))
