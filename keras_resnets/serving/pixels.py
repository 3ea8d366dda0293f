"""A network from pixels of its own size to probabilities, for formats that read no files."""

import numpy as np
import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.images import decode_image
from keras_resnets.models.interface import fixed_size_preprocessing, output_kind
from keras_resnets.models.network import Network
from keras_resnets.serving.inference import InferenceForm


class PixelNetwork:
    """A model from uint8 pixels of its own size to probabilities, its standardization inside.

    Resizing and cropping are left to whoever asks: operations for them differ between runtimes.

    Args:
        model: `Network` or `keras.Model`, as for `export`.
        precision: As for `InferenceForm`. Defaults to `"float32"`.
        in_strides: As for `InferenceForm`. Defaults to `True`.

    Attributes:
        form: The `InferenceForm` of the model.
        precision: String.
        preprocessing: `Preprocessing` of the model, which makes images of one size.
        shape: `(height, width, channels)` of an image.
        kind: String, `"softmax"` or `"sigmoid"`: whether the probabilities add up to 1.
        function: `tf.function` from `image`, uint8 `(batch, height, width, channels)`, to
            `{"probabilities": float32 (batch, num_classes)}`.

    Raises:
        ValueError: If the model has no classifier, no preprocessing, or an activation other than
            softmax and sigmoid.
    """

    def __init__(self, model, precision="float32", in_strides=True):
        kind = output_kind(model)
        self._are_logits, self.kind = kind == "logits", "softmax" if kind == "logits" else kind
        self.preprocessing = fixed_size_preprocessing(model)
        size = self.preprocessing.crop or self.preprocessing.resize
        self.shape = (*size, self.preprocessing.channels)
        self._model, self.precision = in_float32(model), precision
        self.form = InferenceForm(self._model, precision, in_strides)
        self.function = self._function()

    def _function(self):
        mean, std = (
            np.float32(values) * np.float32(255.0)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )

        @tf.function(input_signature=[tf.TensorSpec([None, *self.shape], tf.uint8, name="image")])
        def function(image):
            outputs = self.form((tf.cast(image, tf.float32) - mean) / std)
            return {"probabilities": self.read(outputs)}

        return function

    def read(self, outputs):
        """The probabilities that outputs stand for, a tensor or as they are."""
        return tf.nn.softmax(outputs) if self._are_logits else outputs

    def fit(self, images):
        """Brings images to the network's size, as in evaluation.

        Args:
            images: Iterable of uint8 arrays `(height, width, channels)` of any size.

        Returns:
            uint8 array `(images, *shape)`.

        Raises:
            UserError: If an image is of another type.
        """
        images = list(images)
        others = [image for image in images if getattr(image, "dtype", None) != np.uint8]
        if others:
            kind = getattr(others[0], "dtype", type(others[0]).__name__)
            raise UserError(f"`images` must be uint8 arrays, 0 to 255. Received: one of {kind}")
        if not images:
            return np.zeros((0, *self.shape), np.uint8)
        if len({image.shape for image in images}) == 1:
            return fit_pixels(self.preprocessing, np.stack(images)).numpy()
        return np.stack([fit_pixels(self.preprocessing, image).numpy() for image in images])

    def outputs(self, pixels):
        """What the model and its form give, by the model's own standardization.

        Args:
            pixels: uint8 array `(images, *shape)`.

        Returns:
            Two float32 arrays `(images, num_classes)`, logits or probabilities.
        """
        images = self.preprocessing.standardize(tf.constant(pixels))
        return self._model(images, training=False).numpy(), self.form(images).numpy()


def check_channels(channels):
    """Refuses numbers of channels that no image file has."""
    if channels not in (1, 3):
        raise UserError(
            "A model must have 1 (grey) or 3 (RGB) channels to be asked about image files. "
            f"Received: {channels} channels"
        )


def decoded(data, channels, max_pixels):
    """The pixels of an image file, grey or RGB.

    Args:
        data: Scalar string tensor, the bytes of the file.
        channels: Int, 1 or 3.
        max_pixels: As for `images.decode_image`.

    Returns:
        uint8 tensor `(height, width, channels)`.
    """
    image = decode_image(data, 3, max_pixels)  # of a PNG or JPEG alone TensorFlow makes grey
    return tf.image.rgb_to_grayscale(image) if channels == 1 else image


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


def in_float32(model):
    """The model itself if all its layers compute in float32, else built again to do so."""
    if isinstance(model, Network):
        model.average_statistics()
    others = [
        layer for layer in model._flatten_layers(include_self=False)  # those of nested ones too
        if not layer.compute_dtype == layer.variable_dtype == "float32"
    ]
    if not others:
        return model
    if not isinstance(model, Network):
        raise UserError(
            "An export is made of a network in float32, and only a keras_resnets.Network can be "
            f"built again as one. Received: a keras.Model whose layer {others[0].name} has the "
            f"dtype policy {others[0].dtype_policy.name}"
        )
    return model.copy_with(dtype="float32")
