"""Exports as ONNX, which ONNX Runtime and many others read."""

import contextlib
import logging
import os

from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS
from keras_resnets.serving.extras import extra
from keras_resnets.serving.formats import FILES
from keras_resnets.serving.pixel_export import PixelExport
from keras_resnets.serving.readers import OnnxReader

OPSET = 17


def export_onnx(
    model,
    name,
    root="saved_models",
    images=None,
    max_pixels=MAX_PIXELS,
    checkpoint=None,
    keep=None,
):
    """Writes `<root>/<name>/<version>/model.onnx`, in float32.

    Input, output and metadata are those of `export_openvino`: pixels of the network's own size go
    in, resizing and cropping are left to `Predictor` or to whoever asks. The file is read back by
    ONNX Runtime and compared with the model.

    Args:
        model: `Network` or `keras.Model`, as for `export`.
        name: String. The name to serve the model by; its versions must all be ONNX.
        root: String or path. Defaults to `"saved_models"`.
        images: Iterable of uint8 arrays `(height, width, channels)` to compare on. Defaults to
            parts of two photos.
        max_pixels: Int. The most pixels that `Predictor` takes an image of. Defaults to 50 million.
        checkpoint: As for `export`.
        keep: As for `export`.

    Returns:
        String, the path of the version's folder.

    Raises:
        ValueError: As `export` does; or if ONNX lacks an operation of the model, tf2onnx, onnx or
            onnxruntime is not installed, versions of `name` are in another format, or the file
            computes something else than the model.
        OSError: If the folder cannot be written. Nothing is left behind.
    """
    onnx, tf2onnx = extra("onnx", "onnx"), extra("tf2onnx", "onnx")
    extra("onnxruntime", "onnx")
    started = PixelExport("onnx", model, name, root, images, max_pixels, checkpoint, keep)
    graph = _converted(started.network.function, onnx, tf2onnx)

    def save(folder):
        onnx.save_model(graph, os.path.join(folder, FILES["onnx"]))

    return started.write(save, OnnxReader)


def _converted(function, onnx, tf2onnx):
    try:
        with _quiet():
            graph, _ = tf2onnx.convert.from_function(
                function, function.input_signature, opset=OPSET
            )
        for value in (*graph.graph.input, *graph.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
        onnx.checker.check_model(graph)
    except MemoryError:
        raise
    except Exception as error:  # of several kinds, by the operation
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"The model has an operation that ONNX cannot express, so give another format: {reason}"
        ) from error
    return graph


@contextlib.contextmanager
def _quiet():
    """Errors too: what they are about is raised."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
