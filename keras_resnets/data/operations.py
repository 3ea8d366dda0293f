"""The operations of augmentation: what each does to images, given its random numbers."""

import dataclasses
import math
import re
from typing import ClassVar

import tensorflow as tf

from keras_resnets.data.moves import View
from keras_resnets.errors import UserError
from keras_resnets.images import resize

TRIES = 10  # random areas tried by torchvision before it falls back


@dataclasses.dataclass(frozen=True)
class Context:
    """What operations know about the set.

    Args:
        image_size: `(height, width)` of the network's input.
        mean: Per-channel mean of the set, in 0..255.
    """

    image_size: tuple[int, int]
    mean: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Operation:
    """One augmentation, applied to an image with probability `p`.

    Calling it with images `(batch, height, width, channels)` in 0..255 (uint8 or float32), numbers
    `(batch, numbers)` and a `Context` returns the augmented images. An operation of your own says
    how many random numbers it needs, takes all its chance from them, and goes into
    `training_dataset(augment=[...])`:

    ```python
    @dataclasses.dataclass(frozen=True)
    class Invert(Operation):
        p: float = 0.5

        def __call__(self, images, numbers, context):
            return tf.where(numbers[:, 0, None, None, None] < self.p, 255 - images, images)
    ```

    Args:
        p: Float in 0..1. Probability. Defaults to 1.
    """

    p: float = 1.0
    numbers: ClassVar[int] = 1
    makes_size: ClassVar[bool] = False  # whether the result has the network's input size

    @classmethod
    def word(cls):
        """What descriptions and errors call it: `pad_crop` for the class `PadCrop`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __post_init__(self):
        self._require("p", 0 <= self.p <= 1, "in 0..1")

    def __str__(self):
        """The description that `parse_augment` makes it from."""
        fields = dataclasses.fields(self)
        pairs = [(f.name, getattr(self, f.name)) for f in fields]
        given = [pair for f, pair in zip(fields, pairs, strict=True) if pair[1] != f.default]
        return ":".join([self.word(), *(f"{key}={value}" for key, value in given)])

    def _require(self, field, legal, wanted):
        if not legal:
            value = getattr(self, field)
            raise UserError(
                f"`{field}` of {self.word()} must be {wanted}. Received: {field}={value}"
            )

    def _chosen(self, numbers):
        return numbers[:, 0] < self.p


@dataclasses.dataclass(frozen=True)
class ViewOperation(Operation):
    """An operation that moves and paints whole pixels, by `look`.

    Several in a row look at one `View`, whose pixels are then copied once.
    """

    def look(self, view, numbers, context):
        """Moves or paints the pixels of a `View`; otherwise as a call with its images."""
        raise NotImplementedError

    def __call__(self, images, numbers, context):
        view = View(images)
        self.look(view, numbers, context)
        return view.pixels()


@dataclasses.dataclass(frozen=True)
class PadCrop(ViewOperation):
    """Pads all four sides by `padding` pixels and cuts the old size at a random place.

    He et al. 2015, section 4.2 (4 black pixels); Wide ResNet's code pads by reflection.
    """

    padding: int = 4
    mode: str = "constant"
    numbers: ClassVar[int] = 3

    def __post_init__(self):
        super().__post_init__()
        self._require("padding", self.padding >= 1, "1 pixel or more")
        self._require("mode", self.mode in ("constant", "reflect"), "constant or reflect")

    def look(self, view, numbers, context):
        offsets = tf.cast(numbers[:, 1:] * (2 * self.padding + 1), tf.int32)
        offsets = tf.where(self._chosen(numbers)[:, None], offsets, self.padding)
        places = []
        for axis, side in enumerate(view.sides):
            around = [[self.padding, self.padding]]
            padded = tf.pad(tf.range(side), around, self.mode, constant_values=-1)
            places.append(tf.gather(padded, offsets[:, axis, None] + tf.range(side)))
        view.move(*places, has_black=self.mode == "constant")


@dataclasses.dataclass(frozen=True)
class Flip(ViewOperation):
    """Mirrors left and right."""

    p: float = 0.5

    def look(self, view, numbers, context):
        view.flip(self._chosen(numbers))


@dataclasses.dataclass(frozen=True)
class Rotate(Operation):
    """Turns about the centre by an angle within +-`degrees` (bilinear, black corners)."""

    degrees: float = 10.0
    numbers: ClassVar[int] = 2

    def __post_init__(self):
        super().__post_init__()
        self._require("degrees", 0 <= self.degrees <= 180, "in 0..180")

    def __call__(self, images, numbers, context):
        angle = (2 * numbers[:, 1] - 1) * math.radians(self.degrees)
        angle = tf.where(self._chosen(numbers), angle, 0.0)
        cos, sin, zero = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle)
        size = tf.shape(images)[1:3]
        y, x = tf.unstack(tf.cast(size - 1, tf.float32) / 2.0)
        # Rows of the matrix from an output pixel to the input pixel it shows, about the centre.
        rows = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, zero, zero]
        rotated = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.cast(images, tf.float32),
            transforms=tf.stack(rows, axis=1),
            output_shape=size,
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )
        return tf.ensure_shape(rotated, images.shape)


@dataclasses.dataclass(frozen=True)
class Translate(ViewOperation):
    """Shifts by whole pixels, up to `fraction` of each side, black where nothing is left."""

    fraction: float = 0.1
    numbers: ClassVar[int] = 3

    def __post_init__(self):
        super().__post_init__()
        self._require("fraction", 0 <= self.fraction <= 1, "in 0..1")

    def look(self, view, numbers, context):
        limits = tf.cast(view.sides, tf.float32) * self.fraction
        shift = tf.cast(tf.round((2 * numbers[:, 1:] - 1) * limits), tf.int32)
        shift = tf.where(self._chosen(numbers)[:, None], shift, 0)
        height, width = view.sides
        view.move(shift[:, :1] + tf.range(height), shift[:, 1:] + tf.range(width))


@dataclasses.dataclass(frozen=True)
class Erase(ViewOperation):
    """Random erasing (Zhong et al. 2017) as torchvision has it, with the set's mean colour.

    A rectangle of 2 % to 33 % of the area and an aspect ratio of 0.3 to 3.3; the mean colour is 0
    after standardization, where torchvision erases.
    """

    p: float = 0.5
    numbers: ClassVar[int] = 3 + 2 * TRIES

    def look(self, view, numbers, context):
        height, width = tf.unstack(tf.cast(view.sides, tf.float32))
        area, ratio = _areas(numbers[:, 3:], (0.02, 0.33), (0.3, 3.3))
        tall = tf.round(tf.sqrt(area * height * width * ratio))
        wide = tf.round(tf.sqrt(area * height * width / ratio))
        fits = (tall < height) & (wide < width)
        found, (tall, wide) = _first(fits, tall, wide)
        found &= self._chosen(numbers)
        top = tf.floor(numbers[:, 1] * (height - tall + 1))
        left = tf.floor(numbers[:, 2] * (width - wide + 1))
        rows = _between(height, top, tall) & found[:, None]
        view.paint(rows, _between(width, left, wide), context.mean)


@dataclasses.dataclass(frozen=True)
class Cutout(ViewOperation):
    """Fills a square of `size` pixels with the set's mean colour (DeVries & Taylor 2017).

    Its centre is any pixel of the image, so that the border may cut some of it off, as in the
    authors' code; there 16 pixels for CIFAR-10, 8 for CIFAR-100, 20 for SVHN.
    """

    size: int = 16
    numbers: ClassVar[int] = 3

    def __post_init__(self):
        super().__post_init__()
        self._require("size", self.size >= 1, "1 pixel or more")

    def look(self, view, numbers, context):
        height, width = tf.unstack(tf.cast(view.sides, tf.float32))
        top = tf.floor(numbers[:, 1] * height) - self.size // 2
        left = tf.floor(numbers[:, 2] * width) - self.size // 2
        rows = _between(height, top, self.size) & self._chosen(numbers)[:, None]
        view.paint(rows, _between(width, left, self.size), context.mean)


@dataclasses.dataclass(frozen=True)
class Resize(Operation):
    """Resizes to the network's input size (bilinear, antialiased when shrinking); `p` is 1."""

    numbers: ClassVar[int] = 0
    makes_size: ClassVar[bool] = True

    def __post_init__(self):
        self._require("p", self.p == 1, "1")

    def __call__(self, images, numbers, context):
        return resize(images, context.image_size)


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop(Operation):
    """Cuts a random area and resizes it to the network's input size (Szegedy et al. 2014).

    torchvision's rule: an area of 8 % to 100 % and an aspect ratio of 3/4 to 4/3, tried ten
    times, then the largest central area with a legal ratio. An image that `p` passes over is
    resized as a whole.
    """

    min_area: float = 0.08
    numbers: ClassVar[int] = 3 + 2 * TRIES
    makes_size: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        self._require("min_area", 0 < self.min_area <= 1, "above 0, up to 1")

    def __call__(self, images, numbers, context):
        boxes = self.boxes(numbers, tf.shape(images)[1:3])

        def cut(inputs):
            image, (top, left, tall, wide) = inputs[0], tf.unstack(inputs[1])
            return resize(image[top : top + tall, left : left + wide], context.image_size)

        shape = (*context.image_size, images.shape[-1])
        return tf.map_fn(cut, (images, boxes), fn_output_signature=tf.TensorSpec(shape))

    def boxes(self, numbers, size):
        """The areas `(batch, 4)`, int32 (top, left, height, width), cut out of images of `size`.

        Args:
            numbers: As for a call.
            size: `(height, width)`, or those of each image, int32 `(batch, 2)`.
        """
        sides = tf.cast(size, tf.float32)
        height, width = tf.unstack(sides[..., None], axis=-2)
        area, ratio = _areas(numbers[:, 3:], (self.min_area, 1.0), (3 / 4, 4 / 3))
        tall = tf.round(tf.sqrt(area * height * width / ratio))
        wide = tf.round(tf.sqrt(area * height * width * ratio))
        fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
        found, (tall, wide) = _first(fits, tall, wide)
        height, width = tf.unstack(sides, axis=-1)
        top = tf.floor(numbers[:, 1] * (height - tall + 1))
        left = tf.floor(numbers[:, 2] * (width - wide + 1))
        whole = tf.concat([tf.zeros_like(sides), sides], axis=-1)
        central_tall = tf.minimum(height, tf.maximum(1.0, tf.round(width * 4 / 3)))
        central_wide = tf.minimum(width, tf.maximum(1.0, tf.round(height * 4 / 3)))
        central = [(height - central_tall) // 2, (width - central_wide) // 2]
        central = tf.stack([*central, central_tall, central_wide], axis=-1)
        boxes = tf.where(found[:, None], tf.stack([top, left, tall, wide], axis=1), central)
        return tf.cast(tf.where(self._chosen(numbers)[:, None], boxes, whole), tf.int32)


def _areas(numbers, area, ratio):
    """Uniform shares of the area and log-uniform aspect ratios, `(batch, TRIES)` each."""
    low, high = math.log(ratio[0]), math.log(ratio[1])
    return (
        area[0] + numbers[:, :TRIES] * (area[1] - area[0]),
        tf.exp(low + numbers[:, TRIES:] * (high - low)),
    )


def _first(fits, *values):
    """Of each row, whether a column fits, and the values in the first one that does."""
    column = tf.argmax(fits, axis=1)
    return tf.reduce_any(fits, axis=1), [tf.gather(v, column, batch_dims=1) for v in values]


def _between(length, start, extent):
    places = tf.range(length)[None]
    return (places >= start[:, None]) & (places < (start + extent)[:, None])
