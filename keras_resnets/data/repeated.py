"""Repeated augmentation: several copies of an image in one batch."""

import tensorflow as tf

from keras_resnets.checks import is_count, must


def repeated(source, repeats):
    """A source whose epochs show each image several times in a row (Hoffer et al. 2020).

    As timm's `RepeatAugSampler`: an epoch stays as long as it was, so that it shows a different
    share of the images, `1 / repeats` of them, each `repeats` times. Copies follow each other, and
    come in one batch unless it ends between them; each is augmented by random numbers of its own,
    keyed by (seed, epoch, place in the epoch).

    Args:
        source: `Source`.
        repeats: Int. 1 leaves the source as it is.

    Returns:
        An object with everything that `source` has.

    Raises:
        ValueError: If `repeats` is not a positive integer.
    """
    must("repeats", repeats, is_count(repeats), "a positive integer")
    return source if repeats == 1 else _Repeated(source, repeats)


class _Repeated:
    def __init__(self, source, repeats):
        self._source, self._repeats = source, repeats

    def __getattr__(self, name):
        return getattr(self._source, name)

    def shuffled(self, seed, epoch):
        """As `Source.shuffled`; the row of an example is its place in the epoch."""
        count = self._source.num_examples
        chosen = self._source.shuffled(seed, epoch).take(-(-count // self._repeats))

        def copies(_, reference):
            return tf.data.Dataset.from_tensors(reference).repeat(self._repeats)

        return chosen.flat_map(copies).take(count).enumerate()
