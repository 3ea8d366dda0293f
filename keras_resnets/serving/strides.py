"""Of a map that is read in strides alone, computes only what is read."""

import collections
import dataclasses
import itertools

import keras
import tensorflow as tf

from keras_resnets.serving.operations import Convolution, LayerCall, Operation, Scale, Sum

EACH = (1, 1)


@dataclasses.dataclass(eq=False)
class Subsampling(Operation):
    """The rows and columns of a map that are multiples of two strides.

    Attributes:
        strides: Pair of ints.
    """

    strides: tuple[int, int]

    def __call__(self, tensors, dtype):
        # Pooling over single positions has a fast kernel in every runtime, a slice has not.
        return [tf.nn.max_pool2d(tensors[0], 1, list(self.strides), "VALID")]


def propagate_strides(operations, kept):
    """Moves the strides of 1x1 convolutions up to what makes the maps that they read.

    Where all readers of a map skip the same rows and columns, these are not computed. So it is at
    the head of each stage of He 2015's bottlenecks, whose first 1x1 convolutions have the strides:
    of the block before them a fourth is left of the 3x3 convolution, the expansion and the sum, and
    of ResNet-50's multiplications 90 %. OpenVINO does the same to what it compiles.

    Args:
        operations: List of `Operation`s in order.
        kept: List of ints, values that are read whole beside.

    Returns:
        List of `Operation`s that make the same kept values.
    """
    readers = collections.defaultdict(list)
    for operation in operations:
        for value in operation.inputs:
            readers[value].append(operation)
    made = (value for operation in operations for value in operation.outputs)
    numbers = itertools.count(1 + max(itertools.chain(kept, readers, made)))
    moved: list[Operation] = []
    for operation in reversed(operations):
        moved.append(operation)
        read_by = [one for value in operation.outputs for one in readers[value]]
        steps = {_steps(one) for one in read_by}
        if len(steps) != 1 or steps == {EACH} or set(kept).intersection(operation.outputs):
            continue
        if _takes_strides(operation):
            _stride(operation, *steps)
        elif _is_pointwise(operation):
            samplings = [
                Subsampling((value,), (next(numbers),), *steps) for value in operation.inputs
            ]
            for value, sampling in zip(operation.inputs, samplings, strict=True):
                readers[value].remove(operation)
                readers[value].append(sampling)
            operation.inputs = tuple(one.outputs[0] for one in samplings)
            moved.extend(samplings)
        else:
            continue
        for one in read_by:
            one.strides = EACH
    return _without_idle(moved[::-1])


def _steps(reader):
    """The strides in which an operation reads its map."""
    if isinstance(reader, Subsampling):
        return reader.strides
    is_small = isinstance(reader, Convolution) and reader.kernel.shape[:2] == (1, 1)
    return tuple(reader.strides) if is_small and isinstance(reader.padding, str) else EACH


def _takes_strides(operation):
    """Whether it is one whose padding does not depend on the size of its map."""
    is_convolution = isinstance(operation, Convolution)
    return is_convolution and (operation.padding != "SAME" or tuple(operation.strides) == EACH)


def _stride(convolution, steps):
    if convolution.padding == "SAME":
        sizes = zip(convolution.kernel.shape, convolution.dilation, strict=False)
        beyond = [(size - 1) * dilation for size, dilation in sizes]
        sides = [[extent // 2, extent - extent // 2] for extent in beyond]
        convolution.padding = [[0, 0], *sides, [0, 0]] if any(beyond) else "VALID"
    pairs = zip(convolution.strides, steps, strict=True)
    convolution.strides = tuple(own * step for own, step in pairs)


def _is_pointwise(operation):
    """Whether a position of its output depends on the same position of its inputs alone."""
    if isinstance(operation, Sum):
        return operation.activation is None or _is_of_keras(operation.activation)
    if isinstance(operation, LayerCall):
        layer = operation.call.layer
        return operation.call.rank == 4 and (
            type(layer) is keras.layers.ReLU
            or (type(layer) is keras.layers.Activation and _is_of_keras(layer.activation))
        )
    return isinstance(operation, Scale)


def _is_of_keras(activation):
    return getattr(activation, "__module__", "").startswith("keras.src.activations")


def _without_idle(operations):
    """The operations without subsamplings that skip nothing."""
    same: dict[int, int] = {}
    rest: list[Operation] = []
    for operation in operations:
        operation.inputs = tuple(same.get(value, value) for value in operation.inputs)
        if isinstance(operation, Subsampling) and tuple(operation.strides) == EACH:
            same[operation.outputs[0]] = operation.inputs[0]
        else:
            rest.append(operation)
    return rest
