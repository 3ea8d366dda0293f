"""What runs an export: one class a format, all alike to `Predictor`."""

import os
import threading

import numpy as np
import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.images import Preprocessing
from keras_resnets.serving.extras import extra
from keras_resnets.serving.formats import FILES, METADATA
from keras_resnets.serving.pixels import check_channels, decoded, fit_pixels


class SavedModelReader:
    """A SavedModel, which decodes and resizes images itself.

    Args:
        version: String, the version's folder.
        metadata: Dictionary, what the export says of itself. Not needed.

    Attributes:
        top: Int. The most classes that it names for an image.
        shape: `None`: it takes images of any size.
        channels: Int, of its images; `None` if it takes files alone.
        num_classes: Int.
    """

    def __init__(self, version, metadata=None):
        self._saved_model = _loaded(version, tf.saved_model.load)  # holds the variables
        signatures = self._saved_model.signatures
        self._of_files = signatures.get("serving_default")
        outputs = getattr(self._of_files, "structured_outputs", {})
        if "classes" not in outputs:
            raise UserError(
                f"{version} has no signature `serving_default` from image bytes to classes; "
                "scripts/export.py writes it"
            )
        self._of_pixels = signatures.get("predict_images")
        pixels = self._of_pixels and self._of_pixels.structured_input_signature[1]["image"]
        self.channels = pixels and pixels.shape[-1]
        self.top, self.shape = outputs["classes"].shape[-1], None
        self.num_classes = outputs["probabilities"].shape[-1]

    def prepare(self, data):
        """The bytes of a file as `answer` takes them."""
        return data

    def answer(self, files, top):
        """The best `top` class names and their probabilities of each file, or `None`.

        Args:
            files: List of bytes, one file or more.
            top: Int.
        """
        try:
            outputs = self._of_files(image_bytes=tf.constant(files))
        except tf.errors.InvalidArgumentError:  # an export without `valid` refuses the whole batch
            if len(files) == 1:
                return [None]
            return [self.answer([file], top)[0] for file in files]
        names, scores = outputs["classes"].numpy(), outputs["scores"].numpy()
        valid = outputs["valid"].numpy() if "valid" in outputs else np.ones(len(files), bool)
        return [
            ([name.decode() for name in row[:top]], values[:top].tolist()) if is_valid else None
            for row, values, is_valid in zip(names, scores, valid, strict=True)
        ]

    def probabilities(self, images):
        """float32 `(batch, num_classes)` of uint8 images of one size."""
        return self._of_pixels(image=tf.constant(images))["probabilities"].numpy()


class PixelReader:
    """What is common to formats that take pixels of the network's own size.

    Args:
        version: String, the version's folder.
        metadata: Dictionary, what the export says of itself.

    Attributes:
        top: Int. The most classes that it names for an image: all.
        shape: `(height, width, channels)` of its images.
        channels: Int, the last of them.
        num_classes: Int.

    Raises:
        UserError: If the extra that reads it is not installed, or the export is damaged.
    """

    def __init__(self, version, metadata):
        self._path = os.path.join(version, FILES[metadata["format"]])
        self.shape = tuple(metadata["input"]["shape"][1:])
        self.channels = self.shape[-1]
        self._run = self._load(metadata)
        self._class_names = metadata["class_names"]
        self.top = self.num_classes = len(self._class_names)
        self._preprocessing = preprocessing_of(version, metadata)
        self._decode = self._decoder()

    def _load(self, metadata):
        """A function from uint8 images of this shape to their probabilities."""
        raise NotImplementedError

    def _decoder(self):
        channels = self.shape[-1]

        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def decode(data):
            return fit_pixels(self._preprocessing, decoded(data, channels, max_pixels=None))

        return decode

    def prepare(self, data):
        """The pixels of a file as `answer` takes them, or `None` if it cannot be decoded."""
        check_channels(self.shape[-1])
        try:
            return self._decode(data).numpy()
        except tf.errors.InvalidArgumentError:
            return None

    def answer(self, images, top):
        """The best `top` class names and their probabilities of each image.

        Args:
            images: List of uint8 arrays, one or more, as `prepare` gives them.
            top: Int.
        """
        scores = self._run(np.stack(images))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
        return [
            ([self._class_names[index] for index in order], row[order].tolist())
            for order, row in zip(best, scores, strict=True)
        ]

    def probabilities(self, images):
        """float32 `(batch, num_classes)` of uint8 images of one size."""
        if images.shape[1:] != self.shape:
            images = fit_pixels(self._preprocessing, images).numpy()
        return self._run(images)


class OpenVINOReader(PixelReader):
    """An OpenVINO IR, on the CPU, in the precision that it was exported for."""

    def _load(self, metadata):
        openvino = extra("openvino", "openvino")
        settings = metadata.get("plugin_config", {"INFERENCE_PRECISION_HINT": "f32"})
        compiled = _loaded(self._path, lambda path: openvino.compile_model(path, "CPU", settings))
        requests = threading.local()  # one is for one thread at a time

        def run(images):
            if not hasattr(requests, "own"):
                requests.own = compiled.create_infer_request()
            return requests.own.infer({"image": images})["probabilities"].copy()

        return run


class OnnxReader(PixelReader):
    """An ONNX file, by ONNX Runtime on the CPU."""

    def _load(self, metadata):
        runtime = extra("onnxruntime", "onnx")
        session = _loaded(
            self._path,
            lambda path: runtime.InferenceSession(path, providers=["CPUExecutionProvider"]),
        )
        return lambda images: session.run(["probabilities"], {"image": images})[0]


READERS = {"saved_model": SavedModelReader, "openvino": OpenVINOReader, "onnx": OnnxReader}


def preprocessing_of(version, metadata):
    """The `Preprocessing` that an export's metadata tells of, `None` if it tells of none.

    Raises:
        UserError: If what it tells is damaged, or of a later version.
    """
    known = metadata.get("preprocessing")
    try:
        return Preprocessing(**known) if known else None
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{os.path.join(version, METADATA)} has a preprocessing that this version cannot read: "
            f"{error}"
        ) from None


def open_export(version, found, metadata):
    """The reader of an export.

    Args:
        version: String, the version's folder.
        found: String, its format.
        metadata: Dictionary, what it says of itself.

    Raises:
        UserError: If the export is damaged or incomplete, or the extra that reads it is not
            installed.
    """
    needed = {"format", "input", "preprocessing", "class_names"} if found != "saved_model" else {}
    if any(not metadata.get(key) for key in needed) or metadata.get("format", found) != found:
        raise UserError(
            f"{os.path.join(version, METADATA)} does not say how images are prepared for "
            f"{FILES[found]}: export the model again"
        )
    return READERS[found](version, metadata)


def _loaded(path, load):
    try:
        return load(path)
    except (MemoryError, tf.errors.ResourceExhaustedError, UserError):
        raise
    except Exception as error:  # of half a dozen kinds, by the file that is damaged and how
        lines = [line for line in str(error).splitlines() if line.strip()]
        # OpenVINO says first in which files of its source the error came up, and by which check.
        reasons = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
        reason = (reasons or lines or [type(error).__name__])[0].strip()
        raise UserError(f"Cannot load {path}, so export the model again: {reason}") from error
