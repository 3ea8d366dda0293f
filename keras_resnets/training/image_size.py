"""A trained network at another image size."""

from keras_resnets.errors import UserError
from keras_resnets.models.network import Network


def at_image_size(model, side):
    """The network for square images of another side, with the weights of `model`.

    Where its preprocessing crops, resizing and crop grow alike; else images are resized to `side`.

    Args:
        model: A `Network`, or any `keras.Model` of free sides, with its `preprocessing` set.
        side: Int, in pixels.

    Returns:
        `model`, or if its sides are fixed at others, a `Network` built again at free ones.

    Raises:
        UserError: If the model has fixed sides and is no `Network`.
    """
    preprocessing = model.preprocessing
    *sides, channels = model.input_shape[1:]
    if any(fixed not in (None, side) for fixed in sides):
        if not isinstance(model, Network):
            raise UserError(
                "`image_size` must be that of the model, as only a keras_resnets.Network can be "
                f"built again for another. Received: image_size={side}, a keras.Model for images "
                f"of {tuple(sides)} pixels"
            )
        with model.distribute_strategy.scope():
            model = model.copy_with(input_shape=(None, None, channels))
    model.preprocessing = preprocessing.for_size((side, side))
    return model
