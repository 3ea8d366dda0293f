"""A checkpoint: a `.keras` file that holds the history of its run too."""

import errno
import json
import re
import zipfile
from pathlib import Path

from keras_resnets.errors import UserError
from keras_resnets.training import files

# Keras leaves members of a .keras file that it does not know alone.
HISTORY_MEMBER = "history.json"


def write_checkpoint(path, model, history):
    """Saves a model with its optimizer and the history, in one step.

    Raises:
        OSError: If it cannot be written; a previous file under this name is left as it was.
    """

    def write(temporary):
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(HISTORY_MEMBER, json.dumps(history))

    files.write(Path(path), write)


def read_checkpoint(path):
    """Reads the model's config and the history out of a checkpoint, and checks all of its bytes.

    Raises:
        UserError: If the file is not one, is truncated or damaged.
        OSError: If it cannot be read.
    """
    try:
        config, history = read_members(path, "config.json", HISTORY_MEMBER)
    except UserError as error:
        raise UserError(f"{path} is not a checkpoint of a run, or damaged: {error}") from None
    return config["config"], history


def read_members(path, *names):
    """Reads JSON members of a `.keras` file, and checks all of its bytes.

    Raises:
        UserError: If one is missing, or the file is truncated or damaged.
        OSError: If it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged:
                raise zipfile.BadZipFile(f"{damaged} is not as it was written")
            return [json.loads(archive.read(name)) for name in names]
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


def best_epoch(history):
    """The epoch (from 1) of the highest validation accuracy.

    Of equals, it is the one of the lowest validation cross-entropy, and then the earliest.
    """

    def rank(row):
        return row["val_accuracy"], -row.get("val_cross_entropy", 0.0), -row["epoch"]

    return max(history, key=rank)["epoch"]
