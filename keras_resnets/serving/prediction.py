"""Asking an exported model about image files. Needs TensorFlow, not the model's code."""

import fnmatch
import glob
import json
import os

import numpy as np
import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.images import (
    MAX_PIXELS,
    count_pixels,
    find_fault,
    image_files,
    is_image,
    printable,
)

METADATA = os.path.join("assets.extra", "metadata.json")  # TensorFlow Serving leaves it alone


class CorruptImageError(UserError):
    """An image cannot be decoded, or has too many pixels. The message names it."""


class Predictor:
    """A SavedModel that `keras_resnets.serving.export` wrote, ready to be asked.

    Args:
        path: String or path. A model's folder (its highest version is taken) or that of one
            version.
        batch_size: Int. Images at a time. Defaults to 32.
        max_pixels: Int. An image with more pixels by its header is refused before it takes the
            memory, at most what the export itself allows. Defaults to that, or to 50 million for an
            export that says nothing.

    Attributes:
        path: String. The folder of the version that was loaded.
        top: Int. How many classes are named for each image.

    Raises:
        FileNotFoundError: If there is no export there.
        UserError: If it is truncated or damaged.
        ValueError: If it is a SavedModel without the signature that takes image files, or allows
            fewer pixels.
    """

    def __init__(self, path, batch_size=32, max_pixels=None):
        self.path = find_version(path)
        self._batch_size = batch_size
        allowed = _allowed_pixels(self.path)
        if max_pixels is not None and not 1 <= max_pixels <= (allowed or max_pixels):
            raise UserError(
                f"`max_pixels` must be in 1..{allowed} with {self.path}: export it again with a "
                f"larger one. Received: max_pixels={max_pixels}"
            )
        self._max_pixels = max_pixels or allowed or MAX_PIXELS
        self._saved_model = _load(self.path)  # holds the signature's variables
        self._signature = self._saved_model.signatures.get("serving_default")
        if self._signature is None or "classes" not in self._signature.structured_outputs:
            raise UserError(
                f"{self.path} has no signature `serving_default` from image bytes to classes; "
                "scripts/export.py writes it"
            )
        self.top = self._signature.structured_outputs["classes"].shape[-1]

    def predict(self, images, skip_corrupt=False):
        """Classifies image files.

        Args:
            images: Sequence of paths, or of the bytes of JPEG, PNG, GIF, BMP or WebP files.
            skip_corrupt: Boolean. Whether an image that cannot be decoded, or has too many pixels,
                gives `None` instead of an error. Defaults to `False`.

        Returns:
            List of `(labels, scores)`, one for each image in order: the best `top` class names
            and their probabilities, best first.

        Raises:
            CorruptImageError: If an image cannot be decoded, or has too many pixels.
            OSError: If a file cannot be read.
        """
        images = list(images)
        answers = []
        for start in range(0, len(images), self._batch_size):
            answers += self._predict_batch(images[start : start + self._batch_size], skip_corrupt)
        return answers

    def _predict_batch(self, images, skip_corrupt):
        encoded = [image if isinstance(image, bytes) else _read(image) for image in images]
        outputs = self._ask(encoded)
        if outputs is not None:
            labels = [[name.decode() for name in names] for names in outputs["classes"].numpy()]
            return list(zip(labels, outputs["scores"].numpy().tolist(), strict=True))
        if len(images) > 1:
            return [self._predict_batch([image], skip_corrupt)[0] for image in images]
        if skip_corrupt:
            return [None]
        what = "An image" if isinstance(images[0], bytes) else printable(images[0])
        fault = find_fault(encoded[0], self._max_pixels) or f"cannot be decoded by {self.path}"
        raise CorruptImageError(f"{what} {fault}")

    def _ask(self, encoded):
        """The answer to a batch, or `None` if one of its images, which is not known, is refused."""
        if any(count_pixels(data) > self._max_pixels for data in encoded):
            return None
        try:
            outputs = self._signature(image_bytes=tf.constant(encoded))
        except tf.errors.InvalidArgumentError:  # of an export from before there was `valid`
            return None
        return outputs if np.all(outputs.get("valid", True)) else None


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
        arguments: Sequence of strings or paths.

    Returns:
        List of strings.

    Raises:
        FileNotFoundError: If an argument gives no image.
    """
    images = []
    for argument in map(os.fspath, arguments):
        if os.path.isfile(argument):
            found = [argument]
        elif os.path.isdir(argument):
            (found,) = image_files([argument])
        else:
            matches = sorted(_matches(argument))
            if not matches:
                raise FileNotFoundError(f"No such file, folder or match: {printable(argument)}")
            found = []
            for match in matches:
                if os.path.isdir(match):
                    found += image_files([match])[0]
                elif is_image(match):
                    found.append(match)
            # A pattern may match a folder and a link to it.
            found = list({_real_place(file): file for file in reversed(found)}.values())[::-1]
        if not found:
            raise FileNotFoundError(f"No image in {printable(argument)}")
        images += found
    return images


def _matches(pattern):
    """As `glob.glob`; but that takes `**` round a loop of links until a path is too long."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        return glob.glob(pattern)
    deep = parts.index("**")
    found = []
    for folder in glob.glob(os.sep.join([*parts[:deep], ""])) if deep else [""]:
        files = image_files([folder or os.curdir])[0]
        names = [os.path.relpath(file, folder or os.curdir) for file in files]
        found += [os.path.join(folder, n) for n in names if _fits(n.split(os.sep), parts[deep:])]
    return found


def _fits(names, patterns):
    """Whether a path, or a folder that it is in, fits a pattern; both as lists of their parts."""
    if not patterns:
        return True
    if patterns[0] == "**":
        return any(_fits(names[skipped:], patterns[1:]) for skipped in range(len(names)))
    is_first = bool(names) and fnmatch.fnmatchcase(names[0], patterns[0])
    return is_first and _fits(names[1:], patterns[1:])


def _real_place(file):
    folder, name = os.path.split(file)
    return os.path.realpath(folder), name


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


def _allowed_pixels(version):
    """What an export allows, or `None` if it does not say."""
    try:
        with open(os.path.join(version, METADATA), encoding="utf-8") as file:
            return json.load(file).get("max_pixels")
    except (OSError, ValueError):
        return None


def _read(path):
    with open(path, "rb") as file:
        return file.read()
