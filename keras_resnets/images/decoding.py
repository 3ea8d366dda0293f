"""Pixels from image files, as TensorFlow operations."""

import functools

import tensorflow as tf

from keras_resnets.images.attempts import attempt, plainly, require
from keras_resnets.images.files import FORMATS
from keras_resnets.images.gif import only_first_frame
from keras_resnets.images.headers import Header, count_pixels

MAX_PIXELS = 50_000_000  # 150 MB decoded; a photo of a phone has 12 to 50 million
# The default, a fast integer DCT, is up to 19 grey levels away from libjpeg's own, which PIL and so
# torchvision use. `tf.io.decode_image` has no choice of it.
_METHOD = "INTEGER_ACCURATE"
_MARGIN = 2  # columns: colours of half the resolution are interpolated from their neighbours


def decode_image(data, channels=3, max_pixels=MAX_PIXELS, window=None):
    """Decodes JPEG, PNG, GIF (first frame), BMP or WebP (no animation), recognised by content.

    Grey, palette, CMYK and 16-bit images and images with an alpha channel (which is dropped) become
    `channels` channels of uint8. An EXIF rotation is *not* applied, as TensorFlow has no such
    operation: rotate photos on disk where it matters.

    Args:
        data: Scalar string tensor, the bytes of the file.
        channels: 1 or 3 (1 for PNG and JPEG only). Defaults to 3.
        max_pixels: Int. An image whose header says more is refused before it is decoded: a file of
            a megabyte can ask for gigabytes. `None` looks at no header. Defaults to 50 million.
        window: Function from the image's `(height, width)`, an int32 tensor, to the int32 `(top,
            left, height, width)` that is cut out of it. Of a JPEG no more than that is decoded,
            with the same result, and what is broken elsewhere is not found. Defaults to the whole
            image.

    Returns:
        uint8 tensor of shape `(height, width, channels)`.

    Raises (when the operation runs):
        tf.errors.InvalidArgumentError: If it is not a whole image of these formats, or too large.
    """
    header = Header(data)
    if max_pixels is not None:
        pixels = header.pixels()
        text = ["An image has ", *_too_many(pixels, max_pixels)]
        data = require(pixels <= max_pixels, text, data)
    return _decode(data, header, channels, window=window)


def digest(data):
    """What the bytes of a JPEG file are told from others by.

    Args:
        data: Scalar string tensor.

    Returns:
        int64 scalar tensor, 0 or more; -1 for what is no JPEG file.
    """
    return tf.where(Header(data).is_jpeg, _fingerprint(data), -1)


def _fingerprint(data):
    return tf.strings.to_hash_bucket_fast(data, 2**63 - 1)  # FarmHash: 5 us for 60 KB


def read_image(path, max_pixels=MAX_PIXELS, window=None, known=None, sides=None, box=None):
    """Reads and decodes an image file to RGB. What goes wrong is said with the file's name.

    Looking at a header, and naming the file where decoding fails, takes a quarter of the time. A
    file with the bytes of a JPEG that could be decoded before needs neither.

    Args:
        path: Scalar string tensor.
        max_pixels: Int, as for `decode_image`. Defaults to 50 million.
        window: As for `decode_image`. Defaults to the whole image.
        known: Scalar int64 tensor, the `digest` of this file when it was decoded before, within
            `max_pixels`. Defaults to unknown.
        sides: int32 tensor, `(height, width)` of the image then; needed with `known`.
        box: int32 tensor `(4,)`, what `window` gives for `sides`, if that is known already.

    Returns:
        uint8 tensor of shape `(height, width, 3)`.

    Raises (when the operation runs):
        tf.errors.OpError: If the file cannot be read, is not a whole image, or is too large.
    """
    name = tf.strings.unicode_transcode(path, "UTF-8", "UTF-8")
    data = tf.cond(name == path, lambda: tf.io.read_file(path), lambda: _read_quietly(path, name))

    def carefully():
        header = Header(data)
        pixels = header.pixels(attempt)
        text = [name, " has ", *_too_many(pixels, max_pixels)]
        image = _decode(require(pixels <= max_pixels, text, data), header, 3, attempt, window)
        return require(tf.size(image) > 0, [name, f" is not a whole {FORMATS} image"], image)

    if known is None:
        return carefully()
    cut = window if box is None else lambda _: box
    is_known = _fingerprint(data) == known
    return tf.cond(is_known, lambda: _decode_jpeg(data, 3, cut, sides), carefully)


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


