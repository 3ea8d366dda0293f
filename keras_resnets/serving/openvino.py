"""Exports as OpenVINO IR, which OpenVINO and OpenVINO Model Server read."""

import contextlib
import io
import logging
import os

from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS
from keras_resnets.serving.extras import extra
from keras_resnets.serving.formats import FILES
from keras_resnets.serving.pixel_export import PixelExport
from keras_resnets.serving.readers import OpenVINOReader

PRECISIONS = ("float32", "bfloat16", "int8")
CALIBRATION_IMAGES = 512
# What a server must be told, too: by itself OpenVINO takes bfloat16 wherever the CPU has it.
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


def export_openvino(
    model,
    name,
    root="saved_models",
    precision="float32",
    calibration=None,
    images=None,
    max_pixels=MAX_PIXELS,
    checkpoint=None,
    keep=None,
):
    """Writes `<root>/<name>/<version>/model.xml` and `model.bin`.

    The input `image` is uint8 `(batch, height, width, channels)`, pixels of the network's own size,
    any number of them; the output `probabilities` is float32 `(batch, num_classes)`. The
    standardization is inside. Resizing and cropping are not: `Predictor` does them as evaluation
    does, and whoever asks otherwise must.

    The file is read back and compared with the model in float32 on images; how far it is from it
    stands in `assets.extra/metadata.json`, with preprocessing, class names and `plugin_config`, the
    settings that OpenVINO needs in order to compute in this precision.

    Args:
        model: `Network` or `keras.Model`, as for `export`.
        name: String. The name to serve the model by; its versions must all be OpenVINO's.
        root: String or path. Defaults to `"saved_models"`.
        precision: String. `"float32"`; `"bfloat16"`, where the CPU has it (the file holds float16,
            half the size); or `"int8"`, quantized by nncf after training. Defaults to `"float32"`.
        calibration: For int8: iterable of uint8 arrays `(height, width, channels)` of any size,
            some hundred training images, from which the ranges of activations are taken.
        images: Iterable of such arrays to compare on. Defaults to parts of two photos.
        max_pixels: Int. The most pixels that `Predictor` takes an image of. Defaults to 50 million.
        checkpoint: As for `export`.
        keep: As for `export`.

    Returns:
        String, the path of the version's folder.

    Raises:
        ValueError: As `export` does; or if OpenVINO or nncf is not installed, versions of `name`
            are in another format, int8 has no calibration images, or the file computes something
            else than the model.
        OSError: If the folder cannot be written. Nothing is left behind.
    """
    if precision not in PRECISIONS:
        raise UserError(f"`precision` must be one of {PRECISIONS}. Received: {precision!r}")
    if (precision == "int8") != (calibration is not None):
        raise UserError(
            "`calibration` must be training images for int8, and None for other precisions. "
            f"Received: precision={precision!r}, calibration of {type(calibration).__name__}"
        )
    openvino = extra("openvino", "openvino")
    common = max_pixels, checkpoint, keep
    started = PixelExport("openvino", model, name, root, images, *common)
    graph = openvino.convert_model(started.network.function)
    graph.inputs[0].node.set_layout(openvino.Layout("NHWC"))
    graph.set_friendly_name(name)
    facts = {"plugin_config": {"INFERENCE_PRECISION_HINT": _HINTS[precision]}}
    if precision == "int8":
        calibration = started.network.fit(calibration)
        facts["calibration_images"] = len(calibration)
        graph = _quantize(graph, calibration)

    def save(folder):
        path = os.path.join(folder, FILES["openvino"])
        openvino.save_model(graph, path, compress_to_fp16=precision == "bfloat16")

    return started.write(save, OpenVINOReader, precision, **facts)


def _quantize(graph, pixels):
    if not len(pixels):
        raise UserError("`calibration` must be one image or more. Received: none")
    nncf = extra("nncf", "openvino")
    nncf.set_log_level(logging.ERROR)
    dataset = nncf.Dataset([{"image": image[None]} for image in pixels])
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        return nncf.quantize(graph, dataset, subset_size=len(pixels))
