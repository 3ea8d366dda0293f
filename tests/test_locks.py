"""Locks between processes."""

import os
import subprocess
import sys

import pytest

from keras_resnets.locks import Held, lock_file, try_lock

HOLD = """
import sys, time
from keras_resnets.locks import lock_file
with lock_file(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(Held, match=f"process {process.pid} on {os.uname().nodename}"):
        lock_file(path).__enter__()
    process.kill()
    process.wait()
    assert path.exists()
    with lock_file(path):
        assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert not path.exists()


def test_a_lock_is_kept_by_one_in_a_process_too(tmp_path):
    with lock_file(tmp_path / "lock"), pytest.raises(Held), lock_file(tmp_path / "lock"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_that_its_holder_removes_meanwhile(tmp_path, monkeypatch):
    """A lock on a removed file keeps nobody out."""
    path, opened, real = tmp_path / "lock", [], os.open

    def slow_open(*arguments):
        descriptor = real(*arguments)
        if not opened:
            path.unlink()
        opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(os, "open", slow_open)
    with lock_file(path):
        assert path.exists() and len(opened) == 2
        with pytest.raises(Held):
            lock_file(path).__enter__()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    import fcntl

    def unsupported(descriptor, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with open(tmp_path / "file", "w") as file:
        assert try_lock(file.fileno()) is None
    with lock_file(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()
