"""Exports as ONNX, which ONNX Runtime and many others read."""

import contextlib
import logging
import os

from keras_resnets.images import MAX_PIXELS
from keras_resnets.serving.difference import check_pixels, difference
from keras_resnets.serving.extras import extra
from keras_resnets.serving.formats import (
    FILES,
    add_metadata,
    read_metadata,
    refuse_other_formats,
)
from keras_resnets.serving.metadata import write_metadata
from keras_resnets.serving.pixels import PixelNetwork
from keras_resnets.serving.readers import OnnxReader
from keras_resnets.serving.server_files import remove_old_versions
from keras_resnets.serving.versions import new_version

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
        ValueError: As `export` does; or if tf2onnx, onnx or onnxruntime is not installed, or
            versions of `name` are in another format.
        OSError: If the folder cannot be written. Nothing is left behind.
    """
    onnx, tf2onnx = extra("onnx", "onnx"), extra("tf2onnx", "onnx")
    extra("onnxruntime", "onnx")
    refuse_other_formats(root, name, "onnx")
    network = PixelNetwork(model)
    pixels = check_pixels(network, images)
    with _quiet():
        graph, _ = tf2onnx.convert.from_function(
            network.function, network.function.input_signature, opset=OPSET
        )
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(graph)
    facts = {
        "format": "onnx",
        "probabilities": network.kind,
        "input": {"name": "image", "dtype": "uint8", "shape": [None, *network.shape]},
    }
    with new_version(root, name) as part:
        onnx.save_model(graph, os.path.join(part.path, FILES["onnx"]))
        write_metadata(part.path, model, max_pixels, checkpoint=checkpoint)
        add_metadata(part.path, **facts)
        answered = OnnxReader(part.path, read_metadata(part.path)).probabilities(pixels)
        add_metadata(part.path, difference=difference(network.reference(pixels), answered))
    if keep is not None:
        remove_old_versions(root, name, keep, spare=[int(os.path.basename(part.version))])
    return part.version


@contextlib.contextmanager
def _quiet():
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
