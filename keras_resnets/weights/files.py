"""Files of weights of every kind, as checkpoints."""

import json
import os
import zipfile
import zlib

import h5py
import numpy as np
import safetensors
import safetensors.numpy

from keras_resnets.errors import UserError
from keras_resnets.models.files import read_members
from keras_resnets.weights import torch_files
from keras_resnets.weights.tensors import Checkpoint, Tensor, as_tensor

TORCH = (".pth", ".pt", ".th", ".bin", ".tar", ".ckpt")
KERAS = (".keras", ".h5")
SUFFIXES = (*TORCH, ".safetensors", ".npz", *KERAS)

# Under these a checkpoint has its tensors, the first one that is there: as timm does, averaged
# weights are taken before those of the last step.
_WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict"),
    *("model", "net", "module"),
)
_PREFIXES = ("module.", "_orig_mod.", "model.")
# What accompanies the tensors of a network without being a weight.
_COUNTERS = ("n_averaged",)
_METADATA = "keras_resnets"  # in a .safetensors file: the description of the network, as JSON


def read(path):
    """Opens a file of weights.

    Args:
        path: String or path of a file of `torch.save` (`.pth`, `.pt`, `.th`, `.bin`), which is
            read without torch and without running what it names, of a `.safetensors`, `.npz`,
            `.keras` or `.h5` file.

    Returns:
        `Checkpoint`, whose tensors are read one by one.

    Raises:
        FileNotFoundError: If there is none.
        OSError: If it cannot be read.
        UserError: If it is damaged, holds no tensors, or would run code.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise UserError(f"{path} is a folder; name the file of weights in it")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file of weights {path}")
    if not os.path.getsize(path):
        raise UserError(f"Cannot read {path}: it is empty")
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise UserError(f"Weights must be one of {', '.join(SUFFIXES)}. Received: {path}")
    readers = {".safetensors": _safetensors, ".npz": _npz, ".keras": _keras, ".h5": _h5}
    try:
        return readers.get(suffix, _torch)(path).without(_PREFIXES)
    except UserError as error:
        if str(error).startswith(path):
            raise
        raise UserError(f"Cannot read {path}: {error}") from None
    except (safetensors.SafetensorError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"Cannot read {path}: it is truncated or damaged ({error})") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"Cannot read {path}: it is truncated or damaged") from None


def _torch(path):
    content, notes = unwrap(torch_files.read(path))
    if not isinstance(content, dict):
        raise UserError(f"it holds a {type(content).__name__}, not a dictionary of tensors")
    tensors = {
        key: value
        for key, value in content.items()
        if isinstance(value, Tensor) and key not in _COUNTERS
    }
    return Checkpoint(path, tensors, notes=notes)


def unwrap(content):
    """What a checkpoint has its tensors in, and what was taken off: a pair of it and strings."""
    notes = ()
    while isinstance(content, dict):
        wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if wrapper is None:
            break
        content, notes = content[wrapper], (*notes, f"the weights under `{wrapper}` were taken")
    return content, notes


def _safetensors(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {}
        for name in file.keys():  # noqa: SIM118  (it is no dictionary)
            part = file.get_slice(name)
            kind = torch_files.dtype_of(part.get_dtype())
            tensors[name] = Tensor(tuple(part.get_shape()), kind, _safe_reader(path, name))
        described = (file.metadata() or {}).get(_METADATA)
    return Checkpoint(path, tensors, json.loads(described) if described else None)


def _safe_reader(path, name):
    def read_tensor():
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)

    return read_tensor


def _npz(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            return Checkpoint(path, {name: as_tensor(file[name]) for name in file.files})
    except (EOFError, zlib.error) as error:
        raise UserError(f"it is truncated or damaged ({error})") from None


def _keras(path):
    config, _ = read_members(path, "config.json", "metadata.json")
    described = None
    if config.get("registered_name") == "keras_resnets>Network":
        described = config["config"]
    with (
        zipfile.ZipFile(path) as archive,
        archive.open("model.weights.h5") as member,
        h5py.File(member, "r") as file,
    ):
        tensors = {name: as_tensor(array[()]) for name, array in _datasets(file)}
    return Checkpoint(path, tensors, described)


def _h5(path):
    with h5py.File(path, "r") as file:
        described = json.loads(file.attrs.get("keras_resnets", "null"))
        tensors = {
            name: Tensor(array.shape, array.dtype, _h5_reader(path, array.name))
            for name, array in _datasets(file)
        }
    return Checkpoint(path, tensors, described)


def _h5_reader(path, place):
    def read_dataset():
        with h5py.File(path, "r") as file:
            return file[place][()]

    return read_dataset


def _datasets(file):
    """Yields the variables of a Keras file by `layer name/number`."""
    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:  # the form of Keras 2
        for layer in root.attrs["layer_names"]:
            group = root[layer]
            for number, name in enumerate(group.attrs["weight_names"]):
                yield f"{_text(layer)}/{number}", group[name]
        return
    found = []

    def visit(_, item):
        if isinstance(item, h5py.Dataset) and item.parent.name.endswith("/vars"):
            found.append(item)

    file.visititems(visit)
    for item in found:
        if "/optimizer/" not in item.name:
            layer = _text(item.parent.attrs.get("name", item.parent.parent.name))
            yield f"{layer}/{os.path.basename(item.name)}", item


def _text(name):
    return name.decode() if isinstance(name, bytes) else str(name)


def write_safetensors(path, tensors, description=None):
    """Writes arrays to a `.safetensors` file, which must be new.

    Args:
        path: String or path.
        tensors: Dictionary of names and arrays.
        description: Dictionary that describes the network, or `None`. Defaults to `None`.
    """
    metadata = {"format": "pt"}
    if description:
        metadata[_METADATA] = json.dumps(description)
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    with open(path, "xb") as file:  # the library's own files are for one user's eyes only
        file.write(safetensors.numpy.save(arrays, metadata))
