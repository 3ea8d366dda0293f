"""Parameters and multiply-accumulates of a network, counted on its graph."""

import dataclasses
import math

import keras

from keras_resnets.checks import is_count, must
from keras_resnets.errors import UserError
from keras_resnets.layers import SkippingMerge
from keras_resnets.models.graph import layers_between
from keras_resnets.models.network import Network


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One call of one layer.

    Attributes:
        name: Name of the layer.
        part: Where it is: `"stem"`, `"stage1"`, ..., or `"head"` for all else.
        kind: Name of its class.
        output_shape: Shape of its output, without the batch.
        trainable: Number of trainable parameters (0 where an earlier call counted them).
        total: Number of all parameters, batch normalization's moving statistics included.
        macs: Multiply-accumulates of one image; 0 except for convolutions and dense layers.
        kernel: Shape of the kernel, `(height, width, channels / groups, filters)`, `(features,
            units)`, or `()` where there is none.
    """

    name: str
    part: str
    kind: str
    output_shape: tuple
    trainable: int
    total: int
    macs: int
    kernel: tuple = ()

    @property
    def flops(self):
        """Floating-point operations: two for a multiply-accumulate."""
        return 2 * self.macs


@dataclasses.dataclass(frozen=True)
class Complexity:
    """What a network costs. `str()` is a table by stage.

    Attributes:
        input_shape: `(height, width, channels)` that the network was counted at.
        output_shape: Shape of the output, without the batch.
        layers: Tuple of `LayerCost`, in the order of the graph.
    """

    input_shape: tuple
    output_shape: tuple
    layers: tuple

    @property
    def trainable(self):
        """Trainable parameters."""
        return sum(layer.trainable for layer in self.layers)

    @property
    def total(self):
        """All parameters, as `model.count_params()` counts them."""
        return sum(layer.total for layer in self.layers)

    @property
    def macs(self):
        """Multiply-accumulates of convolutions and dense layers for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self):
        """Floating-point operations: two for a multiply-accumulate."""
        return 2 * self.macs

    @property
    def stages(self):
        """The same by part of the net: a dictionary from `"stem"`, `"stage1"`, ... `"head"`."""
        parts = {}
        for layer in self.layers:
            parts.setdefault(layer.part, []).append(layer)
        return {
            part: dataclasses.replace(self, layers=tuple(rows), output_shape=rows[-1].output_shape)
            for part, rows in parts.items()
        }

    def __str__(self):
        rows = [("part", "output", "trainable", "total", "MACs")]
        parts = {part: cost for part, cost in self.stages.items() if cost.total or cost.macs}
        for part, cost in [*parts.items(), ("all", self)]:
            shape = "x".join(str(side) for side in cost.output_shape)
            rows.append((part, shape, f"{cost.trainable:,}", f"{cost.total:,}", f"{cost.macs:,}"))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


def complexity(model, input_shape=None):
    """Counts parameters and multiply-accumulates of a functional Keras model.

    Multiply-accumulates are those of convolutions (grouped and dilated ones too) and dense
    layers, as torchvision's `_ops` and the papers' "FLOPs"; other tools add batch normalization,
    activations and pooling.

    Args:
        model: Functional `keras.Model` with one image input.
        input_shape: `(height, width)` or `(height, width, channels)` to count at. Defaults to the
            model's own.

    Returns:
        A `Complexity`.

    Raises:
        UserError: If `input_shape` is no size, or if the model has none and none is given.
    """
    own = model.input_shape[1:]
    if input_shape is not None:
        is_size = isinstance(input_shape, tuple | list) and len(input_shape) in (2, 3)
        is_size = is_size and all(map(is_count, input_shape[:2]))
        must("input_shape", input_shape, is_size, "(height, width) of positive integers")
    shape = (*(input_shape or own)[:2], own[2])
    if None in shape:
        raise UserError(
            "`input_shape` must be given, (height, width), for a model of any input size. "
            f"Received: input_shape={input_shape}, model of {own}"
        )
    walk = _Walk()
    output = walk.follow(model, keras.KerasTensor((1, *shape), dtype="float32"))
    return Complexity(shape, tuple(output.shape[1:]), tuple(walk.rows))


class _Walk:
    """Follows the shapes through a graph at another input size, calling no layer."""

    def __init__(self):
        self.rows = []
        self._parts = {}  # of a layer, by its id
        self._counted = set()  # variables, by their ids

    def follow(self, model, inputs):
        """Adds the rows of a model's layers and returns its output."""
        if isinstance(model, Network):
            self._parts |= _parts(model)

        def visit(operation):
            def compute(*args, **kwargs):
                if isinstance(operation, keras.Model):
                    return self.follow(operation, args[0])
                if isinstance(operation, SkippingMerge):
                    self.follow(operation.branch, args[0][1])
                outputs = operation.compute_output_spec(*args, **kwargs)
                part = self._parts.get(id(operation), "head")
                self.rows.append(_cost(operation, part, outputs, self._counted))
                return outputs

            return compute

        return model._run_through_graph(inputs, operation_fn=visit)


def _parts(network):
    """The part of each layer of a network, by the layer's id."""
    stem = layers_between(network.input, network.joined(network.stem.output))
    parts = {id(layer): "stem" for layer in ([network.layers[0], *stem] if stem else [])}
    for stage in network.stages:
        parts |= {id(layer): stage.name for block in stage.blocks for layer in block.layers}
    return parts


def _cost(layer, part, outputs, counted):
    first = keras.tree.flatten(outputs)[0]
    macs, kernel = 0, ()
    if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
        kernel = tuple(layer.kernel.shape)
        macs = math.prod(kernel) * math.prod(first.shape[1:-1])
    fresh = [v for v in getattr(layer, "weights", []) if id(v) not in counted]
    counted.update(id(variable) for variable in fresh)
    trained = {id(variable) for variable in getattr(layer, "trainable_weights", [])}
    return LayerCost(
        name=layer.name,
        part=part,
        kind=type(layer).__name__,
        output_shape=tuple(first.shape[1:]),
        trainable=sum(math.prod(v.shape) for v in fresh if id(v) in trained),
        total=sum(math.prod(v.shape) for v in fresh),
        macs=macs,
        kernel=kernel,
    )
