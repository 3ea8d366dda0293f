"""What the processes of one training tell each other, and what only the first of them writes."""

import contextlib
import dataclasses
import re
import time
import zlib

import numpy as np
import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.models.several_hosts import all_reduce
from keras_resnets.training.distribution import cluster_for, make_strategy, shard_of
from keras_resnets.training.run_directory import LOCK, RunDirectory

HIDDEN_SECONDS = 60.0  # after which a file that another host has written must be seen, NFS included


class Hosts:
    """The workers of a strategy; this process alone, at no cost, under any other.

    Whatever a method says that all workers do, all of them must call in the same order.

    Args:
        strategy: `tf.distribute.Strategy`.

    Attributes:
        index: Int, this process's place. The chief, who alone writes files, is 0.
        count: Int, the number of workers.
    """

    def __init__(self, strategy):
        self.strategy = strategy
        self.index, self.count = shard_of(strategy)

    @property
    def is_chief(self):
        return self.index == 0

    @property
    def local_replicas(self):
        """Int, the replicas of this process."""
        return self.strategy.num_replicas_in_sync // self.count

    def gather(self, *numbers):
        """What all workers give, exactly: float64 array `(workers, len(numbers))`."""
        row = np.array(numbers, np.float64)
        if self.count == 1:
            return row[None]
        table = np.zeros((self.count, len(row)))
        table[self.index] = row
        total = all_reduce(self.strategy, "SUM", tf.constant(table.ravel()))
        return total.numpy().reshape(table.shape) / self.local_replicas

    def most(self, *numbers):
        """The largest of what the workers give: a list of floats."""
        return self.gather(*numbers).max(axis=0).tolist()

    def wait(self):
        """Returns when all workers are here."""
        self.gather(0)

    def require_same(self, text, what):
        """Raises UserError where a worker has another text than the chief."""
        codes = self.gather(zlib.crc32(text.encode("utf-8", "surrogateescape")))[:, 0]
        other = np.flatnonzero(codes != codes[0])
        if len(other):
            raise UserError(f"worker {other[0]} has other {what} than worker 0")

    def distribute(self, dataset):
        """Gives the batches of this worker to its replicas, in equal parts.

        Args:
            dataset: `tf.data.Dataset`, of this worker's shard.

        Returns:
            What `fit` and `evaluate` take.
        """
        if self.count == 1:
            return dataset
        if self.local_replicas > 1:
            dataset = dataset.flat_map(self._split).prefetch(self.local_replicas)
        return self.strategy.distribute_datasets_from_function(lambda _: dataset)

    def _split(self, *batch):
        def parts(values):
            size = values.shape[0] or -1 * self.local_replicas
            shape = [self.local_replicas, size // self.local_replicas, *values.shape[1:]]
            return tf.reshape(values, shape)

        return tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(parts, batch))

    def run_directory(self, path):
        """`RunDirectory` of the chief, or one that writes nothing."""
        return RunDirectory(path) if self.is_chief else _ReadOnly(path)

    @contextlib.contextmanager
    def lock(self, run):
        """As `RunDirectory.lock`, by the chief; the others see whether they see the folder.

        Raises:
            UserError: As `RunDirectory.lock`, and on all workers if one does not see the folder.
            OSError: If the folder cannot be written.
        """
        with run.lock():
            if self.count > 1:
                self._require_sight(run)
            yield

    def _require_sight(self, run):
        code = self.gather(_code(run.path / LOCK))[0, 0]
        until = time.monotonic() + HIDDEN_SECONDS
        while _code(run.path / LOCK) != code and time.monotonic() < until:
            time.sleep(0.1)
        blind = np.flatnonzero(self.gather(_code(run.path / LOCK) != code)[:, 0])
        if len(blind):
            raise UserError(
                f"worker {blind[0]} does not see what worker 0 writes to {run.path}: --run_dir "
                "must be in a folder that all hosts share"
            )

    def lost(self, error):
        """What it means in one line that TensorFlow lost a worker, or `None` if it did not.

        Args:
            error: `tf.errors.OpError`.
        """
        kinds = (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
            tf.errors.InternalError,
        )
        signs = ("ollective", "heartbeat", "oordination")
        if self.count == 1 or not isinstance(error, kinds):
            return None
        message = str(error.message)
        if not any(sign in message for sign in signs):
            return None
        gone = re.search(r"heartbeats\):\s+/job:worker/(?:replica:0/)?task:(\d+)", message)
        who = f"worker {gone[1]}" if gone else "another worker"
        reason = re.search(r"Collective ops is aborted by: (.*)", message) or [message, message]
        return (
            f"{who} has stopped or cannot be reached, see its own output; started again, all of "
            f"them go on after the last checkpoint. TensorFlow says: {reason[1].splitlines()[0]}"
        )

    def say(self, *lines):
        """Prints on the chief."""
        if self.is_chief:
            print(*lines, sep="\n", flush=True)


def connect(recipe):
    """The workers that a recipe is trained by, all of which have started then.

    Args:
        recipe: `Recipe`, the same one for all of them.

    Returns:
        `Hosts`; this process alone where neither TF_CONFIG nor Slurm names several.

    Raises:
        UserError: If the environment or a flag does not fit, or workers have other flags.
        OSError: If the others cannot be reached.
    """
    cluster = cluster_for(recipe.strategy)
    if not cluster:
        return Hosts(tf.distribute.get_strategy())
    if recipe.log_gradients:
        raise UserError(
            "`log_gradients` must be 0 with several workers. "
            f"Received: log_gradients={recipe.log_gradients}"
        )
    if recipe.batch_size % len(cluster.workers):
        raise UserError(
            f"`batch_size` must be divisible by the {len(cluster.workers)} workers. "
            f"Received: batch_size={recipe.batch_size}"
        )
    hosts = Hosts(make_strategy(recipe.strategy, recipe.logical_devices))
    flags = dataclasses.replace(recipe, data_dir="", download=False).to_json()
    hosts.require_same(flags, "flags")
    return hosts


class _ReadOnly(RunDirectory):
    """The run of another process, which writes it."""

    @contextlib.contextmanager
    def lock(self):
        yield

    def prepare(self, *_):
        """Nothing, as all of these."""

    def save(self, model, *_):
        model.average_statistics()  # which all workers do together

    def save_averages(self, *_):
        """Nothing."""

    def repair(self, *_):
        """Nothing."""

    def write_results(self, *_):
        """Nothing."""


def _code(path):
    try:
        return zlib.crc32(path.read_bytes())
    except OSError:
        return -1
