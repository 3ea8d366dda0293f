"""Asking an exported model about image files. Needs TensorFlow, not the model's code."""

import glob
import os

import tensorflow as tf

from keras_resnets.data.sources import is_image
from keras_resnets.errors import UserError


class CorruptImageError(ValueError):
    """An image cannot be decoded. The message names it."""


class Predictor:
    """A SavedModel that `keras_resnets.serving.export` wrote, ready to be asked.

    Args:
        path: String or path. A model's folder (its highest version is taken) or that of one
            version.
        batch_size: Int. Images at a time. Defaults to 32.

    Attributes:
        path: String. The folder of the version that was loaded.
        top: Int. How many classes are named for each image.

    Raises:
        FileNotFoundError: If there is no export there.
        UserError: If it is truncated or damaged.
        ValueError: If it is a SavedModel without the signature that takes image files.
    """

    def __init__(self, path, batch_size=32):
        self.path = find_version(path)
        self._batch_size = batch_size
        self._saved_model = _load(self.path)  # holds the signature's variables
        self._signature = self._saved_model.signatures.get("serving_default")
        if self._signature is None or "classes" not in self._signature.structured_outputs:
            raise ValueError(
                f"{self.path} has no signature `serving_default` from image bytes to classes; "
                "scripts/export.py writes it"
            )
        self.top = self._signature.structured_outputs["classes"].shape[-1]

    def predict(self, images, skip_corrupt=False):
        """Classifies image files.

        Args:
            images: Sequence of paths, or of the bytes of JPEG, PNG, GIF or BMP files.
            skip_corrupt: Boolean. Whether an image that cannot be decoded gives `None` instead
                of an error. Defaults to `False`.

        Returns:
            List of `(labels, scores)`, one for each image in order: the best `top` class names
            and their probabilities, best first.

        Raises:
            CorruptImageError: If an image cannot be decoded.
            OSError: If a file cannot be read.
        """
        images = list(images)
        answers = []
        for start in range(0, len(images), self._batch_size):
            answers += self._predict_batch(images[start : start + self._batch_size], skip_corrupt)
        return answers

    def _predict_batch(self, images, skip_corrupt):
        encoded = [image if isinstance(image, bytes) else _read(image) for image in images]
        try:
            outputs = self._signature(image_bytes=tf.constant(encoded))
        except tf.errors.InvalidArgumentError:
            if len(images) > 1:  # one of them, which the error does not tell
                return [self._predict_batch([image], skip_corrupt)[0] for image in images]
            if skip_corrupt:
                return [None]
            what = "these bytes" if isinstance(images[0], bytes) else images[0]
            raise CorruptImageError(
                f"Cannot decode {what}: not a whole JPEG, PNG, GIF or BMP image"
            ) from None
        labels = [[name.decode() for name in names] for names in outputs["classes"].numpy()]
        return list(zip(labels, outputs["scores"].numpy().tolist(), strict=True))


def find_version(path):
    """The folder of the highest version of an exported model; a version's folder is itself.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = os.fspath(path)
    if _is_saved_model(path):
        return path
    entries = os.listdir(path) if os.path.isdir(path) else []
    found = [entry for entry in entries if entry.isdecimal()]
    found = [entry for entry in found if _is_saved_model(os.path.join(path, entry))]
    if not found:
        raise FileNotFoundError(
            f"No SavedModel in {path}: expected <model>/<version>/saved_model.pb, as "
            "scripts/export.py writes it"
        )
    return os.path.join(path, max(found, key=int))


def find_images(arguments):
    """The image files that are meant by files, folders and glob patterns, in order.

    A file that is named is taken as it is. Of a folder (with those below it) and of a pattern's
    matches, images are taken: files with an image's content, or with its suffix in any case
    (those may be broken, which is for the reader to say). Hidden files are left alone.

    Args:
        arguments: Sequence of strings.

    Returns:
        List of paths.

    Raises:
        FileNotFoundError: If an argument gives no image.
    """
    images = []
    for argument in arguments:
        if os.path.isfile(argument):
            found = [argument]
        elif os.path.isdir(argument):
            found = _images_below(argument)
        else:
            matches = sorted(glob.glob(argument, recursive=True))
            if not matches:
                raise FileNotFoundError(f"No such file, folder or match: {argument}")
            found = []
            for match in matches:
                if os.path.isdir(match):
                    found += _images_below(match)
                elif is_image(match):
                    found.append(match)
            found = list(dict.fromkeys(found))  # `**` matches a folder and what is in it
        if not found:
            raise FileNotFoundError(f"No image in {argument}")
        images += found
    return images


def _images_below(folder):
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [os.path.join(parent, name) for name in sorted(files) if name[0] != "."]
        found += [path for path in paths if is_image(path)]
    return found


def _load(path):
    try:
        return tf.saved_model.load(path)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:  # of half a dozen kinds, by the file that is damaged and how
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"Cannot load {path}, so export the model again: {reason}") from error


def _is_saved_model(path):
    return os.path.isfile(os.path.join(path, "saved_model.pb"))


def _read(path):
    with open(path, "rb") as file:
        return file.read()
