"""Costs by layer and by part, against hand counts and published ones; accuracy beside cost."""

import csv
import json
import math
import sys
from pathlib import Path

import keras
import processes
import pytest
from matplotlib.text import Text

import keras_resnets
from keras_resnets import UserError, complexity, create_model
from keras_resnets.analysis import (
    accuracy_against_cost,
    cost_table,
    drawing,
    plot_accuracy_against_cost,
    plot_cost,
)
from keras_resnets.analysis.labels import label_points
from keras_resnets.training.checkpoint import write_checkpoint

ROOT = Path(__file__).parents[1]
PUBLISHED = json.loads((ROOT / "tests" / "parameter_counts.json").read_text())


def small_net():
    """8x8x3 -> 3x3 of 4 at stride 1 -> grouped 3x3 of 8 at stride 2 -> pool -> 5."""
    x = image = keras.Input((8, 8, 3))
    x = keras_resnets.layers.Conv2D(4, 3, name="one")(x)
    x = keras_resnets.layers.Conv2D(8, 3, strides=2, groups=2, use_bias=True, name="two")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(5, name="three")(x))


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


def test_flops_by_hand():
    rows = {row["layer"]: row for row in cost_table(small_net())}
    assert list(rows) == ["one", "two", "three"]
    # 2 * Cin * K^2 * H * W * Cout; a filter of the second reads 2 of the 4 channels
    assert [row["flops"] for row in rows.values()] == [
        2 * 3 * 9 * 8 * 8 * 4, 2 * 2 * 9 * 4 * 4 * 8, 2 * 8 * 5
    ]
    assert [row["macs"] for row in rows.values()] == [6912, 2304, 40]
    assert [row["parameters"] for row in rows.values()] == [108, 144 + 8, 40 + 5]
    assert rows["two"]["kernel"] == "3x3x2x8" and rows["two"]["output"] == "4x4x8"
    assert rows["three"]["kernel"] == "8x5" and rows["three"]["output"] == "5"
    assert {row["part"] for row in rows.values()} == {"head"}


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d"])
def test_the_table_adds_up_to_the_published_cost(name):
    known = next(row for row in PUBLISHED if row["model"] == name and not row["options"])
    rows = cost_table(create_model(name))
    assert sum(row["macs"] for row in rows) == pytest.approx(known["macs"] * 1e9, rel=2e-3)
    assert sum(row["trainable"] for row in rows) == known["trainable"]
    assert sum(row["parameters"] for row in rows) == known["total"]
    assert all(row["flops"] == 2 * row["macs"] for row in rows)


def test_cost_at_another_size_and_of_a_complexity(tmp_path):
    net = create_model("resnet_cifar", depth=8, width=4)
    half = {row["layer"]: row["macs"] for row in cost_table(net, (16, 16))}
    whole = {row["layer"]: row["macs"] for row in cost_table(net)}
    assert half.pop("logits") == whole.pop("logits")
    assert {layer: 4 * macs for layer, macs in half.items()} == whole
    counted = complexity(net)
    assert cost_table(counted) == cost_table(net)
    with pytest.raises(UserError, match="input_shape"):
        cost_table(counted, (16, 16))
    drawing.write_csv(tmp_path / "cost.csv", cost_table(net))
    with open(tmp_path / "cost.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert [int(row["macs"]) for row in read] == [row["macs"] for row in cost_table(net)]


def test_stacked_bars(tmp_path):
    fractal = create_model("fractalnet", columns=2, blocks=3, width=4)
    nets = {"resnet": create_model("resnet_cifar", depth=8, width=4), "fractal": fractal}
    plot_cost(nets, tmp_path / "cost.png")
    assert is_png(tmp_path / "cost.png")
    plot_cost([fractal], tmp_path / "cost.svg")
    text = (tmp_path / "cost.svg").read_text()
    assert "<svg" in text
    plot_cost({"plain": complexity(small_net())}, tmp_path / "plain.png")
    with pytest.raises(UserError, match="`networks`"):
        plot_cost({}, tmp_path / "none.png")


def make_run(folder, model, accuracy, speeds):
    folder.mkdir(parents=True)
    write_checkpoint(folder / "best.keras", model, [{"epoch": 1}])
    results = {"model": model.name, "dataset": "digits", "best": {"top1": accuracy}}
    (folder / "results.json").write_text(json.dumps(results))
    lines = ["epoch,images_per_second", *(f"{i},{speed}" for i, speed in enumerate(speeds, 1))]
    (folder / "log.csv").write_text("\n".join(lines) + "\n")


def test_accuracy_against_cost_reads_finished_runs(tmp_path):
    net = create_model("resnet_cifar", depth=8, width=4, num_classes=3, name="small")
    net.class_names = ["a", "b", "c"]
    make_run(tmp_path / "first", net, 0.5, [10, 40, 30])
    make_run(tmp_path / "deep" / "second", net, 0.75, [20.5])
    make_run(tmp_path / "damaged", net, 0.75, [20.5])
    (tmp_path / "damaged" / "best.keras").write_bytes(b"PK")
    make_run(tmp_path / "unfinished", net, 0.75, [20.5])
    (tmp_path / "unfinished" / "results.json").unlink()
    with pytest.warns(UserWarning, match="damaged is left out") as caught:
        rows = accuracy_against_cost(tmp_path)
    assert len([w for w in caught if "left out" in str(w.message)]) == 1
    cost = complexity(net)
    shared = {"model": "small", "dataset": "digits", "macs": cost.macs, "parameters": cost.total}
    assert rows == [
        {"run": "deep/second", "test_accuracy": 0.75, "images_per_second": 20.5} | shared,
        {"run": "first", "test_accuracy": 0.5, "images_per_second": 30.0} | shared,
    ]
    assert accuracy_against_cost(tmp_path / "first")[0]["run"] == "first"
    plot_accuracy_against_cost(rows, tmp_path / "accuracy.png")
    assert is_png(tmp_path / "accuracy.png")


def test_no_finished_run(tmp_path):
    with pytest.raises(UserError, match="finished run"):
        accuracy_against_cost(tmp_path)
    with pytest.raises(UserError, match="`rows`"):
        plot_accuracy_against_cost([], tmp_path / "none.png")


def test_labels_do_not_cover_each_other(tmp_path):
    figure, (axes,) = drawing.new_figure()
    points = [(0.5 + 0.01 * math.cos(i), 0.5 + 0.01 * math.sin(i)) for i in range(8)]
    axes.scatter(*zip(*points, strict=True))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    label_points(figure, axes, points, [f"network{i}" for i in range(8)])
    drawing.save(figure, tmp_path / "labels.png")
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the lines to points
    assert len(boxes) == 8
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


@pytest.mark.slow
def test_models_script_writes_its_table(tmp_path):
    file = tmp_path / "models.csv"
    done = processes.run(
        [sys.executable, ROOT / "scripts" / "models.py", "resnet20", "--by=stage", f"--csv={file}"]
    )
    assert done.returncode == 0, done.stderr
    assert "| stage3 |" in done.stdout
    with open(file, newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["stage"] for row in rows] == ["stem", "stage1", "stage2", "stage3", "head"]
    cost = complexity(create_model("resnet20"))
    assert [int(row["macs"]) for row in rows] == [part.macs for part in cost.stages.values()]
    assert sum(int(row["total"]) for row in rows) == cost.total
    assert {row["input"] for row in rows} == {"32x32x3"}
