"""Splitting one tensor into the paths of a block."""

import keras
import tensorflow as tf

from keras_resnets.errors import UserError


@keras.saving.register_keras_serializable(package="keras_resnets")
class SplitChannels(keras.layers.Layer):
    """Cuts a map into consecutive runs of channels; its gradient is one concatenation.

    Args:
        sizes: Sequence of ints. Channels of each part, together those of the input.
        **kwargs: Further arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`.

    Returns:
        A tuple of tensors `(batch, height, width, size)`, one for each of `sizes`.

    Raises:
        ValueError: If the sizes do not add up to the input's channels.
    """

    def __init__(self, sizes, **kwargs):
        super().__init__(**kwargs)
        self.sizes = tuple(sizes)

    def call(self, inputs):
        return tuple(tf.split(inputs, self.sizes, axis=-1))

    def compute_output_shape(self, input_shape):
        *rest, channels = input_shape
        if sum(self.sizes) != channels:
            raise UserError(
                f"`sizes` must add up to the input's {channels} channels. "
                f"Received: sizes={self.sizes}"
            )
        return tuple((*rest, size) for size in self.sizes)

    def get_config(self):
        return {**super().get_config(), "sizes": self.sizes}
