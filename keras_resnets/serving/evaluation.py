"""What an export is worth on a test set, and how fast it is."""

import time

import numpy as np
import tensorflow as tf

from keras_resnets.data.errors import reading
from keras_resnets.errors import UserError
from keras_resnets.serving.pixels import fit_pixels
from keras_resnets.serving.readers import preprocessing_of
from keras_resnets.training.evaluation import Evaluation, check_fit


def evaluate_export(predictor, source, batch_size=128, show=None):
    """Evaluates an export on every image of a source exactly once.

    Args:
        predictor: `Predictor`.
        source: `data.Source`.
        batch_size: Int, images at a time; where a SavedModel takes images of several sizes, they go
            one by one. Defaults to 128.
        show: Function that is called with the number of images done. Defaults to none.

    Returns:
        Tuple of the `Evaluation` and the images per second, a float: of the export alone, reading
        and decoding not counted, nor the first batch, of a second time if it is the only one.

    Raises:
        UserError: If the export does not fit the images or their classes.
        FloatingPointError: If a probability is NaN or infinite.
        OSError: If an image cannot be read.
    """
    if batch_size < 1:
        raise UserError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
    metadata = predictor.metadata
    preprocessing = preprocessing_of(predictor.path, metadata)
    channels = preprocessing.channels if preprocessing else source.channels
    check_fit(source, channels, predictor.num_classes, metadata.get("class_names"))
    found, labels, seconds, timed = [], [], 0.0, 0
    with reading():
        for images, classes in _batches(predictor, source, preprocessing, batch_size):
            start = time.perf_counter()
            found.append(predictor.probabilities(images))
            if len(found) > 1:
                seconds += time.perf_counter() - start
                timed += len(images)
            labels.append(classes)
            if show:
                show(sum(map(len, labels)))
    if not timed:
        start = time.perf_counter()
        predictor.probabilities(images)
        seconds, timed = time.perf_counter() - start, len(images)
    found, labels = np.concatenate(found), np.concatenate(labels)
    if not np.isfinite(found).all():
        raise FloatingPointError(f"Probabilities of {predictor.path} are not finite")
    kind = metadata.get("probabilities") or _kind(found)
    return Evaluation.from_outputs(found, labels, kind), timed / seconds


def _batches(predictor, source, preprocessing, batch_size):
    def load(reference):
        image, label = source.load(reference)
        return (fit_pixels(preprocessing, image) if predictor.image_shape else image), label

    dataset = source.in_order().map(load, num_parallel_calls=tf.data.AUTOTUNE)
    is_one_size = predictor.image_shape or source.image_shape
    dataset = dataset.batch(batch_size if is_one_size else 1)
    return dataset.prefetch(1).as_numpy_iterator()


def _kind(probabilities):
    """What an export of an earlier version does not say."""
    is_softmax = np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)
    return "softmax" if is_softmax else "sigmoid"
