"""Which layers a file of weights was written from."""

import collections
import contextlib
import io
import os
import zipfile

import h5py
from keras.src.utils.naming import to_snake_case

_MEMBER = "model.weights.h5"  # of a .keras file


def check_order(model, path):
    """Refuses a file whose layers stand in another order than those of the model.

    Keras addresses the layers of a file by their class and number, and writes each one's name
    beside its variables.

    Args:
        model: `Network`.
        path: String or path of a `.weights.h5` or `.keras` file.

    Raises:
        ValueError: With the first layer that differs.
    """
    written = _layer_names(os.fspath(path))
    numbers = collections.Counter()
    for layer in model.layers:
        kind = to_snake_case(type(layer).__name__)
        key = f"{kind}_{numbers[kind]}" if numbers[kind] else kind
        numbers[kind] += 1
        name = written.get(key)
        if layer.weights and name is not None and name != layer.name:
            raise ValueError(
                f"The layers of {path} stand in another order than those of {model.name}: {name} "
                f"is where {layer.name} should be. A .keras file of an earlier version is loaded "
                "whole by keras.saving.load_model"
            )


def _layer_names(path):
    """{Keras' address of a layer: its name}, as far as the file has them."""
    with contextlib.ExitStack() as stack:
        if path.endswith(".keras"):
            try:
                archive = stack.enter_context(zipfile.ZipFile(path))
                source = io.BytesIO(archive.read(_MEMBER))
            except (OSError, KeyError, zipfile.BadZipFile):
                return {}  # Keras says what is wrong with it
        elif path.endswith(".weights.h5") and os.path.isfile(path):
            source = path
        else:
            return {}
        try:
            file = stack.enter_context(h5py.File(source, "r"))
        except OSError:
            return {}
        groups = file.get("layers", {})
        return {
            key: group["vars"].attrs["name"]
            for key, group in groups.items()
            if "vars" in group and "name" in group["vars"].attrs and len(group["vars"])
        }

