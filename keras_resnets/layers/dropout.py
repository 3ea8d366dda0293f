"""Dropout whose masks differ between the replicas of a strategy."""

import keras
import tensorflow as tf

from keras_resnets.layers import draws


@keras.saving.register_keras_serializable(package="keras_resnets")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` with masks of its own on each replica.

    Keras' layer gives all replicas the same mask, so that the images of a global batch share masks
    in pairs. Variables and config are those of Keras' layer.

    Args:
        rate: Float in [0, 1).
        **kwargs: Further arguments of `keras.layers.Dropout`.
    """

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        seed = draws.key(self.seed_generator, "sample")
        if self.rate >= 1:
            return tf.zeros_like(inputs)
        shape = self.noise_shape and [
            tf.shape(inputs)[axis] if side is None else side
            for axis, side in enumerate(self.noise_shape)
        ]
        return tf.nn.experimental.stateless_dropout(
            inputs, rate=self.rate, noise_shape=shape, seed=seed
        )
