"""Models as files."""

import errno
import json
import os
import re
import zipfile

import keras

from keras_resnets.errors import UserError


def load_model(path):
    """Loads a `.keras` file.

    Args:
        path: String or path.

    Returns:
        A `Network`, or whatever model the file holds. It is not compiled.

    Raises:
        FileNotFoundError: If there is none.
        UserError: If it cannot be loaded.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no model {path}")
    try:
        read_members(path)  # Keras calls a truncated file "not found"
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"Cannot load {path}: {loading_error(error)}") from error


def read_members(path, *names, optional=()):
    """Reads JSON members of a `.keras` file, and checks all of its bytes.

    Args:
        path: String or path.
        *names: Strings, members that must be there.
        optional: Sequence of strings, members that are `None` if they are not there.

    Returns:
        List of what the members hold, the optional ones last.

    Raises:
        UserError: If one is missing, or the file is truncated or damaged.
        OSError: If it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged:
                raise zipfile.BadZipFile(f"{damaged} is not as it was written")
            there = archive.namelist()
            found = [json.loads(archive.read(name)) for name in names]
            for name in optional:
                found.append(json.loads(archive.read(name)) if name in there else None)
            return found
    except Exception as error:  # zipfile raises half a dozen kinds for damaged bytes
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that is a place before 0
            raise
        reason = str(error.args[0] if error.args else type(error).__name__)
        if reason == "File is not a zip file":
            reason = "it is truncated, or no .keras file"
        raise UserError(reason) from None


def loading_error(error):
    """Why a `.keras` file did not load, in one line; Keras tells some of it in a hundred.

    Args:
        error: What `keras.saving.load_model` raised.
    """
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if "Lambda" in text and "safe_mode" in text:
        return (
            "it has a Lambda layer, whose Python code is not run from a file; make it a layer "
            "class, registered by keras.saving.register_keras_serializable"
        )
    mismatch = re.search(
        r"total of (\d+) objects.*?variable\.shape=(\(.*?\)), Received: value\.shape=(\(.*?\))"
        r".*?Variable path=([^,]+)",
        text,
        re.DOTALL,
    )
    if mismatch:
        count, expected, found, path = mismatch.groups()
        return (
            f"the weights are those of another network: {count} layers differ, such as {path}, "
            f"{found} in the file and {expected} by its config"
        )
    text = text.split("Exception encountered: ")[-1].split(" Full object config: ")[0]
    return " ".join(text.split("List of objects that could not")[0].split())
