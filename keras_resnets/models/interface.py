"""How a classifier is fed and how its output is read, for evaluation and for serving alike."""

import dataclasses

import keras

from keras_resnets.models.network import Network


def has_softmax(model):
    """Whether the classifier ends in a softmax (`True`) or in logits (`False`).

    Raises:
        ValueError: If the output is not `(batch, num_classes)`, or has another activation.
    """
    if isinstance(model, Network) and not model.options["include_top"]:
        raise ValueError("The model has no classifier: it was built with include_top=False")
    if len(model.outputs) != 1 or len(model.output_shape) != 2:
        raise ValueError(
            "The model must end in a classifier, (batch, num_classes). "
            f"Received: output shape {model.output_shape}"
        )
    last = model.layers[-1]
    activation = getattr(last, "activation", keras.activations.linear)
    if isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax:
        return True
    if activation is not keras.activations.linear:
        raise ValueError(
            "The classifier's activation must be None or softmax. "
            f"Received: {getattr(activation, '__name__', activation)}"
        )
    return False


def fixed_size_preprocessing(model):
    """The model's preprocessing, completed so that every image comes out in one size.

    Where it leaves the size open, images are brought to the sides of the network's input.

    Raises:
        ValueError: If the model has no preprocessing, or its channels or size do not fit.
    """
    preprocessing = getattr(model, "preprocessing", None)
    if preprocessing is None:
        raise ValueError(
            "The model has no preprocessing, so its pixels' scale, mean and deviation are "
            "unknown: set `model.preprocessing` to a keras_resnets.Preprocessing"
        )
    *sides, channels = model.input_shape[1:]
    if channels != preprocessing.channels:
        raise ValueError(
            f"The model takes {channels} channels, its preprocessing gives "
            f"{preprocessing.channels}"
        )
    size = preprocessing.crop or preprocessing.resize
    if not isinstance(size, tuple):
        if None in sides:
            raise ValueError(
                "The model takes images of any size: its preprocessing must have a `crop` or "
                f"`resize` of (height, width). Received: {preprocessing}"
            )
        size = tuple(sides)
        field = "resize" if preprocessing.resize is None else "crop"
        preprocessing = dataclasses.replace(preprocessing, **{field: size})
    if any(side not in (None, made) for side, made in zip(sides, size, strict=True)):
        raise ValueError(
            f"The model takes images of {tuple(sides)} pixels, its preprocessing makes {size}"
        )
    return preprocessing
