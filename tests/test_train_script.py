"""scripts/train.py as a process that is killed, interrupted and started again."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnets.training.run_directory import read_checkpoint

SCRIPT = Path(__file__).parents[1] / "scripts" / "train.py"
FLAGS = """
--model=resnet_cifar
--option=depth=8
--option=width=4
--option=head_dropout=0.3
--dataset=digits
--train_split=train[:256]
--validation_split=train[256:300]
--test_split=test[:50]
--augment=pad_crop:padding=1
--batch_size=32
--epochs=25
--boundaries=10
--lr=0.05
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("script")
    (folder / "tiny.flags").write_text(FLAGS)
    return folder


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--flagfile=tiny.flags", *arguments],
        cwd=folder,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    output, errors = process.communicate(timeout=600)
    return process.returncode, output.splitlines(), errors.splitlines()


def stop_after_an_epoch(process, run, with_signal):
    """Sends a signal once the log has rows, which is amid a later epoch or its saving."""
    deadline = time.monotonic() + 300
    while len(rows(run)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(with_signal)
    return finish(process)


def rows(run):
    if not (run / "log.csv").exists():
        return []
    with open(run / "log.csv") as file:
        log = list(csv.DictReader(file))
    timings = ("seconds", "images_per_second")
    return [{key: row[key] for key in row if key not in timings} for row in log]


def summaries(run):
    """{(part, tag): [(step, value)]} of all of TensorBoard's files, in the order of their names."""
    found = {}
    for path in sorted((run / "tensorboard").rglob("*tfevents*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                points = found.setdefault((path.parent.name, value.tag), [])
                points.append((event.step, float(tf.make_ndarray(value.tensor))))
    return found


def expected_summaries(run):
    with open(run / "log.csv") as file:
        log = list(csv.DictReader(file))

    def points(column):
        return [(int(row["epoch"]), float(np.float32(row[column]))) for row in log]

    training = ("loss", "accuracy", "cross_entropy", "learning_rate", "images_per_second")
    expected = {("train", f"epoch_{name}"): points(name) for name in training}
    for name in training[:3]:
        expected["validation", f"epoch_{name}"] = points(f"val_{name}")
    return expected


def state(path):
    """Weights and optimizer variables of a checkpoint."""
    model = keras.saving.load_model(path)
    return [np.array(variable) for variable in (*model.weights, *model.optimizer.variables)]


@pytest.fixture(scope="module")
def whole(folder):
    """A run that nothing stopped."""
    code, output, errors = finish(start(folder))
    assert code == 0, errors
    assert output[0] == (
        "devices: 1 x CPU, replicas: 1, batch: 32 = 1 x 32, precision: float32, XLA: off"
    )
    assert output[1] == (
        "resnet_cifar on digits: 256 training, 44 validation, 50 test images; 8 steps an epoch, "
        "25 epochs, 200 steps; piecewise learning rate that changes at steps 80"
    )
    assert [line.split(":")[0] for line in output[2:-2]] == [f"epoch {n}/25" for n in range(1, 26)]
    assert output[-2].startswith("last (epoch 25)") and output[-1].startswith("best (epoch ")
    flags = (folder / "runs" / "tiny" / "flags.txt").read_text().splitlines()
    assert {"--epochs=25", "--option=depth=8", "--run_dir=runs/tiny"} < set(flags)
    return folder / "runs" / "tiny"


@pytest.mark.slow
def test_killed_and_started_again_is_as_not_killed(folder, whole):
    run = folder / "killed"
    code, _, _ = stop_after_an_epoch(start(folder, "--run_dir=killed"), run, signal.SIGKILL)
    assert code == -signal.SIGKILL
    done = len(read_checkpoint(run / "last.keras").history)
    assert 2 <= done < 25
    assert (run / "lock").exists()  # that of a dead process
    code, output, errors = finish(start(folder, "--run_dir=killed"))
    assert code == 0, errors
    assert output[2].startswith(f"going on after epoch {done}, best is epoch ")
    assert output[3].startswith(f"epoch {done + 1}/25: ")
    assert rows(run) == rows(whole)
    assert summaries(run) == expected_summaries(run)
    for name in ("last.keras", "best.keras"):
        for ours, theirs in zip(state(run / name), state(whole / name), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_killed_at_random_moments_is_as_not_killed(folder, whole):
    """Within epochs and amid saving: each kill is a moment after a checkpoint was replaced."""
    run, draw = folder / "often", random.Random(0)
    flags = ("--run_dir=often", "--checkpoint_steps=3")
    places = []
    for _ in range(3):
        process = start(folder, *flags)
        before, seen = None, 0
        deadline, wanted = time.monotonic() + 300, draw.randrange(4, 16)
        while seen < wanted and process.poll() is None and time.monotonic() < deadline:
            now = (run / "last.keras").stat().st_ino if (run / "last.keras").exists() else None
            seen += now != before
            before = now
            time.sleep(0.001)
        time.sleep(draw.random() * 0.1)
        process.kill()
        finish(process)
        places.append(str(read_checkpoint(run / "last.keras")))
    assert any("steps of the next" in place for place in places), places
    code, output, errors = finish(start(folder, *flags))
    assert code == 0, errors
    assert output[2].startswith(f"going on after {places[-1]}")
    assert rows(run) == rows(whole)
    assert summaries(run) == expected_summaries(run)
    for name in ("last.keras", "best.keras"):
        for ours, theirs in zip(state(run / name), state(whole / name), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_sigterm_is_saved(folder):
    run = folder / "terminated"
    process = start(folder, "--run_dir=terminated", "--epochs=100000")
    code, output, errors = stop_after_an_epoch(process, run, signal.SIGTERM)
    assert code == 143
    assert errors[-1] == "terminated" and "Traceback" not in "".join(errors)
    assert output[-1].startswith("SIGTERM: saved ")
    assert output[-1].endswith("; the same command goes on")
    where = read_checkpoint(run / "last.keras")
    assert f"epoch {len(where.history) + bool(where.step)};" in output[-1]


def test_two_processes_on_one_run(folder, whole):
    """The second is refused, whatever the first one does at the time; a dead one is no obstacle."""
    run = folder / "shared"
    first = start(folder, "--run_dir=shared")
    deadline = time.monotonic() + 300
    while len(rows(run)) < 2 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    code, output, errors = finish(start(folder, "--run_dir=shared"))
    assert code == 1 and not output
    assert errors[-1].startswith(f"error: shared is being trained by process {first.pid} on ")
    assert "Traceback" not in "".join(errors)
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before
    first.send_signal(signal.SIGCONT)
    code, _, errors = finish(first)
    assert code == 0, errors
    for name in ("last.keras", "best.keras"):
        for ours, theirs in zip(state(run / name), state(whole / name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert not (run / "lock").exists()


@pytest.mark.slow
def test_control_c(folder):
    run = folder / "interrupted"
    code, _, errors = stop_after_an_epoch(
        start(folder, "--run_dir=interrupted"), run, signal.SIGINT
    )
    assert code == 130
    assert errors[-1] == "interrupted" and "Traceback" not in "".join(errors)
    assert len(read_checkpoint(run / "last.keras").history) >= 2
    keras.saving.load_model(run / "last.keras")


def test_a_finished_run_and_what_is_refused(folder, whole):
    before = {path.name: path.stat().st_mtime_ns for path in whole.iterdir()}
    again, changed = start(folder), start(folder, "--lr=0.1")
    wild = start(folder, "--run_dir=wild", "--lr=1e30")
    code, output, _ = finish(again)
    assert code == 0
    assert summaries(whole) == expected_summaries(whole)
    assert output[0] == "runs/tiny is finished after 25 epochs" and len(output) == 3
    code, output, errors = finish(changed)
    assert code == 1 and not output
    assert "error: runs/tiny is a run with other flags: --lr was 0.05, is 0.1." in errors[-1]
    assert {path.name: path.stat().st_mtime_ns for path in whole.iterdir()} == before
    code, _, errors = finish(wild)
    assert code == 1
    assert errors[-1].startswith("error: the loss is ") and "Traceback" not in "".join(errors)
    assert read_checkpoint(folder / "wild" / "last.keras").history == []
