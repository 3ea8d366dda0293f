"""Where gradients vanish: the size of the loss's gradient, layer by layer.

A layer's gradient is that of its kernel and bias. Layers of different size compare by its root
mean square, sqrt((g1^2 + ... + gn^2) / n); its plain norm is sqrt(g1^2 + ... + gn^2).
"""

import contextlib
import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.analysis import drawing
from keras_resnets.checks import must
from keras_resnets.errors import UserError
from keras_resnets.models.interface import output_kind

_WEIGHTS = ("kernel", "depthwise_kernel", "pointwise_kernel", "bias")


@dataclasses.dataclass(frozen=True)
class LayerGradient:
    """The size of one layer's gradient.

    Attributes:
        name: String. Name of the layer, after those of the models that it is nested in, if any.
        count: Int. Number n of values in its kernel and bias.
        rms: Float. Root mean square of the gradient's n values.
        norm: Float. 2-norm of the gradient.
    """

    name: str
    count: int
    rms: float
    norm: float


def gradient_norms(model, images, labels, loss=None, training=True):
    """The size of the gradient of every layer that has a kernel, frozen ones too.

    Weights, moving statistics and the counters of random layers are left as they were. Random
    layers draw the numbers of the model's next step; a branch that this step skips has gradient 0.
    The loss is not scaled: with `mixed_float16` small gradients are lost.

    Args:
        model: `Network` or any functional `keras.Model` of one input and one output.
        images: Array `(batch, height, width, channels)`, or what else the model takes, as the model
            takes it (standardized).
        labels: Ints `(batch,)`, class numbers, or floats `(batch, num_classes)`, one-hot. With
            `loss`, whatever that takes.
        loss: `loss(labels, outputs)`, a scalar or one value an image, whose mean is taken; or a
            Keras loss or its name. Defaults to cross-entropy: on logits, or on probabilities where
            the model ends in softmax.
        training: Boolean. Whether layers compute as in training: batch norm by the batch's
            statistics, random layers at random. Defaults to `True`.

    Returns:
        List of `LayerGradient`, in the order of the graph.

    Raises:
        UserError: If the model is not functional or has no kernel, if images or labels do not fit
            it, or if `loss` is missing and its output is neither logits nor probabilities.
    """
    images = check_images(model, images)
    objective = make_objective(model, labels, len(images), loss)
    layers = layers_with_kernels(model)
    variables = [[variable.value for variable in own] for _, own in layers]
    with kept_state(model), tf.GradientTape() as tape:
        tape.watch(variables)
        value = objective(model(images, training=training))
    gradients = tape.gradient(value, variables)
    return [
        _size(name, values, own)
        for (name, values), own in zip(layers, gradients, strict=True)
    ]


