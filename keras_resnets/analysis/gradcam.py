"""Where a network looks: Selvaraju 2017, *Grad-CAM: Visual Explanations from Deep Networks*."""

import inspect
import math

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.analysis import drawing
from keras_resnets.analysis.graphs import graph_of, operations_of
from keras_resnets.checks import must
from keras_resnets.errors import UserError
from keras_resnets.images import PreprocessingLayer
from keras_resnets.layers import SkippingMerge, StochasticMerge
from keras_resnets.models.network import Network

# Endings whose gradient is not that of the logit.
_ENDINGS = ("softmax", "log_softmax", "sigmoid", "log_sigmoid")


def grad_cam(model, images, classes=None, layer=None):
    """What in each image speaks for a class, by the gradient of its logit.

    The channels of a map A are weighted with the mean of d logit / d A over the places, and summed;
    of the sum the positive part is kept (Selvaraju 2017, section 3, Eqn. 1 and 2), resized to the
    image (bilinear) and divided by its largest value. A map without a positive value is all 0.

    Where the model ends in a softmax or sigmoid, be it the classifier's `activation`, a layer or an
    operation, this last activation is left out: the gradient is that of its input, the logit, as in
    the paper. (The gradient of a probability near 1 or 0 vanishes, and that of a softmax mixes in
    all other classes.) Layers run as in inference, with what the weights are now.

    Args:
        model: `Network`, or any functional or sequential `keras.Model` with one image input and one
            output `(batch, classes)`; it may hold such models as layers, as
            `keras.Model(image, network(preprocess(image)))` does.
        images: Array `(batch, height, width, channels)` as the model takes it.
        classes: Int, or sequence of ints, one for each image. Defaults to the predicted ones.
        layer: The map to use: the name of a layer, a layer, or a Keras tensor such as
            `network.stages[2].map`, at any depth of nested models. A layer that is called several
            times counts as of its last call. Defaults to `final` of the `Network` in the model, or
            else to the last map before the output.

    Returns:
        float32 array `(batch, height, width)` in 0..1. Where a `PreprocessingLayer` cuts the image,
        the map is where the cut was, and 0 around it.

    Raises:
        UserError: If an argument is not of the form above.
    """
    graph = _checked(model)
    images = _as_images(images, graph)
    forward = _Forward(_target(graph, layer), _ending(graph))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        logits = forward.run(graph, tf.convert_to_tensor(images), tape)
        logits = tf.cast(tf.convert_to_tensor(logits), tf.float32)
        chosen = _classes(classes, logits)
        score = tf.reduce_sum(tf.gather(logits, chosen, axis=1, batch_dims=1))
    gradient = None if forward.map is None else tape.gradient(score, forward.map)
    if gradient is None:
        raise UserError(
            f"`layer` must lie between the image and the output. Received: layer={layer!r}"
        )
    weights = np.asarray(tf.cast(gradient, tf.float32)).mean(axis=(1, 2), keepdims=True)
    maps = np.maximum((weights * np.asarray(tf.cast(forward.map, tf.float32))).sum(axis=-1), 0)
    maps = _spread(maps, images.shape[1:3], forward.window)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return (maps / np.where(highest > 0, highest, 1)).astype("float32")


def plot_grad_cam(images, maps, path, titles=None):
    """Draws each image beside itself under its map.

    Args:
        images: Sequence of arrays `(height, width, 1 or 3)`: uint8, or floats, which are scaled to
            their own range.
        maps: Sequence of arrays `(height, width)` in 0..1, as `grad_cam` returns them.
        path: Path of the PNG or SVG to write.
        titles: Sequence of strings, one for each image. Defaults to none.

    Raises:
        UserError: If there is no image, or the numbers of images, maps and titles differ.
    """
    counts = [len(images), len(maps), len(images if titles is None else titles)]
    if len(set(counts)) > 1 or not counts[0]:
        raise UserError(
            "`images`, `maps` and `titles` must be as many, at least one. "
            f"Received: {counts[0]} images, {counts[1]} maps, {counts[2]} titles"
        )
    pairs = min(len(images), 3)
    rows = math.ceil(len(images) / pairs)
    figure, axes = drawing.new_figure(columns=2 * pairs, rows=rows, width=1.9, height=2.15)
    for panel in axes:
        panel.set_axis_off()
    for index, (image, values) in enumerate(zip(images, maps, strict=True)):
        plain, covered = axes[2 * index : 2 * index + 2]
        for panel in (plain, covered):
            drawing.show_image(panel, image)
        heat = covered.imshow(values, cmap="inferno", vmin=0, vmax=1, alpha=0.6,
                              extent=(-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5))
        if titles is not None:
            plain.set_title(str(titles[index]), fontsize=9, loc="left")
    bar = figure.colorbar(heat, ax=axes, shrink=0.8, fraction=0.03, pad=0.02)
    bar.set_label("Grad-CAM, share of\nthe image's highest")
    drawing.save(figure, path)


