"""What a training says: a line for each epoch in a log, a table that moves in a terminal."""

import shutil
import time

import keras

from keras_resnets.training import processor
from keras_resnets.training.checkpoint import best_epoch
from keras_resnets.training.distribution import describe_devices
from keras_resnets.training.schedules import boundary_steps

REFRESH = 0.2  # seconds between two states of the row that moves
BAR = 17  # characters, as wide as the figures of the validation whose place it takes
# The whole row stays below 80 columns, where terminals would wrap it.
COLUMNS = (("rate", 9), ("loss", 7), ("accuracy", 8), ("validation", BAR), ("images/s", 8),
           ("left", 8))


def announce(recipe, splits, strategy, steps, uses_xla=False):
    """Prints what is trained on what.

    Args:
        recipe: `Recipe`.
        splits: `data.Splits`.
        strategy: `tf.distribute.Strategy`.
        steps: Int. Steps of an epoch.
        uses_xla: Boolean. Whether steps are compiled by XLA. Defaults to `False`.
    """
    replicas, devices = strategy.num_replicas_in_sync, describe_devices(strategy)
    print(
        f"devices: {devices}, replicas: {replicas}, "
        f"batch: {recipe.batch_size} = {replicas} x {recipe.batch_size // replicas}, "
        f"precision: {recipe.precision}, XLA: {'on' if uses_xla else 'off'}"
    )
    if devices.endswith("CPU") and processor.lacks(recipe.precision):
        print(
            f"slow: this CPU has no instructions for {recipe.precision}; --precision=float32 is "
            "several times as fast on it"
        )
    skipped = splits.train.num_skipped
    changes = ", ".join(map(str, boundary_steps(recipe.boundaries, steps)))
    print(
        f"{recipe.model} on {splits.train.name}: {splits.train.num_examples} training, "
        f"{splits.validation.num_examples} validation, {splits.test.num_examples} test images"
        f"{f' ({skipped} corrupt ones left out)' if skipped else ''}; "
        f"{steps} steps an epoch, {recipe.epochs} epochs, {recipe.epochs * steps} steps; "
        f"{recipe.schedule} learning rate"
        f"{f' that changes at steps {changes}' if changes else ''}",
        flush=True,
    )


def make_console(rows, epochs, watch, batch_size, stream):
    """The callback that tells a training, to go after the one that makes the rows.

    Args:
        rows: List of the rows of the finished epochs; it grows.
        epochs: Int. Epochs of the run.
        watch: The `Watch`, which goes before it.
        batch_size: Int, of all replicas.
        stream: Where to write to: a table for a terminal, lines for anything else.
    """
    if stream.isatty():
        return Table(rows, epochs, watch, batch_size, stream)
    return Lines(rows, epochs, stream)


class Lines(keras.callbacks.Callback):
    """Writes a line for each epoch."""

    def __init__(self, rows, epochs, stream):
        super().__init__()
        self.rows, self.epochs, self.stream = rows, epochs, stream

    def on_epoch_end(self, epoch, logs=None):
        row = self.rows[-1]
        print(
            f"epoch {row['epoch']}/{self.epochs}: learning rate {row['learning_rate']:.5g}, "
            f"loss {row['loss']:.4f}, accuracy {row['accuracy']:.2%}, "
            f"validation cross-entropy {row['val_cross_entropy']:.4f}, "
            f"accuracy {row['val_accuracy']:.2%}{_mark(self.rows)}, "
            f"{_averaged(row)}"
            f"{row['seconds']:.1f} s, {row['images_per_second']:.0f} images/s",
            file=self.stream,
            flush=True,
        )

    def close(self):
        """Nothing: every line has its end."""


class Table(keras.callbacks.Callback):
    """Writes a row for each epoch, which moves while the epoch is trained.

    `left` is the time that the rest of the run takes at the pace of this process so far,
    validation and saving included.
    """

    def __init__(self, rows, epochs, watch, batch_size, stream):
        super().__init__()
        self.rows, self.epochs, self.stream = rows, epochs, stream
        self.watch, self.batch_size = watch, batch_size
        self.is_open = False  # whether the cursor is in a row
        self.has_head = False
        self.pace = None
        self.speed = ""
        self.shown = -REFRESH

    def on_train_begin(self, logs=None):
        if not self.has_head:
            self._write(*(word for word, _ in COLUMNS), epoch="epoch", end="\n")
            self.has_head = True

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.first_end = None

    def on_train_batch_begin(self, batch, logs=None):
        if batch:
            self._show_step(f"{self.watch.done}/{self.watch.steps_per_epoch}")

    def on_test_begin(self, logs=None):
        if not self.is_open and self.first_end is None:
            return
        self._show_step(None)

    def _show_step(self, count):
        """Writes how far the epoch is, or if `count` is `None`, that it is validated."""
        now = time.monotonic()
        steps, done = self.watch.steps_per_epoch, self.watch.done
        in_all = self.epoch * steps + done
        self.pace = self.pace or (now, in_all)  # after the first step, which traces the graph
        self.first_end = self.first_end or (now, done)
        if now - self.shown < REFRESH and count:
            return
        seconds = now - self.first_end[0]
        trained = (done - self.first_end[1]) * self.batch_size
        if count:
            self.speed = f"{trained / seconds:.0f}" if seconds else ""
            room = max(BAR - 3 - len(count), 0)
            bar = f"[{'=' * round(room * done / steps):{room}} {count}]"
        else:
            bar = "[  validating   ]"
        figures = self.watch.figures
        self._write(
            f"{figures['learning_rate']:.4g}",
            _loss(figures["loss"]),
            f"{figures['accuracy']:.2%}",
            bar,
            self.speed,
            self._left(now, in_all),
        )

    def on_epoch_end(self, epoch, logs=None):
        row = self.rows[-1]
        validation = f"{_loss(row['val_cross_entropy']):>7} {row['val_accuracy']:>7.2%}"
        self._write(
            f"{row['learning_rate']:.4g}",
            _loss(row["loss"]),
            f"{row['accuracy']:.2%}",
            f"{validation}{_mark(self.rows) or '  '}",
            f"{row['images_per_second']:.0f}",
            self._left(time.monotonic(), row["steps"]),
            end="\n",
        )

    def close(self):
        """Ends a row that was left amid an epoch, so that what follows has a line of its own."""
        if self.is_open:
            self.stream.write("\n")
            self.is_open = False

    def _left(self, now, done):
        start, first = self.pace
        if done == first:
            return ""
        remaining = self.epochs * self.watch.steps_per_epoch - done
        return _clock((now - start) / (done - first) * remaining)

    def _write(self, *cells, epoch=None, end=""):
        epoch = epoch or f"{self.epoch + 1}/{self.epochs}"
        widths = (width for _, width in COLUMNS)
        cells = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        row = "  ".join((f"{epoch:>7}", *cells))
        room = shutil.get_terminal_size().columns - 1
        self.is_open = not end  # first, as Ctrl-C may come amid the writing
        self.stream.write(f"\r{row[:room]:{room}}{end}")
        self.stream.flush()
        self.shown = time.monotonic()


def _averaged(row):
    averaged = row.get("ema_val_accuracy")
    return "" if averaged is None else f"of averaged weights {averaged:.2%}, "


def _mark(rows):
    return " *" if best_epoch(rows) == len(rows) else ""


def _loss(value):
    return f"{value:.4f}" if value < 100 else f"{value:.4g}"


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
