"""What networks cost, layer by layer and beside what they reach."""

import csv
import json
import math
import statistics
import warnings
from collections.abc import Mapping
from pathlib import Path

import keras

from keras_resnets.analysis import drawing
from keras_resnets.analysis.complexity import Complexity, complexity
from keras_resnets.analysis.labels import label_points
from keras_resnets.errors import UserError
from keras_resnets.models.files import read_members

GREYS = {"stem": "#bbbbbb", "head": "#555555"}
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++")
# The figure's axes: key of a row, label.
COSTS = {
    "macs": "multiply-accumulates of an image",
    "images_per_second": "images a second in training",
}

_UNITS = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1))


def cost_table(network, input_shape=None):
    """The cost of each layer that has parameters or multiplies.

    A convolution is 2 * Cin * K^2 * H * W * Cout floating-point operations: its multiplications,
    their additions and the bias. With groups, Cin is the channels that a filter reads. That is two
    for each multiply-accumulate of `complexity`; batch normalization, activations and pools count
    none.

    Args:
        network: Functional `keras.Model`, or the `Complexity` of one.
        input_shape: `(height, width)` or `(height, width, channels)` to count at. Defaults to the
            network's own.

    Returns:
        List of dictionaries in the order of the graph, for `drawing.write_csv`: `layer`, `part`
        (`"stem"`, `"stage1"`, ..., `"head"`), `kind`, `kernel` (`"3x3x16x32"`: height, width,
        channels a filter reads, filters), `output` (`"16x16x32"`), `parameters`, `trainable`,
        `macs`, `flops`.

    Raises:
        UserError: As `complexity`, or if a `Complexity` comes with an `input_shape`.
    """
    return [
        {
            "layer": layer.name,
            "part": layer.part,
            "kind": layer.kind,
            "kernel": _sides(layer.kernel),
            "output": _sides(layer.output_shape),
            "parameters": layer.total,
            "trainable": layer.trainable,
            "macs": layer.macs,
            "flops": layer.flops,
        }
        for layer in _complexity(network, input_shape).layers
        if layer.total or layer.macs
    ]


def plot_cost(networks, path):
    """Draws multiply-accumulates and parameters as bars, stacked by part of the network.

    Args:
        networks: Mapping from name to network or `Complexity`, or a sequence of networks.
        path: Path of the PNG or SVG to write.

    Raises:
        UserError: If there is no network, or as `complexity`.
    """
    if not isinstance(networks, Mapping):
        networks = {network.name: network for network in networks}
    if not networks:
        raise UserError("`networks` must hold at least one network. Received: none")
    costs = {name: _complexity(network) for name, network in networks.items()}
    figure, axes = drawing.new_figure(columns=2, width=5.2, height=1.5 + 0.42 * len(costs))
    for panel, attribute, label in (
        (axes[0], "macs", "multiply-accumulates of an image"),
        (axes[1], "total", "parameters"),
    ):
        highest = max(getattr(cost, attribute) for cost in costs.values())
        prefix, unit = next(pair for pair in _UNITS if highest >= pair[1] or pair[1] == 1)
        _draw_bars(panel, costs, attribute, unit)
        drawing.finish(panel, f"{label} ({prefix})" if prefix else label, "")
        panel.grid(visible=False, axis="y")
    axes[1].set_yticklabels([])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 8),
                  frameon=False, fontsize=9)
    drawing.save(figure, path)


def accuracy_against_cost(runs_folder):
    """What the finished runs below a folder reached, and what their networks cost.

    The networks are built from the configs in best.keras, without their weights, each kind once.
    A run without results.json is not finished; one whose files cannot be read is left out with a
    warning.

    Args:
        runs_folder: Path of a folder that holds runs, at any depth, or is one.

    Returns:
        List of dictionaries, by `run`, the run's path in the folder: `run`, `model`, `dataset`,
        `test_accuracy` (0..1, of best.keras), `macs` (of one image), `parameters` (all, as
        `model.count_params()`), `images_per_second` (median of the epochs in log.csv, training).

    Raises:
        UserError: If no finished run is there.
    """
    folder, known, rows = Path(runs_folder), {}, []
    for results in sorted(folder.rglob("results.json")):
        try:
            rows.append(_row_of(results.parent, folder, known))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            reason = " ".join(str(error).split())
            warnings.warn(f"{results.parent} is left out: {type(error).__name__}: {reason}",
                          stacklevel=2)
    if not rows:
        raise UserError(
            f"`runs_folder` must hold a finished run, a folder with results.json, log.csv and "
            f"best.keras. Received: runs_folder={str(folder)!r}"
        )
    return rows


