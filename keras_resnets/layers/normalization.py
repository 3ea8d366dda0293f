"""Batch normalization by TensorFlow's fused op, and group normalization."""

import math

import keras
import tensorflow as tf

FUSED_DTYPES = ("float32", "bfloat16", "float16")


@keras.saving.register_keras_serializable(package="keras_resnets")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` computed by FusedBatchNorm, with the papers' defaults.

    Variables and config are those of Keras' layer, and so are the outputs, the gradients and the
    moving mean, in float32, bfloat16 and float16 (statistics and parameters stay float32). The
    moving variance follows the *unbiased* variance of the batch, `n / (n - 1)` times the one it is
    normalized with, as in torch, Caffe and the fused op; Keras' own layer accumulates the biased
    one.

    Inputs of a rank other than 4, an axis other than the last, masks, `renorm`, and `scale` or
    `center` off are computed by Keras' layer, and so is `synchronized=True` when there is more
    than one replica; the moving variance is unbiased there too (`renorm` keeps Keras' own
    statistics).

    Args:
        axis: Int. The channel axis. Defaults to -1.
        momentum: Float, the share of the old moving statistics kept in a step (torch's momentum
            is one minus it). Defaults to 0.9.
        epsilon: Float added to the variance. Defaults to 1e-5.
        **kwargs: Further arguments of `keras.layers.BatchNormalization`.
    """

    def __init__(self, axis=-1, momentum=0.9, epsilon=1e-5, **kwargs):
        super().__init__(axis=axis, momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs, training=None, mask=None):
        training = bool(training) and self.trainable
        if self._is_fusable(inputs, mask):
            return self._fused(tf.cast(inputs, self.compute_dtype), training)
        if not training or self.renorm:
            return super().call(inputs, training=training, mask=mask)
        kept = self.momentum * tf.identity(self.moving_variance.value)
        outputs = super().call(inputs, training=True, mask=mask)
        # Keras added (1 - momentum) * v; this makes it (1 - momentum) * v * n / (n - 1).
        added = tf.identity(self.moving_variance.value) - kept
        others = tf.maximum(self._count(inputs, mask) - 1.0, 1.0)
        self.moving_variance.assign_add(added / tf.cast(others, added.dtype))
        return outputs

    def average_statistics(self):
        """Sets the moving statistics to their mean over the replicas of a strategy.

        Every replica moves its own by the batches that it sees. Saving the layer calls this;
        `Network` also does before it evaluates.
        """
        average_copies(self.moving_mean)
        average_copies(self.moving_variance)

    def save_own_variables(self, store):
        self.average_statistics()
        super().save_own_variables(store)

    def _is_fusable(self, inputs, mask):
        rank = len(inputs.shape)
        return (
            rank == 4
            and self.axis in (-1, 3)
            and mask is None
            and self.scale
            and self.center
            and not self.renorm
            and self.compute_dtype in FUSED_DTYPES
            and not (self.synchronized and _replicas() > 1)
        )

    def _fused(self, inputs, training):
        population = {}
        if not training:
            population["mean"] = _as_float32(self.moving_mean)
            population["variance"] = _as_float32(self.moving_variance)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            scale=_as_float32(self.gamma),
            offset=_as_float32(self.beta),
            epsilon=self.epsilon,
            is_training=training,
            **population,
        )
        if training:
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moved = _as_float32(moving) * self.momentum + batch * (1.0 - self.momentum)
                moving.assign(tf.cast(moved, moving.dtype))
        return outputs

    def _count(self, inputs, mask):
        """Number of values behind each channel's statistics, over all replicas if synchronized."""
        if mask is not None:  # Keras computes masked statistics per replica
            return tf.reduce_sum(tf.cast(mask, tf.float32))
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[self.axis], tf.float32)
        if self.synchronized and _replicas() > 1:
            count = tf.distribute.get_replica_context().all_reduce("SUM", count)
        return count


@keras.saving.register_keras_serializable(package="keras_resnets")
class GroupNormalization(keras.layers.GroupNormalization):
    """`keras.layers.GroupNormalization` for any number of channels (Wu & He 2018).

    Where `groups` does not divide the channels, their greatest common divisor is the number of
    groups: 16 channels make 16 groups of one channel, 48 channels 16 groups of three.

    Args:
        groups: Int. Defaults to 32.
        epsilon: Float added to the variance. Defaults to 1e-5.
        **kwargs: Further arguments of `keras.layers.GroupNormalization`.
    """

    def __init__(self, groups=32, epsilon=1e-5, **kwargs):
        super().__init__(groups=groups, epsilon=epsilon, **kwargs)

    def build(self, input_shape):
        if self.groups > 0:  # -1 is one group a channel
            self.groups = math.gcd(self.groups, input_shape[self.axis])
        super().build(input_shape)


def average_copies(variable):
    """Sets each replica's copy of a variable to the mean of all copies; equal ones stay exactly.

    Args:
        variable: `keras.Variable` of floats.
    """
    copies = getattr(variable.value, "values", ())  # of a distributed variable
    if len(copies) > 1:
        first, *others = (tf.identity(copy) for copy in copies)
        # Not the sum by the count: three equal numbers would not give themselves back.
        variable.assign(first + tf.add_n([copy - first for copy in others]) / len(copies))


def _as_float32(variable):
    return tf.cast(tf.identity(variable.value), tf.float32)


def _replicas():
    return tf.distribute.get_strategy().num_replicas_in_sync
