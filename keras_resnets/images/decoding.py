"""Pixels from image files, as TensorFlow operations."""

import tensorflow as tf

from keras_resnets.images.files import FORMATS
from keras_resnets.images.headers import Header, count_pixels

MAX_PIXELS = 50_000_000  # 150 MB decoded; a photo of a phone has 12 to 50 million


def decode_image(data, channels=3, max_pixels=MAX_PIXELS):
    """Decodes JPEG, PNG, GIF (first frame), BMP or WebP (no animation), recognised by content.

    Grey, palette, CMYK and 16-bit images and images with an alpha channel (which is dropped) become
    `channels` channels of uint8. An EXIF rotation is *not* applied, as TensorFlow has no such
    operation: rotate photos on disk where it matters.

    Args:
        data: Scalar string tensor, the bytes of the file.
        channels: 1 or 3 (1 for PNG and JPEG only). Defaults to 3.
        max_pixels: Int. An image whose header says more is refused before it is decoded: a file of
            a megabyte can ask for gigabytes. `None` looks at no header. Defaults to 50 million.

    Returns:
        uint8 tensor of shape `(height, width, channels)`.

    Raises (when the operation runs):
        tf.errors.InvalidArgumentError: If it is not a whole image of these formats, or too large.
    """
    header = Header(data)
    if max_pixels is not None:
        pixels = header.pixels()
        text = ["An image has ", *_too_many(pixels, max_pixels)]
        data = _require(pixels <= max_pixels, text, data)
    return _decode(data, header, channels)


def read_image(path, max_pixels=MAX_PIXELS):
    """Reads and decodes an image file to RGB. What goes wrong is said with the file's name.

    Args:
        path: Scalar string tensor.
        max_pixels: Int, as for `decode_image`. Defaults to 50 million.

    Returns:
        uint8 tensor of shape `(height, width, 3)`.

    Raises (when the operation runs):
        tf.errors.OpError: If the file cannot be read, is not a whole image, or is too large.
    """
    nothing = tf.zeros((0, 0, 3), tf.uint8)

    def read(path):
        data = tf.io.read_file(path)
        header = Header(data)
        pixels = header.pixels()
        fits = pixels <= max_pixels
        return tf.cond(fits, lambda: _decode(data, header, 3), lambda: nothing), pixels

    def fail():
        # Reading again says why, if that is what fails; the condition only waits for it.
        is_read = tf.strings.length(tf.io.read_file(path)) >= 0
        return _require(~is_read, [name, f" is not a whole {FORMATS} image"], nothing)

    name = tf.strings.unicode_transcode(path, "UTF-8", "UTF-8")
    image, pixels = _attempt(read, path, otherwise=(nothing, tf.constant(-1, tf.int64)))
    image = tf.cond(pixels < 0, fail, lambda: image)
    return _require(pixels <= max_pixels, [name, " has ", *_too_many(pixels, max_pixels)], image)


def find_fault(image, max_pixels=MAX_PIXELS):
    """Why a file cannot be used as an image.

    Args:
        image: Path of the file, or its bytes.
        max_pixels: Int, as for `decode_image`. Defaults to 50 million.

    Returns:
        String that goes on after the file's name, or `None` for an image that can be used.
    """
    try:
        if not isinstance(image, bytes):
            with open(image, "rb") as file:
                image = file.read()
        pixels = count_pixels(image)
        if pixels > max_pixels:
            return f"has {pixels} pixels, more than max_pixels={max_pixels}"
        _decode(image, Header(image), 3)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except tf.errors.InvalidArgumentError:
        return f"is not a whole {FORMATS} image"
    return None


def _too_many(pixels, max_pixels):
    return tf.strings.as_string(pixels), f" pixels, more than max_pixels={max_pixels}"


def _require(condition, text, value):
    """`value`, which cannot be had unless the condition holds; otherwise `text` is the error."""
    # Not tf.debugging.Assert, which words the error in another way when it runs eagerly.
    check = tf.raw_ops.Assert(condition=condition, data=[tf.strings.join(text)])
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(value)


def _attempt(function, value, otherwise):
    """`function(value)`, or `otherwise` where one of its operations fails: graphs have no `try`.

    It takes a tenth of a millisecond.
    """
    tried = tf.data.Dataset.from_tensors(value).map(function).ignore_errors()
    spare = tf.data.Dataset.from_tensors(otherwise)
    return tried.concatenate(spare).take(1).get_single_element()


def _decode(data, header, channels):
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
