"""What the first convolution of a network looks for."""

import math

import keras
import numpy as np

from keras_resnets.analysis import drawing
from keras_resnets.analysis.graphs import graph_of, operations_of
from keras_resnets.errors import UserError


def plot_filters(model, path):
    """Draws the kernels of the first convolution as a sheet, in colour or grey.

    Each filter is scaled to its own range, so that its form shows however small it is; the numbers
    under it are its number from 0 and its smallest and largest weight. (Krizhevsky 2012, Figure 3,
    has such a sheet.)

    Args:
        model: Functional or sequential `keras.Model`, such as a `Network`; nested models are looked
            into.
        path: Path of the PNG or SVG to write.

    Raises:
        UserError: If there is no convolution, or the first reads neither 1 nor 3 channels.
    """
    layer = _first_convolution(model)
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel), "float32")
    height, width, channels, filters = kernel.shape
    if channels not in (1, 3):
        raise UserError(
            "`model` must begin with a convolution of 1 or 3 channels to show. "
            f"Received: {layer.name}, of {channels} channels"
        )
    columns = min(filters, 8 if filters <= 64 else 16)
    rows = math.ceil(filters / columns)
    figure, axes = drawing.new_figure(columns, rows, width=1.05, height=1.2)
    for panel in axes:
        panel.set_axis_off()
    for number in range(filters):
        weights = kernel[..., number]
        drawing.show_image(axes[number], weights)
        text = f"{number}: {weights.min():.2g}..{weights.max():.2g}"
        axes[number].text(0.5, -0.04, text, fontsize=6.5, ha="center", va="top",
                          transform=axes[number].transAxes)
    colour = "RGB" if channels == 3 else "grey"
    title = f"{layer.name}: {filters} filters of {height}x{width}, {colour}"
    note = "each scaled to its own range"
    joint = "\n" if columns < 5 else ", "
    figure.suptitle(f"{title}{joint}{note}", fontsize=10 if columns >= 5 else 8)
    drawing.save(figure, path)


def _first_convolution(model):
    graph = graph_of(model)
    if graph is None:
        raise UserError(
            "`model` must be a Network, or a functional or sequential keras.Model. "
            f"Received: {type(model).__name__}"
        )
    for operation in operations_of(graph):
        if isinstance(operation, keras.layers.Conv2D):
            return operation
    raise UserError(f"`model` must have a convolution. Received: {model.name}, without one")