def check_images(model, images):
    """The images as a tensor of the model's kind.

    Raises:
        UserError: If the model is not functional with one input and output, or they do not fit it.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "outputs", None):
        raise UserError(
            f"`model` must be a functional keras.Model. Received: a {type(model).__name__}"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            "`model` must have one input and one output. "
            f"Received: {len(model.inputs)} inputs, {len(model.outputs)} outputs"
        )
    shape, wanted = tuple(np.shape(images)), tuple(model.inputs[0].shape)
    fits = len(shape) == len(wanted) and all(
        side in (None, given) for side, given in zip(wanted, shape, strict=True)
    )
    if not fits or not shape[0]:
        raise UserError(
            f"`images` must have the shape of the model's input, {wanted}, with at least one image."
            f" Received: images of shape {shape}"
        )
    return tf.cast(images, model.inputs[0].dtype)


def make_objective(model, labels, batch, loss=None):
    """The loss as a function of the model's outputs.

    Args:
        model: Functional `keras.Model`.
        labels: As for `gradient_norms`.
        batch: Int. Number of images.
        loss: As for `gradient_norms`.

    Returns:
        `objective(outputs) -> scalar`.

    Raises:
        UserError: If labels, loss and model do not fit together.
    """
    if loss is not None:
        function = keras.losses.get(loss)
        must("loss", loss, callable(function), "a function of labels and outputs")
        return lambda outputs: tf.reduce_mean(function(labels, outputs))
    function = cross_entropy(model)
    targets = one_hot(model, labels, batch)
    return lambda outputs: function(targets, outputs)


def one_hot(model, labels, batch):
    """The labels as floats `(batch, num_classes)`.

    Raises:
        UserError: If they are neither class numbers nor one-hot, or do not fit the model.
    """
    classes = model.outputs[0].shape[-1]
    labels = np.asarray(labels)
    numbers = labels.shape == (batch,) and np.issubdtype(labels.dtype, np.integer)
    if numbers and labels.min() >= 0 and labels.max() < classes:
        labels = np.eye(classes)[labels]
    elif labels.shape != (batch, classes):
        raise UserError(
            f"`labels` must be {batch} class numbers below {classes}, or one-hot of shape "
            f"({batch}, {classes}). Received: {labels.dtype} of shape {labels.shape}"
        )
    return labels.astype("float32")


def cross_entropy(model):
    """The model's mean cross-entropy as `function(targets, outputs) -> scalar`; targets one-hot.

    Raises:
        UserError: If the model's output is neither logits nor probabilities of one class.
    """
    kind = output_kind(model)
    if kind == "sigmoid":
        raise UserError("`loss` must be given for a model that ends in sigmoid. Received: None")

    def function(targets, outputs):
        targets = tf.cast(targets, outputs.dtype)
        losses = keras.losses.categorical_crossentropy(
            targets, outputs, from_logits=kind == "logits"
        )
        return tf.reduce_mean(losses)

    return function


def layers_with_kernels(model):
    """The layers with a kernel, those of nested models and skippable branches included.

    Returns:
        List of pairs, in the order of the graph: the layer's name, after those of the models that
        it is nested in, and a list of its kernels and bias.

    Raises:
        UserError: If there are none.
    """
    found, seen = [], set()

    def visit(layers, prefix):
        for layer in layers:
            if isinstance(layer, keras.Model):
                visit(layer.layers, f"{prefix}{layer.name}/")
                continue
            for part in layer._flatten_layers():  # itself, a wrapped layer, a skippable branch's
                own = [getattr(part, name, None) for name in _WEIGHTS]
                own = [variable for variable in own if isinstance(variable, keras.Variable)]
                if own and id(part) not in seen:
                    seen.add(id(part))
                    found.append((prefix + part.name, own))

    visit(model.layers, "")
    if not found:
        raise UserError(f"`model` must have a layer with a kernel. Received: {model.name!r}")
    return found


@contextlib.contextmanager
def kept_state(model):
    """Sets moving statistics and the counters of random layers back to what they were."""
    variables = model.non_trainable_variables
    values = [tf.identity(variable.value) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _size(name, variables, gradients):
    count = sum(math.prod(variable.shape) for variable in variables)
    known = [gradient for gradient in gradients if gradient is not None]
    # float64: the squares of small gradients are below what float32 can hold
    squares = sum(float(tf.reduce_sum(tf.cast(gradient, tf.float64) ** 2)) for gradient in known)
    return LayerGradient(name, count, math.sqrt(squares / count), math.sqrt(squares))


def plot_gradient_norms(curves, path, title=None):
    """Draws the root mean square of the layers' gradients, from the first layer to the last.

    Up to 16 layers are named if all curves have the same; others are numbered. A gradient of 0,
    that of a skipped branch, leaves a gap in its line, as the axis is logarithmic.

    Args:
        curves: Dictionary from a label to the rows of `gradient_norms`.
        path: Path of the PNG or SVG file to write.
        title: String or `None`. Defaults to `None`.

    Raises:
        UserError: If there are no rows, or no gradient is above 0.
    """
    if not curves or not all(curves.values()):
        raise UserError("`curves` must hold rows for each label. Received: none")
    names = [[row.name for row in rows] for rows in curves.values()]
    named = len(names[0]) <= 16 and all(own == names[0] for own in names)
    figure, (axes,) = drawing.new_figure(width=6.4 if max(map(len, names)) > 16 else 5.2)
    drawn = False
    for (label, rows), look in zip(curves.items(), drawing.styles(), strict=False):
        values = np.array([row.rms for row in rows])
        values[~(np.isfinite(values) & (values > 0))] = np.nan
        drawn = drawn or np.isfinite(values).any()
        every = max(1, len(rows) // 12)
        axes.plot(range(1, len(rows) + 1), values, label=label, markevery=every, **look)
    if not drawn:
        raise UserError("`curves` must hold a gradient above 0. Received: none")
    if named:
        turn = 0 if max(map(len, names[0])) <= 4 else 90
        axes.set_xticks(range(1, len(names[0]) + 1), names[0], rotation=turn)
    drawing.finish(
        axes,
        "layer, from the first to the last" + ("" if named else " (number)"),
        "root mean square of the gradient",
        title,
        log=True,
        legend=True,
    )
    drawing.save(figure, path)
