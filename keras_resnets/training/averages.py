"""A network with the averages of its weights in their place."""

import contextlib

import keras
import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.layers.normalization import average_copies
from keras_resnets.training.updates import STATISTICS, unwrapped


@contextlib.contextmanager
def averaged_weights(model):
    """Puts the averages of weights and of moving statistics in their place, and back at the end.

    ```python
    with averaged_weights(model):
        scores = model.evaluate(images, labels)
    ```

    Until the first update the averages are the weights that the training started from. Under a
    strategy the moving statistics come back as their mean over the replicas, which is what
    `Network.evaluate` makes of them too. Inside of the block, no step may be trained.

    Args:
        model: `keras.Model`, compiled with an optimizer of this package that has `ema_decay`.

    Yields:
        `model`.

    Raises:
        UserError: If its optimizer keeps no averages.
    """
    pairs = _pairs(model)
    for variable, _ in pairs:
        if variable.name in STATISTICS:
            average_copies(variable)
    raw = [tf.identity(variable.value) for variable, _ in pairs]
    try:
        for variable, average in pairs:
            variable.assign(average)
        yield model
    finally:
        for (variable, _), value in zip(pairs, raw, strict=True):
            variable.assign(value)


def averaged_copy(model):
    """A copy of a model that has the averages as its weights, on one device and not compiled.

    Args:
        model: As in `averaged_weights`.

    Returns:
        A `Network` with the same preprocessing and class names, or a `keras.Model` of whatever
        kind `model` is.

    Raises:
        UserError: If its optimizer keeps no averages.
    """
    with averaged_weights(model):
        if hasattr(model, "copy_with"):
            return model.copy_with()
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        return copy


def has_averages(model):
    """Whether a model's optimizer keeps averages of its weights."""
    return bool(getattr(unwrapped(getattr(model, "optimizer", None)), "ema_decay", 0.0))


def _pairs(model):
    if not has_averages(model):
        raise UserError(
            "There are no averaged weights: the model must be compiled with an optimizer of "
            "keras_resnets that has `ema_decay`"
        )
    optimizer = unwrapped(model.optimizer)
    if not optimizer.built:
        model.optimizer.build(model.trainable_variables)
    optimizer.follow(model)
    return optimizer.averages()
