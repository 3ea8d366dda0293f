"""Image files that are looked at once, before a training."""

import os

import numpy as np
import tensorflow as tf

from keras_resnets.data.sources import ARRAY_LIMIT, Images
from keras_resnets.errors import UserError
from keras_resnets.images import decode_image, find_fault, printable


def read_files(files, skip_corrupt, max_pixels):
    """Decodes all files once, to find those that cannot be used.

    Images of one shape that take up to 1 GiB stay decoded in memory; others are read from disk
    again.

    Args:
        files: Array of paths.
        skip_corrupt: Boolean. Whether to leave out those that cannot be used.
        max_pixels: Int. How many pixels an image may have by its header.

    Returns:
        Tuple of `Images`, those that can be used, and a boolean array, which ones they are.

    Raises:
        ValueError: If one cannot be used and is not to be left out.
    """
    sound = np.zeros(len(files), bool)
    pixels, shape, size = [], None, 0
    for index, image in _decoded(files, max_pixels):
        sound[index] = True
        shape = shape or image.shape
        size += image.nbytes
        if pixels is not None:
            pixels.append(image)
        if image.shape != shape or size > ARRAY_LIMIT:
            pixels = None
    if not sound.all() and not skip_corrupt:
        first = files[~sound][0]
        raise UserError(
            f"{np.sum(~sound)} of {len(files)} images cannot be used: {printable(first)} "
            f"{find_fault(first, max_pixels)}. Remove it, or leave such images out with "
            "skip_corrupt"
        )
    if pixels:
        return Images.decoded(np.stack(pixels)), sound
    return Images.files(list(files[sound]), max_pixels), sound


def file_stamps(files, folder):
    """What `Source.fingerprint` tells each file by: its path below a folder, and its size."""
    return [os.fsencode(f"{f.removeprefix(folder)} {os.path.getsize(f)}") for f in files]


def _decoded(files, max_pixels):
    paths = [os.fsencode(file) for file in files]
    images = tf.data.Dataset.from_tensor_slices((np.arange(len(files)), paths)).map(
        lambda index, path: (index, decode_image(tf.io.read_file(path), 3, max_pixels)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return images.ignore_errors().prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
