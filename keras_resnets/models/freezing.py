"""Parts of a network that are not trained."""

import keras

from keras_resnets.checks import must
from keras_resnets.errors import UserError

HEAD = "logits"
WHOLES = ("backbone", "batch_norm")


def freeze(network, parts):
    """Freezes parts of a network for fine-tuning; what was frozen before stays frozen.

    Nothing frozen changes by one bit in a training: neither weights, which are not decayed either,
    nor the moving statistics of batch normalization, which a frozen layer uses in place of the
    batch's.

    Args:
        network: `Network`.
        parts: String with commas between, or sequence of strings: the rooms that its layers' names
            begin with (`"stem"`, `"stage1"`, ..., `"final"`); `"backbone"`, all but the classifier;
            `"batch_norm"`, every batch normalization.

    Raises:
        UserError: If the network has no such part, or nothing is left to train.
    """
    parts = [part for part in parts.split(",") if part] if isinstance(parts, str) else list(parts)
    norms = _batch_norms(network)
    legal = (*_rooms(network), *(whole for whole in WHOLES if norms or whole != "batch_norm"))
    for part in parts:
        must("freeze", part, part in legal, f"of {', '.join(legal)}")
    for layer in network.layers:
        room = layer.name.split("_")[0]
        if room in parts or ("backbone" in parts and layer.name != HEAD):
            layer.trainable = False
    for layer in norms if "batch_norm" in parts else ():
        layer.trainable = False
    if parts and not network.trainable_variables:
        raise UserError(f"`freeze` must leave something to train. Received: {','.join(parts)}")


def _batch_norms(network):
    layers = network._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def _rooms(network):
    """The rooms of a network that have weights, in its order, without the classifier."""
    named = (layer.name for layer in network.layers if layer.weights and layer.name != HEAD)
    return tuple(dict.fromkeys(name.split("_")[0] for name in named))
