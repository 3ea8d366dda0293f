"""Notes on an export for people: what it is, how well it does, and where it comes from."""

import datetime
import hashlib
import json
import os
import subprocess
from pathlib import Path

import keras
import tensorflow as tf

from keras_resnets._version import __version__
from keras_resnets.errors import UserError
from keras_resnets.models.interface import fixed_size_preprocessing
from keras_resnets.serving.formats import METADATA
from keras_resnets.training.run_directory import RunDirectory


def write_metadata(version, model, max_pixels, top=None, precision="float32", checkpoint=None):
    """Writes `assets.extra/metadata.json`. TensorFlow Serving leaves a folder of this name alone.

    Args:
        version: String or path. The folder of the export, which must not have the file yet.
        model: The exported `keras.Model`, with its `preprocessing` set.
        max_pixels: Int. The most pixels of an image that the export takes.
        top: Int. How many of the best classes it names. Defaults to not being told.
        precision: String. What it computes in. Defaults to `"float32"`.
        checkpoint: String or path. The `.keras` file that the model came from: its name, digest,
            the commit of the checkout that it is in, and, if it is one of a run, the run's test
            scores are told too. Defaults to none.

    Raises:
        OSError: If the file cannot be written.
    """
    metadata = {
        "model": getattr(model, "registry_name", model.name),
        "options": getattr(model, "options", {}),
        "preprocessing": fixed_size_preprocessing(model).get_config(),
        "class_names": class_names_of(model),
        "max_pixels": max_pixels,
        "top": top,
        "precision": precision,
        **({} if checkpoint is None else origin(checkpoint)),
        "versions": {
            "keras_resnets": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    path = os.path.join(version, METADATA)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(metadata, file, indent=2, ensure_ascii=False)


def origin(checkpoint):
    """Where a model comes from, as far as it can be known.

    Args:
        checkpoint: String or path of a `.keras` file.

    Returns:
        Dictionary with `"checkpoint"`: its file, folder and SHA-256; `"test"`: the scores of this
        file in its run's results, or `None`; `"git"`: `"commit"` of the checkout that it is in and
        whether tracked files there are changed (`"dirty"`), or `None` outside of a checkout, or
        where git does not tell.

    Raises:
        OSError: If the file cannot be read.
    """
    path = Path(checkpoint).absolute()
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "checkpoint": {"file": path.name, "folder": path.parent.name, "sha256": digest},
        "test": _test_scores(path),
        "git": _git_state(path.parent),
    }


def _test_scores(path):
    results = RunDirectory(path.parent).results()
    if not results or path.stem not in results or not isinstance(results[path.stem], dict):
        return None
    return results[path.stem] | {"dataset": results["dataset"], "images": results["test_images"]}


def _git_state(folder):
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder, *arguments):
    """What git says, or `None`: there may be no git, no checkout, or one of another user's."""
    # A hook of another checkout, for one, tells git to look there.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def write_class_names(model, path):
    r"""Writes the class names, one a line in the order of the outputs, in UTF-8.

    In a name, a line break is written as `\n` or `\r` and a backslash as `\\`.

    Args:
        model: `keras.Model`.
        path: String or path of the file.

    Raises:
        OSError: If it cannot be written.
    """
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for name in class_names_of(model):
            name = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
            file.write(f"{name}\n")


def class_names_of(model):
    """The names of the classes as strings, `"0"`, `"1"`, ... for a model without any."""
    outputs = model.output_shape[-1]
    names = getattr(model, "class_names", None)
    if names is None or not len(names):
        names = range(outputs)
    if len(names) != outputs:
        raise UserError(f"The model has {outputs} outputs and {len(names)} class names")
    return [str(name) for name in names]  # a plain model's may be an array, or numbers
