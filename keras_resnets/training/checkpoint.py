"""A checkpoint: a `.keras` file that holds the history of its run too."""

import json
import zipfile
from pathlib import Path
from typing import NamedTuple

from keras_resnets.errors import UserError
from keras_resnets.models.files import read_members
from keras_resnets.training import files

# Keras leaves members of a .keras file that it does not know alone.
HISTORY_MEMBER = "history.json"
PROGRESS_MEMBER = "progress.json"


class Start(NamedTuple):
    """Where a run goes on.

    Attributes:
        path: The checkpoint, or `None` for a run that begins.
        config: Dictionary, the model's config, or `None`.
        history: List of the rows of the finished epochs.
        progress: Dictionary, what `callbacks.Checkpoint` saved within the epoch after them, with
            `step`, how many of its steps are done; or `None` at its start.
    """

    path: Path | None = None
    config: dict | None = None
    history: list = ()
    progress: dict | None = None

    @property
    def step(self):
        """Steps of the unfinished epoch that are done."""
        return self.progress["step"] if self.progress else 0

    def __str__(self):
        within = f" and {self.step} steps of the next" if self.step else ""
        return f"epoch {len(self.history)}{within}"


def write_checkpoint(path, model, history, progress=None):
    """Saves a model with its optimizer, the history and the progress within an epoch, in one step.

    Args:
        path: Path.
        model: `Network`.
        history: List of the rows of the finished epochs.
        progress: Dictionary, how far the epoch after them is, or `None` at its start. Defaults to
            `None`.

    Raises:
        OSError: If it cannot be written; a previous file under this name is left as it was.
    """

    def write(temporary):
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(HISTORY_MEMBER, json.dumps(history))
            archive.writestr(PROGRESS_MEMBER, json.dumps(progress))

    files.write(Path(path), write)


def read_checkpoint(path):
    """Reads a checkpoint's model config, history and progress, and checks all of its bytes.

    Returns:
        `Start`; the progress of files of earlier versions is `None`.

    Raises:
        UserError: If the file is not one, is truncated or damaged.
        OSError: If it cannot be read.
    """
    try:
        members = read_members(path, "config.json", HISTORY_MEMBER, optional=(PROGRESS_MEMBER,))
    except UserError as error:
        raise UserError(f"{path} is not a checkpoint of a run, or damaged: {error}") from None
    config, history, progress = members
    return Start(Path(path), config["config"], history, progress)


def best_epoch(history, averaged=False):
    """The epoch (from 1) of the highest validation accuracy.

    Of equals, it is the one of the lowest validation cross-entropy, and then the earliest.

    Args:
        history: List of rows, at least one.
        averaged: Boolean. Whether the accuracy is that of the averaged weights. Defaults to
            `False`.
    """
    prefix = "ema_val" if averaged else "val"

    def rank(row):
        entropy = row.get(f"{prefix}_cross_entropy", 0.0)
        return row[f"{prefix}_accuracy"], -entropy, -row["epoch"]

    return max(history, key=rank)["epoch"]
