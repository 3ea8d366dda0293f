"""Images of one's own: arrays, and files that are not sorted into folders."""

import os
import zlib

import numpy as np

from keras_resnets.data.files import file_stamps, read_files
from keras_resnets.data.sources import Images, Source
from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS, printable


def from_arrays(images, labels, class_names=None):
    """Makes a source of images in memory.

    ```python
    source = data.from_arrays(x_train, y_train)
    train, validation = source[:45000], source[45000:]
    ```

    Args:
        images: Array of whole numbers in 0..255, `(images, height, width, channels)`, or of grey
            images `(images, height, width)`.
        labels: One for each image: class numbers `(images,)` or `(images, 1)`, or class names.
        class_names: Sequence of strings, by class number. Defaults to the names among `labels`,
            sorted, or to `"0"`, `"1"`, ... up to the highest class number among them.

    Returns:
        `Source`.

    Raises:
        ValueError: If the images or the labels are not of this form, or do not fit each other.
    """
    try:
        pixels = np.asarray(images)
    except ValueError:  # images of several sizes
        pixels = np.empty(len(images), object)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    if pixels.ndim != 4 or 0 in pixels.shape:
        raise UserError(
            "`images` must be one array (images, height, width, channels), or (images, height, "
            f"width) of grey ones. Received: shape {pixels.shape}"
        )
    low, high = pixels.min(), pixels.max()
    if pixels.dtype.kind not in "iu" or low < 0 or high > 255:
        raise UserError(
            "`images` must be whole numbers in 0..255, such as uint8. "
            f"Received: {pixels.dtype} from {low} to {high}"
        )
    numbers, class_names = number_labels(labels, len(pixels), class_names)
    pixels = np.ascontiguousarray(pixels, np.uint8)
    return Source(
        name="arrays",
        class_names=class_names,
        images=Images.decoded(pixels),
        indices=np.arange(len(pixels)),
        labels=numbers,
        describe=lambda place: f"image {place}",
        stamps=[b"%08x" % zlib.crc32(image) for image in pixels],
    )


def from_files(paths, labels, class_names=None, skip_corrupt=False, max_pixels=MAX_PIXELS):
    """Makes a source of image files.

    Every file is decoded once here, as by `load_splits` of a folder: corrupt ones are found before
    the training starts.

    Args:
        paths: Sequence of strings or paths, JPEG, PNG, GIF, BMP or WebP files.
        labels: As for `from_arrays`.
        class_names: As for `from_arrays`.
        skip_corrupt: Boolean. Whether corrupt images, and those with too many pixels, are left out
            and counted instead of refused. Defaults to `False`.
        max_pixels: Int. How many pixels an image may have by its header. Defaults to 50 million.

    Returns:
        `Source` of RGB images.

    Raises:
        ValueError: If the labels do not fit the paths, or a file is missing, corrupt or too large.
    """
    files = [os.fspath(path) for path in ([] if isinstance(paths, str) else paths)]
    if not files:
        raise UserError(f"`paths` must be a sequence of one path or more. Received: {paths!r}")
    for file in files:
        if os.path.exists(file) and not os.path.isfile(file):  # a pipe would never end
            raise UserError(f"`paths` must be files. Received: {printable(file)}")
    numbers, class_names = number_labels(labels, len(files), class_names)
    files = np.array(files, object)
    images, sound = read_files(files, skip_corrupt, max_pixels, _common(files))
    files = files[sound]
    return Source(
        name="files",
        class_names=class_names,
        images=images.in_memory(np.arange(len(files))) if images.is_small else images,
        indices=np.arange(len(files)),
        labels=numbers[sound],
        describe=lambda place: printable(files[place]),
        num_skipped=int(np.sum(~sound)),
        stamps=file_stamps(files, ""),
    )


def _common(files):
    """The folder that all files are in: what they are remembered under."""
    return os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])


def number_labels(labels, count, class_names):
    """Class numbers, an int64 array `(count,)`, and class names, as `from_arrays` takes them."""
    values = np.asarray(labels)
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    is_named = values.dtype.kind == "U" or isinstance(values.flat[0] if values.size else 0, str)
    if values.shape != (count,) or not (is_named or values.dtype.kind in "biu"):
        raise UserError(
            f"`labels` must hold one class number or name for each of the {count} images. "
            f"Received: {values.dtype} of shape {np.shape(labels)}"
        )
    if class_names is None:
        names = sorted(set(values)) if is_named else range(int(values.max()) + 1)
    else:
        names = [class_names] if isinstance(class_names, str) else class_names
    names = [str(name) for name in names]
    known = {name: number for number, name in enumerate(names)}
    legal = known if is_named else range(len(names))
    unknown = [value for value in dict.fromkeys(values.tolist()) if value not in legal]
    if unknown:
        raise UserError(
            f"`labels` must be of the {len(names)} classes in `class_names`. "
            f"Received: label {unknown[0]!r}"
        )
    numbers = [known[value] for value in values.tolist()] if is_named else values
    return np.asarray(numbers, np.int64), tuple(names)
