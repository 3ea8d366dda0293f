"""Image files that are looked at once, before a training."""

import os

import numpy as np
import tensorflow as tf

from keras_resnets.data.moments import pixel_sums
from keras_resnets.data.remembered import CHANNELS, Remembered
from keras_resnets.data.sources import ARRAY_LIMIT, Images
from keras_resnets.errors import UserError
from keras_resnets.images import decode_image, digest, find_fault, printable


def read_files(files, skip_corrupt, max_pixels, folder):
    """Finds the files that cannot be used, by decoding each the first time that it is seen.

    Images of one shape that take up to 1 GiB are kept decoded, or where some were seen before wait
    to be decoded until it is known which are needed (`Images.in_memory`); others are read from disk
    again. What is found out about a file is remembered with its size and time of change.

    Args:
        files: Array of paths.
        skip_corrupt: Boolean. Whether to leave out those that cannot be used.
        max_pixels: Int. How many pixels an image may have by its header.
        folder: String, what the files are remembered under.

    Returns:
        Tuple of `Images`, those that can be used, and a boolean array, which ones they are.

    Raises:
        ValueError: If one cannot be used and is not to be left out.
    """
    memory = Remembered(files, folder)
    memory.known &= memory.shapes.prod(1) <= max_pixels
    unknown = np.flatnonzero(~memory.known)
    pixels, size = ([] if len(unknown) == len(files) else None), 0
    for image, (place, known, *sums) in _decoded(files[unknown], max_pixels):
        memory.learn(unknown[place], image.shape[:2], sums, known)
        if pixels is not None:
            pixels.append(image)
            size += image.nbytes
            if image.shape != pixels[0].shape or size > ARRAY_LIMIT:
                pixels = None
    if len(unknown):
        memory.save()
    sound = memory.known
    if not sound.all() and not skip_corrupt:
        first = files[~sound][0]
        raise UserError(
            f"{np.sum(~sound)} of {len(files)} images cannot be used: {printable(first)} "
            f"{find_fault(first, max_pixels)}. Remove it, or leave such images out with "
            "skip_corrupt"
        )
    if pixels:
        return Images.decoded(np.stack(pixels)), sound
    sides = memory.shapes[sound].astype(np.int32)
    shape = (*sides[0].tolist(), CHANNELS) if _fit_in_memory(sides) else None
    verified = memory.digests[sound], sides
    images = Images.files(list(files[sound]), max_pixels, memory.sums[sound], verified, shape)
    return images, sound


def file_stamps(files, folder):
    """What `Source.fingerprint` tells each file by: its path below a folder, and its size."""
    return [os.fsencode(f"{f.removeprefix(folder)} {os.path.getsize(f)}") for f in files]


def _fit_in_memory(shapes):
    """Whether images of these shapes would stay decoded."""
    if not len(shapes) or (shapes != shapes[0]).any():
        return False
    return CHANNELS * int(shapes.prod(1, dtype=np.int64).sum()) <= ARRAY_LIMIT


def _decoded(files, max_pixels):
    """Yields uint8 image, and place, digest and pixel sums, of each file that can be decoded."""
    if not len(files):
        return ()

    def read(index, path):
        data = tf.io.read_file(path)
        image = decode_image(data, CHANNELS, max_pixels)
        return image, tf.concat([[index, digest(data)], pixel_sums(image)], 0)

    paths = tf.constant([os.fsencode(file) for file in files], tf.string)
    images = tf.data.Dataset.from_tensor_slices((np.arange(len(files)), paths)).map(
        read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return images.ignore_errors().prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
