"""What happens between steps and after an epoch: checkpoints, and layers' random numbers."""

import contextlib
import math
import time

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.training.averages import averaged_weights, has_averages
from keras_resnets.training.hosts import Hosts
from keras_resnets.training.interruption import Interrupted
from keras_resnets.training.watch import metric_state

# Several workers ask each other whether to stop or to save, for which all wait, when so long or so
# many steps have passed.
ASKED_SECONDS, ASKED_STEPS = 10.0, 100
LOGGED = ("loss", "accuracy", "cross_entropy", "val_loss", "val_accuracy", "val_cross_entropy")
AVERAGED = ("ema_val_loss", "ema_val_accuracy", "ema_val_cross_entropy")


class Checkpoint(keras.callbacks.Callback):
    """Saves a training at the end of each epoch, now and then within it, and when it must stop.

    What is saved within an epoch is all that the training goes on from: beside the model the number
    of steps, the sums of the running metrics and the seconds so far.

    Args:
        run: The `RunDirectory`.
        history: List of the rows of the finished epochs; it grows.
        watch: The `Watch`, which goes before this one.
        batch_size: Int, of all replicas.
        signals: `Signals`; once one came, the state is saved and `Interrupted` raised.
        validation: `tf.data.Dataset` that averaged weights, if there are any, are evaluated on.
        every_steps: Int. Steps of the run from one checkpoint to the next; 0 is never. Defaults
            to 0.
        every_minutes: Float. Minutes from one checkpoint to the next; 0 is never. Defaults to 0.
        progress: What was saved within the first epoch, or `None`. Defaults to `None`.
        hosts: `Hosts` of the training, which save and stop together; only where there is one, in a
            validation too. Defaults to this process.
    """

    def __init__(
        self, run, history, watch, batch_size, signals, validation, every_steps=0,
        every_minutes=0.0, progress=None, hosts=None,
    ):  # fmt: skip
        super().__init__()
        self.run, self.rows, self.watch, self.validation = run, history, watch, validation
        self.batch_size, self.signals = batch_size, signals
        self.every_steps, self.every_seconds = every_steps, 60 * every_minutes
        self.progress = progress
        self.hosts = hosts or Hosts(tf.distribute.get_strategy())
        self.saved = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        before, self.progress = self.progress or {"seconds": 0.0, "training_seconds": 0.0}, None
        self.trained = time.monotonic()
        self.asked = (self._step(), self.trained)
        self.ask_at = 0  # after the first step
        self.started = self.trained - before["seconds"]
        self.training_started = self.trained - before["training_seconds"]

    def on_train_batch_begin(self, batch, logs=None):
        if not batch:
            return
        step = self._step()
        is_due = self.every_steps > 0 and step % self.every_steps == 0
        if self.hosts.count == 1 or is_due or step >= self.ask_at:
            self._ask_again(step)
            is_late = 0 < self.every_seconds <= time.monotonic() - self.saved
            if ask(self.hosts, self.signals, is_due or is_late):
                self.trained = time.monotonic()
                self._save_within({"metrics": metric_state(self.model)})

    def _step(self):
        return len(self.rows) * self.watch.steps_per_epoch + self.watch.done

    def _ask_again(self, step):
        """Agrees on the next step to ask in, by the pace of the slowest worker."""
        if self.hosts.count > 1:
            (before, since), now = self.asked, time.monotonic()
            (pace,) = self.hosts.most((now - since) / max(step - before, 1))
            steps = min(ASKED_SECONDS / max(pace, 1e-9), ASKED_STEPS)
            self.ask_at, self.asked = step + max(int(steps), 1), (step, now)

    def on_test_begin(self, logs=None):
        if self.watch.offset < self.watch.steps_per_epoch:
            self.trained = time.monotonic()

    def on_test_batch_begin(self, batch, logs=None):
        if self.hosts.count == 1 and ask(self.hosts, self.signals):
            self._save_within({"figures": self.watch.figures})  # Keras has reset the metrics

    def _save_within(self, state):
        now, done = time.monotonic(), self.watch.done
        figures = state.get("figures") or _sums(self.model, state["metrics"])
        _require_finite(self.model, figures, f"after step {done} of the epoch")
        progress = {
            "step": done,
            "seconds": now - self.started,
            "training_seconds": self.trained - self.training_started,
            **state,
        }
        self.run.save(self.model, self.rows, progress)
        self.saved = time.monotonic()
        if self.signals.agreed is not None:
            self.hosts.wait()
            where = f"step {done} of epoch {len(self.rows) + 1}"
            raise Interrupted(self.signals.agreed, where)

    def on_epoch_end(self, epoch, logs=None):
        figures = logs | self.watch.figures  # which count the steps of before this process too
        figures |= self._evaluate_averages()
        logs = {name: _float(figures[name]) for name in LOGGED + AVERAGED if name in figures}
        _require_finite(self.model, logs, "at the end of the epoch")
        steps = self.watch.steps_per_epoch
        rate = steps * self.batch_size / max(self.trained - self.training_started, 1e-9)
        seconds, rate = self.hosts.gather(time.monotonic() - self.started, rate)[0].tolist()
        row = {
            "epoch": epoch + 1,
            "steps": (epoch + 1) * steps,
            "learning_rate": _float(figures["learning_rate"]),
            **logs,
            "seconds": round(seconds, 2),
            "images_per_second": round(rate, 1),
        }
        self.rows.append(row)
        self.run.save(self.model, self.rows)
        self.saved = time.monotonic()

    def _evaluate_averages(self):
        if not has_averages(self.model):
            return {}
        if not ask(self.hosts, self.signals):
            with contextlib.suppress(_Signalled), averaged_weights(self.model):
                found = self.model.evaluate(
                    self.validation, verbose=0, callbacks=[_Leave(self)], return_dict=True
                )
                return {f"ema_val_{name}": value for name, value in found.items()}
        return self._save_within({"figures": self.watch.figures})  # which raises


