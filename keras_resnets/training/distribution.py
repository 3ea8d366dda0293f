"""The devices of a process and the strategy over them."""

import functools
import os
import signal
import threading

import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.models.several_hosts import is_on_several_hosts
from keras_resnets.training.cluster import find_cluster, wait_for_all

STRATEGIES = ("auto", "none", "mirrored", "multi_worker")
# Far fewer are of use: each replica is a copy of the graph, and a million would never start.
MOST_DEVICES = 64
# A worker that is not heard of for so long is gone, and the others end. A loaded machine may be
# silent for 10 seconds; in a minute, all shall have ended.
HEARTBEAT_SECONDS = 20


def make_strategy(name="auto", logical_devices=1):
    """Makes the distribution strategy of this process; the same devices give the same object.

    Two mirrored strategies in one process end in "Collective ops is aborted": runs on different
    devices need processes of their own. With several workers, this waits until all have started.

    Args:
        name: `"auto"` is `"multi_worker"` where TF_CONFIG or Slurm names more than one worker, and
            mirrors when there is more than one device; `"mirrored"` always, `"none"` never.
            Defaults to `"auto"`.
        logical_devices: Int, at most 64. Number of devices that the CPU is split into, which must
            be said before TensorFlow computes anything. Defaults to 1.

    Returns:
        A `tf.distribute.Strategy`; TensorFlow's default one, with one replica, when not mirrored.

    Raises:
        UserError: If an argument is not legal, does not fit TF_CONFIG, or TensorFlow has begun to
            compute and the CPU can no longer be split, or the workers not be connected.
        OSError: If a worker does not come, or cannot be reached.
    """
    if name not in STRATEGIES:
        raise UserError(f"`strategy` must be one of {STRATEGIES}. Received: strategy={name!r}")
    cluster = cluster_for(name)
    single = "'none'" if name == "none" else "'multi_worker'" if cluster else None
    if not 1 <= logical_devices <= (1 if single else MOST_DEVICES):
        raise UserError(
            f"`logical_devices` must be in 1..{MOST_DEVICES}, and 1 with strategy="
            f"{single or repr('none')}. Received: logical_devices={logical_devices}"
        )
    if cluster:
        return _multi_worker(cluster)
    if logical_devices > 1:
        _split_cpu(logical_devices)
        return _mirrored(tuple(f"CPU:{i}" for i in range(logical_devices)))
    _grow_gpu_memory()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return _mirrored(None if gpus else ("CPU:0",))
    return tf.distribute.get_strategy()


def cluster_for(name):
    """The cluster that a strategy is for, or `None` if it is for this process alone.

    Args:
        name: One of `STRATEGIES`.

    Returns:
        `Cluster` or `None`.

    Raises:
        UserError: If the environment names a wrong cluster, or one where it should not, or none
            where it should.
    """
    cluster = find_cluster()
    if name == "multi_worker" and not cluster:
        raise UserError(
            "`strategy` 'multi_worker' needs TF_CONFIG, or a Slurm step, of more than one worker"
        )
    if name in ("none", "mirrored"):
        if cluster and os.environ.get("TF_CONFIG", "").strip():
            raise UserError(
                "`strategy` must be 'multi_worker' or 'auto' where TF_CONFIG names "
                f"{len(cluster.workers)} workers. Received: strategy={name!r}"
            )
        return None  # tasks of Slurm may be runs of their own
    return cluster


@functools.cache
def _mirrored(devices):
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multi_worker(cluster):
    # Private, as nothing public sets the heartbeat; hence not at the top.
    from tensorflow.python.distribute.collective_all_reduce_strategy import coordination_config_pb2
    from tensorflow.python.eager import context

    wait_for_all(cluster)
    _grow_gpu_memory()
    job = coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=len(cluster.workers))
    context.context().configure_coordination_service(  # as the strategy does, which waits 10 s
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        heartbeat_timeout_in_ms=HEARTBEAT_SECONDS * 1000,
        coordinated_jobs=[job],
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster.resolver())
        _take_sigterm_back()
        return strategy
    except RuntimeError as error:
        raise UserError(f"the workers cannot be connected: {error}") from None
    except tf.errors.OpError as error:  # a port that is taken, or workers that do not come
        lines = str(error.message).strip().splitlines() or [type(error).__name__]
        raise OSError(
            f"worker {cluster.index}, {cluster.workers[cluster.index]}, cannot be connected with "
            f"the others: {lines[0]}"
        ) from error


def _take_sigterm_back():
    """Lets SIGTERM do what Python was told: TensorFlow, once connected, only takes note of it."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def shard_of(strategy):
    """`(worker, workers)`: the place of this process among those of a strategy."""
    if not is_on_several_hosts(strategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def describe_devices(strategy):
    """The devices of a strategy in words, such as `"2 x CPU"`."""
    if isinstance(strategy, tf.distribute.MirroredStrategy):
        device = strategy.extended.worker_devices[0]
    else:
        device = (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU"))[0]
        device = device.name
    kind = tf.DeviceSpec.from_string(device).device_type
    _, hosts = shard_of(strategy)
    many = f"{hosts} hosts x " if hosts > 1 else ""
    return f"{many}{strategy.num_replicas_in_sync // hosts} x {kind}"


def _split_cpu(number):
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * number
        )
    except RuntimeError:  # TensorFlow has started
        found = len(tf.config.list_logical_devices("CPU"))
        if found != number:
            raise UserError(
                "`logical_devices` must be set before TensorFlow computes anything. "
                f"Received: logical_devices={number} with {found} in use"
            ) from None


def _grow_gpu_memory():
    """Lets GPU memory grow with need, unless TensorFlow has started."""
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        pass
