"""What a training shows in a terminal of 80 columns, in a real one and step by step."""

import csv
import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from keras_resnets.training import console, make_schedule
from keras_resnets.training.checkpoint import best_epoch
from keras_resnets.training.console import make_console
from keras_resnets.training.watch import Watch

SCRIPTS = Path(__file__).parents[1] / "scripts"
FLAGS = [
    f"--flagfile={SCRIPTS / 'flagfiles' / 'smoke.flags'}",
    "--epochs=3",
    "--steps_per_epoch=0",
    "--run_dir=run",
]


def run_in_terminal(folder, arguments, stop_at=None):
    """Exit code and everything that a terminal of 80 columns receives from train.py."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "train.py"), *arguments],
        cwd=folder,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    received = b""
    while True:
        try:
            received += os.read(master, 65536)
        except OSError:  # the process has closed its end
            break
        if stop_at and stop_at in received:
            process.send_signal(signal.SIGINT)
            stop_at = None
    os.close(master)
    return process.wait(timeout=300), received.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_a_terminal_shows_what_the_log_shows(tmp_path):
    code, received = run_in_terminal(tmp_path, FLAGS)
    assert code == 0, received
    table = received[received.index("  epoch") : received.index("\nlast (")]
    states = [state for line in table.split("\n") for state in line.split("\r")]
    assert max(map(len, states)) == 79  # one less than the terminal has
    assert any(re.search(r"\[=+ *\d+/80\]", state) for state in states)
    assert any("[  validating   ]" in state for state in states)
    words, *lines = [line.split("\r")[-1].split() for line in table.split("\n")]
    assert words == ["epoch", "rate", "loss", "accuracy", "validation", "images/s", "left"]
    with open(tmp_path / "run" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    history = []
    for line, row in zip(lines, rows, strict=True):
        figures = {key: float(value) for key, value in row.items()}
        history.append(figures)
        assert line[:-1] == [
            f"{row['epoch']}/3",
            f"{figures['learning_rate']:.4g}",
            f"{figures['loss']:.4f}",
            f"{figures['accuracy']:.2%}",
            f"{figures['val_cross_entropy']:.4f}",
            f"{figures['val_accuracy']:.2%}",
            *(["*"] if best_epoch(history) == len(history) else []),
            f"{figures['images_per_second']:.0f}",
        ]
        assert line[-1].count(":") == 2
    assert lines[-1][-1] == "0:00:00"


@pytest.mark.slow
def test_control_c_amid_a_bar(tmp_path):
    code, received = run_in_terminal(tmp_path, FLAGS, stop_at=b"/80]")
    assert code == 130
    assert received.endswith("\ninterrupted\n") and "Traceback" not in received


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(console.time, "monotonic", lambda: time.now)
    return time


def make_row(epoch, **changes):
    return {
        "epoch": epoch,
        "steps": 10 * epoch,
        "learning_rate": 0.1,
        "loss": 1.5,
        "accuracy": 1.0,
        "val_cross_entropy": 0.25,
        "val_accuracy": 0.5,
        "seconds": 11.0,
        "images_per_second": 80.0,
    } | changes


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_table_step_by_step(columns, clock, monkeypatch):
    """Ten steps of a second, and a validation of 9 s at the end: 19 s an epoch."""
    monkeypatch.setenv("COLUMNS", str(columns))
    rows, terminal = [], Terminal()
    watch = Watch(steps_per_epoch=10)
    table = make_console(rows, epochs=400, watch=watch, batch_size=8, stream=terminal)
    rate = make_schedule("piecewise", 0.1, steps_per_epoch=10, epochs=9)
    model = SimpleNamespace(
        optimizer=keras.optimizers.SGD(rate),
        get_metrics_result=lambda: {"loss": 1.5, "accuracy": 0.0625},
    )
    callbacks = keras.callbacks.CallbackList([watch, table], model=model)
    callbacks.on_train_begin()
    clock.now += 1.0
    for epoch in range(2):
        callbacks.on_epoch_begin(epoch)
        for batch in range(1, 10):  # the first step is over when the second one begins
            callbacks.on_train_batch_begin(batch)
            clock.now += 1.0
        callbacks.on_test_begin()
        clock.now += 9.0
        rows.append(make_row(epoch + 1, val_cross_entropy=10000.0 * epoch + 0.25))
        callbacks.on_epoch_end(epoch)
        clock.now += 1.0
    states = [part for line in terminal.getvalue().split("\n") for part in line.split("\r")]
    assert {len(state) for state in states if state} == {columns - 1}
    if columns < 80:
        return
    states = [state.strip() for state in states if state]
    start = "0.1   1.5000     6.25%"
    assert states[1:3] == [
        f"1/400        {start}  [=          1/10]",
        # 3998 steps of a second, as nothing is known of the validation yet
        f"1/400        {start}  [==         2/10]         8   1:06:38",
    ]
    assert states[10:12] == [
        f"1/400        {start}  [  validating   ]         8   1:06:30",
        "1/400        0.1   1.5000   100.00%   0.2500  50.00% *        80   2:13:00",
    ]
    assert states[-1] == (
        "2/400        0.1   1.5000   100.00%    1e+04  50.00%          80   2:09:11"
    )
    callbacks.on_epoch_begin(2)
    callbacks.on_train_batch_begin(1)
    table.close()
    table.close()
    last = terminal.getvalue().split("\r")[-1]
    assert last.count("\n") == 1 and last.endswith("\n") and "3/400 " in last


def test_a_log_gets_lines():
    rows, log = [make_row(1), make_row(2, val_accuracy=0.75)], io.StringIO()
    make_console(rows, epochs=3, watch=Watch(10), batch_size=8, stream=log).on_epoch_end(1)
    assert log.getvalue() == (
        "epoch 2/3: learning rate 0.1, loss 1.5000, accuracy 100.00%, validation cross-entropy "
        "0.2500, accuracy 75.00% *, 11.0 s, 80 images/s\n"
    )