class _Signalled(Exception):
    """Leads out of the evaluation of averaged weights."""


class _Leave(keras.callbacks.Callback):
    """Raises `_Signalled` once a signal came to the process of a `Checkpoint` that is alone."""

    def __init__(self, checkpoint):
        super().__init__()
        self.hosts, self.signals = checkpoint.hosts, checkpoint.signals

    def on_test_batch_begin(self, batch, logs=None):
        if self.hosts.count == 1 and ask(self.hosts, self.signals):
            raise _Signalled


class StopAfterEpoch(keras.callbacks.Callback):
    """Raises `Interrupted` at the end of an epoch that a signal came in; goes after all others."""

    def __init__(self, signals, hosts=None):
        super().__init__()
        self.signals = signals
        self.hosts = hosts or Hosts(tf.distribute.get_strategy())

    def on_epoch_end(self, epoch, logs=None):
        if ask(self.hosts, self.signals):
            raise Interrupted(self.signals.agreed, f"epoch {epoch + 1}")


class ReseedLayers(keras.callbacks.Callback):
    """Makes the random numbers of layers such as dropout a function of seed, epoch and step.

    Keras saves neither keys nor counters of its seed generators; the keys come from the run's seed
    when the model is built, and each epoch sets the counters.

    Args:
        watch: The `Watch`, which goes before this one.
    """

    def __init__(self, watch):
        super().__init__()
        self.watch = watch

    def on_epoch_begin(self, epoch, logs=None):
        step = epoch * self.watch.steps_per_epoch + self.watch.offset
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                key = keras.ops.convert_to_numpy(variable)[0]
                variable.assign(np.array([key, step % 2**32], variable.dtype))


def ask(hosts, signals, is_due=False):
    """Whether a worker is to save, or has received a signal, which all then know of."""
    due, number = hosts.most(is_due, signals.received or 0)
    signals.agreed = int(number) or None
    return bool(due or number)


def _float(value):
    """A float32 as the shortest decimal that tells it from its neighbours."""
    return float(str(np.float32(value)))


def _sums(model, state):
    """What `metric_state` gave, as a number for each metric: finite if all of it is."""
    names = [metric.name for metric in model.metrics for _ in metric.variables]
    sums = dict.fromkeys(names, 0.0)
    for name, values in zip(names, state, strict=True):
        sums[name] += float(np.sum(values))
    return sums


def _require_finite(model, figures, when):
    """Raises FloatingPointError if figures, weights or the optimizer's state are not finite.

    What is saved must be able to go on. An overflow that a loss scale is there for, of the
    gradients alone, reaches none of them; a loss that is not finite is none of these, as no smaller
    scale makes it finite.
    """
    bad = [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]
    if not bad:
        state = (*model.weights, *model.optimizer.variables)
        bad = [
            f"{variable.path} is not finite"
            for variable in state
            if variable.dtype.startswith("float")
            and not np.isfinite(keras.ops.convert_to_numpy(variable)).all()
        ]
    if bad:
        raise FloatingPointError(f"{bad[0]} {when}")
