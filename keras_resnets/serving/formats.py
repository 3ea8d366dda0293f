"""The formats of exports, by the file that each is known by, and what metadata says of them."""

import json
import os

from keras_resnets.checks import is_count
from keras_resnets.errors import UserError

METADATA = os.path.join("assets.extra", "metadata.json")  # TensorFlow Serving leaves it alone
FILES = {"saved_model": "saved_model.pb", "openvino": "model.xml", "onnx": "model.onnx"}


def format_of(version):
    """The format of a version's folder, one of `FILES`, or `None` if it holds no export."""
    for name, file in FILES.items():
        if os.path.isfile(os.path.join(version, file)):
            return name
    return None


def find_version(path):
    """The folder of the highest version of an exported model; a version's folder is itself.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = os.fspath(path)
    if format_of(path):
        return path
    found = _versions(path)
    if not found:
        files = ", ".join(FILES.values())
        raise FileNotFoundError(
            f"No export in {path}: expected <model>/<version>/ with one of {files}, as "
            "scripts/export.py writes it"
        )
    return os.path.join(path, max(found, key=int))


def check_place(root, name, wanted):
    """Whether an export can be written: a name's versions are all of one format.

    A server takes the highest one.

    Args:
        root: String or path.
        name: String, the name to serve the model by.
        wanted: String, the format to write there.

    Raises:
        UserError: If `name` is not the name of one folder, or a version of it is in another format.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or os.path.basename(name) != name:
        raise UserError(f"`name` must be the name of one folder. Received: name={name!r}")
    folder = os.path.join(root, name)
    for version in _versions(folder):
        found = format_of(os.path.join(folder, version))
        if found != wanted:
            raise UserError(
                f"{folder} holds exports of format {found}, which its server would no longer "
                f"find behind one of format {wanted}: give another name"
            )


def read_metadata(version):
    """What `assets.extra/metadata.json` says of an export; nothing if it cannot be read.

    Args:
        version: String or path, a version's folder.

    Returns:
        Dictionary.
    """
    try:
        with open(os.path.join(version, METADATA), encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def check_metadata(version, metadata):
    """Refuses what `read_metadata` gives where a value cannot be what this package wrote.

    Args:
        version: String or path, a version's folder.
        metadata: Dictionary.

    Raises:
        UserError: With the file and the first such key.
    """
    for key, (is_legal, words) in _LEGAL.items():
        value = metadata.get(key)
        if value is not None and not is_legal(value):
            raise UserError(
                f"{os.path.join(version, METADATA)}: `{key}` must be {words}, so export the model "
                f"again. Received: {key}={value!r}"
            )


def _is_input(value):
    shape = value.get("shape") if isinstance(value, dict) else None
    return isinstance(shape, list) and len(shape) == 4 and all(map(is_count, shape[1:]))


def _are_names(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_LEGAL = {
    "input": (_is_input, "a dictionary with `shape`, [null, height, width, channels]"),
    "class_names": (_are_names, "a list of strings"),
    "max_pixels": (is_count, "a positive integer"),
}


def add_metadata(version, **facts):
    """Adds to what `assets.extra/metadata.json` says.

    Args:
        version: String or path, a version's folder.
        **facts: Values that JSON can hold.

    Raises:
        OSError: If it cannot be written.
    """
    metadata = read_metadata(version) | facts
    with open(os.path.join(version, METADATA), "w", encoding="utf-8") as file:
        json.dump(metadata, file, indent=2, ensure_ascii=False)


def _versions(folder):
    """The names of the versions in a served model's folder that are exports."""
    entries = os.listdir(folder) if os.path.isdir(folder) else []
    found = [entry for entry in entries if entry.isdecimal()]
    return [entry for entry in found if format_of(os.path.join(folder, entry))]
