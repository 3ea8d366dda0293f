"""What batches for training and for evaluation have in common."""

import numpy as np
import tensorflow as tf

from keras_resnets.checks import must
from keras_resnets.errors import UserError
from keras_resnets.images import Preprocessing


def check_types(source, preprocessing, batch_size):
    """Raises UserError unless these are a source, its preprocessing and a size of batches."""
    if not hasattr(source, "load"):
        raise UserError(
            "`source` must be a data.Source, such as splits.train. "
            f"Received: {type(source).__name__}"
        )
    if not isinstance(preprocessing, Preprocessing):
        raise UserError(
            "`preprocessing` must be a Preprocessing, such as "
            f"Preprocessing(*data.statistics(splits.train)). Received: {preprocessing!r}"
        )
    is_size = isinstance(batch_size, int | np.integer) and 0 < batch_size < 2**31
    must("batch_size", batch_size, is_size, "a positive integer below 2**31")
    if source.channels != preprocessing.channels:
        raise UserError(
            f"`preprocessing` must have the {source.channels} channels of {source.name}. "
            f"Received: {preprocessing.channels} channels"
        )


def encoder(labels, source):
    """The function from class numbers to labels."""
    if labels not in ("one_hot", "sparse"):
        raise UserError(f"`labels` must be 'one_hot' or 'sparse'. Received: labels={labels!r}")
    classes = len(source.class_names)
    return tf.identity if labels == "sparse" else lambda numbers: tf.one_hot(numbers, classes)


def deterministic(dataset):
    """The dataset in one order whatever the number of threads, and some of it ahead of time."""
    options = tf.data.Options()
    options.deterministic = True
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)
