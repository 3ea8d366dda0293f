"""Clusters as TF_CONFIG and Slurm name them, and the wait for all of their workers."""

import concurrent.futures
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from keras_resnets.errors import UserError
from keras_resnets.training import Recipe, hosts, make_strategy, train
from keras_resnets.training.cluster import Cluster, find_cluster, wait_for_all

GOOD = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


def test_clusters_of_tf_config():
    assert find_cluster({}) is None
    assert find_cluster({"TF_CONFIG": json.dumps(GOOD)}) == Cluster(("a:1", "b:2"), 1)
    chief = {"cluster": {"worker": ["b:2", "c:3"], "chief": ["a:1"]},
             "task": {"type": "worker", "index": 1}}  # fmt: skip
    assert find_cluster({"TF_CONFIG": json.dumps(chief)}) == Cluster(("a:1", "b:2", "c:3"), 2)
    alone = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    assert find_cluster({"TF_CONFIG": json.dumps(alone)}) is None
    assert find_cluster({"TF_CONFIG": "{}"}) is None  # one worker, for TensorFlow too


@pytest.mark.parametrize(
    "config, message",
    [
        ("{", "be JSON"),
        ("[" * 100_000, "be JSON"),
        ("1" * 5000, "be JSON"),
        ("[]", "a JSON object"),
        ({"task": GOOD["task"]}, '"cluster"'),
        ({**GOOD, "cluster": {"worker": []}}, "at least one worker"),
        ({**GOOD, "cluster": {"worker": ["a", "b:2"]}}, "host:port"),
        ({**GOOD, "cluster": {"worker": ["a:1", "a:1"]}}, "every address once"),
        ({**GOOD, "cluster": {**GOOD["cluster"], "ps": ["c:3"]}}, "no jobs but"),
        ({**GOOD, "cluster": {**GOOD["cluster"], "chief": ["c:3", "d:4"]}}, "one chief"),
        ({"cluster": GOOD["cluster"]}, '"task"'),
        ({**GOOD, "task": {"type": "evaluator", "index": 0}}, "task type"),
        ({**GOOD, "task": {"type": ["worker"], "index": 0}}, "task type"),
        ({**GOOD, "task": {"type": {}, "index": 0}}, "task type"),
        ({**GOOD, "task": {"type": "chief", "index": 0}}, "have a chief in its cluster"),
        ({**GOOD, "cluster": {"worker": ["http://a:1", "b:2"]}}, "host:port"),
        ({**GOOD, "cluster": {"worker": ["a:" + "1" * 5000]}}, "host:port"),
        ({**GOOD, "task": {"type": "worker", "index": 2}}, r"0\.\.1 .* Received: index 2"),
        ({**GOOD, "task": {"type": "worker", "index": "1"}}, r"Received: index '1'"),
    ],
)
def test_wrong_tf_config_is_one_line(config, message, monkeypatch):
    text = config if isinstance(config, str) else json.dumps(config)
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=f"^TF_CONFIG must .*{message}") as error:
        make_strategy()
    assert "\n" not in str(error.value)


def test_clusters_of_slurm():
    step = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NODELIST": "n[9-10]",
            "SLURM_STEP_TASKS_PER_NODE": "2,1"}  # fmt: skip
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in step.items():
            monkeypatch.setenv(name, value)
        # In Slurm's order, not the alphabet's.
        assert find_cluster() == Cluster(("n9:8888", "n9:8889", "n10:8888"), 2)
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
        with pytest.raises(UserError, match="Slurm's variables name no cluster"):
            find_cluster()
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
        assert find_cluster() is None


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def test_workers_wait_for_each_other(capsys):
    workers = tuple(f"127.0.0.1:{port}" for port in free_ports(3))

    def come(index):
        wait_for_all(Cluster(workers, index), 20)
        _, port = workers[index].split(":")
        return socket.create_server(("127.0.0.1", int(port)))  # as TensorFlow's own

    with concurrent.futures.ThreadPoolExecutor() as pool:
        coming = []
        for index in range(3):
            coming.append(pool.submit(come, index))
            time.sleep(0.3)
        for each in coming:
            each.result().close()
    assert f"waiting for 2 workers: {workers[1]}, {workers[2]} (up to 20" in capsys.readouterr().out


def test_a_worker_that_does_not_come_is_named(capsys):
    workers = tuple(f"127.0.0.1:{port}" for port in free_ports(3))
    with socket.create_server(("127.0.0.1", int(workers[0].rpartition(":")[2]))):
        with pytest.raises(OSError, match=f"worker 1 waited 0.5 .* for 1 worker: {workers[2]}. St"):
            wait_for_all(Cluster(workers, 1), 0.5)
        with pytest.raises(OSError, match=f"worker 0 cannot listen at {workers[0]}: address alr"):
            wait_for_all(Cluster(workers, 0), 0.5)


STOPPED = """
import os, signal, sys, time
from keras_resnets.training.distribution import make_strategy
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
make_strategy()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(1)
"""


def test_sigterm_ends_workers_that_are_connected():
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        environment = {**os.environ, "TF_CONFIG": config}
        command = [sys.executable, "-c", STOPPED]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [143, 143], errors


def test_strategies_that_do_not_fit_the_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="'multi_worker' needs TF_CONFIG"):
        make_strategy("multi_worker")
    monkeypatch.setenv("TF_CONFIG", json.dumps(GOOD))
    for name in ("none", "mirrored"):
        with pytest.raises(UserError, match="must be 'multi_worker' or 'auto' where TF_CONFIG"):
            make_strategy(name)
    with pytest.raises(UserError, match="`logical_devices` must be in 1..64, and 1 with"):
        make_strategy("auto", 2)


def test_what_no_worker_is_waited_for_with(tmp_path, monkeypatch):
    """The flags and TF_CONFIG say it, before the other worker has come."""
    monkeypatch.setenv("TF_CONFIG", json.dumps(GOOD))
    monkeypatch.setattr(hosts, "make_strategy", None)
    count = len(GOOD["cluster"]["worker"])
    recipe = Recipe(model="resnet20", dataset="digits", batch_size=count + 1)
    with pytest.raises(UserError, match=f"must be divisible by the {count} workers"):
        train(recipe, tmp_path / "run")
    with pytest.raises(UserError, match="Unknown model 'resnet21'"):
        train(Recipe(model="resnet21", dataset="digits"), tmp_path / "run")
    assert not list(tmp_path.iterdir())
