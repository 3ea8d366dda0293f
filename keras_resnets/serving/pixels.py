"""A network from pixels of its own size to probabilities, for formats that read no files."""

import numpy as np
import tensorflow as tf

from keras_resnets.models.interface import fixed_size_preprocessing, output_kind
from keras_resnets.serving.inference import InferenceForm
from keras_resnets.serving.signatures import in_float32


class PixelNetwork:
    """A model from uint8 pixels of its own size to probabilities, its standardization inside.

    Resizing and cropping are left to whoever asks: operations for them differ between runtimes.

    Args:
        model: `Network` or `keras.Model`, as for `export`.

    Attributes:
        shape: `(height, width, channels)` of an image.
        kind: String, `"softmax"` or `"sigmoid"`: whether the probabilities add up to 1.
        function: `tf.function` from `image`, uint8 `(batch, height, width, channels)`, to
            `{"probabilities": float32 (batch, num_classes)}`.

    Raises:
        ValueError: If the model has no classifier, no preprocessing, or an activation other than
            softmax and sigmoid.
    """

    def __init__(self, model):
        self._kind = output_kind(model)
        self.kind = "softmax" if self._kind == "logits" else self._kind
        self._preprocessing = fixed_size_preprocessing(model)
        size = self._preprocessing.crop or self._preprocessing.resize
        self.shape = (*size, self._preprocessing.channels)
        self._model = in_float32(model)
        self.function = self._function(InferenceForm(self._model))

    def _function(self, network):
        mean, std = (
            np.float32(values) * np.float32(255.0)
            for values in (self._preprocessing.mean, self._preprocessing.std)
        )

        @tf.function(input_signature=[tf.TensorSpec([None, *self.shape], tf.uint8, name="image")])
        def function(image):
            return {"probabilities": self._read(network((tf.cast(image, tf.float32) - mean) / std))}

        return function

    def _read(self, outputs):
        return tf.nn.softmax(outputs) if self._kind == "logits" else outputs

    def fit(self, images):
        """Brings images to the network's size, as in evaluation.

        Args:
            images: Iterable of uint8 arrays `(height, width, channels)` of any size.

        Returns:
            uint8 array `(images, *shape)`.
        """
        fitted = [fit_pixels(self._preprocessing, image).numpy() for image in images]
        return np.stack(fitted) if fitted else np.zeros((0, *self.shape), np.uint8)

    def reference(self, pixels):
        """The model's own probabilities, in float32, by its own preprocessing.

        Args:
            pixels: uint8 array `(images, *shape)`.

        Returns:
            float32 array `(images, num_classes)`.
        """
        images = self._preprocessing.standardize(tf.constant(pixels))
        return self._read(self._model(images, training=False)).numpy()


def fit_pixels(preprocessing, image):
    """Resizes and crops as `preprocessing` says, to whole pixels.

    Args:
        preprocessing: `Preprocessing` that makes images of one size.
        image: uint8 tensor `(height, width, channels)`, or with a batch axis in front.

    Returns:
        uint8 tensor.
    """
    resized = tf.cast(preprocessing.resized(image), tf.float32)
    return tf.saturate_cast(tf.round(resized), tf.uint8)
