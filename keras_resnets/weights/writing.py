"""Weights of ours in the names of others."""

import os
import tempfile

import numpy as np

from keras_resnets._version import __version__
from keras_resnets.checks import check_choice
from keras_resnets.errors import UserError
from keras_resnets.weights.dialect import BATCH_COUNTER, keras_slots
from keras_resnets.weights.files import write_safetensors
from keras_resnets.weights.loading import DIALECTS, in_words, wiring_differences
from keras_resnets.weights.own import OWN
from keras_resnets.weights.tensors import Checkpoint, as_tensor

# What a file says of its network, of the network's config.
_DESCRIPTION = ("registry_name", "options", "preprocessing", "class_names")
_WRITABLE = {d.name: d for d in DIALECTS if d.slots is not keras_slots or d is OWN}


def save(network, path, dialect="torchvision", half=False):
    """Writes the weights of a network to a `.safetensors` file in the names of others.

    What is written for torchvision, its `load_state_dict(strict=True)` takes.

    Args:
        network: `Network`.
        path: String or path of a new file.
        dialect: String, the name of one of `weights.DIALECTS`, `"keras_resnets"` among them.
            Defaults to `"torchvision"`.
        half: Boolean. Whether kernels are written in float16, to save space; statistics, scales
            and biases never are. Defaults to `False`.

    Raises:
        UserError: If the dialect's networks are none that compute what this one does.
        FileExistsError: If the file exists.
    """
    path = os.fspath(path)
    check_writable(dialect)
    if not path.endswith(".safetensors"):
        raise UserError(f"`path` must end in .safetensors. Received: path={path!r}")
    chosen = _WRITABLE[dialect]
    tensors = {}
    for slot in chosen.table(network):
        value = np.asarray(slot.variable).astype(np.float32)
        if half and value.ndim > 1:
            value = value.astype(np.float16)
        tensors[slot.key] = slot.give(value)
        if slot.key.endswith(".running_var"):
            counter = f"{slot.key.rpartition('.')[0]}.{BATCH_COUNTER}"
            tensors[counter] = np.zeros((), np.int64)
    if chosen is not OWN:
        _check(network, chosen, tensors)
    config = network.get_config()
    description = {key: config[key] for key in _DESCRIPTION} | {"version": __version__}
    write_new(path, lambda part: write_safetensors(part, tensors, description))


def check_writable(dialect):
    """Raises a UserError unless weights can be written in the names of this dialect."""
    check_choice("dialect", dialect, _WRITABLE)


def write_new(path, function):
    """Writes a file that must not exist yet: whole or not at all.

    Args:
        path: String.
        function: Function that writes the file to the path that it is given, of the same suffix.

    Raises:
        FileExistsError: If the file exists.
        OSError: If it cannot be written.
    """
    folder, name = os.path.split(path)
    if os.path.exists(path):
        raise FileExistsError(f"{path} exists; name a new file")
    os.makedirs(folder or ".", exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder or ".") as place:
        part = os.path.join(place, name)
        function(part)
        os.link(part, path)  # unlike a rename it never overwrites


def _check(network, dialect, tensors):
    """Refuses a network that the dialect's code would compute differently."""
    seen = Checkpoint(network.name, {key: as_tensor(value) for key, value in tensors.items()})
    description = dialect.describe(dialect, seen)
    why = dialect.refuse(tensors) or ("" if description else "none has its blocks")
    differences = description and wiring_differences(network, description)
    if differences:
        why = f"theirs have {in_words(differences)}"
    if why:
        raise UserError(f"No network of {dialect.name} computes what {network.name} does: {why}")
