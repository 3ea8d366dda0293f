"""A run that goes on although one of its files was lost or damaged, or that says why not."""

import json
import random
import shutil
import zipfile

import keras
import numpy as np
import pytest
from slow import first

from keras_resnets.errors import UserError
from keras_resnets.training import Recipe, train
from keras_resnets.training.run_directory import read_checkpoint

SETTINGS = {
    "model": "resnet_cifar",
    "option": ("depth=8", "width=4"),
    "dataset": "digits",
    "train_split": "train[:64]",
    "validation_split": "train[128:168]",
    "test_split": "test[:50]",
    "batch_size": 32,
}


def recipe(epochs=3):
    return Recipe(**SETTINGS, epochs=epochs)


def set_accuracies(path, *accuracies):
    """Rewrites the history in a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    history = json.loads(members["history.json"])
    for row, accuracy in zip(history, accuracies, strict=True):
        row["val_accuracy"] = accuracy
    members["history.json"] = json.dumps(history).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three epochs, the best of which is the second."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(recipe(2), run)
    set_accuracies(run / "last.keras", 0.0, 1.0)
    shutil.copy(run / "last.keras", run / "best.keras")
    results = train(recipe(), run)
    assert (results["last"]["epoch"], results["best"]["epoch"]) == (3, 2)
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(run, epochs, *words):
    before = contents(run)
    with pytest.raises(UserError) as caught:
        train(recipe(epochs), run)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert contents(run).items() >= {
        path: data for path, data in before.items() if path.suffix == ".keras"
    }.items()


def state(path):
    model = keras.saving.load_model(path)
    return [np.array(variable) for variable in (*model.weights, *model.optimizer.variables)]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize("left", first(1, ["best", "previous"]))
def test_a_lost_last_checkpoint_is_made_again_from_an_earlier_one(left, finished, run, capsys):
    (run / "last.keras").unlink()
    if left == "best":
        (run / "previous.keras").unlink()
    results = train(recipe(), run)
    output = capsys.readouterr().out
    assert f"{run}/last.keras is gone: going on from {left}.keras" in output
    assert "going on after epoch 2, best is epoch 2" in output
    assert results["best"] == json.loads((finished / "results.json").read_text())["best"]
    for ours, theirs in zip(
        state(run / "last.keras"), state(finished / "last.keras"), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert (run / "best.keras").read_bytes() == (finished / "best.keras").read_bytes()
    assert len((run / "log.csv").read_text().splitlines()) == 4


def test_all_checkpoints_lost(run):
    (run / "last.keras").unlink()
    (run / "previous.keras").unlink()
    truncate(run / "best.keras")
    assert_refused(run, 3, "last.keras is gone, and", "best.keras is not a checkpoint", "Put a")
    (run / "best.keras").unlink()
    assert_refused(run, 3, "last.keras is gone, and so is best.keras", "log.csv is there", "Put a")
    assert not (run / "last.keras").exists()


@pytest.mark.parametrize("epochs", [3, 4])
def test_a_truncated_last_checkpoint(epochs, run):
    truncate(run / "last.keras")
    way_out = "remove it to go on from previous.keras, epoch 2"
    assert_refused(run, epochs, f"{run}/last.keras is not a checkpoint", way_out)
    truncate(run / "previous.keras")
    way_out = "remove it to go on from best.keras, epoch 2"
    assert_refused(run, epochs, f"{run}/last.keras is not a checkpoint", way_out)


def test_flipped_bits(run):
    """In any place: refused, or without a consequence."""
    whole = read_checkpoint(run / "last.keras")
    data = (run / "last.keras").read_bytes()
    random.seed(0)
    ends = [*range(60), *range(len(data) - 300, len(data))]  # headers, the directory at the end
    refused = 0
    for place in [*ends, *random.choices(range(len(data)), k=100)]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << random.randrange(8)
        (run / "last.keras").write_bytes(flipped)
        try:
            assert read_checkpoint(run / "last.keras") == whole
        except UserError as error:
            assert "last.keras is not a checkpoint of a run, or damaged" in str(error)
            refused += 1
    assert refused > 200
    data = bytearray(data)
    data[len(data) // 2] ^= 1
    (run / "last.keras").write_bytes(data)
    assert_refused(run, 4, "last.keras is not a checkpoint of a run, or damaged")


def test_a_lost_best_checkpoint(run, capsys):
    best = run / "best.keras"
    best.unlink()
    assert_refused(run, 3, f"{best}, epoch 2 of 3, is missing: put a copy back")
    truncate(shutil.copy(run / "last.keras", best))
    assert_refused(run, 3, f"{best}, epoch 2 of 3, is damaged: put a copy back")
    shutil.copy(run / "last.keras", best)
    assert_refused(run, 3, f"{best}, epoch 2 of 3, is replaced by something else: put a copy back")
    best.unlink()
    capsys.readouterr()
    with pytest.raises(UserError, match="best.keras, epoch 2 of 4, is missing"):
        train(recipe(4), run)
    output = capsys.readouterr().out  # the epoch that was asked for is trained nevertheless
    assert f"note: {best}, epoch 2 of 3, is missing" in output and "epoch 4/4" in output
    assert len(read_checkpoint(run / "last.keras").history) == 4


def test_a_lost_best_checkpoint_that_is_the_last_one(run):
    set_accuracies(run / "last.keras", 0.0, 0.0, 1.0)
    (run / "best.keras").unlink()
    assert train(recipe(), run)["best"]["epoch"] == 3
    assert (run / "best.keras").read_bytes() == (run / "last.keras").read_bytes()


def test_a_best_checkpoint_of_an_equal_accuracy(run):
    """Which of equals is the best one has changed: runs of before stay as they are."""
    set_accuracies(run / "last.keras", 0.0, 1.0, 1.0)
    assert "epoch 2" in train_again(run)


def train_again(run):
    from keras_resnets.training.results import describe

    return describe(train(recipe(), run))[1]


@pytest.mark.parametrize(
    "damage",
    first(2, [
        lambda text: text[:100],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: text.replace('"top1"', '"top2"'),
        lambda text: text.replace('"loss": ', '"loss": null, "was": '),
        lambda text: text + "\udcff",
    ]),
)
def test_damaged_results_are_computed_again(damage, finished, run):
    path = run / "results.json"
    path.write_text(damage(path.read_text()), errors="surrogateescape")
    results = train(recipe(), run)
    assert json.loads(path.read_text()) == results
    before = json.loads((finished / "results.json").read_text())
    assert results["last"] == before["last"] and results["best"] == before["best"]
