"""A checkpoint: a `.keras` file that holds the history of its run too."""

import json
import zipfile
from pathlib import Path

from keras_resnets.errors import UserError
from keras_resnets.models.files import read_members
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


def best_epoch(history):
    """The epoch (from 1) of the highest validation accuracy.

    Of equals, it is the one of the lowest validation cross-entropy, and then the earliest.
    """

    def rank(row):
        return row["val_accuracy"], -row.get("val_cross_entropy", 0.0), -row["epoch"]

    return max(history, key=rank)["epoch"]
