"""The processes that train one network together, as TF_CONFIG or Slurm names them."""

import dataclasses
import json
import os
import socket
import time

import tensorflow as tf

from keras_resnets.errors import UserError

PORT = 8888  # of the first task on a host of Slurm; those after it count on
WAIT_SECONDS = 300.0  # for the workers that start last


@dataclasses.dataclass(frozen=True)
class Cluster:
    """All workers, and which of them this process is.

    Attributes:
        workers: Tuple of strings `host:port`. The first one is the chief, who writes files.
        index: Int, the place of this process among them.
    """

    workers: tuple
    index: int

    def resolver(self):
        """What `tf.distribute.MultiWorkerMirroredStrategy` takes."""
        spec = tf.train.ClusterSpec({"worker": list(self.workers)})
        return tf.distribute.cluster_resolver.SimpleClusterResolver(
            spec, task_type="worker", task_id=self.index, rpc_layer="grpc"
        )


def find_cluster(environment=None):
    """The cluster that the environment names.

    Args:
        environment: Mapping of strings. Defaults to the process's own.

    Returns:
        `Cluster` of two workers or more, or `None`: without a TF_CONFIG of more than one worker
        (`{}` is of one, as in TensorFlow), and outside of a Slurm step of more than one task.

    Raises:
        UserError: If TF_CONFIG or Slurm's variables cannot be used.
    """
    environment = os.environ if environment is None else environment
    if environment.get("TF_CONFIG", "").strip():
        cluster = _of_tf_config(environment["TF_CONFIG"])
    else:
        cluster = _of_slurm(environment)
    return cluster if cluster and len(cluster.workers) > 1 else None


def wait_for_all(cluster, seconds=WAIT_SECONDS):
    """Returns when every worker listens at its address, as this one does until then.

    TensorFlow, which takes the ports over, would wait for an hour, say nothing and heed no signal.

    Args:
        cluster: `Cluster`.
        seconds: Float. Defaults to 300.

    Raises:
        OSError: If the port of this worker is taken, or some do not come.
    """
    own = cluster.workers[cluster.index]
    missing = [worker for worker in cluster.workers if worker != own]
    until = time.monotonic() + seconds
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", _host_and_port(own)[1]))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OSError(f"worker {cluster.index} cannot listen at {own}: {reason}") from error
        listener.listen(len(cluster.workers))  # each connects once, and nobody is to answer
        said = False
        while missing := [worker for worker in missing if not _listens(worker)]:
            many = f"{len(missing)} worker{'s' if len(missing) > 1 else ''}: {', '.join(missing)}"
            if time.monotonic() > until:
                raise OSError(
                    f"worker {cluster.index} waited {seconds:g} seconds in vain for {many}. Start "
                    "all workers within that time, where each can reach the others' ports"
                )
            if not said:
                print(f"waiting for {many} (up to {seconds:g} seconds)", flush=True)
                said = True
            time.sleep(0.2)


def _listens(address):
    try:
        with socket.create_connection(_host_and_port(address), timeout=2):
            return True
    except OSError:  # also of a name that is not known yet
        return False


def _host_and_port(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _of_tf_config(text):
    def must(is_legal, legal, came):
        if not is_legal:
            raise UserError(f"TF_CONFIG must {legal}. Received: {came}")

    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"TF_CONFIG must be JSON: {error}. Received: {text[:200]!r}") from None
    must(isinstance(config, dict), "be a JSON object", repr(text[:200]))
    if not config:
        return None
    jobs = config.get("cluster")
    must(jobs and isinstance(jobs, dict), 'have a "cluster" of workers', repr(text[:200]))
    other = [job for job in jobs if job not in ("chief", "worker")]
    must(not other, 'have no jobs but "chief" and "worker" in its cluster', f"job {other[:1]}")
    counts = {}
    workers = []
    for job in ("chief", "worker"):  # the chief is worker 0
        addresses = jobs.get(job, [])
        is_list = isinstance(addresses, list) and all(map(_is_address, addresses))
        must(is_list, f'list "host:port" strings as {job}s', repr(addresses))
        counts[job] = (len(workers), len(addresses))
        workers += addresses
    must(workers, "name at least one worker", repr(text[:200]))
    must(counts["chief"][1] <= 1, "name one chief at most", repr(jobs.get("chief")))
    must(len(set(workers)) == len(workers), "name every address once", repr(workers))
    task = config.get("task", {"type": "worker", "index": 0} if len(workers) == 1 else None)
    must(isinstance(task, dict), 'have a "task" with "type" and "index"', repr(task))
    job, index = task.get("type"), task.get("index")
    is_job = isinstance(job, str) and job in counts
    must(is_job, 'have a task type of "chief" or "worker"', repr(job))
    is_number = isinstance(index, int) and not isinstance(index, bool)
    first, count = counts[job]
    must(count, f"have a {job} in its cluster for a task of that type", repr(text[:200]))
    legal = f"have a task index in 0..{count - 1} for the {count} {job}s of its cluster"
    must(is_number and index in range(count), legal, f"index {index!r}")
    return Cluster(tuple(workers), first + index)


def _is_address(text):
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    is_number = port.isascii() and port.isdigit() and len(port) <= 5
    return bool(host and colon) and "/" not in host and is_number and 0 < int(port) < 2**16


def _of_slurm(environment):
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST",
             "SLURM_STEP_TASKS_PER_NODE")  # fmt: skip
    values = [environment.get(name) for name in names]
    if None in values or values[1].strip() == "1":
        return None
    try:
        # GPUs are left to Slurm, as is their number, which the resolver divides by.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=0, gpus_per_task=0, auto_set_gpu=False
        )
        # Not `cluster_spec`, which sorts node10 before node9, where Slurm numbers node9 first.
        tasks = resolver._resolve_task_configuration()
        workers = [f"{host}:{PORT + i}" for host, count in tasks.items() for i in range(count)]
        index, count = int(values[0]), int(values[1])
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"Slurm's variables name no cluster: {error}") from None
    if len(workers) != count or index not in range(count):
        raise UserError(
            f"Slurm's variables name no cluster. Received: task {index} of {count} tasks, on hosts "
            f"for {len(workers)}"
        )
    return Cluster(tuple(workers), index)
