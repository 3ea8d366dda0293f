"""Runs in this process: scores, going on, and what stops one."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_resnets import analysis, data
from keras_resnets.errors import UserError
from keras_resnets.models.files import load_model
from keras_resnets.training import Recipe, RunDirectory, evaluate, train
from keras_resnets.training.initial import make_preprocessing
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


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "resnet21"}, "Unknown model 'resnet21'"),
        ({"option": ("depth=9",)}, "`depth` must be 6n\\+2"),
        ({"option": ("dept=8",)}, "has no option `dept`"),
        ({"batch_size": 256}, "`batch_size` must be at most the 128 training images"),
        ({"dataset": "/no/such/folder"}, "There is no folder"),
    ],
)
def test_a_bad_recipe_writes_nothing(changes, message, tmp_path):
    with pytest.raises((ValueError, OSError), match=message):
        train(Recipe(**{**SETTINGS, **changes}), tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part, words", [("train", "training"), ("validation", "validation")])
def test_images_that_change_between_runs(part, words, tmp_path, monkeypatch):
    """The number of steps need not change: a photo more, or another in its place."""
    fingerprints = {"train": "a", "validation": "b", "test": "c"}

    def load(*args, **keywords):
        splits = load_splits(*args, **keywords)
        for name, fingerprint in fingerprints.items():
            object.__setattr__(getattr(splits, name), "fingerprint", fingerprint)
        return splits

    load_splits = data.load_splits
    monkeypatch.setattr(data, "load_splits", load)
    run = tmp_path / "run"
    train(Recipe(**SETTINGS, epochs=1), run)
    recorded = json.loads((run / "versions.json").read_text())["images"]
    assert recorded == {"training": "a", "validation": "b"}
    fingerprints["test"] = "d"  # scores are computed anew each time
    train(Recipe(**SETTINGS, epochs=2), run)
    fingerprints[part] = "e"
    before = (run / "last.keras").read_bytes()
    message = f"the {words} images of digits are not those .* was started with: put them back"
    with pytest.raises(UserError, match=message):
        train(Recipe(**SETTINGS, epochs=3), run)
    assert (run / "last.keras").read_bytes() == before
    (run / "versions.json").unlink()  # as in a run of before
    assert train(Recipe(**SETTINGS, epochs=3), run)["last"]["epoch"] == 3


@pytest.fixture
def photos(tmp_path, rng):
    """Images of two sizes, so that they are read from disk each time."""
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(255, size=(8, 8 + index % 2, 3))
            keras.utils.save_img(tmp_path / "photos" / name / f"{index}.png", pixels)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "change, augment, words",
    [
        (lambda photo: photo.unlink(), "", r"^Cannot read .*photos/a/\d+.png: No such file"),
        (lambda photo: photo.write_text("no image"), "", r"photos/a/\d+.png is not a whole JPEG"),
    ],
)
def test_images_that_break_amid_a_run(change, augment, words, photos, tmp_path, monkeypatch):
    def save(run, model, history):
        write(run, model, history)
        for photo in (photos / "a").iterdir() if history else ():
            change(photo)

    write = RunDirectory.save
    monkeypatch.setattr(RunDirectory, "save", save)
    settings = {"dataset": photos, "image_size": 8, "batch_size": 4, "augment": augment}
    recipe = Recipe(model="resnet_cifar", option={"depth": 8, "width": 4}, epochs=99, **settings)
    with pytest.raises(OSError, match=words) as caught:
        train(recipe, tmp_path / "run")
    line = str(caught.value)
    done = len(RunDirectory(tmp_path / "run").history())
    assert line.endswith(f". Put that right, and the same command goes on after epoch {done}")
    assert "\n" not in line and "Graph execution error" not in line and "{{" not in line


def test_an_operation_that_does_not_fit_the_images_is_named_at_once(photos, tmp_path):
    recipe = Recipe(
        model="resnet_cifar", option={"depth": 8, "width": 4}, dataset=photos, image_size=8,
        batch_size=4, augment="pad_crop:padding=9:mode=reflect", epochs=1,
    )
    with pytest.raises(ValueError, match="pad_crop:padding=9:mode=reflect cannot be applied"):
        train(recipe, tmp_path / "run")


def test_other_images_than_the_run_was_started_with(tmp_path, rng):
    for place, names, count in (("old", "ab", 8), ("new", "ac", 8), ("more", "ab", 40)):
        for name in names:
            (tmp_path / place / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(255, size=(8, 8, 3))
                keras.utils.save_img(tmp_path / place / name / f"{index}.png", pixels)
    settings = {"model": "resnet_cifar", "option": ("depth=8", "width=4"), "batch_size": 4}

    def go_on(place, epochs):
        return train(
            Recipe(**settings, dataset=str(tmp_path / place), epochs=epochs), tmp_path / "run"
        )

    results = go_on("old", 1)
    assert results["last"]["topk"] is None  # two classes
    (tmp_path / "old").rename(tmp_path / "moved")
    go_on("moved", 2)
    for other in ("new", "more"):
        with pytest.raises(ValueError, match="are not those .* was started with"):
            go_on(other, 3)
    assert (tmp_path / "run" / "results.json").exists()
    assert Recipe.load(tmp_path / "run" / "recipe.json").dataset == str(tmp_path / "moved")


def test_preprocessing_of_a_run():
    digits = data.load_splits("digits").train
    mean, std = data.statistics(digits)
    for size, resize in ((0, None), (8, None), (32, (32, 32))):
        preprocessing = make_preprocessing(digits, size)
        assert (preprocessing.resize, preprocessing.crop) == (resize, None)
        assert (preprocessing.mean, preprocessing.std) == (mean, std)

    class Photos:
        name, image_shape, channels = "cifar10", None, 3

    photos = make_preprocessing(Photos)
    assert (photos.resize, photos.crop) == (256, (224, 224))


def test_a_recipe_mixes_repeats_and_trains_on_smaller_images(tmp_path, monkeypatch):
    seen = []
    make = data.training_dataset

    def spied(*arguments, **options):
        dataset = make(*arguments, **options)
        seen.append((dataset.element_spec, options, next(iter(dataset))[1]))
        return dataset

    monkeypatch.setattr(data, "training_dataset", spied)
    recipe = Recipe(
        **SETTINGS | {"augment": "rand-m7-mstd0.5-inc1"},
        epochs=1, mix="mixup:alpha=1", repeats=2, train_image_size=6,
    )
    results = train(recipe, tmp_path / "run")
    (((images, _), options, labels),) = seen
    assert images.shape == (32, 6, 6, 1) and options["repeats"] == 2
    assert ((labels.numpy() > 0.01).sum(1) == 2).any()
    best = load_model(tmp_path / "run" / "best.keras")
    assert best.input_shape == (None, None, None, 1)
    assert best.preprocessing.resize == (8, 8)  # the size that it is scored at
    assert results["best"]["epoch"] == 1
    longer = train(dataclasses.replace(recipe, epochs=2), tmp_path / "run")  # goes on
    assert longer["last"]["epoch"] == 2


def test_sizes_that_grow_by_epoch(tmp_path, monkeypatch):
    """4 pixels, 6 from the second epoch, 8 in the last: stopped or not, the same weights."""
    seen, make = [], data.training_dataset

    def spied(*arguments, **options):
        seen.append((options["first_epoch"], options["image_size"]))
        return make(*arguments, **options)

    monkeypatch.setattr(data, "training_dataset", spied)
    settings = {**SETTINGS, "train_image_size": "4,1:6,3:8", "schedule": "piecewise"}
    for epochs in (2, 4):
        train(Recipe(**settings, epochs=epochs), tmp_path / "parted")
    assert seen == [(0, (4, 4)), (1, (6, 6)), (2, (6, 6)), (3, (8, 8))]
    seen.clear()
    train(Recipe(**settings, epochs=4), tmp_path / "whole")
    assert seen == [(0, (4, 4)), (1, (6, 6)), (3, (8, 8))]
    parted, whole = (load_model(tmp_path / name / "last.keras") for name in ("parted", "whole"))
    for ours, theirs in zip(parted.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
