"""Labelled images that are read by number inside tf.data."""

import dataclasses
import functools
import hashlib
import operator
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_resnets.data import randomness
from keras_resnets.data.errors import reading
from keras_resnets.images import MAX_PIXELS, decode_image, read_image

ARRAY_LIMIT = 2**30  # bytes: images of one shape up to here are kept decoded
_BATCH = 256  # images that come to Python at once


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Images:
    """All images of a set: a tensor with one row an image, and how a row becomes pixels.

    Args:
        values: uint8 array `(images, height, width, channels)`, or string tensor `(images,)`.
        read: Function from a string of `values`, and a `window` as `images.decode_image` takes it
            or `None`, and this image's part of each of `verified`, to uint8 `(height, width,
            channels)`.
        shape: `(height, width, channels)`; height and width `None` where they differ.
        sums: int64 array `(images, 1 + 2 * channels)`, what `moments.pixel_sums` gives of each; or
            `None`, if that is not known. Defaults to `None`.
        verified: Of images that were decoded before, int64 `(images,)` of what `images.digest`
            gives of each, and int32 `(images, 2)` of their heights and widths. Defaults to nothing.
        is_small: Boolean. Whether these are to be decoded once and kept, by `in_memory`. Defaults
            to `False`.
    """

    values: tf.Tensor
    read: Callable
    shape: tuple
    sums: np.ndarray | None = None
    verified: tuple = ()
    is_small: bool = False

    @classmethod
    def decoded(cls, array):
        """Images of one shape, from a uint8 array."""
        with tf.device("CPU"):
            return cls(tf.constant(array), None, array.shape[1:])

    @classmethod
    def encoded(cls, data, shape, max_pixels=MAX_PIXELS):
        """Images kept as the bytes of their files."""
        with tf.device("CPU"):
            values = tf.constant(data, tf.string)

        def read(row, window):
            return decode_image(row, shape[-1], max_pixels, window)

        return cls(values, read, shape)

    @classmethod
    def files(cls, paths, max_pixels=MAX_PIXELS, sums=None, verified=(), shape=None):
        """Images read from disk each time, RGB; once only if they are given one `shape`."""
        with tf.device("CPU"):
            # As bytes: a file's name need not be UTF-8.
            values = tf.constant([os.fsencode(path) for path in paths], tf.string)
            verified = tuple(map(tf.constant, verified))

        def read(row, window, *known):
            return read_image(row, max_pixels, window, *known)

        is_small = shape is not None
        return cls(values, read, shape or (None, None, 3), sums, verified, is_small)

    def in_memory(self, places):
        """The images at these places (int64 array), decoded.

        Raises:
            OSError: If one can no longer be read.
        """
        dataset = tf.data.Dataset.from_tensor_slices(places)
        dataset = dataset.map(self.load, num_parallel_calls=tf.data.AUTOTUNE)
        with reading():
            batches = list(dataset.batch(_BATCH).prefetch(2).as_numpy_iterator())
        return type(self).decoded(np.concatenate(batches))

    @property
    def is_decoded(self):
        """Whether the pixels themselves are in memory."""
        return self.values.dtype == tf.uint8

    def __getitem__(self, index):
        return self.load(index)

    def load(self, index, window=None, box=None):
        """The image at a place, or a window of it; images at several places if decoded.

        Args:
            index: int64 scalar tensor, or a vector.
            window: As `images.decode_image` takes it. Defaults to the whole image.
            box: int32 `(4,)`, what `window` gives for the sides in `verified`, if that is known.
        """
        rows = tf.gather(self.values, index)
        if not self.is_decoded:
            shape = self.shape if window is None else (None, None, self.shape[-1])
            known = [tf.gather(facts, index) for facts in self.verified]
            known += [] if box is None else [box]
            return tf.ensure_shape(self.read(rows, window, *known), shape)
        if window is None:
            return rows
        top, left, tall, wide = tf.unstack(window(tf.shape(rows)[:2]))
        return rows[top : top + tall, left : left + wide]


