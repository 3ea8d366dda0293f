"""What a copy of a network takes over, and what begins anew."""

from keras_resnets.errors import UserError
from keras_resnets.layers import Merge


def copy_weights(source, target):
    """Gives a network the weights of another, layer by layer.

    Args:
        source: `Network`.
        target: `Network`, whose layers other than the classifier are all in `source`.

    Raises:
        UserError: If one is not there, or has another shape.
    """
    sources = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        if not layer.weights or isinstance(layer, Merge):  # whose branch's layers come themselves
            continue
        values = sources[layer.name].get_weights() if layer.name in sources else []
        if [value.shape for value in values] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(values)
        elif layer.name != "logits":
            raise UserError(
                f"The copy's layer {layer.name} has no counterpart of the same shape in "
                f"{source.name}: only the classifier may differ"
            )


def renew(model, name):
    """Starts a dense layer of a network again and makes it trainable; the rest keeps its flags.

    Args:
        model: `Network`. Where it is frozen as a whole, its other layers are, one by one.
        name: String, the layer's name.
    """
    if not model.trainable:
        model.trainable = True
        for layer in model.layers:
            layer.trainable = False
    layer = model.get_layer(name)
    layer.trainable = True
    layer.kernel.assign(layer.kernel_initializer(layer.kernel.shape, layer.kernel.dtype))
    layer.bias.assign(layer.bias_initializer(layer.bias.shape, layer.bias.dtype))
