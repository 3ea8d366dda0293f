"""How far the answers of an export are from those of its model, on real images."""

import functools
import math

import numpy as np
import tensorflow as tf

from keras_resnets.errors import UserError

CHECKED = 64  # images
# Of the largest output. Rounding in float32 stays below a tenth of its limit; that of bfloat16 only
# tells gross errors, as rounding adds up with the depth.
LIMITS = {"float32": 1e-3, "bfloat16": 0.25}
_WINDOWS = 32  # of each photo


@functools.cache
def _photos():
    from sklearn.datasets import load_sample_images

    return load_sample_images().images


def sample_photos(channels=3):
    """Parts of the two photos, a temple and a flower, that come with scikit-learn.

    Args:
        channels: Int. 1 is grey, 3 RGB; of others each is one of the three. Defaults to 3.

    Yields:
        uint8 arrays `(213, 213, channels)`.
    """
    side = 213
    for photo in _photos():
        height, width = photo.shape[:2]
        for index in range(_WINDOWS):
            top = index * (height - side) // (_WINDOWS - 1)
            left = index * 7 % _WINDOWS * (width - side) // (_WINDOWS - 1)
            part = photo[top : top + side, left : left + side]
            if channels == 1:
                yield tf.image.rgb_to_grayscale(part).numpy()
            else:
                yield part[..., np.arange(channels) % 3]


def check_pixels(network, images=None):
    """The pixels to check an export of a network on.

    Args:
        network: `PixelNetwork`.
        images: Iterable of uint8 arrays `(height, width, channels)`. Defaults to `sample_photos`.

    Returns:
        uint8 array `(images, *network.shape)`.

    Raises:
        UserError: If there are no images, or they have other channels.
    """
    pixels = network.fit(sample_photos(network.shape[-1]) if images is None else images)
    if not len(pixels) or pixels.shape[1:] != network.shape:
        raise UserError(
            f"`images` must be one image or more of {network.shape[-1]} channels. "
            f"Received: {len(pixels)} of shape {pixels.shape[1:]}"
        )
    return pixels


def form_difference(network, pixels):
    """How far the inference form of a network is from its model.

    Args:
        network: `PixelNetwork`.
        pixels: uint8 array `(images, *network.shape)`.

    Returns:
        Tuple of the model's probabilities, float32 `(images, num_classes)`; its largest output, a
        float; and the `difference` of the form's probabilities from the model's.

    Raises:
        UserError: If the form computes something else, by more than rounding in its precision.
        FloatingPointError: If the probabilities are not finite.
    """
    expected, found = network.outputs(pixels)
    probabilities, others = (np.asarray(network.read(one)) for one in (expected, found))
    result = difference(probabilities, others)
    far, largest = np.abs(found - expected).max(), np.abs(expected).max()
    if not far <= LIMITS[network.precision] * largest:
        raise UserError(
            f"The inference form of the model in {network.precision} is {far:.2g} away from it, "
            f"whose largest output is {largest:.2g}: it has a layer that is not what its type "
            "says, build it without"
        )
    return probabilities, float(largest), result


def check_file(found, precision, largest):
    """Refuses a file that computes something else than the model, by more than rounding.

    Runtimes have operations that are not quite TensorFlow's. What int8 costs is for evaluation to
    say.

    Args:
        found: Dictionary, the `difference` of the file's probabilities from the model's.
        precision: String, what the file computes in.
        largest: Float, the model's largest output. Rounding grows with it.

    Raises:
        UserError: If it does.
    """
    limit = LIMITS.get(precision, math.inf) * max(largest, 1.0)
    if not found["probabilities"] <= limit:
        raise UserError(
            f"A probability of the exported file is {found['probabilities']:.2g} away from that of "
            "the model: the format has no exact counterpart of one of its operations, so give "
            "another format"
        )


def difference(expected, answered):
    """Compares probabilities.

    Args:
        expected: float array `(images, num_classes)`, the model's.
        answered: float array of the same shape, the export's.

    Returns:
        Dictionary with `"images"`: how many; `"probabilities"`: the largest difference of one;
        `"same_class"`: the share of images whose best class is the same.

    Raises:
        FloatingPointError: If the export's are not finite.
    """
    if not np.isfinite(answered).all():
        raise FloatingPointError("The export gives probabilities that are not finite")
    same = expected.argmax(axis=1) == answered.argmax(axis=1)
    return {
        "images": len(expected),
        "probabilities": float(np.abs(expected - answered).max()),
        "same_class": float(same.mean()),
    }
