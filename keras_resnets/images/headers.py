"""What the header of an image file says, before anything is decoded."""

import functools

import numpy as np
import tensorflow as tf

from keras_resnets.images.attempts import plainly
from keras_resnets.images.gif import first_frame

_LENGTH = 66  # bytes: as far as any header is read here


def count_pixels(data):
    """Width times height by the header of a file's bytes, an int; 0 for what is no image."""
    try:
        return int(Header(data).pixels())
    except tf.errors.InvalidArgumentError:
        return 0


class Header:
    """The first bytes of a file, zeros where it has fewer, as TensorFlow operations.

    Args:
        data: Scalar string tensor, the bytes of the file.
    """

    def __init__(self, data):
        self._data = data
        self._start = tf.io.decode_raw(data, tf.uint8, fixed_length=_LENGTH)

    def has(self, magic, at=0):
        """Whether the file has these bytes at a place."""
        part = self._start[at : at + len(magic)]
        return tf.reduce_all(part == tf.constant(list(magic), tf.uint8))

    def number(self, at, count, big_endian=False):
        """The unsigned number of `count` bytes at a place, int64."""
        powers = 256 ** np.arange(count)
        digits = tf.cast(self._start[at : at + count], tf.int64)
        return tf.reduce_sum(digits * (powers[::-1] if big_endian else powers))

    @property
    def is_jpeg(self):
        return self.has(b"\xff\xd8\xff")

    @property
    def is_gif(self):
        return self.has(b"GIF8")

    @property
    def is_bmp(self):
        return self.has(b"BM")

    @property
    def is_webp(self):
        return self.has(b"RIFF") & self.has(b"WEBP", at=8)

    @property
    def is_still_webp(self):
        """Whether it is a WebP without animation."""
        is_animated = self.has(b"VP8X", at=12) & (self.number(20, 1) // 2 % 2 == 1)
        return self.is_webp & ~is_animated

    @property
    def is_palette_bmp(self):
        """Whether it is a BMP of 1, 4 or 8 bits a pixel, not compressed."""
        bits = tf.reduce_any(self.number(28, 2) == tf.constant([1, 4, 8], tf.int64))
        return self.is_bmp & bits & (self.number(30, 4) == 0)

    @property
    def is_masked_bmp(self):
        """Whether it is a BMP of 32 bits a pixel that says which of them is which colour."""
        return self.is_bmp & (self.number(28, 2) == 32) & (self.number(30, 4) == 3)

    def pixels(self, run=plainly):
        """Width times height, int64; 0 for what is no image.

        A broken JPEG header is an error, or 0 too where `run` is `attempts.attempt`.
        """
        return _counter(run)(self._data)

    def _pixels(self, run):
        nothing = tf.zeros(2, tf.int64)

        def jpeg_sides(data):
            return tf.io.extract_jpeg_shape(data, tf.int64)[:2]

        kinds = [
            (self.is_jpeg, lambda: run(jpeg_sides, self._data, nothing)),
            (self.has(b"\x89PNG"), lambda: self._sides((16, 4), (20, 4), big_endian=True)),
            (self.is_gif, self._gif_sides),
            (self.is_bmp, self._bmp_sides),
            (self.is_webp, self._webp_sides),
        ]
        return tf.reduce_prod(tf.case(kinds, default=lambda: nothing))

    def _sides(self, width, height, big_endian=False):
        return tf.stack([self.number(*width, big_endian), self.number(*height, big_endian)])

    def _gif_sides(self):
        """Those of the screen or of the first frame, which need not be within it."""
        screen, (_, frame) = self._sides((6, 2), (8, 2)), first_frame(self._data)
        return tf.where(tf.reduce_prod(frame) > tf.reduce_prod(screen), frame, screen)

    def _bmp_sides(self):
        width, height = tf.unstack(self._sides((18, 4), (22, 4)))
        # A negative height, two's complement, says that the rows go down.
        return tf.stack([width, tf.minimum(height, 2**32 - height)])

    def _webp_sides(self):
        def lossy():
            return self._sides((26, 2), (28, 2)) % 2**14  # the other bits ask for scaling

        def lossless():
            both = self.number(21, 4)  # 14 bits each
            return tf.stack([both % 2**14, both // 2**14 % 2**14]) + 1

        def extended():
            return self._sides((24, 3), (27, 3)) + 1

        kinds = [(self.has(b"VP8 ", at=12), lossy), (self.has(b"VP8L", at=12), lossless)]
        return tf.case(kinds, default=extended)


@functools.cache
def _counter(run):
    """`Header._pixels` of the bytes of a file, traced once: it takes a quarter of a second."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def pixels(data):
        return Header(data)._pixels(run)

    return pixels
