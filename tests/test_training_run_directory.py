"""The folder of a run: what is refused, and what survives a kill or a full disk."""

import dataclasses
import resource

import keras
import numpy as np
import pytest

import keras_resnets
from keras_resnets.training import Recipe, RunDirectory
from keras_resnets.training.run_directory import best_epoch, read_checkpoint, write_checkpoint

RECIPE = Recipe(model="resnet20", dataset="digits", boundaries=(3,), epochs=5)


def rows(*accuracies):
    return [
        {"epoch": epoch, "loss": 0.5, "val_accuracy": accuracy}
        for epoch, accuracy in enumerate(accuracies, 1)
    ]


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.check(RECIPE)
    run.prepare(RECIPE, ["cpu"])
    return run


@pytest.fixture
def model():
    return keras_resnets.create_model("resnet_cifar", depth=8, width=4, input_shape=(8, 8, 1))


def files(run):
    return sorted(path.name for path in run.path.iterdir())


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"lr": 0.2}, "--lr was 0.1, is 0.2"),
        ({"boundaries": (2, 3)}, "--boundaries was 3.0, is 2.0,3.0"),
        ({"augment": ("flip",)}, "--augment was empty, is flip"),
        ({"dataset": "mnist"}, "--dataset was digits, is mnist"),
        ({"dataset": "./digits"}, "--dataset was digits, is ./digits"),
    ],
)
def test_changed_flags_are_refused(run, changes, words):
    with pytest.raises(ValueError, match="is a run with other flags") as caught:
        run.check(dataclasses.replace(RECIPE, **changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_paths_and_epochs_may_change(run):
    run.check(dataclasses.replace(RECIPE, data_dir="/elsewhere", download=True, epochs=50))
    moved = dataclasses.replace(RECIPE, dataset="/old/photos")
    run.prepare(moved, ["cpu"])
    run.check(dataclasses.replace(RECIPE, dataset="/new/photos"))
    run.prepare(dataclasses.replace(RECIPE, dataset="a.csv"), ["cpu"])
    run.check(dataclasses.replace(RECIPE, dataset="/new/a.CSV"))


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    (tmp_path / "log.csv").write_text("")
    with pytest.raises(ValueError, match="`run_dir` must be empty or a run.*'log.csv'"):
        RunDirectory(tmp_path).check(RECIPE)
    with pytest.raises(ValueError, match="`run_dir` must be a folder"):
        RunDirectory(tmp_path / "thesis.tex").check(RECIPE)


def test_a_run_killed_while_its_folder_was_made(tmp_path):
    (tmp_path / "recipe.tmp.json").write_text("{")
    run = RunDirectory(tmp_path)
    run.check(RECIPE)
    run.prepare(RECIPE, ["cpu"])
    assert files(run) == ["flags.txt", "recipe.json", "versions.json"]
    assert run.history() is None and run.results() is None


def test_the_best_epoch_is_the_earliest_of_equals():
    assert best_epoch(rows(0.5, 0.7, 0.7, 0.6)) == 2


def test_of_equal_accuracies_the_lower_cross_entropy_is_the_best():
    history = rows(0.5, 0.7, 0.7, 0.7, 0.6)
    for row, cross_entropy in zip(history, (0.1, 0.9, 0.8, 0.8, 0.1), strict=True):
        row["val_cross_entropy"] = cross_entropy
    assert [best_epoch(history[:end]) for end in range(1, 6)] == [1, 2, 3, 3, 3]


def test_log_and_best_follow_last(run, model):
    history = rows(0.5, 0.7)
    run.save(model, history)
    best = run.best.read_bytes()
    assert best == run.last.read_bytes()
    history += [{**history[0], "epoch": 3}]
    model.get_layer("logits").bias.assign(np.arange(10.0))
    run.save(model, history)
    assert run.best.read_bytes() == best
    assert read_checkpoint(run.last).history == history == run.history()
    assert run.log.read_text().splitlines() == [
        "epoch,loss,val_accuracy",
        "1,0.5,0.5",
        "2,0.5,0.7",
        "3,0.5,0.5",
    ]


def test_a_kill_between_last_and_best(run, model):
    run.save(model, rows(0.5))
    model.get_layer("logits").bias.assign(np.arange(10.0))
    write_checkpoint(run.last, model, rows(0.5, 0.7))  # and then the process was killed
    (run.path / "best.tmp.keras").write_text("half")
    run.prepare(RECIPE, ["cpu"])
    run.repair(run.history())
    assert run.best.read_bytes() == run.last.read_bytes()
    assert len(run.log.read_text().splitlines()) == 3
    assert "best.tmp.keras" not in files(run)


def test_a_checkpoint_is_a_plain_keras_file(run, model):
    model.class_names = "abcdefghij"
    run.save(model, rows(0.5))
    loaded = keras.saving.load_model(run.last)
    assert isinstance(loaded, keras_resnets.Network)
    assert loaded.class_names == tuple("abcdefghij")
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("room", [0.3, 0.9, 0.999])
def test_a_full_disk_leaves_the_previous_checkpoint(run, model, room):
    run.save(model, rows(0.5))
    before = run.last.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room * len(before)), limits[1]))
    try:
        with pytest.raises(OSError, match="cannot save .*last.keras: file too large; ") as caught:
            run.save(model, rows(0.5, 0.6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"the previous one still loads: {run.last}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert run.last.read_bytes() == before
    assert not [name for name in files(run) if "tmp" in name]


def test_something_else_under_the_name_of_a_checkpoint(run):
    run.last.write_text("not a zip file")
    with pytest.raises(ValueError, match="last.keras is not a checkpoint"):
        run.history()
