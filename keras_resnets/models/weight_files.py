"""Files of weights: which network they are of, and whether another can take them.

Keras addresses the layers of a file by their class and number, so that a net would take the weights
of any other with the same shapes, however it is wired. A `.keras` file has the network's config; to
a `.weights.h5` file `stamp` adds family and wiring.
"""

import collections
import contextlib
import io
import json
import os
import zipfile

import h5py
from keras.src.utils.naming import to_snake_case

from keras_resnets._version import __version__
from keras_resnets.checks import must
from keras_resnets.errors import UserError
from keras_resnets.layers import Merge
from keras_resnets.models import registry
from keras_resnets.models.options import without_unused

SUFFIXES = (".keras", ".weights.h5")
STAMP = "keras_resnets"  # attribute of a .weights.h5 file
_WEIGHTS = "model.weights.h5"  # member of a .keras file
_CONFIG = "config.json"


def written_at(path):
    """When a file was last written, in nanoseconds; `None` if there is none."""
    return os.stat(path).st_mtime_ns if os.path.isfile(path) else None


def stamp(model, path):
    """Writes family and wiring of a network into its `.weights.h5` file."""
    identity = {"version": __version__, "family": model.family, "wiring": model.wiring}
    with h5py.File(path, "a") as file:
        file.attrs[STAMP] = json.dumps(identity)


def check_suffix(path):
    """Raises a UserError unless the file can say which network its weights are of."""
    name = os.path.basename(os.fspath(path))
    must("filepath", name, name.endswith(SUFFIXES), "a .keras or a .weights.h5 file")


def check(model, path, skip_mismatch=False):
    """Refuses a file of weights that the network would take without computing the same.

    Args:
        model: `Network`.
        path: String or path of a `.weights.h5` or `.keras` file. What cannot be read is left to
            Keras, and so are files of other models.
        skip_mismatch: Boolean. Whether layers of other shapes may be left as they are. Defaults to
            `False`.

    Raises:
        ValueError: With the family or the options that differ, with the first layer that is in
            another place, or with the first variable of another shape.
    """
    with _opened(os.fspath(path)) as (file, identity):
        if file is None:
            return
        _check_identity(model, path, identity)
        _check_layers(model, path, file, skip_mismatch)


@contextlib.contextmanager
def _opened(path):
    """The open HDF5 file and the identity that is written in it; `None` for what is missing."""
    with contextlib.ExitStack() as stack:
        file = identity = None
        try:
            if path.endswith(".keras"):
                archive = stack.enter_context(zipfile.ZipFile(path))
                source = io.BytesIO(archive.read(_WEIGHTS))
                identity = _identity_of(json.loads(archive.read(_CONFIG)))
                file = stack.enter_context(h5py.File(source, "r"))
            elif path.endswith(".weights.h5") and os.path.isfile(path):
                file = stack.enter_context(h5py.File(path, "r"))
                identity = json.loads(file.attrs.get(STAMP, "null"))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            file = None
        yield file, identity


def _identity_of(serialized):
    """Family and wiring of the network in a .keras file, or `None` for another model."""
    config = serialized.get("config", {})
    if serialized.get("registered_name") != "keras_resnets>Network":
        return None
    try:
        builder = registry.find(config["registry_name"])
        given = without_unused(builder.options, {**config["options"], **builder.fixed})
        return {"family": builder.family, "wiring": builder.options(**given).wiring()}
    except (ValueError, TypeError, KeyError):  # a family or an option that is not known here
        return None


def _check_identity(model, path, identity):
    if identity is None:
        return
    if identity["family"] != model.family:
        raise UserError(
            f"{path} holds the weights of another network: of the family {identity['family']}, "
            f"not of {model.family}"
        )
    there, here = json.loads(json.dumps([identity["wiring"], model.wiring]))
    for key in there.keys() & here.keys():
        if there[key] != here[key]:
            raise UserError(
                f"{path} holds the weights of a differently wired network: {key}={there[key]!r} "
                f"there, {key}={here[key]!r} here"
            )


def _check_layers(model, path, file, skip_mismatch):
    groups = file.get("layers", {})
    numbers = collections.Counter()
    for layer in model.layers:
        kind = to_snake_case(type(layer).__name__)
        key = f"{kind}_{numbers[kind]}" if numbers[kind] else kind
        numbers[kind] += 1
        written = groups[key]["vars"] if key in groups and "vars" in groups[key] else {}
        # A merge's branch has layers that come by themselves.
        if not layer.weights or isinstance(layer, Merge):
            continue
        if not len(written):
            if skip_mismatch:
                continue
            raise UserError(
                f"{path} has no variables for {layer.name}. skip_mismatch=True leaves such layers "
                "as they are"
            )
        name = written.attrs.get("name", layer.name)
        if name != layer.name:
            raise UserError(
                f"The layers of {path} stand in another order than those of {model.name}: {name} "
                f"is where {layer.name} should be. A .keras file of an earlier version is loaded "
                "whole by keras.saving.load_model"
            )
        there = sorted(variable.shape for variable in written.values())
        here = sorted(tuple(variable.shape) for variable in layer.weights)
        if there != here and not skip_mismatch:
            raise UserError(
                f"{name} has variables of other shapes in {path}: {there} there, {here} here. "
                "skip_mismatch=True leaves such layers as they are"
            )
