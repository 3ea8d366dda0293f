"""Packages that only some formats need."""

import importlib
import sys

from keras_resnets.errors import UserError


def extra(module, of):
    """Imports a package of an extra.

    OpenVINO and nncf report each use to their makers unless they were told not to; imported here
    first, they do without.

    Args:
        module: String, `"openvino"`, `"nncf"`, `"tf2onnx"`, `"onnx"` or `"onnxruntime"`.
        of: String, the extra that brings it.

    Returns:
        The module.

    Raises:
        UserError: If it is not installed.
    """
    is_loaded = "openvino_telemetry" in sys.modules
    if not is_loaded:
        sys.modules["openvino_telemetry"] = None  # makes its import fail, which both expect
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(
            f"{module} is not installed: pip install 'keras_resnets[{of}]'"
        ) from None
    finally:
        if not is_loaded:
            del sys.modules["openvino_telemetry"]
