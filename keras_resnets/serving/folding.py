"""Brings the graph of a network into its inference form: fewer operations, the same function."""

import collections
import math

import keras
import numpy as np

from keras_resnets import layers
from keras_resnets.serving.operations import Convolution, Dense, LayerCall, Operation, Scale, Sum

_CONVOLUTIONS = (layers.Conv2D, keras.layers.Conv2D)
_BATCH_NORMS = (layers.BatchNormalization, keras.layers.BatchNormalization)
_MERGES = (layers.Merge, layers.StochasticMerge, layers.SkippingMerge)
# Of these types exactly, as below: what a subclass computes is not known.
_IDENTITIES = (
    *(layers.Dropout, keras.layers.Dropout, keras.layers.SpatialDropout2D),
    *(keras.layers.Identity, keras.layers.GaussianNoise),
)
_POOLS = (layers.MaxPooling2D, keras.layers.AveragePooling2D, keras.layers.MaxPooling2D)


def fold(graph, kept):
    """The operations of a graph that make some of its values, folded as far as they can be.

    By the graph's wiring alone, never by names: whatever is read once, by what can take it over.

    Args:
        graph: `FlatGraph`.
        kept: List of ints, the values to make.

    Returns:
        Tuple of a list of `Operation`s in order and the list of the kept values' numbers.
    """
    operations, same = _translate(graph.calls)
    kept = [same.get(value, value) for value in kept]
    operations = _needed(operations, kept)
    _fold_padding(operations, kept)
    _fold_scales(operations, kept)
    _fold_factors(operations, kept)
    _keep_slopes(operations)
    return operations, kept


def _translate(calls):
    """Operations of the calls, and of the values that are others' under another number, those."""
    operations: list[Operation] = []
    same: dict[int, int] = {}
    for call in calls:
        read = tuple(same.get(value, value) for value in call.inputs)
        if type(call.layer) in _IDENTITIES:
            same[call.outputs[0]] = read[0]
        else:
            operations.append(_operation(call, read))
    return operations, same


def _operation(call, read):
    layer, made = call.layer, call.outputs
    if getattr(layer, "quantization_mode", None):  # its kernel is not what it multiplies by
        return LayerCall(read, made, call, keeps_scale=False)
    if _is_plain_convolution(layer):
        bias = np.asarray(layer.bias) if layer.use_bias else None
        geometry = tuple(layer.strides), tuple(layer.dilation_rate), _padding(layer)
        return Convolution(read, made, np.asarray(layer.kernel), bias, *geometry)
    if call.rank == 4 and type(layer) in _BATCH_NORMS and layer.axis in (-1, 3):
        return Scale(read, made, *_scale_and_shift(layer))
    if call.rank == 4 and type(layer) is layers.ChannelScale:
        return Scale(read, made, np.asarray(layer.gamma), np.asarray(layer.beta))
    is_mapped = call.rank == 4 or type(layer) is layers.SkippingMerge  # whose branch is open here
    if is_mapped and type(layer) in _MERGES and not layer.gating:
        shortcut, branch = layer.scales
        if getattr(layer, "draw", None) == "batch":
            branch *= layer.survival
        return Sum(read, made, (shortcut, branch), layer.activation)
    are_maps = all(len(tensor.shape) == 4 for tensor in call.arguments.keras_tensors)
    if are_maps and type(layer) is keras.layers.Add:
        return Sum(read, made, (1.0,) * len(read), None)
    if call.rank == 4 and type(layer) is layers.FractalJoin:
        columns = _columns(call, read)
        return Sum(columns, made, (1.0 / len(columns),) * len(columns), None)
    if call.rank == 2 and type(layer) is keras.layers.Dense:
        bias = np.asarray(layer.bias) if layer.use_bias else None
        return Dense(read, made, np.asarray(layer.kernel), bias, layer.activation)
    return LayerCall(read, made, call, _keeps_scale(layer))


def _columns(call, read):
    """The values that a join reads but for the draw, which inference does without."""
    arguments = call.arguments
    (columns,) = arguments.args[:1] or (arguments.kwargs["inputs"],)
    values = dict(zip(map(id, arguments.keras_tensors), read, strict=True))
    return tuple(values[id(column)] for column in columns)


def _is_plain_convolution(layer):
    return (
        type(layer) in _CONVOLUTIONS
        and layer.data_format == "channels_last"
        and layer.activation in (None, keras.activations.linear)
    )


