"""Gradients by layer during a training, for CSV, TensorBoard and a figure."""

import csv
import io
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.analysis import drawing
from keras_resnets.analysis.gradients import gradient_norms
from keras_resnets.checks import is_count, must
from keras_resnets.errors import UserError

COLUMNS = ("epoch", "layer", "rms", "norm")


class GradientNorms(keras.callbacks.Callback):
    """Writes the norms of `gradient_norms` at the start and after every `every`-th epoch.

    The training is not changed by it. Epoch 0 is the start. A training that goes on, by
    `initial_epoch`, appends; rows of epochs that it trains again are replaced. On a CPU the file of
    one that was stopped and went on is that of one that was not, as far as the training itself is.

    Args:
        images: As for `gradient_norms`, the same in every epoch.
        labels: As for `gradient_norms`.
        csv: Path of the file, with one row an epoch and layer: epoch, layer, rms, norm.
        tensorboard: Folder, or `None`. The scalars gradient_rms/<layer> and gradient_norm/<layer>,
            whose step is the epoch, are in `gradients` below it, whose event files are made anew
            when a training starts. Defaults to `None`.
        every: Int. Epochs from one measurement to the next. Defaults to 1.
        loss: As for `gradient_norms`. Defaults to `None`.

    Raises:
        UserError: If `every` is not legal; when the training starts, if `csv` holds something else
            or the norms of other layers, and as `gradient_norms` does.
        OSError: If a file cannot be written.
    """

    def __init__(self, images, labels, csv, tensorboard=None, every=1, loss=None):
        super().__init__()
        must("every", every, is_count(every), "a positive integer")
        self.images, self.labels, self.loss = images, labels, loss
        self.csv, self.every = Path(csv), every
        self.tensorboard = None if tensorboard is None else Path(tensorboard) / "gradients"
        self.rows = None

    def on_train_begin(self, logs=None):
        self.rows = None

    def on_epoch_begin(self, epoch, logs=None):
        if self.rows is not None:
            return
        known = read_gradients(self.csv) if self.csv.exists() else []
        self.rows = [row for row in known if row["epoch"] <= epoch]
        self._start_writer()
        measured = {row["epoch"] for row in self.rows}
        if not measured or (epoch % self.every == 0 and epoch not in measured):
            self._measure(epoch)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            self._measure(epoch + 1)

    def _measure(self, epoch):
        rows = [
            {"epoch": epoch, "layer": row.name, "rms": row.rms, "norm": row.norm}
            for row in gradient_norms(self.model, self.images, self.labels, self.loss)
        ]
        known = {row["layer"] for row in self.rows}
        if known and known != {row["layer"] for row in rows}:
            raise UserError(
                f"{self.csv} holds the norms of other layers than the model's: give another `csv`"
            )
        self.rows += rows
        _write(self.csv, self.rows)
        self._write_scalars(rows)

    def _start_writer(self):
        if self.tensorboard is None:
            return
        for old in self.tensorboard.glob("events.out.tfevents.*"):
            old.unlink()
        self.writer = tf.summary.create_file_writer(os.fsencode(self.tensorboard))
        self._write_scalars(self.rows)

    def _write_scalars(self, rows):
        if self.tensorboard is None:
            return
        try:
            for row in rows:
                with self.writer.as_default(step=row["epoch"]):
                    for kind in ("rms", "norm"):
                        tf.summary.scalar(f"gradient_{kind}/{row['layer']}", row[kind])
            self.writer.flush()
        except tf.errors.OpError as error:
            raise OSError(f"cannot write TensorBoard's files: {error.message}") from error


def read_gradients(path):
    """The rows of a file of `GradientNorms`.

    Args:
        path: Path of the file.

    Returns:
        List of dictionaries with `epoch` (0 is the start), `layer`, `rms` and `norm`.

    Raises:
        UserError: If the file holds something else.
        OSError: If it cannot be read.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [
                {
                    "epoch": int(row["epoch"]),
                    "layer": row["layer"],
                    "rms": float(row["rms"]),
                    "norm": float(row["norm"]),
                }
                for row in reader
            ]
    except (KeyError, TypeError, ValueError):
        rows = None
    if rows is None or tuple(reader.fieldnames or ()) != COLUMNS:
        raise UserError(
            f"`csv` must be a new file or one with the columns {', '.join(COLUMNS)}. "
            f"Received: csv={path}, which holds something else"
        )
    return rows


def plot_gradient_log(logs, path):
    """Draws how the gradients of a training's layers change: a panel a run, a line an epoch.

    Up to five epochs are drawn, from the first to the last.

    Args:
        logs: Dictionary from a label to the rows of `read_gradients`.
        path: Path of the PNG or SVG file to write.

    Raises:
        UserError: If there are no rows, or no gradient is above 0.
    """
    if not logs or not all(logs.values()):
        raise UserError("`logs` must hold rows for each label. Received: none")
    figure, panels = drawing.new_figure(columns=len(logs), width=5.2)
    values = np.array([row["rms"] for rows in logs.values() for row in rows])
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        raise UserError("`logs` must hold a gradient above 0. Received: none")
    for axes, (label, rows) in zip(panels, logs.items(), strict=True):
        epochs = sorted({row["epoch"] for row in rows})
        chosen = np.linspace(0, len(epochs) - 1, min(5, len(epochs))).round().astype(int)
        for epoch, look in zip((epochs[i] for i in chosen), drawing.styles(), strict=False):
            own = np.array([row["rms"] for row in rows if row["epoch"] == epoch])
            own[~(np.isfinite(own) & (own > 0))] = np.nan
            name = f"after epoch {epoch}" if epoch else "at the start"
            every = max(1, len(own) // 12)
            axes.plot(range(1, len(own) + 1), own, label=name, markevery=every, **look)
        drawing.finish(
            axes,
            "layer, from the first to the last (number)",
            "root mean square of the gradient",
            label,
            log=True,
            legend=True,
        )
        axes.set_ylim(values.min() / 1.5, values.max() * 1.5)
    drawing.save(figure, path)


def _write(path, rows):
    from keras_resnets.training import files

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, text.getvalue())
