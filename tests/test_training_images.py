"""The images of a run: which they are, what breaks among them, how large they are."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from slow import first

from keras_resnets import data
from keras_resnets.errors import UserError
from keras_resnets.models.files import load_model
from keras_resnets.training import Recipe, RunDirectory, train
from keras_resnets.training.initial import make_preprocessing

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


@pytest.mark.parametrize(
    "part, words", first(1, [("train", "training"), ("validation", "validation")])
)
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


@pytest.mark.slow
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


def test_the_size_that_a_run_goes_on_with_makes_the_same_bits(tmp_path):
    """A step that was traced for two sizes would differ in the last ones."""
    settings = {**SETTINGS, "batch_size": 16, "image_size": 16, "train_image_size": "8,1:12"}
    for epochs in (1, 2):
        train(Recipe(**settings, epochs=epochs, steps_per_epoch=7), tmp_path / "parted")
    train(Recipe(**settings, epochs=2, steps_per_epoch=7), tmp_path / "whole")
    parted, whole = (load_model(tmp_path / name / "last.keras") for name in ("parted", "whole"))
    for ours, theirs in zip(parted.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
