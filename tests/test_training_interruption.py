"""Signals at chosen moments of a training in this process, and the checkpoints between steps."""

import contextlib
import signal
import types

import keras
import numpy as np
import pytest
from slow import first

import keras_resnets
from keras_resnets import data
from keras_resnets.errors import UserError
from keras_resnets.training import Recipe, callbacks, evaluate, make_schedule, train
from keras_resnets.training.checkpoint import read_checkpoint
from keras_resnets.training.watch import EVERY, Watch

SETTINGS = {
    "model": "wide_resnet",  # with random numbers within branches that are skipped, and without
    "option": ("depth=10", "widen=1", "width=4", "dropout=0.3", "head_dropout=0.2", "survival=0.5"),
    "dataset": "digits",
    "train_split": "train[:150]",
    "validation_split": "train[150:200]",
    "test_split": "test[:50]",
    "batch_size": 32,
    "steps_per_epoch": 3,  # of 4: epochs of the run end amid those of the data
    "augment": ("pad_crop:padding=1",),
    "epochs": 3,
    "boundaries": (1.5,),
    "checkpoint_minutes": 0,
}
TIMES = ("seconds", "images_per_second")


def rows(run):
    history = read_checkpoint(run / "last.keras").history
    return [{key: value for key, value in row.items() if key not in TIMES} for row in history]


def state(path):
    model = keras.saving.load_model(path)
    return [np.array(variable) for variable in (*model.weights, *model.optimizer.variables)]


