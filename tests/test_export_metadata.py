"""What an export says of itself: its model, its scores, its commit."""

import json
import pathlib
import re
import shutil
import subprocess
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_export import NAMES, small_network

import keras_resnets
from keras_resnets.errors import UserError
from keras_resnets.serving import export, metadata
from keras_resnets.serving.difference import form_difference
from keras_resnets.serving.metadata import class_names_of
from keras_resnets.training.run_directory import RunDirectory

TEST = {"loss": 0.5, "top1": 0.75, "k": None, "topk": None}


def read(version):
    path = pathlib.Path(version, "assets.extra", "metadata.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path):
    """A finished run of two epochs, the first of which is the best."""
    run = RunDirectory(tmp_path / "work" / "runs" / "net")
    run.path.mkdir(parents=True)
    model = small_network()
    model.compile("sgd", "mse")
    rows = [{"epoch": epoch, "val_accuracy": 1 / epoch, "seconds": 1.0} for epoch in (1, 2)]
    run.save(model, rows[:1])
    run.save(model, rows)
    scores = {"last": {"epoch": 2, **TEST}, "best": {"epoch": 1, **TEST, "top1": 0.875}}
    run.write_results({"model": "net", "dataset": "digits", "test_images": 8, **scores})
    return run


def git(folder, *arguments):
    command = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_export_of_a_run(run, tmp_path):
    model = keras_resnets.load_model(run.best)
    told = read(export(model, "net", tmp_path, top=3, max_pixels=1000, checkpoint=run.best))
    assert told["model"] == "resnet_cifar" and told["options"]["depth"] == 8
    assert told["class_names"] == list(NAMES)
    assert (told["top"], told["max_pixels"], told["precision"]) == (3, 1000, "float32")
    assert told["test"] == {"epoch": 1, **TEST, "top1": 0.875, "dataset": "digits", "images": 8}
    assert told["checkpoint"]["file"] == "best.keras" and told["checkpoint"]["folder"] == "net"
    assert told["versions"] == {
        "keras_resnets": keras_resnets.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    assert re.fullmatch(r"\d{4}(-\d\d){2}T(\d\d:){2}\d\dZ", told["created"])


def test_scores_of_another_checkpoint_are_not_told(run):
    assert metadata.origin(run.last)["test"]["top1"] == 0.75
    copy = run.path / "copy.keras"
    shutil.copy(run.best, copy)
    assert metadata.origin(copy)["test"] is None
    (run.path / "results.json").write_text("{")
    assert metadata.origin(run.best)["test"] is None


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_commit_of_the_checkout(run, monkeypatch):
    checkout = run.path.parents[1]
    assert metadata.origin(run.best)["git"] is None  # no checkout yet
    git(checkout, "init", "--quiet")
    assert metadata.origin(run.best)["git"] is None  # no commit yet
    (checkout / "code.py").write_text("1")
    git(checkout, "add", "code.py")
    git(checkout, "commit", "--quiet", "--message=first")
    commit = git(checkout, "rev-parse", "HEAD").strip()
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another checkout
    assert metadata.origin(run.best)["git"] == {"commit": commit, "dirty": False}
    (checkout / "code.py").write_text("2")
    assert metadata.origin(run.best)["git"] == {"commit": commit, "dirty": True}
    monkeypatch.setenv("PATH", "")  # no git
    assert metadata.origin(run.best)["git"] is None


def test_a_model_of_no_file(tmp_path):
    told = read(export(small_network(), "net", tmp_path))
    assert not {"checkpoint", "test", "git"} & set(told)


def test_class_names_are_an_asset(tmp_path):
    model = small_network()
    model.class_names = ("ant", "bée", "two\nlines", "\r", "back\\slash\\n", "")
    version = export(model, "net", tmp_path)
    asset = tf.saved_model.load(version).class_names.asset_path.numpy().decode()
    path = pathlib.Path(version, "assets", "class_names.txt")
    assert pathlib.Path(asset) == path and list(path.parent.iterdir()) == [path]
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines == ["ant", "bée", r"two\nlines", r"\r", r"back\\slash\\n", "", ""]
    assert read(version)["class_names"] == list(model.class_names)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (np.array(["ant", "bee"]), ["ant", "bee"]),
        ([3, 5], ["3", "5"]),
        (np.array([3, 5]), ["3", "5"]),
        ([], ["0", "1"]),
        (None, ["0", "1"]),
    ],
)
def test_class_names_of_a_plain_model(given, names):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)))
    model.class_names = given
    assert class_names_of(model) == names


@pytest.mark.parametrize(
    ("precision", "form", "is_fine"),
    [
        ("float32", 0.0, True),
        ("float32", 1e-6, False),  # of a model whose outputs are all zero
        ("bfloat16", 0.0, True),
        ("float32", float("nan"), False),
        ("bfloat16", float("nan"), False),
    ],
)
def test_outputs_that_are_all_zero(precision, form, is_fine):
    check_form(precision, np.zeros((2, 3), "float32"), np.full((2, 3), form, "float32"), is_fine)


@pytest.mark.parametrize(
    ("precision", "factor", "is_fine"),
    [("float32", 1.002, False), ("bfloat16", 1.2, True), ("bfloat16", 1.3, False)],
)
def test_how_far_a_form_may_be_from_its_model(precision, factor, is_fine, rng):
    logits = rng.standard_normal((2, 3)).astype("float32")
    check_form(precision, logits, factor * logits, is_fine)


def check_form(precision, expected, found, is_fine):
    network = types.SimpleNamespace(
        precision=precision, outputs=lambda pixels: (expected, found), read=lambda outputs: outputs
    )
    if is_fine:
        form_difference(network, None)
    else:
        with pytest.raises((UserError, FloatingPointError), match="away from it|not finite"):
            form_difference(network, None)
