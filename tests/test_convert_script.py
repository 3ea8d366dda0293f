"""scripts/convert.py and `--init`, in real processes."""

import sys
from pathlib import Path

import keras
import numpy as np
import processes
import pytest

import keras_resnets
from keras_resnets import weights

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def run(tmp_path):
    def done(script, *arguments):
        return processes.run(
            [sys.executable, SCRIPTS / script, *arguments],
            cwd=tmp_path,
            timeout=300,
        )

    return done


@pytest.fixture
def network(tmp_path):
    made = keras_resnets.ResNet20(shortcut_pad="both")
    weights.save(made, tmp_path / "net.safetensors", "akamaster")
    return made


def test_there_and_back(run, network, tmp_path):
    done = run("convert.py", "--checkpoint=net.safetensors", "--output=net.keras")
    assert done.returncode == 0, done.stderr
    assert "converted net.safetensors, resnet20, to net.keras" in done.stdout
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert loaded.class_names[0] == "airplane"
    done = run(
        "convert.py", "--checkpoint=net.keras", "--to=akamaster", "--output=made/back.safetensors"
    )
    assert done.returncode == 0, done.stderr
    before = weights.read(tmp_path / "net.safetensors").tensors
    after = weights.read(tmp_path / "made" / "back.safetensors").tensors
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        np.testing.assert_array_equal(tensor.read(), after[name].read())
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["back.safetensors"]


def test_model_and_options(run, network, tmp_path):
    done = run(
        "convert.py", "--checkpoint=net.safetensors", "--model=resnet20", "--option=num_classes=3",
        "--option=survival=0.5", "--output=net.keras",
    )
    assert done.returncode == 0, done.stderr
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert (loaded.output_shape[-1], loaded.options["survival"]) == (3, 0.5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output=x.keras"], "--checkpoint"),
        (["--checkpoint=none.pth", "--output=x.keras"], "There is no file of weights none.pth"),
        (["--checkpoint=net.safetensors", "--output=x.h5"], "--output must end in .keras"),
        (["--checkpoint=net.safetensors", "--output=net.keras"], "net.keras exists"),
        (
            ["--checkpoint=net.safetensors", "--to=torchvision", "--output=x.safetensors"],
            "torchvision computes what resnet20 does",
        ),
        (
            ["--checkpoint=net.safetensors", "--to=torch", "--output=x.safetensors"],
            "must be one of",
        ),
        (
            ["--checkpoint=net.safetensors", "--output=x.keras", "--option=survival=0.5"],
            "--option needs --model",
        ),
        (
            ["--checkpoint=net.safetensors", "--output=x.keras", "--model=resnet56"],
            "180 tensors missing",
        ),
    ],
)
def test_mistakes_are_one_line(run, network, tmp_path, arguments, words):
    (tmp_path / "net.keras").write_text("mine")
    before = sorted(p.name for p in tmp_path.iterdir())
    done = run("convert.py", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert (tmp_path / "net.keras").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_training_starts_from_weights_and_goes_on_without_them(run, network, tmp_path):
    flags = [
        "--model=resnet20", "--init=net.safetensors", "--dataset=digits", "--steps_per_epoch=2",
        "--batch_size=32", "--run_dir=run", "--lr=0.000001",
    ]
    done = run("train.py", *flags, "--epochs=1")
    assert done.returncode == 0, done.stderr
    assert "10 classes there" not in done.stdout  # digits have as many
    assert "the stem is adapted" in done.stdout
    (tmp_path / "net.safetensors").unlink()
    done = run("train.py", *flags, "--epochs=2")
    assert done.returncode == 0, done.stderr
    assert '"init": "net.safetensors"' in (tmp_path / "run" / "recipe.json").read_text()
    trained = keras.saving.load_model(tmp_path / "run" / "last.keras")
    assert trained.options["shortcut_pad"] == "both"
    assert trained.preprocessing.mean == (pytest.approx(0.449),)
    # At this rate nothing but the statistics of batch norm moves.
    for layer in trained.layers:
        starts = network.get_layer(layer.name).weights
        for variable, start in zip(layer.weights, starts, strict=True):
            if "kernel" in variable.path and layer.name != "stem_conv":
                np.testing.assert_allclose(variable, start, atol=1e-4)
    done = run("train.py", *[flag.replace("=run", "=other") for flag in flags], "--epochs=1")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: There is no file of weights net.safetensors"
    assert not (tmp_path / "other").exists()
