"""Runs in this process: scores, going on, and what stops one."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import analysis, data
from keras_resnets.models.files import load_model
from keras_resnets.training import SGD, LossScaleOptimizer, Recipe, callbacks, evaluate, train
from keras_resnets.training.watch import Watch

SETTINGS = {
    "model": "resnet_cifar",
    "option": ("depth=8", "width=4", "head_dropout=0.2"),
    "dataset": "digits",
    "train_split": "train[:128]",
    "validation_split": "train[128:168]",
    "test_split": "test[:50]",
    "batch_size": 32,
    "augment": ("pad_crop:padding=1",),
}


def read_log(run):
    with open(run / "log.csv") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "finished"
    recipe = Recipe(**SETTINGS, epochs=3, boundaries=(2,), precision="mixed_bfloat16")
    return recipe, run, train(recipe, run)


def test_what_a_run_leaves(finished):
    recipe, run, results = finished
    assert sorted(path.name for path in run.iterdir()) == [
        "best.keras",
        "curves.png",
        "flags.txt",
        "last.keras",
        "log.csv",
        "previous.keras",
        "recipe.json",
        "results.json",
        "tensorboard",
        "versions.json",
    ]
    assert json.loads((run / "results.json").read_text()) == results
    assert Recipe.load(run / "recipe.json") == recipe
    assert {"python", "tensorflow", "keras", "devices"} < set(
        json.loads((run / "versions.json").read_text())
    )
    assert list((run / "tensorboard").rglob("*tfevents*"))


def test_the_log(finished):
    log = read_log(finished[1])
    assert [row["epoch"] for row in log] == ["1", "2", "3"]
    assert [row["steps"] for row in log] == ["4", "8", "12"]
    assert [float(row["learning_rate"]) for row in log] == [0.1, 0.1, 0.01]
    assert list(log[0]) == [
        "epoch",
        "steps",
        "learning_rate",
        "loss",
        "accuracy",
        "cross_entropy",
        "val_loss",
        "val_accuracy",
        "val_cross_entropy",
        "seconds",
        "images_per_second",
    ]
    # Without label smoothing the loss is the cross-entropy: no decay is added to it.
    assert all(row["loss"] == row["cross_entropy"] for row in log)


def test_results_are_those_of_the_files(finished):
    recipe, run, results = finished
    log = read_log(run)
    best = max(log, key=lambda row: float(row["val_accuracy"]))  # the first of equals
    assert results["last"]["epoch"] == 3 and results["best"]["epoch"] == int(best["epoch"])
    test = data.load_splits("digits", test_split="test[:50]", splits=("test",)).test
    for name in ("last", "best"):
        model = load_model(run / f"{name}.keras")
        evaluation = evaluate(model, test, 50)
        assert evaluation.top1 == results[name]["top1"]
        np.testing.assert_allclose(evaluation.loss, results[name]["loss"], rtol=1e-2)
        assert model.get_layer("stem_conv").compute_dtype == "bfloat16"


def test_a_finished_run_needs_no_data(finished, capsys, monkeypatch):
    recipe, run, results = finished
    capsys.readouterr()
    monkeypatch.setattr(data, "load_splits", None)
    assert train(recipe, run) == results
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("is finished after 3 epochs")
    assert lines[1].startswith("last (epoch 3): test loss ")
    assert lines[2].startswith("best (epoch ") and lines[2].endswith("of 50 images")
    fewer = Recipe(**{**SETTINGS, "precision": recipe.precision}, epochs=2, boundaries=())
    with pytest.raises(ValueError, match="--boundaries was 2.0, is empty"):
        train(fewer, run)


def test_fewer_and_more_epochs(tmp_path, capsys):
    train(Recipe(**SETTINGS, epochs=2), tmp_path / "run")
    first = read_log(tmp_path / "run")
    assert train(Recipe(**SETTINGS, epochs=1), tmp_path / "run")["last"]["epoch"] == 2
    capsys.readouterr()
    results = train(Recipe(**SETTINGS, epochs=3), tmp_path / "run")
    assert "going on after epoch 2" in capsys.readouterr().out
    log = read_log(tmp_path / "run")
    assert results["last"]["epoch"] == 3 and log[:2] == first
    assert Recipe.load(tmp_path / "run" / "recipe.json").epochs == 3


@pytest.mark.slow
def test_gradients_are_logged_without_changing_the_training(tmp_path):
    """Stopped or not; the weights are those of a run that logs nothing."""
    settings = {**SETTINGS, "option": ("depth=8", "width=4")}  # dropout would draw anew below
    for name, flags, parts in (
        ("whole", {"log_gradients": 1}, [2]),
        ("parted", {"log_gradients": 1}, [1, 2]),
        ("none", {}, [2]),
    ):
        for epochs in parts:
            train(Recipe(**settings, epochs=epochs, **flags), tmp_path / name)
    whole, none = (load_model(tmp_path / name / "last.keras") for name in ("whole", "none"))
    for ours, theirs in zip(whole.weights, none.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    rows = analysis.read_gradients(tmp_path / "whole" / "gradients.csv")
    assert {row["epoch"] for row in rows} == {0, 1, 2}
    assert rows[0]["layer"] == "stem_conv" and all(row["norm"] > 0 for row in rows)
    same = tmp_path / "parted" / "gradients.csv"
    assert same.read_bytes() == (tmp_path / "whole" / "gradients.csv").read_bytes()
    assert not (tmp_path / "none" / "gradients.csv").exists()
    source = data.load_splits("digits", train_split="train[:128]", splits=("train",)).train
    batch = data.evaluation_dataset(source, whole.preprocessing, 128)
    ((images, labels, _),) = batch.as_numpy_iterator()
    last = analysis.gradient_norms(whole, images, labels)
    expected = [row["norm"] for row in rows if row["epoch"] == 2]
    np.testing.assert_allclose([row.norm for row in last], expected, rtol=1e-4)


def test_killed_before_the_results(finished, tmp_path):
    recipe, run, results = finished
    (run / "results.json").unlink()
    again = train(recipe, run)
    assert again == results


@pytest.mark.slow
def test_short_epochs_go_on_within_the_stream(tmp_path):
    """Epochs of 3 steps in a stream of 4 steps an epoch: killed or not, the same batches."""
    short = {**SETTINGS, "steps_per_epoch": 3}
    train(Recipe(**short, epochs=1), tmp_path / "killed")
    train(Recipe(**short, epochs=3), tmp_path / "killed")
    train(Recipe(**short, epochs=3), tmp_path / "whole")
    killed, whole = (load_model(tmp_path / name / "last.keras") for name in ("killed", "whole"))
    for ours, theirs in zip(killed.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_loss_that_is_not_finite(tmp_path):
    wild = {**SETTINGS, "lr": 1e30}
    with pytest.raises(FloatingPointError, match="the last good state, that of epoch 0") as caught:
        train(Recipe(**wild, epochs=2), tmp_path / "wild")
    assert "\n" not in str(caught.value)
    model = load_model(tmp_path / "wild" / "last.keras")
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert not (tmp_path / "wild" / "best.keras").exists()


def test_weights_that_are_not_finite_are_not_saved(tmp_path, monkeypatch):
    """The last step of an epoch can break the weights after its loss was computed."""

    def break_weights(self, epoch, logs=None):
        if epoch == 1:
            self.model.get_layer("logits").bias.assign([np.nan] * 10)

    monkeypatch.setattr(Watch, "on_epoch_end", break_weights)
    with pytest.raises(FloatingPointError, match="logits/bias is not finite.*that of epoch 1$"):
        train(Recipe(**SETTINGS, epochs=3), tmp_path / "run")
    assert len(read_log(tmp_path / "run")) == 1
    assert np.isfinite(load_model(tmp_path / "run" / "best.keras").get_weights()[-1]).all()


def test_a_step_of_nan_amid_an_update_is_not_saved(tmp_path, monkeypatch):
    """Its weights are finite until the update, but not the sums that a training goes on with."""
    original, kept = callbacks.Checkpoint.on_train_batch_begin, []

    def broken_in_the_second_step(self, batch, logs=None):
        bias = self.model.get_layer("logits").bias
        if batch == 2:
            bias.assign(kept.pop())
        original(self, batch, logs)
        if batch == 1:
            kept.append(np.array(bias))
            bias.assign([np.nan] * 10)

    monkeypatch.setattr(callbacks.Checkpoint, "on_train_batch_begin", broken_in_the_second_step)
    settings = {**SETTINGS, "option": ("depth=8", "width=4", "norm=group"), "checkpoint_steps": 1}
    settings |= {"accumulate_steps": 4, "precision": "mixed_float16"}
    good = "loss is nan after step 2 .* epoch 0 and 1 steps of the next$"
    with pytest.raises(FloatingPointError, match=good):
        train(Recipe(**settings, epochs=1), tmp_path / "run")


def test_an_optimizer_that_is_not_finite_is_not_saved():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(LossScaleOptimizer(SGD(0.1)), "mse")
    model.optimizer.build(model.trainable_variables)
    model.optimizer.apply([tf.fill(v.shape, np.inf) for v in model.trainable_variables])
    callbacks._require_finite(model, {"loss": 1.0}, "now")  # the update was left out, as is right
    model.optimizer.inner_optimizer.momentums[0].assign([[np.nan], [0.0]])
    with pytest.raises(FloatingPointError, match="momentum is not finite now"):
        callbacks._require_finite(model, {"loss": 1.0}, "now")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "resnet21"}, "Unknown model 'resnet21'"),
        ({"option": ("depth=9",)}, "`depth` must be 6n\\+2"),
        ({"option": ("dept=8",)}, "has no option `dept`"),
        ({"batch_size": 256}, "`batch_size` must be at most the 128 training images"),
        ({"dataset": "/no/such/folder"}, "There is no folder"),
        ({"dataset": "/no/such/folder", "option": ("dept=8",)}, "has no option `dept`"),
        ({"augment": ("lighting",)}, "it needs RGB images"),
        ({"augment": ("keras:CenterCrop:height=4:width=6",)}, "must end in images of 8x8 pixels"),
        ({"accumulate_steps": 9, "epochs": 2}, "`accumulate_steps` must be at most the 8 steps"),
    ],
)
def test_a_bad_recipe_writes_nothing(changes, message, tmp_path):
    with pytest.raises((ValueError, OSError), match=message):
        train(Recipe(**{**SETTINGS, **changes}), tmp_path / "run")
    assert not list(tmp_path.iterdir())
