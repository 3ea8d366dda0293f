"""Where a training is within its epoch, and its figures so far."""

import math

import keras
import numpy as np

from keras_resnets.training.hosts import Hosts
from keras_resnets.training.updates import unwrapped

# Keras dispatches steps without waiting for them; whoever reads a tensor waits.
EVERY = 100


class Watch(keras.callbacks.Callback):
    """Counts the steps of an epoch, and reads the running metrics now and then.

    The metrics are read after the first step, after every 100 steps from there, and at the end of
    the epoch's steps; a loss that is not finite ends the training there. Callbacks that go after
    this one use what it has read. Nothing is done at the end of a step, which Keras would make wait
    for its result: a step is over when the next one begins.

    Args:
        steps_per_epoch: Int.
        progress: What a checkpoint holds of the first epoch: `step`, how many of its steps were
            trained before, and the `metrics` (see `metric_state`) or `figures` of these; or `None`.
            Defaults to `None`.

    Attributes:
        offset: Int. Steps of this epoch that were trained before this process.
        done: Int. Steps of this epoch so far.
        figures: Dictionary of floats, the metrics so far and the learning rate of the last step as
            they were read last, or `None` before the first step of the epoch.
    """

    def __init__(self, steps_per_epoch, progress=None):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self._progress = progress
        self._earlier = None
        self.offset = self.done = 0
        self.figures = None

    def on_epoch_begin(self, epoch, logs=None):
        progress, self._progress = self._progress or {"step": 0}, None
        self.offset = self.done = progress["step"]
        self.figures = progress.get("figures")
        self._earlier = progress.get("metrics")

    def on_train_batch_begin(self, batch, logs=None):
        self.done = self.offset + batch
        if batch:
            self._add_earlier()
        if batch % EVERY == 1:
            self._read()

    def on_test_begin(self, logs=None):
        if self.done < self.steps_per_epoch:
            self.done = self.steps_per_epoch
            self._add_earlier()
            self._read()

    def _add_earlier(self):
        """Adds what the metrics had summed up before; Keras makes them in the first step."""
        if self._earlier:
            add_metrics(self.model, self._earlier)
            self._earlier = None

    def _read(self):
        results = self.model.get_metrics_result()
        figures = {name: float(value) for name, value in results.items()}
        if not math.isfinite(figures["loss"]):
            raise FloatingPointError(
                f"the loss is {figures['loss']} in the {EVERY} steps before step {self.done + 1} "
                "of the epoch"
            )
        self.figures = figures | {"learning_rate": last_rate(self.model.optimizer)}


def last_rate(optimizer):
    """The rate of the last update; the optimizer's own is that of the next."""
    optimizer = unwrapped(optimizer)
    updates = int(keras.ops.convert_to_numpy(optimizer.iterations))
    rate = optimizer._learning_rate(max(updates - 1, 0))
    return float(keras.ops.convert_to_numpy(rate))


def metric_state(model):
    """The sums behind the running metrics, exactly: a list of lists, a replica an entry.

    On several hosts all workers call this, and get the sums of all replicas.
    """
    local = [
        np.stack([np.asarray(copy) for copy in _copies(variable)])
        for metric in model.metrics
        for variable in metric.variables
    ]
    parts = Hosts(model.distribute_strategy).gather(*np.concatenate([v.ravel() for v in local]))
    bounds = np.cumsum([values.size for values in local])[:-1]
    state = []
    for values, parts_of in zip(local, np.split(parts, bounds, axis=1), strict=True):
        state.append(parts_of.reshape(-1, *values.shape[1:]).tolist())
    return state


def add_metrics(model, state):
    """Adds what `metric_state` gave to the running metrics, on any number of replicas."""
    variables = [variable for metric in model.metrics for variable in metric.variables]
    hosts = Hosts(model.distribute_strategy)
    for variable, values in zip(variables, state, strict=True):
        copies = _copies(variable)
        replicas = len(copies) * hosts.count
        if len(values) != replicas:  # other devices than before: the sum is what counts
            values = [np.sum(values, axis=0)] + [np.zeros_like(values[0])] * (replicas - 1)
        values = values[len(copies) * hosts.index :][: len(copies)]
        for copy, value in zip(copies, values, strict=True):
            copy.assign_add(np.asarray(value, copy.dtype.as_numpy_dtype))


def _copies(variable):
    """A variable's copies, one a replica."""
    return getattr(variable.value, "values", None) or (variable.value,)
