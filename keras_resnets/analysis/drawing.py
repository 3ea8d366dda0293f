"""What all figures of experiments share: a canvas of their own, colours, axes, tables beside them.

The colours are those of Okabe and Ito (2008, "Color Universal Design"), which are told apart in the
common forms of colour blindness; lines differ in their dashes and markers too, for print in grey.
matplotlib is imported by the functions that draw, so that the package works without it.
"""

import csv
import itertools

import numpy as np

DPI = 120
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GRID = {"color": "#dddddd", "linewidth": 0.7}


def new_figure(columns=1, rows=1, width=5.0, height=3.8):
    """A figure and its axes, without pyplot: a notebook's backend is left alone.

    Args:
        columns: Int, panels side by side.
        rows: Int, panels above each other.
        width: Float, inches of one panel.
        height: Float, inches of one panel.

    Returns:
        Pair of a matplotlib figure and a list of its axes, row by row.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = [list(row) for row in figure.subplots(rows, columns, squeeze=False)]
    return figure, list(itertools.chain(*panels))


def styles():
    """Yields the look of one line after the other: dictionaries for `axes.plot`."""
    looks = zip(
        itertools.cycle(COLOURS), itertools.cycle(DASHES), itertools.cycle(MARKERS), strict=False
    )
    for colour, dashes, marker in looks:
        yield {"color": colour, "linestyle": dashes, "marker": marker, "markersize": 4}


def finish(axes, x, y, title=None, log=False, legend=False):
    """Labels axes and draws their grid.

    Args:
        axes: matplotlib axes.
        x: String, what the horizontal axis shows, with its unit.
        y: String, what the vertical axis shows, with its unit.
        title: String or `None`. Defaults to `None`.
        log: Boolean. Whether the vertical axis is logarithmic. Defaults to `False`.
        legend: Boolean. Whether the labels of the lines are shown. Defaults to `False`.
    """
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title, fontsize=11)
    if log:
        axes.set_yscale("log")
    axes.grid(which="both" if log else "major", **GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False)


def show_image(axes, image):
    """Draws an image without interpolating small ones.

    Args:
        axes: matplotlib axes.
        image: Array `(height, width, 1 or 3)`: uint8, or floats, which are scaled to their own
            range.
    """
    image = np.asarray(image)
    if image.dtype != "uint8":
        low, high = float(image.min()), float(image.max())
        image = (image - low) / ((high - low) or 1.0)
    grey = image.shape[-1] == 1
    smooth = "nearest" if max(image.shape[:2]) < 128 else "antialiased"
    axes.imshow(image[..., 0] if grey else image, cmap="gray", vmin=0,
                vmax=255 if image.dtype == "uint8" else 1, interpolation=smooth)


def save(figure, path):
    """Writes a figure as PNG or SVG, as the path's suffix says."""
    figure.savefig(path, dpi=DPI)


def write_csv(path, rows):
    """Writes a table.

    Args:
        path: String or path.
        rows: Sequence of dictionaries of the same keys, at least one.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
