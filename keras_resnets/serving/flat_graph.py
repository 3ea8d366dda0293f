"""The graph of a functional model as one list of layer calls, nested models opened."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import keras
from keras.src.models.functional import Functional

from keras_resnets.errors import UserError
from keras_resnets.layers import SkippingMerge


@dataclasses.dataclass(eq=False)
class Call:
    """A call of one layer. Values, the tensors between calls, are numbers.

    Attributes:
        layer: Keras layer or operation, no model.
        inputs: Tuple of ints, the values that it reads, in the order of its arguments.
        outputs: Tuple of ints, the values that it makes.
        arguments: Its arguments as Keras keeps them. Those of a stochastic depth's branch are not
            meant by it: `inputs` are shortcut and branch.
        rank: Int, of its first output.
    """

    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arguments: Any
    rank: int

    def __call__(self, tensors):
        """Computes the layer in inference; `tensors` stand for `inputs`. Returns a list.

        A layer without variables computes in the type of its inputs, others in their own.
        """
        symbols = self.arguments.keras_tensors
        known = {id(symbol): tensor for symbol, tensor in zip(symbols, tensors, strict=True)}
        positional, named = self.arguments.fill_in(known)
        if getattr(self.layer, "_call_has_training_arg", False):
            named = named | {"training": False}
        compute = self.layer if getattr(self.layer, "variables", None) else self.layer.call
        return keras.tree.flatten(compute(*positional, **named))


@dataclasses.dataclass
class FlatGraph:
    """Calls in an order in which every value is made before it is read.

    Attributes:
        calls: List of `Call`.
        inputs: Tuple of ints, the model's input values.
        outputs: Tuple of ints, the model's output values.
    """

    calls: list[Call]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def flatten(model):
    """The calls of a functional model's graph.

    The branches of stochastic depth and models called as layers are opened, however deep.

    Args:
        model: Functional or sequential `keras.Model`.

    Returns:
        `FlatGraph`.

    Raises:
        UserError: If the model, or one inside it, is not functional, or has a `call` of its own.
    """
    numbers = itertools.count()
    inputs = tuple(next(numbers) for _ in model.inputs)
    calls: list[Call] = []
    outputs = _open(model, inputs, calls, numbers)
    return FlatGraph(calls, inputs, outputs)


def _open(model, inputs, calls, numbers) -> tuple[int, ...]:
    """Appends the calls inside a model that reads `inputs`; returns the values of its outputs."""
    has_own_call = type(model).call not in (Functional.call, keras.Sequential.call)
    model = getattr(model, "_functional", None) or model  # of a sequential one
    if has_own_call or not hasattr(model, "_nodes_by_depth"):
        raise UserError(
            f"{model.name} is a {type(model).__name__} whose layers are not known: build it with "
            "the functional API"
        )
    values: dict[int, int] = {}
    _name(model.inputs, inputs, values)
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                read = tuple(values[id(tensor)] for tensor in node.input_tensors)
                _name(node.outputs, _call(node, read, calls, numbers), values)
    return tuple(values[id(tensor)] for tensor in model.outputs)


def _call(node, read, calls, numbers) -> tuple[int, ...]:
    """Appends what a node does; returns its output values."""
    layer = node.operation
    if isinstance(layer, keras.Model):
        return _open(layer, read, calls, numbers)
    if type(layer) is SkippingMerge:  # what a subclass makes of its branch is not known
        shortcut, x = read
        read = (shortcut, *_open(layer.branch, (x,), calls, numbers))
    made = tuple(next(numbers) for _ in node.outputs)
    calls.append(Call(layer, read, made, node.arguments, len(node.outputs[0].shape)))
    return made


def _name(tensors: Sequence[Any], numbers: Sequence[int], values: dict[int, int]):
    values.update(zip(map(id, tensors), numbers, strict=True))
