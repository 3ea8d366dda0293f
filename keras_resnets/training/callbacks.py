"""What happens after a step and after an epoch."""

import math
import time

import keras
import numpy as np

from keras_resnets.training.console import last_rate

LOGGED = ("loss", "accuracy", "cross_entropy", "val_loss", "val_accuracy", "val_cross_entropy")


class StopOnNaN(keras.callbacks.Callback):
    """Raises FloatingPointError once the loss is no longer finite."""

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {float(loss)} at step {batch + 1} of the epoch")


class Checkpoint(keras.callbacks.Callback):
    """Makes the row of each epoch and saves it with the model.

    Args:
        run: The `RunDirectory`.
        history: List of the rows of the finished epochs; it grows.
        steps_per_epoch: Int.
        batch_size: Int, of all replicas.
    """

    def __init__(self, run, history, steps_per_epoch, batch_size):
        super().__init__()
        self.run = run
        self.rows = history
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.trained = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: _float(logs[name]) for name in LOGGED}
        _require_finite(self.model, logs)
        rate = self.steps_per_epoch * self.batch_size / (self.trained - self.started)
        row = {
            "epoch": epoch + 1,
            "steps": (epoch + 1) * self.steps_per_epoch,
            "learning_rate": _float(last_rate(self.model.optimizer)),
            **logs,
            "seconds": round(time.monotonic() - self.started, 2),
            "images_per_second": round(rate, 1),
        }
        self.rows.append(row)
        self.run.save(self.model, self.rows)


class ReseedLayers(keras.callbacks.Callback):
    """Makes the random numbers of layers such as dropout a function of seed, epoch and step.

    Keras saves neither keys nor counters of its seed generators; the keys come from the run's seed
    when the model is built, and each epoch sets the counters.

    Args:
        steps_per_epoch: Int.
    """

    def __init__(self, steps_per_epoch):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch

    def on_epoch_begin(self, epoch, logs=None):
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                key = keras.ops.convert_to_numpy(variable)[0]
                counter = (epoch * self.steps_per_epoch) % 2**32
                variable.assign(np.array([key, counter], variable.dtype))


def _float(value):
    """A float32 as the shortest decimal that tells it from its neighbours."""
    return float(str(np.float32(value)))


def _require_finite(model, logs):
    """Raises FloatingPointError if the epoch's numbers or its weights are not finite."""
    bad = [f"{name} is {value}" for name, value in logs.items() if not math.isfinite(value)]
    if not bad:
        weights = (variable for variable in model.weights if variable.dtype.startswith("float"))
        bad = [
            f"{variable.path} is not finite"
            for variable in weights
            if not np.isfinite(keras.ops.convert_to_numpy(variable)).all()
        ]
    if bad:
        raise FloatingPointError(f"{bad[0]} at the end of the epoch")
