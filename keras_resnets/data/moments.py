"""Mean and deviation of a set's channels."""

import math

import numpy as np
import tensorflow as tf

from keras_resnets.data.errors import reading

SAMPLE = 10_000  # images that stand for a set which is not decoded in memory
PUBLISHED = {
    "cifar10": (
        (125.3 / 255, 123.0 / 255, 113.9 / 255),  # the Wide ResNet code's
        (63.0 / 255, 62.1 / 255, 66.7 / 255),
    ),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet2012": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
}


def statistics(source):
    """Mean and standard deviation of each channel, of pixels divided by 255.

    The published ones for cifar10, cifar100, imagenet2012, mnist and fashion_mnist. Otherwise over
    every pixel of the images as they are stored: exactly over all of a set that is decoded in
    memory or was read from files, and over 10,000 images (always the same ones) of another.

    Args:
        source: `Source` of the training images.

    Returns:
        Tuple (mean, std) of tuples of floats. The deviation of a constant channel is given as 1,
        so that it can be divided by.

    Raises:
        OSError: If an image can no longer be read.
    """
    if source.name in PUBLISHED:
        return PUBLISHED[source.name]
    known = getattr(getattr(source, "images", None), "sums", None)
    total = _read_sums(source) if known is None else known[source.indices].sum(0)
    total = np.array([np.full(source.channels, total[0]), *total[1:].reshape(2, -1)])
    channels = [[int(number) for number in column] for column in total.T]  # exact integers
    mean = tuple(s / n / 255 for n, s, _ in channels)
    std = tuple(math.sqrt(n * squares - s * s) / n / 255 or 1.0 for n, s, squares in channels)
    return mean, std


def pixel_sums(images):
    """Number of pixels, and sum and sum of squares of each channel: int64 `(1 + 2 * channels,)`.

    Args:
        images: uint8 tensor `(..., channels)`.
    """
    pixels = tf.cast(tf.reshape(images, (-1, images.shape[-1])), tf.int64)
    count = tf.shape(pixels, tf.int64)[:1]
    return tf.concat([count, tf.reduce_sum(pixels, 0), tf.reduce_sum(pixels * pixels, 0)], 0)


def _read_sums(source):
    """The `pixel_sums` of a whole set, or of a sample of a large one that is not in memory."""
    if source.loads_batches or source.num_examples <= SAMPLE:
        references = source.in_order()
    else:
        references = source.sample(SAMPLE)
    references = references.batch(256) if source.loads_batches else references
    partial = references.map(
        lambda reference: pixel_sums(source.load(reference)[0]), num_parallel_calls=tf.data.AUTOTUNE
    )
    with reading():
        return np.sum(list(partial.as_numpy_iterator()), axis=0)
