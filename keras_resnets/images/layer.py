"""The evaluation preprocessing as a layer of a model."""

import keras
import tensorflow as tf

from keras_resnets.images.preprocessing import Preprocessing


@keras.saving.register_keras_serializable(package="keras_resnets")
class PreprocessingLayer(keras.layers.Layer):
    """A `Preprocessing` as a Keras layer, for models that take pixels.

    `keras.Model(image, network(network.preprocessing.as_layer()(image)))` is saved, loaded and
    exported like any functional model.

    Args:
        preprocessing: `Preprocessing`, or a dictionary of its arguments.
        **kwargs: Further arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`, uint8 or float in 0..255.

    Returns:
        Tensor `(batch, new height, new width, channels)`, standardized.
    """

    def __init__(self, preprocessing, **kwargs):
        super().__init__(**kwargs)
        if isinstance(preprocessing, dict):
            preprocessing = Preprocessing(**preprocessing)
        self.preprocessing = preprocessing

    def call(self, inputs):
        return tf.cast(self.preprocessing(inputs), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        size = self.preprocessing.crop or self.preprocessing.resize
        if isinstance(size, int):
            sides = (None, None)
        elif size:
            sides = size
        return (batch, *sides, channels)

    def compute_output_spec(self, inputs):
        shape = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "preprocessing": self.preprocessing.get_config()}