def plot_accuracy_against_cost(rows, path):
    """Draws test accuracy against multiply-accumulates and against images a second.

    Each set has a colour and a marker. A point is labelled with its model, and with its run where
    several runs of a set share the model.

    Args:
        rows: Sequence of dictionaries, as `accuracy_against_cost` returns them.
        path: Path of the PNG or SVG to write.

    Raises:
        UserError: If there is no row.
    """
    from matplotlib.ticker import PercentFormatter

    if not rows:
        raise UserError("`rows` must hold at least one run. Received: none")
    figure, axes = drawing.new_figure(columns=2, width=5.6, height=4.4)
    sets = dict(zip(sorted({row["dataset"] for row in rows}), drawing.styles(), strict=False))
    for panel, (key, label) in zip(axes, COSTS.items(), strict=True):
        for name, style in sets.items():
            points = [(row[key], row["test_accuracy"]) for row in rows if row["dataset"] == name]
            look = {"color": style["color"], "marker": style["marker"]}
            panel.scatter(*zip(*points, strict=True), s=36, label=name, zorder=3, **look)
        panel.set_xscale("log")
        panel.margins(x=0.12, y=0.12)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        drawing.finish(panel, label, "test accuracy", legend=panel is axes[0] and len(sets) > 1)
        _name_ticks(panel)
    if len(sets) == 1:
        figure.suptitle(next(iter(sets)), fontsize=11)
    for panel, key in zip(axes, COSTS, strict=True):
        points = [(row[key], row["test_accuracy"]) for row in rows]
        label_points(figure, panel, points, _names(rows))
    drawing.save(figure, path)


def _complexity(network, input_shape=None):
    if not isinstance(network, Complexity):
        return complexity(network, input_shape)
    if input_shape is not None:
        raise UserError(
            "`input_shape` must be none with a Complexity, which was counted at "
            f"{network.input_shape}. Received: input_shape={input_shape}"
        )
    return network


def _sides(shape):
    return "x".join(map(str, shape))


def _draw_bars(axes, costs, attribute, unit):
    """One bar a network, from the top down, one segment a part; the total at its end."""
    looks = _looks({part for cost in costs.values() for part in cost.stages})
    places = range(len(costs))
    left = [0.0] * len(costs)
    for part, look in looks.items():
        widths = [
            getattr(cost.stages[part], attribute) / unit if part in cost.stages else 0.0
            for cost in costs.values()
        ]
        axes.barh(places, widths, left=left, height=0.66, label=part, edgecolor="white",
                  linewidth=0.6, **look)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, total in zip(places, left, strict=True):
        axes.annotate(f"{total:.3g}", (total, place), (4, 0), textcoords="offset points",
                      va="center", fontsize=9)
    axes.set_xlim(0, max(left) * 1.14)
    axes.set_yticks(places, list(costs))
    axes.set_ylim(len(costs) - 0.4, -0.6)


def _looks(parts):
    """Colour and hatch of each part: stem, the stages by their numbers, head."""
    stages = sorted((part for part in parts if part not in GREYS), key=lambda p: int(p[5:]))
    order = [part for part in ("stem", *stages, "head") if part in parts]
    return {
        part: {
            "color": GREYS.get(part) or drawing.COLOURS[stages.index(part) % 6],
            "hatch": "" if part in GREYS else HATCHES[stages.index(part) % len(HATCHES)],
        }
        for part in order
    }


def _row_of(run, folder, known):
    """The row of one run; `known` has the cost of each config that was met before."""
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    with open(run / "log.csv", newline="", encoding="utf-8") as file:
        speeds = [float(row["images_per_second"]) for row in csv.DictReader(file)]
    config = read_members(run / "best.keras", "config.json")[0]
    kept = {key: value for key, value in config["config"].items() if key != "class_names"}
    key = json.dumps(kept, sort_keys=True)
    if key not in known:
        config = {**config, "compile_config": None, "build_config": None}
        known[key] = complexity(keras.saving.deserialize_keras_object(config))
    accuracy = float(results["best"]["top1"])
    if not math.isfinite(accuracy):
        raise UserError(f"its test accuracy is {accuracy}")
    return {
        "run": str(run.relative_to(folder)) if run != folder else run.resolve().name,
        "model": str(results["model"]),
        "dataset": str(results["dataset"]),
        "test_accuracy": accuracy,
        "macs": known[key].macs,
        "parameters": known[key].total,
        "images_per_second": statistics.median(speeds),
    }


def _names(rows):
    kinds = [(row["model"], row["dataset"]) for row in rows]
    return [
        row["model"] if kinds.count(kind) == 1 else row["run"]
        for row, kind in zip(rows, kinds, strict=True)
    ]


def _name_ticks(axes):
    """Ticks of a logarithmic axis at 1, 2 and 5, as `20M` or `500`."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
