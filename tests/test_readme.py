"""The README's code and commands are run, its trainings cut short."""

import os
import pathlib
import re
import shlex
import sys

import numpy as np
import processes
import pytest
import tensorflow as tf

import keras_resnets
from keras_resnets import weights

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# Enough to go through every part of a run; the digits stand for sets that must be downloaded.
SHORT = "--epochs=3 --steps_per_epoch=2 --batch_size=8 --warmup_epochs=1 --boundaries="
IN_PLACE_OF_CIFAR = (
    f"{SHORT} --dataset=digits --image_size=32 --download=false --augment=flip "
    "--train_split= --validation_split= --test_split="
)
OF_PHOTOS = f"{SHORT} --image_size=32"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands():
    """The README's calls of scripts, continuation lines joined, in order."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith(".venv/bin/python scripts/")]


def run(line, folder):
    program, script, *arguments = shlex.split(line, comments=True)
    assert program == ".venv/bin/python"
    done = processes.run(
        [sys.executable, script, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=600,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return done.stdout


@pytest.fixture
def checkout(tmp_path, rng):
    """A folder that looks like a checkout, with photos of two classes."""
    for name in ("scripts", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)

    def write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        path.write_bytes(tf.io.encode_jpeg(pixels).numpy())

    write(tmp_path / "photo.jpg")
    weights.save(keras_resnets.ResNet18(), tmp_path / "resnet18.safetensors")
    for split, count in (("train", 12), ("val", 4)):
        for name in ("cat", "dog"):
            for number in range(count):
                write(tmp_path / "photos" / split / name / f"{number}.jpg")
    return tmp_path


@pytest.mark.slow
def test_the_commands_run(checkout):
    lines = commands()
    assert len(lines) >= 5
    for line in lines:
        if "train.py" in line:
            line = f"{line} {OF_PHOTOS if 'photos' in line else IN_PLACE_OF_CIFAR}"
        elif "predict.py" in line:
            line = line.replace("photo.jpg", "photos/val/cat")
        run(line, checkout)
    assert (checkout / "runs").is_dir() and (checkout / "saved_models").is_dir()


def test_the_code_runs(tmp_path):
    code = "\n".join(blocks("python")).replace("epochs=8", "epochs=1")
    assert "epochs=1" in code and "reset_classifier" in code
    (tmp_path / "photos").mkdir()
    done = processes.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "stage1" in done.stdout
