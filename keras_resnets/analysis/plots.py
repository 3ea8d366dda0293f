"""Training curves, confusion matrices and sheets of mistakes as PNG files.

Figures are drawn on a canvas of their own, without pyplot: a notebook's backend is left alone.
matplotlib is imported by the functions that draw, so that the package works without it.
"""

import csv
import math

import numpy as np

from keras_resnets.errors import UserError

DPI = 120
TRAIN, VALIDATION, RATE = "#1f77b4", "#d62728", "#555555"
COLOURS = {"training": TRAIN, "validation": VALIDATION}
GRID = {"color": "#dddddd", "linewidth": 0.7}


def plot_curves(log_csv, png, title=None, best=None):
    """Draws loss, accuracy and learning rate over the epochs of a training.

    The axis of the loss is logarithmic and ends above the bulk of the values. What lies beyond, a
    bad epoch or the first ones, is a triangle at its end with the value beside it.

    Args:
        log_csv: Path of the log of a run, or of `keras.callbacks.CSVLogger`. Drawn are
            `cross_entropy` (if there is none, `loss`), `accuracy`, their `val_` counterparts, and
            `learning_rate`, as far as they are there.
        png: Path of the file to write.
        title: String. Defaults to none.
        best: Int. An epoch to mark, counted from 1. Defaults to none.

    Raises:
        ValueError: If the log has no epoch.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    log = _read_log(log_csv)
    epochs = log["epoch"] + (log["epoch"][0] == 0)  # Keras' log counts from 0
    loss = "cross_entropy" if "cross_entropy" in log else "loss"
    panels = [panel for panel in (loss, "accuracy", "learning_rate") if panel in log]
    figure = Figure(figsize=(4.4 * len(panels), 3.8), layout="constrained")
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        if panel == "learning_rate":
            _draw_curve(axes, epochs, log[panel], RATE)
            axes.set_yscale("log")
        else:
            curves = {"training": log[panel], "validation": log.get(f"val_{panel}")}
            curves = {label: values for label, values in curves.items() if values is not None}
            for label, values in curves.items():
                _draw_curve(axes, epochs, values, COLOURS[label], label)
            if panel == loss:
                _fit_axis(axes, epochs, curves)
            _mark(axes, epochs, curves, best)
            axes.legend(frameon=False)
        if panel == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("epoch")
        axes.set_ylabel(panel.replace("_", " "))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(which="both" if panel == "learning_rate" else "major", **GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(_shorten(title, 80), fontsize=12)
    figure.savefig(png, dpi=DPI)


def plot_confusion(matrix, class_names, png):
    """Draws a confusion matrix, coloured by the share of each true class.

    Cells hold their counts and the axes the class names, as far as they fit.

    Args:
        matrix: Array of ints `(num_classes, num_classes)`, by true class (row) and predicted
            class (column).
        class_names: Sequence of strings.
        png: Path of the file to write.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    matrix = np.asarray(matrix)
    classes = len(matrix)
    side = min(max(0.55 * classes, 3.0), 11.0)  # inches
    pitch = side / classes * 72  # points a class
    counts = matrix.sum(axis=1, keepdims=True)
    shares = np.where(counts > 0, matrix / np.maximum(counts, 1), 0.0)

    names = [_shorten(name, 20) for name in class_names]
    margin = 0.085 * max(map(len, names)) * min(1.0, pitch / 12) + 0.6
    figure = Figure(figsize=(side + margin + 1.0, side + margin), layout="constrained")
    axes = figure.subplots()
    # A root brings out the few mistakes beside the many that are right.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0.0, 1.0))
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    size = min(10.0, 0.8 * pitch)
    step = 1 if size >= 4.5 else math.ceil(classes / 20)
    shown = range(0, classes, step)
    labels = names if step == 1 else [str(index) for index in range(classes)]
    size = size if step == 1 else 9
    axes.set_xticks(shown, [labels[index] for index in shown], fontsize=size)
    axes.set_yticks(shown, [labels[index] for index in shown], fontsize=size)
    axes.tick_params(axis="x", rotation=90 if max(map(len, labels)) > 2 else 0)
    axes.tick_params(length=2)
    if pitch >= 22:
        _write_counts(axes, matrix, shares, min(10.0, pitch / max(3, len(str(matrix.max())))))
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    figure.savefig(png, dpi=DPI)


