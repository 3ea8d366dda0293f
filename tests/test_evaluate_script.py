"""scripts/evaluate.py on runs and on files."""

import json
import pathlib
import sys

import processes
import pytest
from test_evaluation import linear_model

import keras_resnets
from keras_resnets import Preprocessing, data
from keras_resnets.training import Recipe, reports
from keras_resnets.training.evaluation import evaluate

SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "evaluate.py"


def run_script(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return processes.run(command, timeout=300)


def test_script_on_a_run(tmp_path):
    recipe = Recipe(model="resnet20", dataset="digits", test_split="train[:50]")
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    model = keras_resnets.create_model("resnet20", input_shape=(8, 8, 1))
    model.preprocessing = Preprocessing((0.3,), (0.4,))
    model.save(tmp_path / "best.keras")
    done = run_script(f"--run_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    result = evaluate(model, data.load_splits("digits", test_split="train[:50]").test)
    assert f"loss   {result.loss:.4f}\n" in done.stdout
    assert f"top-1  {result.top1:.2%}\ntop-5  {result.topk:.2%}\n" in done.stdout
    folder = tmp_path / "evaluation"
    assert {path.name for path in folder.iterdir()} == set(reports.FILES)
    report = json.loads((folder / "evaluation.json").read_text())
    assert report["num_examples"] == 50
    assert report["loss"] == pytest.approx(result.loss, abs=1e-6)
    for arguments, size in (
        (["--strategy=mirrored", "--logical_devices=2"], (8, 8)),
        (["--strategy=none", "--image_size=16"], (16, 16)),
    ):
        done = run_script(f"--run_dir={tmp_path}", *arguments)
        assert done.returncode == 0, done.stderr
        free = keras_resnets.create_model("resnet20", input_shape=(None, None, 1))
        free.set_weights(model.get_weights())
        free.preprocessing = Preprocessing((0.3,), (0.4,), resize=size)
        result = evaluate(free, data.load_splits("digits", test_split="train[:50]").test)
        assert f"loss   {result.loss:.4f}\n" in done.stdout
    done = run_script(f"--run_dir={tmp_path}", "--strategy=horovod")
    assert done.returncode == 1
    assert done.stderr == (
        "error: flag --strategy=horovod: value should be one of <auto|none|mirrored>\n"
    )


def test_script_on_a_file_without_preprocessing(tmp_path):
    model = linear_model()
    path = tmp_path / "model.keras"
    model.save(path)
    done = run_script(f"--model={path}", "--dataset=digits", f"--output_dir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    splits = data.load_splits("digits")
    model.preprocessing = Preprocessing(*data.statistics(splits.train))
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["loss"] == pytest.approx(evaluate(model, splits.test).loss, abs=1e-6)


def test_script_refuses_other_classes(tmp_path):
    path = tmp_path / "model.keras"
    linear_model(classes=7).save(path)
    done = run_script(f"--model={path}", "--dataset=digits", f"--output_dir={tmp_path / 'out'}")
    assert done.returncode == 1
    assert "error: The model has 7 classes, digits has 10" in done.stderr
    assert not (tmp_path / "out").exists()
