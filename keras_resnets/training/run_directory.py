"""The folder of a run: what is in it, how it is written, and when it may go on."""

import contextlib
import dataclasses
import json
import os
import platform
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_resnets._version import __version__
from keras_resnets.data.listing import is_list
from keras_resnets.errors import UserError
from keras_resnets.locks import Held, lock_file
from keras_resnets.training import files
from keras_resnets.training.averages import averaged_copy, has_averages
from keras_resnets.training.checkpoint import (
    Start,
    best_epoch,
    read_checkpoint,
    write_checkpoint,
)
from keras_resnets.training.recipe import Recipe
from keras_resnets.training.results import describe
from keras_resnets.training.schedules import needs_length

LOCK = "lock"
# What a run may hold before it has a recipe.
_EARLY = {LOCK, "recipe.tmp.json"}


class RunDirectory:
    """A folder with one run.

    `last.keras` is the single source of truth: weights, optimizer, preprocessing, the history (one
    row for each finished epoch) and the progress within an epoch are in this one file, which is
    replaced in one step. The one before it stays as `previous.keras`. The log, `best.keras` and
    `ema.keras`, the best averaged weights, follow from it, and are brought up to it after a kill.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.last = self.path / "last.keras"
        self.previous = self.path / "previous.keras"
        self.best = self.path / "best.keras"
        self.ema = self.path / "ema.keras"
        self.log = self.path / "log.csv"
        self.curves = self.path / "curves.png"
        self.gradients = self.path / "gradients.csv"
        self.tensorboard = self.path / "tensorboard"

    def check(self, recipe):
        """Refuses a folder that holds something else, or a run of another recipe.

        Raises:
            UserError: With the foreign file, or with the flags that differ.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"`run_dir` must be a folder. Received: run_dir={self.path}")
        names = sorted(os.listdir(self.path)) if self.path.exists() else []
        if "recipe.json" not in names:
            foreign = [name for name in names if name not in _EARLY]
            if foreign:
                raise UserError(
                    f"`run_dir` must be empty or a run. Received: run_dir={self.path}, "
                    f"which holds {foreign[0]!r}"
                )
            return
        changes = _changes(Recipe.load(self.path / "recipe.json"), recipe)
        if changes:
            raise UserError(
                f"{self.path} is a run with other flags: {'; '.join(changes)}. "
                "Give them back their values, or another --run_dir"
            )

    @contextlib.contextmanager
    def lock(self):
        """Keeps other processes out, and makes the folder, which goes again if nothing came in.

        Raises:
            UserError: If another process is training here.
            OSError: If the folder cannot be written.
        """
        made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with lock_file(self.path / LOCK):
                yield
        except Held as holder:
            raise UserError(
                f"{self.path} is being trained by {holder}: wait for its end, or give another "
                "--run_dir"
            ) from None
        finally:
            with contextlib.suppress(OSError):  # not empty: there is a run now
                for path in made:
                    path.rmdir()

    def prepare(self, recipe, devices, images=None):
        """Makes the folder, removes leftovers, records flags, versions and images.

        Args:
            recipe: `Recipe`.
            devices: List of strings.
            images: Dictionary from a part of the set to what tells its images from others.
                Defaults to none.
        """
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
            "images": images or {},
        }
        # The recipe comes first: it is what makes the folder a run.
        files.write_text(self.path / "recipe.json", recipe.to_json())
        lines = [*recipe.flag_lines(), f"--run_dir={self.path}"]
        files.write_text(self.path / "flags.txt", "\n".join(lines) + "\n")
        files.write_text(self.path / "versions.json", json.dumps(versions, indent=2) + "\n")

    def images(self):
        """What `prepare` recorded of the images; nothing if it cannot be read."""
        try:
            text = (self.path / "versions.json").read_text(encoding="utf-8")
            return dict(json.loads(text)["images"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    def history(self):
        """The rows of the finished epochs, or `None` before the first checkpoint."""
        return read_checkpoint(self.last).history if self.last.exists() else None

    def start(self):
        """Where the run goes on: at `last.keras`, or if that is gone, at an earlier checkpoint.

        `previous.keras` and `best.keras` are whole checkpoints too. On a CPU the run ends as it
        would have, and no file is worse than it was. A damaged checkpoint is left to people, as is
        a run of which only the log is left.

        Returns:
            `Start`.

        Raises:
            UserError: If the checkpoint is damaged, or there was one and none is left.
        """
        checkpoints = (self.last, self.previous, self.best)
        for place, path in enumerate(checkpoints):
            if path.exists():
                gone = "".join(f"{lost} is gone, and " for lost in checkpoints[:place][:1])
                try:
                    return read_checkpoint(path)
                except UserError as error:
                    way = self._way_out(checkpoints[place + 1 :])
                    raise UserError(f"{gone}{error}. {way}") from None
        left = [path for path in (self.log, self.path / "results.json") if path.exists()]
        if left:
            raise UserError(
                f"{self.last} is gone, and so is {self.best.name}, while {left[0].name} is there. "
                f"{self._way_out(())}"
            )
        return Start(history=[])

    def _way_out(self, others):
        """What to do about a damaged checkpoint: the first whole one of `others` is older."""
        for path in others:
            try:
                start = read_checkpoint(path)
            except (UserError, OSError):
                continue
            return f"Put a copy back, or remove it to go on from {path.name}, {start}"
        return "Put a copy back, or give another --run_dir"

    def save(self, model, history, progress=None):
        """Writes `last.keras`, keeps the one before it, then writes what follows from it."""
        model.average_statistics()
        if self.last.exists():
            files.keep(self.last, self.previous)
        write_checkpoint(self.last, model, history, progress)
        if not progress:
            self.repair(history)
            self.save_averages(model, history)

    def save_averages(self, model, history):
        """Writes `ema.keras` if the averages of a model at the end of an epoch are the best."""
        if not (history and has_averages(model)):
            return
        if best_epoch(history, averaged=True) == len(history):
            files.write(self.ema, averaged_copy(model).save)

    def repair(self, history, progress=None):
        """Makes the log and `best.keras` those of `last.keras`, which holds the arguments.

        A lost `last.keras` is made of the checkpoint where the run then goes on.
        """
        for path in (self.previous, self.best):
            if path.exists() and not self.last.exists():
                files.copy(path, self.last)
        if not history:
            return
        columns = list(history[0])
        rows = [",".join(str(row[column]) for column in columns) for row in history]
        files.write_text(self.log, "\n".join([",".join(columns), *rows]) + "\n")
        if best_epoch(history) == len(history) and not progress:
            files.copy(self.last, self.best)

    def best_of(self, history):
        """The epoch that `best.keras` holds.

        Raises:
            UserError: If it is missing or damaged, or not a best epoch of `history`.
        """
        epoch = best_epoch(history)
        what = f"{self.best}, epoch {epoch} of {len(history)}, is"
        after = "put a copy back, or let more --epochs make a better one"
        if not self.best.exists():
            raise UserError(f"{what} missing: {after}")
        try:
            found = read_checkpoint(self.best).history
        except UserError:
            raise UserError(f"{what} damaged: {after}") from None
        highest = max(row["val_accuracy"] for row in history)
        # Of equal accuracies any will do: earlier versions kept the first.
        if not found or found != history[: len(found)] or found[-1]["val_accuracy"] != highest:
            raise UserError(f"{what} replaced by something else: {after}")
        return len(found)

    def results(self):
        """The results of the run if they belong to its checkpoints and these are whole, or `None`.

        A damaged `results.json` is as none: it can be computed again.
        """
        path = self.path / "results.json"
        if not path.exists():
            return None
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
            describe(results)  # every figure is there
            history = self.history()
            epochs = (len(history), self.best_of(history)) if history else None
        except (UserError, ValueError, KeyError, TypeError):
            return None
        same = epochs == (results["last"]["epoch"], results["best"]["epoch"])
        return results if same else None

    def write_results(self, results):
        """Writes `results.json`."""
        files.write_text(self.path / "results.json", json.dumps(results, indent=2) + "\n")


def _changes(recorded, recipe):
    """The flags that decide the result and differ, in words. Only more or fewer epochs may.

    And not these where the learning rate follows from them.
    """
    changes = []
    old, new = recorded.epochs, recipe.epochs
    if old != new and needs_length(recorded.schedule) and not recorded.schedule_epochs:
        changes.append(
            f"--epochs was {old}, is {new}, and its {recorded.schedule} schedule was made for "
            f"{old} (--schedule_epochs at the start leaves room for more)"
        )
    for field in dataclasses.fields(Recipe):
        old, new = (getattr(r, field.name) for r in (recorded, recipe))
        moved = field.name == "dataset" and _is_path(old) and _is_path(new)
        if old != new and field.name != "epochs" and not field.metadata.get("where") and not moved:
            changes.append(f"--{field.name} was {_word(old)}, is {_word(new)}")
    return changes


def _is_path(dataset):
    named = os.sep in dataset or dataset.startswith((".", "~")) or is_list(dataset)
    return named or os.path.isdir(dataset)


def _word(value):
    return (",".join(map(str, value)) if isinstance(value, tuple) else str(value)) or "empty"
