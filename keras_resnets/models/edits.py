"""What was changed in the layers of a network after it was built, for its config.

A network's config says how to build it, not what its layers are. Changes of single layers (another
momentum, a regularizer, an activation) are stored beside it.
"""

import keras

from keras_resnets.errors import UserError
from keras_resnets.layers import SkippingMerge, StochasticMerge

_PLAIN = (bool, int, float, str, type(None))
# Config keys that are no attributes to set: LoRA adds variables.
_ELSEWHERE = ("trainable", "name", "dtype", "lora_rank", "lora_alpha")


def snapshot(layers):
    """The configs of layers by their names, to compare with later."""
    return {layer.name: _config(layer) for layer in layers}


def changes(layers, fresh):
    """What differs from a snapshot: a dictionary from layer to changed config entries.

    Args:
        layers: List of layers.
        fresh: What `snapshot` returned when they were new.

    Raises:
        ValueError: If a layer was changed in a way that cannot be built again: renamed, quantized,
            given another dtype policy or an object that Keras cannot serialize.
    """
    found = {}
    for layer in layers:
        before, now = fresh.get(layer.name), _config(layer)
        if now == before:
            continue
        if before is None:
            raise UserError(
                f"The layer {layer.name} was renamed after the network was built, so that a file "
                "could not build it again: give it its name back, or save the weights alone"
            )
        # An entry may be there only while it differs from a default.
        values = {key: now.get(key, getattr(layer, key, None)) for key in {*before, *now}}
        found[layer.name] = {key: values[key] for key in values if values[key] != before.get(key)}
        for key, value in found[layer.name].items():
            if key in _ELSEWHERE or not _is_storable(value):
                raise UserError(
                    f"The layer {layer.name} was changed after the network was built, and its "
                    f"`{key}` cannot be stored in a file: save the weights alone, or export. "
                    f"Received: {key}={_short(value)}"
                )
    return found


def apply(layer, changed):
    """Sets the changed config entries of a layer that was built anew.

    Regularizers and constraints reach the layer's variable too, as in a layer built with them.
    """
    known = _config(layer)
    for key, value in changed.items():
        if key not in known and not hasattr(layer, key):  # of another kind of layer in a copy
            continue
        if isinstance(value, dict):
            value = keras.saving.deserialize_keras_object(value)
        elif key == "activation":
            value = keras.activations.get(value)
        elif isinstance(value, list):
            value = tuple(value)
        setattr(layer, key, value)
        part, _, kind = key.rpartition("_")
        variable = getattr(layer, part, None) if kind in ("regularizer", "constraint") else None
        if variable is not None:
            setattr(variable, kind, value)


def _config(layer):
    # A skipping merge would serialize its branch, whose layers are looked at by themselves.
    get_config = StochasticMerge.get_config if isinstance(layer, SkippingMerge) else (
        type(layer).get_config
    )
    config = _without_sharing(get_config(layer))
    config.pop("trainable", None)
    return config


def _without_sharing(config):
    """A config without the numbers that Keras gives to shared objects while it saves."""
    if not isinstance(config, dict):
        return config
    return {
        key: _without_sharing(value) for key, value in config.items() if key != "shared_object_id"
    }


def _is_storable(value):
    if isinstance(value, dict):
        if "class_name" not in value:  # a lambda's bytes, for one
            return False
        try:
            keras.saving.deserialize_keras_object(value, safe_mode=True)
        except (TypeError, ValueError, KeyError, ImportError, AttributeError):
            return False
        return True
    if isinstance(value, list | tuple):
        return all(isinstance(part, _PLAIN) for part in value)
    return isinstance(value, _PLAIN)


def _short(value):
    text = str(value.get("class_name", value) if isinstance(value, dict) else value)
    return text if len(text) < 60 else f"{text[:57]}..."


def frozen(layers):
    """The names of the layers, of the nested branches and their layers that are not trainable."""
    inner = [layer for merge in _merges(layers) for layer in merge.branch.layers]
    return [part.name for part in (*_outer_first(layers), *inner) if not part.trainable]


def freeze(model, trainable, names):
    """Gives a new network the flags of another: its own, and those of its parts.

    Args:
        model: `Network`.
        trainable: Boolean, of the network itself. `False` keeps every variable from training,
            whatever the flags of its layers.
        names: What `frozen` returned.
    """
    if trainable and not names:
        return
    model.trainable = trainable
    # Setting a flag sets those of all parts, hence the outer ones first.
    for part in _outer_first(model.layers):
        part.trainable = part.name not in names
    for merge in _merges(model.layers):
        for inner in merge.branch.layers:
            inner.trainable = merge.branch.trainable and inner.name not in names


def _merges(layers):
    return [layer for layer in layers if isinstance(layer, SkippingMerge)]


def _outer_first(layers):
    merges = _merges(layers)
    yield from merges
    yield from (merge.branch for merge in merges)
    yield from (layer for layer in layers if not isinstance(layer, SkippingMerge))
