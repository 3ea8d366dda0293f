"""Asking an exported model about image files. Needs the export, not the model's code."""

import itertools
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keras_resnets.checks import is_count, must
from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS, count_pixels, find_fault, printable
from keras_resnets.serving.formats import check_metadata, find_version, format_of, read_metadata
from keras_resnets.serving.readers import open_export

TOP = 5
_IMAGE = (bytes, str, os.PathLike)


class CorruptImageError(UserError):
    """An image cannot be decoded, or has too many pixels. The message names it."""


class Predictor:
    """An export, of any format, ready to be asked.

    A SavedModel decodes and resizes images itself. For OpenVINO and ONNX that is done here, by the
    preprocessing that the export remembers, as in evaluation; resized pixels become whole numbers,
    which those formats take.

    Args:
        path: String or path. A model's folder (its highest version is taken) or that of one
            version.
        batch_size: Int. Images at a time. Defaults to 32.
        max_pixels: Int. An image with more pixels by its header is refused before it takes the
            memory, at most what the export itself allows. Defaults to that, or to 50 million for an
            export that says nothing.
        top: Int. How many of the best classes to name. Defaults to what a SavedModel names, to 5
            for other formats, and at most to all.

    Attributes:
        path: String. The folder of the version that was loaded.
        format: String, `"saved_model"`, `"openvino"` or `"onnx"`.
        metadata: Dictionary. What the export says of itself.
        top: Int. How many classes are named for each image.

    Raises:
        FileNotFoundError: If there is no export there.
        UserError: If it is truncated or damaged, or the extra that reads it is not installed.
        ValueError: If it is a SavedModel without the signature that takes image files, allows
            fewer pixels, or names fewer classes.
    """

    def __init__(self, path, batch_size=32, max_pixels=None, top=None):
        must("batch_size", batch_size, is_count(batch_size), "a positive integer")
        self.path = find_version(path)
        self.format = format_of(self.path)
        self.metadata = read_metadata(self.path)
        check_metadata(self.path, self.metadata)
        self._batch_size = batch_size
        allowed = self.metadata.get("max_pixels")
        if max_pixels is not None:
            must("max_pixels", max_pixels, is_count(max_pixels), "a positive integer")
            if allowed and max_pixels > allowed:
                raise UserError(
                    f"`max_pixels` must be in 1..{allowed} with {self.path}: export it again with "
                    f"a larger one. Received: max_pixels={max_pixels}"
                )
        self._max_pixels = max_pixels or allowed or MAX_PIXELS
        self._reader = open_export(self.path, self.format, self.metadata)
        most = self._reader.top
        usual = most if self.format == "saved_model" else min(most, TOP)
        self.top = usual if top is None else top
        if not is_count(self.top) or self.top > most:
            way = ": export it again with a larger one" if self.format == "saved_model" else ""
            raise UserError(
                f"`top` must be in 1..{most} with {self.path}{way}. Received: top={top!r}"
            )

    def predict(self, images, skip_corrupt=False):
        """Classifies image files.

        Args:
            images: Iterable of paths, or of the bytes of JPEG, PNG, GIF, BMP or WebP files.
            skip_corrupt: Boolean. Whether an image that cannot be decoded, or has too many pixels,
                gives `None` instead of an error. Defaults to `False`.

        Returns:
            List of `(labels, scores)`, one for each image in order: the best `top` class names
            and their probabilities, best first.

        Raises:
            UserError: If `images` is one image, or holds something else.
            CorruptImageError: If an image cannot be decoded, or has too many pixels.
            OSError: If a file cannot be read.
        """
        return list(self.predict_iter(images, skip_corrupt))

    def predict_iter(self, images, skip_corrupt=False):
        """As `predict`, one answer after the other, with two batches of images in memory.

        The next batch is read while one is computed. `images` is asked for as answers are.

        Yields:
            `(labels, scores)`, or `None`, for each image in order.

        Raises:
            UserError: As `predict`.
            CorruptImageError, OSError: As `predict`, when the answer of that image is due.
        """
        if isinstance(images, (*_IMAGE, bytearray)) or not isinstance(images, Iterable):
            raise UserError(
                "`images` must be an iterable of paths or of the bytes of files: put a single one "
                f"into a list. Received: images of {type(images).__name__}"
            )
        return self._predict_each(iter(images), skip_corrupt)

    def _predict_each(self, images, skip_corrupt):
        ahead = None
        with ThreadPoolExecutor(1) as reader:
            while batch := list(itertools.islice(images, self._batch_size)):
                _check_images(batch)
                following = reader.submit(self._prepare, batch)
                if ahead:
                    yield from self._answers(*ahead, skip_corrupt)
                ahead = batch, following
            if ahead:
                yield from self._answers(*ahead, skip_corrupt)

    def probabilities(self, images):
        """The probabilities of all classes, for images in memory.

        Args:
            images: uint8 array `(batch, height, width, channels)` of any height and width.

        Returns:
            float32 array `(batch, num_classes)`.

        Raises:
            UserError: If they are not such an array.
        """
        images, channels = np.asarray(images), self._reader.channels
        are_pixels = images.dtype == np.uint8 and images.ndim == 4 and 0 not in images.shape[1:]
        if not are_pixels or images.shape[-1] != channels:
            raise UserError(
                f"`images` must be uint8 pixels of shape (batch, height, width, {channels}). "
                f"Received: {images.dtype} of shape {images.shape}"
            )
        return self._reader.probabilities(images)

    @property
    def image_shape(self):
        """`(height, width, channels)` of the pixels that the export takes, `None` for any size."""
        return self._reader.shape

    @property
    def num_classes(self):
        """Int. Number of probabilities."""
        return self._reader.num_classes

    def _prepare(self, batch):
        """What the reader takes of each image, or `None` for one that is refused before.

        A file that cannot be read gives its error, which is raised when its answer is due.
        """
        prepared = []
        for image in batch:
            try:
                data = image if isinstance(image, bytes) else _read(image)
            except OSError as error:
                prepared.append(error)
                continue
            is_small = count_pixels(data) <= self._max_pixels
            prepared.append(self._reader.prepare(data) if is_small else None)
        return prepared

    def _answers(self, batch, preparing, skip_corrupt):
        prepared = preparing.result()
        asked = [one for one in prepared if one is not None and not isinstance(one, OSError)]
        answers = iter(self._reader.answer(asked, self.top) if asked else [])
        for image, one in zip(batch, prepared, strict=True):
            if isinstance(one, OSError):
                raise one
            answer = None if one is None else next(answers)
            if answer is None and not skip_corrupt:
                raise CorruptImageError(self._fault(image))
            yield answer

    def _fault(self, image):
        what = "An image" if isinstance(image, bytes) else printable(image)
        fault = find_fault(image, self._max_pixels)
        return f"{what} {fault or f'cannot be decoded by {self.path}'}"


def _check_images(batch):
    for image in batch:
        if not isinstance(image, _IMAGE):  # `open` would take an int for an open file
            raise UserError(
                "`images` must be paths, or the bytes of files. "
                f"Received: one of {type(image).__name__}"
            )


def _read(path):
    with open(path, "rb") as file:
        return file.read()
