"""Seeds of the random streams: one a purpose, all from the run's seed."""

import contextlib
import random
import zlib

import numpy as np
import tensorflow as tf

_KEYED = 2**23  # uniform float32 numbers are whole multiples of its inverse


def stateless_seed(seed, purpose, epoch):
    """The seed of the random numbers of one `purpose` in one epoch of a run.

    Args:
        seed: Int, the run's.
        purpose: String.
        epoch: Int or int64 scalar tensor.

    Returns:
        int64 tensor `(2,)` for the `tf.random.stateless_*` functions.
    """
    seed = tf.constant([seed, zlib.crc32(purpose.encode())], tf.int64)
    return tf.random.experimental.stateless_fold_in(seed, epoch)


def keyed_seeds(numbers):
    """The int32 seeds that uniform numbers in [0, 1), those of an image, stand for."""
    return tf.cast(numbers * _KEYED, tf.int32)


@contextlib.contextmanager
def same_numbers():
    """Lets Python's and NumPy's generators begin anew, and afterwards go on as if nothing was."""
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
