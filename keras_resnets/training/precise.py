"""The statistics of batch normalization, computed again."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.checks import is_count, must
from keras_resnets.errors import UserError


def recalibrate_batch_norm(model, dataset, steps=None):
    """Makes the moving statistics of batch normalization exact averages over a dataset's batches.

    A moving average mixes the statistics of weights that the training has left behind; those of
    averaged or edited weights are wrong until they are computed again. Each batch runs through
    the network as in training, normalized by its own statistics. Then the moving mean is the
    average of the batches' means, and the moving variance that of all values about it,
    `E[mean^2 + variance] - E[mean]^2`, where each value counts the same (Wu & Johnson 2021,
    "Rethinking 'Batch' in BatchNorm", section 3; fvcore's `update_bn_stats`).

    Everything else stays as it is: weights, the layers that are not trainable or of `renorm`, and
    the generators of random layers, which draw as in training. A branch of stochastic depth counts
    the batches that it is not skipped in, and keeps its statistics if there is none.

    Args:
        model: `keras.Model`.
        dataset: Iterable of batches of images `(batch, height, width, channels)`, standardized as
            for training, or of tuples that begin with them, such as a `tf.data.Dataset`. As for
            training, batches should be large, and of one size.
        steps: Int, batches to use, or `None` for all. Defaults to `None`.

    Raises:
        UserError: If there is no such layer or no batch, a batch is of another shape than the
            model's images, or `steps` is not legal.
    """
    must("steps", steps, steps is None or is_count(steps), "a positive integer or None")
    sums = {layer: _Sums(layer) for layer in model._flatten_layers() if _moves(layer)}
    if not sums:
        raise UserError("The model has no trainable batch normalization to recalibrate")
    others = [(variable, np.array(variable)) for variable in model.non_trainable_variables]

    forward = None
    try:
        for layer, found in sums.items():
            layer.call = found.around(layer.call)
        for batch in itertools.islice(dataset, steps):
            images = tf.convert_to_tensor(batch[0] if isinstance(batch, tuple | list) else batch)
            _check_batch(model, images)
            forward = forward or _forward(model, images)
            forward(images)
    finally:
        for layer in sums:
            del layer.call
        for variable, value in others:
            variable.assign(value)
    if not forward:
        raise UserError("The dataset has no batch to recalibrate batch normalization on")
    for layer, found in sums.items():
        found.write(layer)


def _check_batch(model, images):
    """Refuses what is no batch of the model's images, such as the rows of an array of them."""
    known = getattr(model, "input_shape", None)
    wanted = known if isinstance(known, tuple) and len(known) == 4 else (None,) * 4
    if not images.shape.is_compatible_with(wanted):
        raise UserError(
            f"`dataset` must hold batches of images {wanted}: of an array of images make one, "
            f"[images]. Received: a batch of shape {tuple(images.shape)}"
        )


def _forward(model, images):
    """One graph of the model as in training, for batches like this one of any length."""
    spec = tf.TensorSpec((None, *images.shape[1:]), images.dtype)
    return tf.function(lambda x: model(x, training=True)).get_concrete_function(spec)


class _Sums:
    """Count, sum and sum of squares of each channel's values at the input of a batch norm."""

    def __init__(self, layer):
        self.axis = layer.axis
        shape = layer.moving_mean.shape
        self.count = tf.Variable(0.0, dtype=tf.float64)
        self.total = tf.Variable(tf.zeros(shape, tf.float64))
        self.square = tf.Variable(tf.zeros(shape, tf.float64))

    def around(self, call):
        """The layer's `call`, which adds to the sums first."""

        def recording(inputs, *args, **kwargs):
            values = tf.cast(inputs, tf.float32)
            axis = self.axis % len(values.shape)
            others = [place for place in range(len(values.shape)) if place != axis]
            mean, variance = (tf.cast(v, tf.float64) for v in tf.nn.moments(values, others))
            count = tf.cast(tf.size(values) // tf.shape(values)[axis], tf.float64)
            self.count.assign_add(count)
            self.total.assign_add(count * mean)
            self.square.assign_add(count * (tf.square(mean) + variance))
            return call(inputs, *args, **kwargs)

        return recording

    def write(self, layer):
        """Sets the moving statistics of the layer."""
        count = self.count.numpy()
        if count:
            mean = self.total.numpy() / count
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(self.square.numpy() / count - mean**2)


def _moves(layer):
    is_norm = isinstance(layer, keras.layers.BatchNormalization)
    return is_norm and layer.built and layer.trainable and not layer.renorm