class Examples:
    """What every source of labelled images shows of itself in a notebook."""

    def __repr__(self):
        shape = self.image_shape
        size = "x".join(map(str, shape)) if shape else f"several sizes, {self.channels} channels"
        return (
            f"{type(self).__name__}({self.name!r}: {self.num_examples} images of {size}, "
            f"{len(self.class_names)} classes)"
        )

    def __len__(self):
        return self.num_examples

    def __iter__(self):
        """Yields (uint8 array, int label) of every example in order."""
        with reading():
            for image, label in self.in_order().map(self.load).as_numpy_iterator():
                yield image, int(label)

    def _read(self, reference):
        with reading():
            image, label = self.load(reference)
        return image.numpy(), int(label)

    def _place(self, index):
        """An index from the front or the back as one from the front."""
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self!r} has no example {index}")
        return index % len(self)

    def _hash(self, *parts):
        digest = hashlib.sha256(repr((len(self), self.image_shape, self.class_names)).encode())
        for part in parts:
            digest.update(part)
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Source(Examples):
    """One part (train, validation or test) of a labelled image set.

    `source[5]` is an image, a uint8 array, and its label; `source[:1000]`, or an array of places or
    of booleans, is a source of these examples. `len`, and a loop over all of them, work too.

    Args:
        name: Name of the set.
        class_names: Tuple of strings, by label.
        images: The `Images` of the whole set; parts share them.
        indices: int64 array, the place of each example of this part in `images`.
        labels: int64 array `(num_examples,)`.
        describe: Function from a place in `images` to what a report calls this image.
        num_skipped: Number of corrupt images left out of the whole set, all parts together.
        stamps: Sequence of bytes, by place: what tells a file or an image of one's own from
            another, or `None` where images are told apart by what `describe` calls them.
    """

    name: str
    class_names: tuple
    images: Images
    indices: np.ndarray
    labels: np.ndarray
    describe: Callable
    num_skipped: int = 0
    stamps: Sequence[bytes] | None = None

    loads_windows = True

    @property
    def num_examples(self):
        """Number of examples."""
        return len(self.indices)

    def __getitem__(self, key):
        if not isinstance(key, slice) and np.ndim(key) == 0:
            return self._read(tf.constant(self._place(key), tf.int64))
        key = key if isinstance(key, slice) else np.asarray(key)
        return dataclasses.replace(self, indices=self.indices[key], labels=self.labels[key])

    @functools.cached_property
    def fingerprint(self):
        """String that changes where the examples, their order or their classes do.

        Files are told apart by their names in the set and their sizes, as they were when the set
        was opened, arrays by their pixels, and other images by their places in the set.
        """
        stamps = self.stamps
        named = (stamps[i] if stamps else self.describe(int(i)).encode() for i in self.indices)
        return self._hash(np.asarray(self.labels, np.int64).tobytes(), b"\0".join(named))

    @property
    def channels(self):
        """1 (grey) or 3 (RGB)."""
        return self.images.shape[-1]

    @property
    def image_shape(self):
        """`(height, width, channels)` if all images share it, else `None`."""
        return None if None in self.images.shape else tuple(self.images.shape)

    def file_name(self, index):
        """What a report calls example `index`: its file, or its place in the set."""
        return self.describe(int(self.indices[index]))

    @property
    def loads_batches(self):
        """Whether `load` takes a batch of references too."""
        return self.images.is_decoded

    def load(self, index, window=None, box=None):
        """Reads example `index` (int64 scalar tensor): its uint8 image and int64 label.

        With a `window`, as `images.decode_image` takes it, that part of the image alone; `box` is
        what it gives for these `sides`.
        """
        image = self.images.load(tf.gather(self.indices, index), window, box)
        return image, tf.gather(self.labels, index)

    def sides(self, index):
        """Heights and widths of examples, int32 `(..., 2)`, or `None` where they are not known."""
        if not self.images.verified:
            return None
        return tf.gather(self.images.verified[1], tf.gather(self.indices, index))

    def in_order(self):
        """Dataset of references, each once, for `load`."""
        return tf.data.Dataset.range(self.num_examples)

    def sample(self, count):
        """References of `count` examples, drawn once and for all."""
        chosen = np.random.default_rng(0).choice(self.num_examples, count, replace=False)
        return tf.data.Dataset.from_tensor_slices(np.sort(chosen))

    def shuffled(self, seed, epoch):
        """Dataset of one epoch's references in an order keyed by `(seed, epoch)`.

        Args:
            seed: Int.
            epoch: int64 scalar tensor.

        Returns:
            Dataset of (row, reference): the int64 number in 0..`num_examples` that keys the random
            numbers of this example in this epoch, and what `load` takes.
        """
        key = randomness.stateless_seed(seed, "order", epoch)
        # Not index_shuffle, whose permutations of few elements are far from uniform.
        order = tf.random.experimental.stateless_shuffle(
            tf.range(self.num_examples, dtype=tf.int64), key
        )
        return tf.data.Dataset.from_tensor_slices((order, order))