class _Forward:
    """Runs images through a graph, nested ones too, and keeps the map on the way.

    Attributes:
        map: Tensor, the output of the target, or `None` if it was not met.
        window: `(top, left, height, width)` of what the model sees of the image, or `None` for
            all.
    """

    def __init__(self, target, ending):
        self.map = self.window = None
        self._target, self._ending = target, ending

    def run(self, graph, inputs, tape):
        """The output of a graph."""

        def visit(operation):
            def compute(*args, **kwargs):
                outputs = self._call(operation, args, kwargs, tape)
                if operation is self._target:
                    tape.watch(outputs)
                    self.map = outputs
                return outputs

            return compute

        inputs = [
            tf.cast(x, place.dtype)
            for x, place in zip(keras.tree.flatten(inputs), graph.inputs, strict=True)
        ]
        return graph._run_through_graph(inputs, operation_fn=visit)

    def _call(self, operation, args, kwargs, tape):
        inner = graph_of(operation)
        if inner is not None:
            return self.run(inner, args[0], tape)
        if operation is self._ending:
            return _without_activation(operation, args, kwargs)
        if isinstance(operation, SkippingMerge):
            shortcut, x = args[0]
            branch = self.run(operation.branch, x, tape)
            return StochasticMerge.call(operation, [shortcut, branch], training=False)
        if isinstance(operation, PreprocessingLayer) and self.window is None:
            self.window = operation.preprocessing.window(*args[0].shape[1:3])
        if "training" in inspect.signature(operation.call).parameters:
            kwargs = {**kwargs, "training": False}
        return operation(*args, **kwargs)


def _checked(model):
    graph = graph_of(model)
    if graph is None:
        raise UserError(
            "`model` must be a Network, or a functional or sequential keras.Model. "
            f"Received: {type(model).__name__}"
        )
    shapes = [tuple(tensor.shape) for tensor in (*graph.inputs, *graph.outputs)]
    if [len(shape) for shape in shapes] != [4, 2]:
        raise UserError(
            "`model` must have one image as input and one output (batch, classes). "
            f"Received: a model of {' and '.join(map(str, shapes))}"
        )
    return graph


def _as_images(images, graph):
    images, shape = np.asarray(images), tuple(graph.inputs[0].shape)
    is_batch = images.ndim == 4 and len(images) > 0 and images.dtype != object
    is_batch = is_batch and all(
        side in (None, given) for side, given in zip(shape, images.shape, strict=True)
    )
    if not is_batch:
        raise UserError(
            f"`images` must be an array (batch, height, width, channels) of {shape}. "
            f"Received: {images.dtype} {images.shape}"
        )
    return images


def _classes(classes, logits):
    count, outputs = logits.shape
    if classes is None:
        return tf.argmax(logits, axis=1)
    given = np.asarray(classes)
    is_legal = given.dtype.kind in "iu" and given.shape in ((), (count,))
    is_legal = is_legal and given.min() >= 0 and given.max() < outputs
    legal = f"an int in 0..{outputs - 1}, or one for each of the {count} images"
    must("classes", classes, bool(is_legal), legal)
    return tf.constant(np.broadcast_to(given, count), tf.int64)


def _target(graph, layer):
    """The operation whose output is the map."""
    operations = list(operations_of(graph))
    if layer is None:
        finals = [o.final._keras_history[0] for o in operations if isinstance(o, Network)]
        large = [o for o in operations if _is_map(o) and graph_of(o) is None]
        large = [o for o in large if tuple(_output(o).shape[1:3]) != (1, 1)] or large
        if not finals + large:
            raise UserError("`model` must compute a map (batch, height, width, channels)")
        return (finals + large[-1:])[0]
    wanted = layer._keras_history[0] if keras.backend.is_keras_tensor(layer) else layer
    found = [o for o in operations if o is wanted or o.name == wanted]
    found = [o for o in found if _is_map(o)]
    if not found:
        raise UserError(
            "`layer` must be a layer of the model with one output (batch, height, width, "
            f"channels), by name or itself. Received: layer={layer!r}"
        )
    return found[0]


def _output(operation):
    return operation._inbound_nodes[-1].outputs[0]


def _is_map(operation):
    outputs = operation._inbound_nodes[-1].outputs if operation._inbound_nodes else ()
    return len(outputs) == 1 and len(outputs[0].shape) == 4


def _ending(graph):
    """The operation that makes probabilities of the logits, or `None`."""
    tensor = graph.outputs[0]
    while True:
        operation, node, place = tensor._keras_history
        inner = graph_of(operation)
        name = _activation(operation)
        if inner is not None:
            tensor = inner.outputs[place]
        elif name in _ENDINGS:
            return operation
        elif isinstance(operation, keras.layers.Activation | keras.layers.Identity) and (
            name in (None, "linear")
        ):
            tensor = operation._inbound_nodes[node].input_tensors[0]
        else:
            return None


def _activation(operation):
    """The name of an operation's activation: its own for those that are nothing else."""
    own = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid",
           "LogSigmoid": "log_sigmoid"}.get(type(operation).__name__)
    return own or getattr(getattr(operation, "activation", None), "__name__", None)


def _without_activation(operation, args, kwargs):
    if isinstance(operation, keras.layers.Activation) or not hasattr(operation, "activation"):
        return args[0]
    activation, operation.activation = operation.activation, keras.activations.linear
    try:
        return operation(*args, **kwargs)
    finally:
        operation.activation = activation


def _spread(maps, size, window):
    """Maps `(batch, h, w)` over images of `size`, in a window of them, 0 around it."""
    top, left, tall, wide = window or (0, 0, *size)
    rows = _interpolation(size[0], top, tall, maps.shape[1])
    columns = _interpolation(size[1], left, wide, maps.shape[2])
    return np.einsum("yi,bij,xj->byx", rows, maps, columns, optimize=True)


def _interpolation(length, start, extent, cells):
    """Matrix `(length, cells)`: each pixel's share of the cells that span `extent` pixels."""
    places = (np.arange(length) + 0.5 - start) / extent
    inside = (places >= 0) & (places <= 1)
    places = np.clip(places * cells - 0.5, 0, cells - 1)
    shares = np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0)
    return shares * inside[:, None]
