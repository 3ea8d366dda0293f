"""What an augmentation makes of images, as training draws it."""

import numpy as np
import tensorflow as tf

from keras_resnets.analysis import drawing
from keras_resnets.checks import is_count, must
from keras_resnets.data import augment as augmentation
from keras_resnets.data.operations import Context
from keras_resnets.data.pipeline import fitting
from keras_resnets.errors import UserError


def augmented(images, augment, image_size=None, draws=6, seed=0, mean=None, exact=None):
    """The draws of an augmentation in the first epochs of a training.

    The random numbers are those of `data.training_dataset`, keyed by (seed, epoch, index of the
    image): image `i` of this sequence is shown as example `i` of a set is trained on.

    Args:
        images: Sequence of uint8 arrays `(height, width, channels)`, of one number of channels.
        augment: What `data.parse_augment` takes, such as `"pad_crop:padding=4,flip"`.
        image_size: `(height, width)`, the network's input. Defaults to the images' own size.
        draws: Int. Number of epochs. Defaults to 6.
        seed: Int. Defaults to 0.
        mean: Sequence of floats in 0..255, the colour that `erase` fills with, one a channel.
            Defaults to the mean of these images.
        exact: Boolean. Whether all images of the set have one shape, so that an augmentation that
            makes no size comes after resizing to `image_size`; if not, after covering it and
            cutting. Defaults to whether these images have one.

    Returns:
        uint8 array `(images, draws, height, width, channels)`.

    Raises:
        UserError: If an argument is not of the form above, the images differ in size and no
            `image_size` is given, or an operation cannot be applied to them.
    """
    operations = augmentation.parse_augment(augment)
    must("draws", draws, is_count(draws), "a positive integer")
    images = [np.asarray(image) for image in images]
    _check(images)
    shapes = {image.shape for image in images}
    if image_size is None and len(shapes) > 1:
        raise UserError("`image_size` is needed, as the images differ in size")
    image_size = images[0].shape[:2] if image_size is None else image_size
    is_pair = isinstance(image_size, list | tuple) and len(image_size) == 2
    must("image_size", image_size, is_pair and all(map(is_count, image_size)),
         "(height, width) in pixels")
    if mean is None:
        mean = np.concatenate([image.reshape(-1, image.shape[-1]) for image in images]).mean(axis=0)
    context = Context(tuple(image_size), tuple(float(level) for level in mean))
    operations = fitting(operations, exact=len(shapes) == 1 if exact is None else exact)
    for shape in sorted(shapes):
        augmentation.check(operations, shape, context)
    epochs = []
    for epoch in tf.range(draws, dtype=tf.int64):  # as in training: a Python int draws otherwise
        numbers = augmentation.draw(operations, seed, epoch, len(images))
        epochs.append([
            augmentation.apply(operations, tf.constant(image)[None], row[None], context)[0]
            for row, image in zip(numbers, images, strict=True)
        ])
    return np.clip(np.round(np.array(epochs)), 0, 255).astype("uint8").swapaxes(0, 1)


def augmentation_sheet(
    images, augment, path, image_size=None, draws=6, seed=0, mean=None, exact=None
):
    """Draws a sheet of `augmented`: a row an image, first the original, then one draw an epoch.

    The title has the text of each operation.

    Args:
        images: As for `augmented`.
        augment: As for `augmented`.
        path: Path of the PNG or SVG to write.
        image_size: As for `augmented`.
        draws: As for `augmented`.
        seed: As for `augmented`.
        mean: As for `augmented`.
        exact: As for `augmented`.

    Raises:
        UserError: As `augmented`.
    """
    rows = augmented(images, augment, image_size, draws, seed, mean, exact)
    figure, axes = drawing.new_figure(1 + draws, len(rows), width=1.25, height=1.3)
    for panel in axes:
        panel.set_axis_off()
    for place, (image, draw) in enumerate(zip(images, rows, strict=True)):
        for column, shown in enumerate([image, *draw]):
            panel = axes[place * (1 + draws) + column]
            drawing.show_image(panel, shown)
            panel.set_anchor("N")
            if place == 0:
                panel.set_title("original" if column == 0 else f"epoch {column}", fontsize=9)
    words = [str(operation) for operation in augmentation.parse_augment(augment)]
    figure.suptitle(_title(words or ["no augmentation"], 16 * (1 + draws)), fontsize=10)
    drawing.save(figure, path)


def _check(images):
    if not images:
        raise UserError("`images` must hold at least one image. Received: none")
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
            raise UserError(
                "`images` must be uint8 arrays (height, width, 1 or 3). "
                f"Received: {image.dtype} {image.shape}"
            )
    channels = sorted({image.shape[-1] for image in images})
    if len(channels) > 1:
        raise UserError(
            f"`images` must have one number of channels. Received: {channels[0]} and {channels[1]}"
        )


def _title(words, width):
    """The operations in lines of about so many letters, none of them broken."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) + 2 > width:
            lines[-1] += ","
            lines.append(word)
        else:
            lines[-1] += f", {word}"
    return "\n".join(lines)
