"""The folder of a run: what is in it, how it is written, and when it may go on."""

import dataclasses
import json
import os
import platform
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_resnets._version import __version__
from keras_resnets.training.recipe import Recipe

# Keras leaves members of a .keras file that it does not know alone.
HISTORY_MEMBER = "history.json"


class RunDirectory:
    """A folder with one run.

    `last.keras` is the single source of truth: weights, optimizer, preprocessing, and the history
    (one row for each finished epoch) are in this one file, which is replaced in one step. The log
    and `best.keras` follow from it, and `repair` brings them up to it after a kill.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.last = self.path / "last.keras"
        self.best = self.path / "best.keras"
        self.log = self.path / "log.csv"
        self.curves = self.path / "curves.png"
        self.tensorboard = self.path / "tensorboard"

    def check(self, recipe):
        """Refuses a folder that holds something else, or a run of another recipe.

        Raises:
            ValueError: With the foreign file, or with the flags that differ.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"`run_dir` must be a folder. Received: run_dir={self.path}")
        names = sorted(os.listdir(self.path)) if self.path.exists() else []
        if "recipe.json" not in names:
            foreign = [name for name in names if name != "recipe.tmp.json"]
            if foreign:
                raise ValueError(
                    f"`run_dir` must be empty or a run. Received: run_dir={self.path}, "
                    f"which holds {foreign[0]!r}"
                )
            return
        changes = _changes(Recipe.load(self.path / "recipe.json"), recipe)
        if changes:
            raise ValueError(
                f"{self.path} is a run with other flags: {'; '.join(changes)}. "
                "Give them back their values, or another --run_dir"
            )

    def prepare(self, recipe, devices):
        """Makes the folder, removes leftovers, records flags and versions."""
        self.path.mkdir(parents=True, exist_ok=True)
        for leftover in (*self.path.glob("*.tmp*"), self.path / "results.json"):
            leftover.unlink(missing_ok=True)
        versions = {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "keras_resnets": __version__,
            "numpy": np.__version__,
            "devices": devices,
        }
        # The recipe comes first: it is what makes the folder a run.
        _write_text(self.path / "recipe.json", recipe.to_json())
        lines = [*recipe.flag_lines(), f"--run_dir={self.path}"]
        _write_text(self.path / "flags.txt", "\n".join(lines) + "\n")
        _write_text(self.path / "versions.json", json.dumps(versions, indent=2) + "\n")

    def history(self):
        """The rows of the finished epochs, or `None` before the first checkpoint."""
        return read_checkpoint(self.last)[1] if self.last.exists() else None

    def save(self, model, history):
        """Writes `last.keras`, then what follows from it."""
        write_checkpoint(self.last, model, history)
        self.repair(history)

    def repair(self, history):
        """Makes the log and `best.keras` those of `history`."""
        if not history:
            return
        columns = list(history[0])
        rows = [",".join(str(row[column]) for column in columns) for row in history]
        _write_text(self.log, "\n".join([",".join(columns), *rows]) + "\n")
        if best_epoch(history) == len(history):
            data = self.last.read_bytes()
            _write(self.best, lambda path: path.write_bytes(data))

    def results(self):
        """The results of the run if it has any that belong to `last.keras`, or `None`."""
        path = self.path / "results.json"
        history = self.history()
        if not path.exists() or not history:
            return None
        results = json.loads(path.read_text())
        return results if results["last"]["epoch"] == len(history) else None

    def write_results(self, results):
        """Writes `results.json`."""
        _write_text(self.path / "results.json", json.dumps(results, indent=2) + "\n")


def best_epoch(history):
    """The epoch (from 1) of the highest validation accuracy, the earliest of equals."""
    return max(history, key=lambda row: (row["val_accuracy"], -row["epoch"]))["epoch"]


def write_checkpoint(path, model, history):
    """Saves a model with its optimizer and the history, in one step.

    Raises:
        OSError: If it cannot be written; a previous file under this name is left as it was.
    """

    def write(temporary):
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(HISTORY_MEMBER, json.dumps(history))

    _write(path, write)


def read_checkpoint(path):
    """Reads the model's config and the history out of a checkpoint.

    Raises:
        ValueError: If the file is not one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))["config"]
            return config, json.loads(archive.read(HISTORY_MEMBER))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path} is not a checkpoint of a run: {error}") from None


def _changes(recorded, recipe):
    """The flags that decide the result and differ, in words. Only more or fewer epochs may."""
    changes = []
    for field in dataclasses.fields(Recipe):
        old, new = (getattr(r, field.name) for r in (recorded, recipe))
        moved = field.name == "dataset" and _is_path(old) and _is_path(new)
        if old != new and field.name != "epochs" and not field.metadata.get("where") and not moved:
            changes.append(f"--{field.name} was {_word(old)}, is {_word(new)}")
    return changes


def _is_path(dataset):
    return os.sep in dataset or dataset.startswith((".", "~")) or os.path.isdir(dataset)


def _word(value):
    return (",".join(map(str, value)) if isinstance(value, tuple) else str(value)) or "empty"


def _write_text(path, text):
    _write(path, lambda temporary: temporary.write_text(text))


def _write(path, write):
    """Writes a file under another name, flushes it to the disk, and renames it."""
    temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        cause = _os_error(error)
        if cause is None:
            raise
        rest = f"; the previous one still loads: {path}" if path.exists() else ""
        reason = (cause.strerror or str(cause)).lower()
        raise OSError(f"cannot save {path}: {reason}{rest}") from error


def _os_error(error):
    """The first OSError in the chain of an exception: zipfile and h5py raise others after it."""
    found = None
    while error is not None:
        found = error if isinstance(error, OSError) else found
        error = error.__cause__ or error.__context__
    return found
