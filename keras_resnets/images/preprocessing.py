"""The preprocessing of evaluation, which a model carries and an export contains."""

import dataclasses
import math

import keras
import tensorflow as tf

from keras_resnets.checks import is_count, must
from keras_resnets.errors import UserError
from keras_resnets.images.resizing import INTERPOLATIONS, resize, resize_window


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The evaluation preprocessing of a network, as plain TensorFlow operations.

    `image -> resize -> central crop -> / 255 -> (x - mean) / std`. A model keeps one
    (`model.preprocessing`); evaluation, prediction and export all apply this very object, so that
    what is served is what was measured.

    Args:
        mean: Tuple of floats. Per-channel mean of the pixels divided by 255; its length is the
            number of channels, 1 (grey) or 3 (RGB) for image files.
        std: Tuple of floats. Per-channel standard deviation of the pixels divided by 255.
        resize: Int (length of the shorter side, aspect ratio kept), `(height, width)` (exact), or
            `None` (left as it is). Defaults to `None`.
        crop: `(height, width)` cut from the middle after resizing, or `None`. Defaults to `None`.
        interpolation: `"bilinear"` or `"bicubic"` (see `images.resize`), with antialiasing when an
            image shrinks. Defaults to `"bilinear"`.

    Raises:
        ValueError: If an argument is not of the form above.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"

    def __post_init__(self):
        for field in ("resize", "crop"):
            value = getattr(self, field)
            if isinstance(value, list):  # as JSON gives it back
                object.__setattr__(self, field, tuple(value))
        self._check_statistics()
        if self.interpolation not in INTERPOLATIONS:
            raise UserError(
                f"`interpolation` must be one of {tuple(INTERPOLATIONS)}. "
                f"Received: interpolation={self.interpolation!r}"
            )
        for field in ("resize", "crop"):
            value = getattr(self, field)
            sizes = value if isinstance(value, tuple) else (value,)
            length = 2 if field == "crop" or isinstance(value, tuple) else 1
            is_legal = len(sizes) == length and all(map(is_count, sizes))
            legal = "whole pixels above 0, (height, width)"
            must(field, value, value is None or is_legal, legal)

    def _check_statistics(self):
        received = f"Received: mean={self.mean}, std={self.std}"
        try:
            for field in ("mean", "std"):
                object.__setattr__(self, field, tuple(float(x) for x in getattr(self, field)))
            is_legal = 0 < len(self.mean) == len(self.std) and min(self.std) > 0
        except (TypeError, ValueError):
            is_legal = False
        if not is_legal or not all(math.isfinite(x) for x in self.mean + self.std):
            raise UserError(
                f"`mean` and `std` must have one number a channel, `std` above 0. {received}"
            )
        if max(self.mean + self.std) > 1:
            raise UserError(
                "`mean` and `std` must be those of pixels divided by 255, at most 1; these look "
                f"like pixels in 0..255: divide them by 255. {received}"
            )

    @property
    def channels(self):
        """Number of channels of the images."""
        return len(self.mean)

    def __call__(self, image):
        """Prepares `image` of shape `(height, width, channels)` or with a batch axis in front.

        Args:
            image: Tensor, uint8 or float in 0..255.

        Returns:
            float32 tensor of the same rank, resized, cropped and standardized.
        """
        return self.standardize(self.resized(image))

    def resized(self, image):
        """Resizes and crops, without standardizing.

        Args:
            image: As for a call.

        Returns:
            Tensor of the same rank in 0..255, float32 or, where there is nothing to do, `image`.
        """
        if self.crop is not None:
            size = self._size(image)
            image = resize_window(image, size, self._corner(size), self.crop, self.interpolation)
        elif self.resize is not None:
            image = resize(image, self._size(image), self.interpolation)
        return image

    def standardize(self, image):
        """Scales pixels of 0..255 to zero mean and unit deviation. Shape is kept."""
        image = tf.convert_to_tensor(image)
        mean = tf.constant(self.mean, tf.float32) * 255.0
        std = tf.constant(self.std, tf.float32) * 255.0
        # TensorFlow is slow at repeating three numbers, and fast at repeating a row of pixels.
        shape = tf.shape(image)
        width = shape[-2:-1]
        rows = tf.reshape(image, tf.concat([shape[:-2], [width[0] * shape[-1]]], 0))
        rows = (tf.cast(rows, tf.float32) - tf.tile(mean, width)) / tf.tile(std, width)
        return tf.ensure_shape(tf.reshape(rows, shape), image.shape)

    def for_size(self, size):
        """The same for images of another size.

        Where it crops, resizing and crop grow alike; else images are resized to `size`.

        Args:
            size: `(height, width)` in pixels.

        Returns:
            `Preprocessing`.
        """
        if not self.crop:
            return dataclasses.replace(self, resize=size)
        grown, resize = min(size) / min(self.crop), self.resize
        if resize is not None:
            is_int = isinstance(resize, int)
            resize = round(resize * grown) if is_int else tuple(round(x * grown) for x in resize)
        return dataclasses.replace(self, resize=resize, crop=size)

    def for_channels(self, channels):
        """The same for images of other channels: their mean for one, in turn for more."""
        if channels == self.channels:
            return self
        mean, std = (
            (sum(values) / len(values),)
            if channels == 1
            else tuple(values[place % len(values)] for place in range(channels))
            for values in (self.mean, self.std)
        )
        return dataclasses.replace(self, mean=mean, std=std)

    def window(self, height, width):
        """What the crop keeps of an image, in the image's own pixels.

        Args:
            height: Int, of the image.
            width: Int, of the image.

        Returns:
            Tuple of floats `(top, left, height, width)`: the whole image without a crop, and
            beyond its edges where the crop is larger than the resized image.
        """
        if self.crop is None:
            return 0.0, 0.0, float(height), float(width)
        size = [int(side) for side in self._size(tf.zeros((height, width, 0)))]
        corner = [int(place) for place in self._corner(tf.constant(size, tf.int64))]
        scales = height / size[0], width / size[1]
        return tuple(
            float(scale * length)
            for lengths in (corner, self.crop)
            for scale, length in zip(scales, lengths, strict=True)
        )

    def _size(self, image):
        """`(height, width)` of the image once it is resized."""
        if isinstance(self.resize, tuple):
            return self.resize
        sides = tf.shape(image, tf.int64)[-3:-1]
        if self.resize is None:
            return sides
        return sides * self.resize // tf.reduce_min(sides)  # truncated, as torchvision

    def _corner(self, size):
        """Where the crop begins; negative where the image is smaller, which black then fills."""
        surplus = tf.cast(size, tf.int64) - self.crop
        half = tf.cast(tf.round(tf.cast(surplus, tf.float64) / 2.0), tf.int64)
        # Half pixels are rounded as torchvision's CenterCrop does, which pads the other way.
        return tf.where(surplus >= 0, half, -(-surplus // 2))

    def get_config(self):
        """The arguments as a JSON-able dictionary; `Preprocessing(**config)` gives it back."""
        return dataclasses.asdict(self)

    def as_layer(self, **kwargs):
        """A Keras layer that does the same, for a model that takes pixels.

        Args:
            **kwargs: Arguments of `keras.layers.Layer`, such as `name`.

        Returns:
            `PreprocessingLayer`.
        """
        return PreprocessingLayer(self, **kwargs)


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