@pytest.fixture(autouse=True)
def heed_ctrl_c():
    """SIGINT as a terminal's processes have it; those of a shell's background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(Recipe(**SETTINGS), run)
    return run


def assert_as_whole(run, whole):
    assert rows(run) == rows(whole)
    for name in ("last.keras", "best.keras"):
        for ours, theirs in zip(state(run / name), state(whole / name), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def receive(number):
    """What Python does at a signal to this process.

    The process itself is sent none: once a strategy of several workers was made in it, TensorFlow
    takes SIGTERM for itself, and sets back what would end the tests at a time of its own. Real
    signals to real processes are in tests/test_train_script.py.
    """
    signal.getsignal(number)(number, None)


def stop(monkeypatch, hook, epoch, batch, number):
    """Sends this process a signal at the end of a hook of `Watch`, in an epoch, at a batch."""
    begun = []
    begin, original = Watch.on_epoch_begin, getattr(Watch, hook)

    def beginning(self, epoch, logs=None):
        begun.append(epoch)
        begin(self, epoch, logs)

    def stopping(self, *arguments, **keywords):
        original(self, *arguments, **keywords)
        if begun[-1] == epoch and batch in (None, *arguments):
            receive(number)

    monkeypatch.setattr(Watch, "on_epoch_begin", beginning)
    monkeypatch.setattr(Watch, hook, stopping)


@pytest.mark.parametrize(
    ("hook", "epoch", "batch", "number", "left"),
    first(3, [
        ("on_train_batch_begin", 1, 2, signal.SIGINT, "epoch 1 and 2 steps of the next"),
        ("on_test_begin", 1, None, signal.SIGTERM, "epoch 1 and 3 steps of the next"),
        ("on_epoch_end", 1, 1, signal.SIGINT, "epoch 2"),
        ("on_train_batch_begin", 0, 1, signal.SIGTERM, "epoch 0 and 1 steps of the next"),
        ("on_train_batch_begin", 2, 0, signal.SIGTERM, "epoch 2 and 1 steps of the next"),
    ]),
)
def test_a_signal_at_any_moment(hook, epoch, batch, number, left, whole, tmp_path, monkeypatch):
    kind, code = {
        signal.SIGTERM: (SystemExit, 143),
        signal.SIGINT: (KeyboardInterrupt, None),
    }[number]
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with monkeypatch.context() as patch, pytest.raises(kind) as caught:
        stop(patch, hook, epoch, batch, number)
        train(Recipe(**SETTINGS), tmp_path / "run")
    assert getattr(caught.value, "code", None) == code
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before
    assert str(read_checkpoint(tmp_path / "run" / "last.keras")) == left
    train(Recipe(**SETTINGS), tmp_path / "run")
    assert_as_whole(tmp_path / "run", whole)


def signalled(averaged_weights):
    """`averaged_weights` that sends this process a signal when the weights are in place."""

    @contextlib.contextmanager
    def putting(model):
        with averaged_weights(model):
            receive(signal.SIGTERM)
            yield

    return putting


@pytest.mark.slow
def test_averages_and_half_done_updates_go_on(tmp_path, monkeypatch):
    """AdamW on two steps an update: stopped after the first step of one, within an epoch.

    And then amid the validation of the averaged weights, which is not waited for.
    """
    changes = {"optimizer": "adamw", "lr": 1e-3, "ema_decay": 0.7, "accumulate_steps": 2}
    changes |= {"schedule": "cosine", "boundaries": (), "clip_norm": 1.0}
    changes |= {"mix": "mixup,cutmix", "repeats": 2, "epochs": 2}
    recipe = Recipe(**{**SETTINGS, **changes})
    results = train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        stop(patch, "on_train_batch_begin", 1, 2, signal.SIGTERM)
        train(recipe, tmp_path / "run")
    assert str(read_checkpoint(tmp_path / "run" / "last.keras")).endswith("2 steps of the next")
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(callbacks, "averaged_weights", signalled(callbacks.averaged_weights))
        train(recipe, tmp_path / "run")
    left = str(read_checkpoint(tmp_path / "run" / "last.keras"))
    assert left == "epoch 1 and 3 steps of the next"
    again = train(recipe, tmp_path / "run")
    assert_as_whole(tmp_path / "run", tmp_path / "whole")
    times = {"seconds": 0}
    assert results | times == again | times and results["ema"]["loss"] != results["last"]["loss"]
    names = ("ema_val_loss", "ema_val_accuracy", "ema_val_cross_entropy")
    assert all(name in row for row in rows(tmp_path / "run") for name in names)
    source = data.load_splits("digits", validation_split="train[150:200]", splits=("validation",))
    averaged = keras_resnets.load_model(tmp_path / "run" / "ema.keras")
    found = evaluate(averaged, source.validation, 32)
    row = rows(tmp_path / "run")[results["ema"]["epoch"] - 1]
    assert found.top1 == pytest.approx(row["ema_val_accuracy"])
    assert found.loss == pytest.approx(row["ema_val_loss"], rel=1e-5)


@pytest.mark.slow
def test_a_schedule_that_ends_with_the_run(tmp_path):
    changes = {"schedule": "cosine", "boundaries": (), "epochs": 1}
    train(Recipe(**{**SETTINGS, **changes}), tmp_path / "run")
    words = "--epochs was 1, is 2, and its cosine schedule was made for 1 .--schedule_epochs at"
    with pytest.raises(UserError, match=words):
        train(Recipe(**{**SETTINGS, **changes, "epochs": 2}), tmp_path / "run")
    changes["schedule_epochs"] = 2
    whole = {**SETTINGS, **changes, "epochs": 2}
    whole["ema_decay"] = 0.5
    train(Recipe(**{**whole, "epochs": 1}), tmp_path / "long")
    for name in ("ema.keras", "results.json"):  # as after a kill before they were written
        (tmp_path / "long" / name).unlink()
    for epochs in (1, 2):
        results = train(Recipe(**{**whole, "epochs": epochs}), tmp_path / "long")
        assert (tmp_path / "long" / "ema.keras").exists() and "ema" in results
    train(Recipe(**whole), tmp_path / "whole")
    assert_as_whole(tmp_path / "long", tmp_path / "whole")


def test_a_second_signal_ends_at_once(tmp_path, monkeypatch):
    def twice(self, batch, logs=None):
        receive(signal.SIGTERM)
        receive(signal.SIGTERM)

    monkeypatch.setattr(Watch, "on_train_batch_begin", twice)
    with pytest.raises(SystemExit) as caught:
        train(Recipe(**SETTINGS), tmp_path / "run")
    assert caught.value.code == 143
    assert str(read_checkpoint(tmp_path / "run" / "last.keras")) == "epoch 0"


def test_checkpoints_between_steps(whole, tmp_path, monkeypatch):
    """After steps 2, 4 and 8 of 9: the one before is kept, and the training is the same."""
    saved = []
    original = callbacks.Checkpoint._save_within

    def watched(self, progress):
        original(self, progress)
        run = self.run
        saved.append([str(read_checkpoint(path)) for path in (run.previous, run.last)])

    monkeypatch.setattr(callbacks.Checkpoint, "_save_within", watched)
    train(Recipe(**SETTINGS, checkpoint_steps=2), tmp_path / "run")
    assert saved == [
        ["epoch 0", "epoch 0 and 2 steps of the next"],
        ["epoch 1", "epoch 1 and 1 steps of the next"],
        ["epoch 2", "epoch 2 and 2 steps of the next"],
    ]
    assert_as_whole(tmp_path / "run", whole)


def test_checkpoints_by_the_clock(tmp_path, monkeypatch):
    saved = []
    original = callbacks.Checkpoint._save_within

    def watched(self, progress):
        original(self, progress)
        saved.append(self.watch.done)

    monkeypatch.setattr(callbacks.Checkpoint, "_save_within", watched)
    train(Recipe(**{**SETTINGS, "epochs": 1, "checkpoint_minutes": 1e-9}), tmp_path / "run")
    assert saved == [1, 2]


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [(3.0, [1, 4, 7, 10]), (0.001, [1, 101, 201]), (30.0, [1, 2, 3, 4])],
)
def test_workers_ask_each_other_by_the_clock(seconds, asked, monkeypatch):
    """No more often than every 100 steps of short ones, nor later than a period of grace."""
    now, found = [0.0], []
    hosts = types.SimpleNamespace(count=2, most=lambda *numbers: list(map(float, numbers)))
    monkeypatch.setattr(callbacks, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(callbacks, "ask", lambda *_: found.append(int(watch.done)))
    watch = Watch(1000)
    checkpoint = callbacks.Checkpoint(None, [], watch, 1, None, None, hosts=hosts)
    checkpoint.on_epoch_begin(0)
    for watch.done in range(asked[-1] + 1):
        checkpoint.on_train_batch_begin(watch.done)
        now[0] += seconds
    assert found == asked


def test_fewer_epochs_than_are_begun(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop(patch, "on_train_batch_begin", 2, 1, signal.SIGINT)
        train(Recipe(**SETTINGS), tmp_path / "run")
    with pytest.raises(UserError, match="is amid epoch 3: `epochs` must be at least that"):
        train(Recipe(**{**SETTINGS, "epochs": 2}), tmp_path / "run")


def test_a_dataset_begins_within_an_epoch():
    """Batches from a step on are those of the whole epoch, and the skipped ones are not read."""
    source = data.load_splits("digits", train_split="train[:150]", splits=("train",)).train
    standardize = keras_preprocessing(source)
    options = {"augment": "pad_crop:padding=1", "batch_size": 32, "repeat": 2, "seed": 3}
    whole = list(data.training_dataset(source, standardize, **options).as_numpy_iterator())
    late = data.training_dataset(source, standardize, first_step=3, **options)
    late = list(late.as_numpy_iterator())
    assert len(whole) == 8 and len(late) == 5
    for ours, theirs in zip(late, whole[3:], strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    with pytest.raises(UserError, match=r"`first_step` must be in 0..3"):
        data.training_dataset(source, standardize, first_step=4, **options)


def keras_preprocessing(source):
    from keras_resnets.images import Preprocessing

    return Preprocessing(*data.statistics(source))


def test_metrics_are_read_every_hundred_steps(monkeypatch):
    reads = []
    model = keras.Sequential([keras.layers.Dense(1)])
    rate = make_schedule("piecewise", 0.1, steps_per_epoch=250, epochs=2)
    model.compile(keras.optimizers.SGD(rate), "mse")
    original = Watch._read
    monkeypatch.setattr(Watch, "_read", lambda self: (reads.append(self.done), original(self)))
    images = np.zeros((250, 2), "float32")
    watch = Watch(250)
    model.fit(
        images, images[:, :1], batch_size=1, epochs=2, verbose=0, callbacks=[watch],
        validation_data=(images[:4], images[:4, :1]),
    )  # fmt: skip
    assert reads == [1, 1 + EVERY, 1 + 2 * EVERY, 250] * 2