def plot_mistakes(images, true, predicted, probability, class_names, png):
    """Draws up to 25 wrongly classified images with their true and predicted classes.

    Args:
        images: Sequence of uint8 arrays `(height, width, 1 or 3)`, of any sizes.
        true: Sequence of ints, the true classes.
        predicted: Sequence of ints, the predicted classes.
        probability: Sequence of floats, the predicted classes' probabilities.
        class_names: Sequence of strings.
        png: Path of the file to write.
    """
    from matplotlib.figure import Figure

    count = min(len(images), 25)
    if not count:
        figure = Figure(figsize=(4.0, 1.2))
        figure.text(0.5, 0.5, "no mistakes", ha="center", va="center", fontsize=14)
        figure.savefig(png, dpi=DPI)
        return
    columns = min(count, 5)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(2.2 * max(columns, 2), 2.6 * rows + 0.5), layout="constrained")
    figure.suptitle("Most confident mistakes", fontsize=13)
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if index >= count:
            continue
        image = np.asarray(images[index])
        smooth = "nearest" if max(image.shape[:2]) < 128 else "antialiased"
        grey = image.shape[-1] == 1
        axes.imshow(image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=255,
                    interpolation=smooth)
        wrong = _shorten(class_names[predicted[index]], 18)
        axes.set_title(f"{wrong}  {probability[index]:.0%}", fontsize=9, color=VALIDATION, pad=14)
        axes.text(0.5, 1.02, f"true: {_shorten(class_names[true[index]], 18)}", fontsize=9,
                  ha="center", va="bottom", transform=axes.transAxes)
    figure.savefig(png, dpi=DPI)


def _read_log(path):
    """The columns of a CSV file as float arrays; NaN where a field is empty or no number."""

    def number(field):
        try:
            return float(field)
        except (TypeError, ValueError):
            return math.nan

    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise UserError(f"{path} has no epoch to draw")
    columns = {key: np.array([number(row[key]) for row in rows]) for key in rows[0] if key}
    columns.setdefault("epoch", np.arange(len(rows), dtype=float))
    return columns


def _draw_curve(axes, epochs, values, colour, label=None):
    known = np.isfinite(values)
    few = known.sum() <= 20
    axes.plot(epochs[known], values[known], color=colour, label=label, linewidth=1.6,
              marker="o" if few else None, markersize=3.5)


def _fit_axis(axes, epochs, curves):
    """A logarithmic axis that ends above the bulk of the values, and points at the others."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    known = np.concatenate(list(curves.values()))
    known = known[np.isfinite(known) & (known > 0)]
    if not len(known):
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    low, high = np.quantile(np.log(known), (0.25, 0.75))
    fence = np.exp(high + 1.5 * (high - low))  # Tukey's, of logarithms
    if known.max() <= fence:
        return
    inside = known[known <= fence]
    end = inside.max() * 1.3
    axes.set_ylim(inside.min() / 1.15, end)
    for label, values in curves.items():
        for epoch, value in zip(epochs, values, strict=True):
            if value > fence:
                axes.scatter(epoch, end, marker="^", color=COLOURS[label], clip_on=False, zorder=3)
                axes.annotate(f"{value:.3g}", (epoch, end), (5, 1), textcoords="offset points",
                              color=COLOURS[label], fontsize=8)


def _mark(axes, epochs, curves, best):
    """A circle around the best epoch's value, and which one it is."""
    values = curves.get("validation", curves["training"])
    for value in values[(epochs == best) & np.isfinite(values)] if best else ():
        axes.scatter(best, value, s=70, facecolors="none", edgecolors="#222222", zorder=4,
                     label=f"best, epoch {best}")


def _write_counts(axes, matrix, shares, size):
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if shares[row, column] > 0.35 else "#222222"
        axes.text(column, row, matrix[row, column], ha="center", va="center", fontsize=size,
                  color=colour)


def _shorten(name, length):
    name = str(name)
    return name if len(name) <= length else name[: length - 1] + "…"
