"""The preprocessing of evaluation, which a model carries and an export contains."""

import dataclasses

import tensorflow as tf

from keras_resnets.images import resizing


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
        interpolation: `"bilinear"` or `"bicubic"`, with antialiasing when an image shrinks.
            Defaults to `"bilinear"`.

    Raises:
        ValueError: If an argument is not of the form above.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"

    def __post_init__(self):
        for field in ("mean", "std", "resize", "crop"):
            value = getattr(self, field)
            if isinstance(value, list):  # as JSON gives it back
                object.__setattr__(self, field, tuple(value))
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(
                "`mean` and `std` must have one number a channel, `std` above 0. "
                f"Received: mean={self.mean}, std={self.std}"
            )
        if self.interpolation not in resizing.INTERPOLATIONS:
            raise ValueError(
                f"`interpolation` must be one of {resizing.INTERPOLATIONS}. "
                f"Received: interpolation={self.interpolation!r}"
            )
        for field in ("resize", "crop"):
            value = getattr(self, field)
            sizes = value if isinstance(value, tuple) else (value,)
            length = 2 if field == "crop" or isinstance(value, tuple) else 1
            if value is not None and (len(sizes) != length or min(sizes) < 1):
                raise ValueError(
                    f"`{field}` must be positive pixels, (height, width). Received: {field}={value}"
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
        image = tf.cast(image, tf.float32)
        return self.standardize(self._crop(self._resize(image)))

    def standardize(self, image):
        """Scales pixels of 0..255 to zero mean and unit deviation. Shape is kept."""
        mean = tf.constant(self.mean, tf.float32) * 255.0
        std = tf.constant(self.std, tf.float32) * 255.0
        return (tf.cast(image, tf.float32) - mean) / std

    def _resize(self, image):
        if self.resize is None:
            return image
        size = self.resize
        if isinstance(size, int):
            sides = tf.shape(image)[-3:-1]
            size = sides * size // tf.reduce_min(sides)  # the longer side truncated, as torchvision
        return resizing.resize(image, size, self.interpolation)

    def _crop(self, image):
        if self.crop is None:
            return image
        height, width = self.crop
        # An image smaller than the crop (a resize below the crop size) is padded with black.
        shape = tf.shape(image)
        image = tf.image.resize_with_crop_or_pad(
            image, tf.maximum(shape[-3], height), tf.maximum(shape[-2], width)
        )
        shape = tf.shape(image)
        # Rounds half pixels as torchvision's CenterCrop does.
        top = tf.cast(tf.round(tf.cast(shape[-3] - height, tf.float32) / 2.0), tf.int32)
        left = tf.cast(tf.round(tf.cast(shape[-2] - width, tf.float32) / 2.0), tf.int32)
        return image[..., top : top + height, left : left + width, :]

    def get_config(self):
        """The arguments as a JSON-able dictionary; `Preprocessing(**config)` gives it back."""
        return dataclasses.asdict(self)
