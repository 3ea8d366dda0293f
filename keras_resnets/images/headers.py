"""What the header of an image file says, before anything is decoded."""

import numpy as np
import tensorflow as tf

_LENGTH = 34  # bytes: as far as any header is read here


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
    def is_bmp(self):
        return self.has(b"BM")

    @property
    def is_palette_bmp(self):
        """Whether it is a BMP of 1, 4 or 8 bits a pixel, not compressed."""
        bits = tf.reduce_any(self.number(28, 2) == tf.constant([1, 4, 8], tf.int64))
        return self.is_bmp & bits & (self.number(30, 4) == 0)
