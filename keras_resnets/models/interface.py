"""How a classifier is fed and how its output is read, for evaluation and for serving alike."""

import dataclasses

import keras

from keras_resnets.errors import UserError
from keras_resnets.models.network import Network

# Layers whose outputs are scores of the kind of their inputs.
_KEEPS_SCORES = (
    keras.layers.Activation,
    keras.layers.Average,
    keras.layers.Concatenate,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Maximum,
    keras.layers.Reshape,
)


def output_kind(model):
    """How the classifier's output is to be read, by its last activation.

    Layers that leave scores as they are (a linear activation, dropout, the mean or concatenation of
    scores of one kind) are looked through, and so are nested models.

    Args:
        model: `Network` or any `keras.Model`.

    Returns:
        `"logits"`, `"softmax"`, or `"sigmoid"` for classes that do not exclude each other.

    Raises:
        UserError: If the output is not `(batch, num_classes)`, has another activation, mixes kinds,
            or comes from a model that is not functional.
    """
    if not getattr(model, "outputs", None):
        raise UserError(
            f"The model must be functional, so that its output is known. Received: {model!r}"
        )
    if isinstance(model, Network) and not model.options["include_top"]:
        raise UserError("The model has no classifier: it was built with include_top=False")
    # Of a sequential model the functional one inside it knows.
    outputs = getattr(getattr(model, "_functional", None) or model, "_outputs_struct", None)
    if isinstance(outputs, dict):
        raise UserError(
            "The model must give its output alone, not in a dictionary. "
            f"Received: a dictionary of {list(outputs)}"
        )
    if len(model.outputs) != 1 or len(model.output_shape) != 2:
        raise UserError(
            "The model must end in a classifier, (batch, num_classes). "
            f"Received: output shape {model.output_shape}"
        )
    return _kind_of(model.outputs[0])


def _kind_of(tensor, is_last=True):
    """How the scores of a Keras tensor are to be read; deeper activations are the network's own."""
    operation, node, index = tensor._keras_history
    if isinstance(operation, keras.Model):
        if not getattr(operation, "outputs", None):
            raise UserError(
                f"The model ends in {operation.name}, a {type(operation).__name__} whose layers "
                "are not known: build it with the functional API"
            )
        return _kind_of(operation.outputs[index], is_last)
    kind = _own_kind(operation, is_last)
    inputs = operation._inbound_nodes[node].input_tensors
    if kind or getattr(operation, "weights", None) or not inputs:
        return kind or "logits"
    kinds = {_kind_of(one, is_last=False) for one in inputs}
    if kinds == {"logits"}:
        return "logits"
    if len(kinds) > 1 or not isinstance(operation, _KEEPS_SCORES):
        raise UserError(
            f"The model ends in {operation.name}, a {type(operation).__name__} of "
            f"{' and '.join(sorted(kinds))}, so that its output is neither logits nor "
            "probabilities for sure: end it in the classifier's own activation"
        )
    return kinds.pop()


def _own_kind(operation, is_last):
    """`"softmax"` or `"sigmoid"` of an operation that is one, or ends in one; else `None`."""
    activation = getattr(operation, "activation", None) or keras.activations.linear
    kind = type(operation).__name__.lower()
    if kind in ("softmax", "sigmoid"):
        return kind
    if activation in (keras.activations.softmax, keras.activations.sigmoid):
        return activation.__name__
    if is_last and activation is not keras.activations.linear:
        raise UserError(
            "The classifier's activation must be None, softmax or sigmoid. "
            f"Received: {getattr(activation, '__name__', activation)}"
        )
    return None


def fixed_size_preprocessing(model):
    """The model's preprocessing, completed so that every image comes out in one size.

    Where it leaves the size open, images are brought to the sides of the network's input.

    Raises:
        ValueError: If the model has no preprocessing, or its channels or size do not fit.
    """
    preprocessing = getattr(model, "preprocessing", None)
    if preprocessing is None:
        raise UserError(
            "The model has no preprocessing, so its pixels' scale, mean and deviation are "
            "unknown: set `model.preprocessing` to a keras_resnets.Preprocessing"
        )
    *sides, channels = model.input_shape[1:]
    if channels != preprocessing.channels:
        raise UserError(
            f"The model takes {channels} channels, its preprocessing gives "
            f"{preprocessing.channels}"
        )
    size = preprocessing.crop or preprocessing.resize
    if not isinstance(size, tuple):
        if None in sides:
            raise UserError(
                "The model takes images of any size: its preprocessing must have a `crop` or "
                f"`resize` of (height, width). Received: {preprocessing}"
            )
        size = tuple(sides)
        field = "resize" if preprocessing.resize is None else "crop"
        preprocessing = dataclasses.replace(preprocessing, **{field: size})
    if any(side not in (None, made) for side, made in zip(sides, size, strict=True)):
        raise UserError(
            f"The model takes images of {tuple(sides)} pixels, its preprocessing makes {size}"
        )
    return preprocessing