def _padding(layer):
    """As `tf.nn.conv2d` takes it."""
    if layer.padding == "valid":
        return "VALID"
    is_symmetric = getattr(layer, "same_padding", "tensorflow") == "symmetric"
    if max(layer.strides) == 1 or not is_symmetric:
        return "SAME"
    sides = zip(layer.kernel_size, layer.dilation_rate, strict=True)
    return _explicit([(size - 1) * dilation // 2 for size, dilation in sides])


def _explicit(pads):
    if not any(pads):
        return "VALID"
    tall, wide = (pad if isinstance(pad, tuple) else (pad, pad) for pad in pads)
    return [[0, 0], list(tall), list(wide), [0, 0]]


def _scale_and_shift(layer):
    """A batch norm's factor and summand by channel, from its moving statistics."""
    deviation = np.sqrt(np.asarray(layer.moving_variance, np.float64) + layer.epsilon)
    scale = (np.asarray(layer.gamma) if layer.scale else 1.0) / deviation
    shift = -np.asarray(layer.moving_mean) * scale
    return scale, shift + np.asarray(layer.beta) if layer.center else shift


def _keeps_scale(layer):
    """Whether `f(s x) = s f(x)` for all s > 0."""
    if type(layer) is keras.layers.ReLU:
        return layer.max_value is None and not layer.threshold
    if type(layer) is keras.layers.Activation:
        return layer.activation is keras.activations.relu
    return type(layer) in _POOLS


def _needed(operations, kept):
    """The operations that something reads."""
    read, needed = set(kept), []
    for operation in reversed(operations):
        if read.intersection(operation.outputs):
            read.update(operation.inputs)
            needed.append(operation)
    return needed[::-1]


def _readers(operations, kept):
    """How often every value is read, or kept."""
    return collections.Counter([*kept, *(value for one in operations for value in one.inputs)])


def _makers(operations):
    return {value: operation for operation in operations for value in operation.outputs}


def _fold_padding(operations, kept):
    """Zeros that are padded for one convolution alone are padded by it."""
    readers, makers = _readers(operations, kept), _makers(operations)
    for operation in list(operations):
        if not isinstance(operation, Convolution) or operation.padding != "VALID":
            continue
        maker = makers.get(operation.inputs[0])
        layer = maker.call.layer if isinstance(maker, LayerCall) else None
        is_padding = type(layer) is keras.layers.ZeroPadding2D
        if is_padding and layer.data_format == "channels_last" and readers[maker.outputs[0]] == 1:
            operation.padding = _explicit(layer.padding)
            operation.inputs = maker.inputs
            operations.remove(maker)


def _fold_scales(operations, kept):
    """What scales the output of one convolution alone becomes part of its kernel and bias."""
    readers, makers = _readers(operations, kept), _makers(operations)
    for operation in list(operations):
        if not isinstance(operation, Scale) or readers[operation.inputs[0]] > 1:
            continue
        maker = makers.get(operation.inputs[0])
        if isinstance(maker, Convolution | Scale):
            maker.then(operation.scale, operation.shift)
            maker.outputs = operation.outputs
            makers[operation.outputs[0]] = maker
            operations.remove(operation)


def _fold_factors(operations, kept):
    """The factors of sums go into the convolutions before them, if nothing else reads those."""
    readers, makers = _readers(operations, kept), _makers(operations)

    def scaled(value, factor):
        maker = makers.get(value)
        if readers[value] > 1:
            return False
        if isinstance(maker, LayerCall) and maker.keeps_scale and factor > 0:
            return scaled(maker.inputs[0], factor)
        if isinstance(maker, Convolution | Scale):
            maker.then(factor, 0.0)
            return True
        return False

    for operation in operations:
        if isinstance(operation, Sum):
            operation.factors = tuple(
                1.0 if factor != 1 and math.isfinite(factor) and scaled(value, factor) else factor
                for value, factor in zip(operation.inputs, operation.factors, strict=True)
            )


def _keep_slopes(operations):
    """Convolutions that are summed before what may be a leaky ReLU are not fused with it.

    oneDNN's fused operation has a slope of 0.2, whatever the layer's is.
    """
    makers = _makers(operations)
    for operation in operations:
        if not isinstance(operation, Sum):
            continue
        readers = [one for one in operations if operation.outputs[0] in one.inputs]
        plain = (None, keras.activations.linear, keras.activations.relu)
        if operation.activation in plain and not any(map(_may_leak, readers)):
            continue
        for maker in map(makers.get, operation.inputs):
            if isinstance(maker, Convolution):
                maker.is_fused = False


def _may_leak(operation):
    if not isinstance(operation, LayerCall):
        return False
    layer = operation.call.layer
    if type(layer) is keras.layers.ReLU:
        return bool(layer.negative_slope)
    return not _keeps_scale(layer)
