"""Degradation: deeper plain nets train worse (He 2015, section 1 and Figure 6)."""

import csv
import os

from keras_resnets.analysis import drawing
from keras_resnets.errors import UserError

LOG = "log.csv"


def read_errors(run_dirs):
    """Training and test error by epoch of several runs.

    Args:
        run_dirs: Dictionary from labels to folders of runs, or sequence of folders, which are then
            labelled by their names.

    Returns:
        List of dictionaries with `run`, `epoch`, `training_error` and `validation_error` (shares).
        The training error is that of the steps of the epoch, with augmentation, as in the paper.

    Raises:
        UserError: If a folder has no log with a finished epoch.
    """
    if not isinstance(run_dirs, dict):
        run_dirs = {os.path.basename(os.path.normpath(path)): path for path in run_dirs}
    rows = []
    for label, folder in run_dirs.items():
        path = os.path.join(folder, LOG)
        try:
            with open(path, newline="", encoding="utf-8") as file:
                log = list(csv.DictReader(file))
        except FileNotFoundError:
            log = []
        if not log:
            raise UserError(f"{folder} must be a run with a finished epoch; {path} has none")
        rows += [
            {
                "run": label,
                "epoch": int(row["epoch"]),
                "training_error": 1 - float(row["accuracy"]),
                "validation_error": 1 - float(row["val_accuracy"]),
            }
            for row in log
        ]
    return rows


def plot_degradation(rows, path, title=None):
    """Training error (dashed) and the error on the watched images (solid) over the epochs.

    Args:
        rows: What `read_errors` returned.
        path: PNG or SVG file to write.
        title: String or `None`. Defaults to `None`.
    """
    figure, panels = drawing.new_figure(columns=2)
    kinds = ("training_error", "validation_error")
    for axes, kind, name in zip(panels, kinds, ("training", "validation or test"), strict=True):
        labels = list(dict.fromkeys(row["run"] for row in rows))
        for look, label in zip(drawing.styles(), labels, strict=False):
            own = [row for row in rows if row["run"] == label]
            epochs = [row["epoch"] for row in own]
            axes.plot(epochs, [row[kind] * 100 for row in own], label=label, **look)
        drawing.finish(axes, "epoch", f"{name} error (%)", legend=True)
        axes.xaxis.get_major_locator().set_params(integer=True)
    top = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, top)
    if title:
        figure.suptitle(title, fontsize=12)
    drawing.save(figure, path)
