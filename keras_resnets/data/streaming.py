"""A part of a tfds set that is too large for memory."""

import dataclasses

import tensorflow as tf

from keras_resnets.data import randomness
from keras_resnets.data.sources import Examples
from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS, decode_image

SHUFFLE_BUFFER = 16_384  # encoded images


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class StreamedSource(Examples):
    """As `sources.Source`, read from disk in the set's order, shuffled within a buffer.

    The random numbers of an image are keyed by its place in the shuffled epoch. `labels` is
    `None`, and a reference is the encoded example itself. `source[5]` reads all before it;
    `source[:1000]` is a source, without a step only.

    Args:
        name: Name of the set.
        class_names: Tuple of strings, by label.
        num_examples: Int.
        shape: `(height, width, channels)`, height and width `None` where they differ.
        examples: `tf.data.Dataset` of {"data": bytes of the image file, "label": int64}.
        max_pixels: Int. How many pixels an image may have by its header. Defaults to 50 million.
    """

    name: str
    class_names: tuple
    num_examples: int
    shape: tuple
    examples: tf.data.Dataset
    max_pixels: int = MAX_PIXELS

    labels = None
    shuffle_buffer = SHUFFLE_BUFFER
    num_skipped = 0
    loads_batches = False
    loads_windows = True

    def __getitem__(self, key):
        if not isinstance(key, slice):
            (reference,) = self.examples.skip(self._place(key)).take(1)
            return self._read(reference)
        start, stop, step = key.indices(len(self))
        if step != 1:
            raise UserError(f"A streamed source takes slices without a step. Received: {key}")
        count = max(stop - start, 0)
        examples = self.examples.skip(start).take(count)
        return dataclasses.replace(self, examples=examples, num_examples=count)

    @property
    def fingerprint(self):
        """String that changes where the set, its size or its classes do; no example is read."""
        return self._hash(self.name.encode())

    @property
    def channels(self):
        """1 (grey) or 3 (RGB)."""
        return self.shape[-1]

    @property
    def image_shape(self):
        """`(height, width, channels)` if all images share it, else `None`."""
        return None if None in self.shape else tuple(self.shape)

    def file_name(self, index):
        """What a report calls example `index`."""
        return f"{self.name} image {index}"

    def load(self, reference, window=None):
        """Decodes one example, or a window of it as `Source` does: uint8 image and int64 label."""
        image = decode_image(reference["data"], self.channels, self.max_pixels, window)
        shape = self.shape if window is None else (None, None, self.channels)
        return tf.ensure_shape(image, shape), reference["label"]

    def in_order(self):
        """Dataset of references, each once, for `load`."""
        return self.examples.apply(tf.data.experimental.assert_cardinality(self.num_examples))

    def sample(self, count):
        """References of `count` examples: the first, as tfds shuffles a set when it is written."""
        return self.examples.take(count)

    def shuffled(self, seed, epoch):
        """Dataset of (row, reference) in an order keyed by `(seed, epoch)`."""
        seed, seed2 = tf.unstack(randomness.stateless_seed(seed, "order", epoch))
        specs = tf.nest.flatten(self.examples.element_spec)
        # Not `Dataset.shuffle`: it mixes in the global seed and, if that is 0, takes no tensor.
        shuffled = tf.raw_ops.ShuffleDataset(
            input_dataset=tf.data.experimental.to_variant(self.examples),
            buffer_size=self.shuffle_buffer,
            seed=seed,
            seed2=seed2,
            output_types=[spec.dtype for spec in specs],
            output_shapes=[spec.shape for spec in specs],
            reshuffle_each_iteration=False,
        )
        shuffled = tf.data.experimental.from_variant(shuffled, self.examples.element_spec)
        return shuffled.enumerate()
