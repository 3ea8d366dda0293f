"""TensorBoard's files of a run, written from its history as the log is."""

import os

import keras
import tensorflow as tf

TRAINING = ("loss", "accuracy", "cross_entropy", "learning_rate", "images_per_second")
VALIDATION = ("loss", "accuracy", "cross_entropy")


class Summaries(keras.callbacks.Callback):
    """Writes every finished epoch once, whenever and how often the run was stopped.

    Event files can only grow, and what a killed process has written of them is not known: they
    are made anew from the rows, and then follow them. An epoch's step is its number, from 1; the
    tags are those of Keras' callback.

    Args:
        folder: `pathlib.Path` of TensorBoard's folder; `train` and `validation` below it are the
            runs that TensorBoard shows.
        rows: List of the rows of the finished epochs; it grows.

    Raises:
        OSError: If a file cannot be written.
    """

    def __init__(self, folder, rows):
        super().__init__()
        self.rows = rows
        self.writers = {}
        for part in ("train", "validation"):
            for old in (folder / part).glob("events.out.tfevents.*"):
                old.unlink()
            self.writers[part] = tf.summary.create_file_writer(os.fsencode(folder / part))
        self._write(rows)

    def on_epoch_end(self, epoch, logs=None):
        self._write(self.rows[-1:])

    def _write(self, rows):
        try:
            for row in rows:
                self._write_scalars("train", row, {name: row[name] for name in TRAINING})
                validation = {name: row[f"val_{name}"] for name in VALIDATION}
                self._write_scalars("validation", row, validation)
                if "ema_val_loss" in row:
                    averaged = {f"ema_{name}": row[f"ema_val_{name}"] for name in VALIDATION}
                    self._write_scalars("validation", row, averaged)
            for writer in self.writers.values():
                writer.flush()
        except tf.errors.OpError as error:
            raise OSError(f"cannot write TensorBoard's files: {error.message}") from error

    def _write_scalars(self, part, row, values):
        with self.writers[part].as_default(step=row["epoch"]):
            for name, value in values.items():
                tf.summary.scalar(f"epoch_{name}", value)
