"""The affine half of batch normalization, as a layer of its own."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_resnets")
class ChannelScale(keras.layers.Layer):
    """Multiplies every channel by its gamma and adds its beta.

    After a normalization without scale and center it completes that normalization, and lets
    several of them share one gamma and one beta while each keeps its own statistics.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`.

    Returns:
        Tensor of the same shape.
    """

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")

    def call(self, inputs):
        gamma, beta = (ops.cast(w, inputs.dtype) for w in (self.gamma, self.beta))
        return inputs * gamma + beta

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)