def _read_quietly(path, name):
    """The bytes of a file whose name is not UTF-8, which no error of TensorFlow's can hold."""
    data = attempt(tf.io.read_file, path, "")
    return require(data != "", ["Cannot read ", name, ": it is gone or empty"], data)


def _too_many(pixels, max_pixels):
    return tf.strings.as_string(pixels), f" pixels, more than max_pixels={max_pixels}"


def _decode(data, header, channels, run=plainly, window=None):
    def decode_jpeg(data):
        return _decode_jpeg(data, channels, window)

    def decode_other():
        image = _decoder_of_others(channels, run)(data)
        if window is None:
            return image
        top, left, tall, wide = tf.unstack(window(tf.shape(image)[:2]))
        return image[top : top + tall, left : left + wide]

    nothing = _nothing(channels)
    return tf.cond(header.is_jpeg, lambda: run(decode_jpeg, data, nothing), decode_other)


def _nothing(channels):
    """What an attempt that fails gives."""
    return tf.zeros((0, 0, channels), tf.uint8)


@functools.cache
def _decoder_of_others(channels, run):
    """A function of the bytes of a file that is no JPEG. Traced once: it takes half a second."""

    def decode_any(data):
        data = tf.cond(Header(data).is_gif, lambda: only_first_frame(data), lambda: data)
        return tf.io.decode_image(data, channels, expand_animations=False)

    def decode_bmp(data):
        return _decode_palette_bmp(data, Header(data))

    def decode_masked_bmp(data):
        return _in_order_of_masks(tf.io.decode_image(data, 4, expand_animations=False), data)

    def decode_webp(data):
        # TensorFlow refuses a file of 4 channels where it is asked for 3. Of an animation it must
        # be: asked for any number it corrupts the heap.
        image = tf.io.decode_image(data, expand_animations=False)[..., :3]
        return tf.ensure_shape(image, (None, None, 3))

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def decode(data):
        nothing, header = _nothing(channels), Header(data)
        if channels != 3:
            return run(decode_any, data, nothing)
        kinds = [
            (header.is_palette_bmp, lambda: run(decode_bmp, data, nothing)),
            (header.is_masked_bmp, lambda: run(decode_masked_bmp, data, nothing)),
            (header.is_still_webp, lambda: run(decode_webp, data, nothing)),
        ]
        return tf.case(kinds, default=lambda: run(decode_any, data, nothing))

    return decode


def _decode_jpeg(data, channels, window, sides=None):
    if window is None:
        return tf.io.decode_jpeg(data, channels, dct_method=_METHOD)
    sides = tf.io.extract_jpeg_shape(data)[:2] if sides is None else sides
    top, left, tall, wide = tf.unstack(window(sides))
    first, end = tf.maximum(left - _MARGIN, 0), tf.minimum(left + wide + _MARGIN, sides[1])
    area = [top, first, tall, end - first]
    image = tf.io.decode_and_crop_jpeg(data, area, channels, dct_method=_METHOD)
    return image[:, left - first : left - first + wide]


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


def _in_order_of_masks(image, data):
    """TensorFlow takes the bytes of a pixel for blue, green and red, whatever a BMP's masks say."""
    masks = tf.stack([Header(data).number(at, 4) for at in (54, 58, 62)])
    channels = tf.constant([255 << 16, 255 << 8, 255, 255 << 24], tf.int64)  # as TensorFlow's
    is_same = masks[:, None] == channels
    text = ["A BMP must have 8 bits for each colour"]
    image = require(tf.reduce_all(tf.reduce_any(is_same, 1)), text, image)
    image = tf.gather(image, tf.argmax(tf.cast(is_same, tf.int32), 1), axis=-1)
    return tf.ensure_shape(image, (None, None, 3))
