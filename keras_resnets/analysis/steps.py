"""A network as a row of steps that can be taken one by one, changed, left out or reordered."""

import dataclasses
import functools

import keras
import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.layers import Merge, SkippingMerge, StochasticMerge
from keras_resnets.models.network import Network


def flat(tensors):
    """Tensors in any structure as a list."""
    return keras.tree.flatten(tensors)


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """A part of a network between two places: a residual block, or a layer of a plain block.

    Attributes:
        name: String, the block's, in plain blocks the convolution's.
        stage: Int, from 1.
        start: Keras tensor or tuple of them that enters.
        end: Keras tensor or tuple of them that leaves.
        branches: Tuple of `Branch`; empty in plain nets.
    """

    name: str
    stage: int
    start: object
    end: object
    branches: tuple

    @property
    def keeps_shape(self):
        """Whether what leaves has the shape of what enters."""
        shapes = [[tensor.shape for tensor in flat(place)] for place in (self.start, self.end)]
        return shapes[0] == shapes[1]

    @property
    def can_be_deleted(self):
        """Whether something is left when the step's branches are: a shortcut, or the input."""
        return bool(self.branches) or self.keeps_shape

    @functools.cached_property
    def whole(self):
        """`whole(tensors) -> tensors`: the step as it is, at inference; lists of tensors."""
        return compiled(keras.Model(flat(self.start), flat(self.end)), flat(self.start))

    @functools.cached_property
    def without(self):
        """`without(tensors) -> tensors`: the step without its branches (Veit 2016, section 4.1).

        A block keeps its shortcut, projection and activation included; a plain layer that keeps
        the shape becomes the identity.
        """
        if not self.branches:
            return list
        return compiled(self._without_branches, flat(self.start))

    def _without_branches(self, tensors, training=False):
        return self.combined(tensors, lambda branch, operands: tf.zeros_like(operands[0]))

    def combined(self, tensors, output, constant=()):
        """The step with other outputs of its branches.

        Args:
            tensors: List of tensors that enter.
            output: `output(branch, operands) -> tensor`, what is merged in place of the branch's
                output; the operands are those of `branch.merge`.
            constant: Numbers of the operands of the merge (0 the shortcut, 2 the gate) that no
                gradient passes. Defaults to none.

        Returns:
            List of tensors that leave.
        """
        known = list(flat(self.start))
        values = list(tensors)
        for branch in self.branches:
            operands = self._part(known, flat(branch.merge.input))(values)
            operands[1] = output(branch, operands)
            operands = [
                tf.stop_gradient(operand) if number in constant else operand
                for number, operand in enumerate(operands)
            ]
            values.append(merged(branch, operands))
            known.append(branch.merge.output)
        return self._part(known, flat(self.end))(values)

    def _part(self, known, wanted):
        """The part of the graph from some tensors to others: function of lists of tensors."""
        key = tuple(map(id, (*known, *wanted)))
        if key not in self._parts:
            self._parts[key] = _part(known, wanted)
        return self._parts[key]

    @functools.cached_property
    def _parts(self):
        return {}


def _part(known, wanted):
    """`known` may hold what is wanted itself."""
    ids = [id(tensor) for tensor in known]
    computed = [tensor for tensor in wanted if id(tensor) not in ids]
    model = keras.Model(known, computed) if computed else None

    def compute(values):
        found = iter(flat(model(values, training=False)) if model else ())
        return [values[ids.index(id(t))] if id(t) in ids else next(found) for t in wanted]

    return compute


def branch_output(branch, operands):
    """What a branch computes, given the operands of its merge: tensor."""
    return branch.merge.branch(operands[1], training=False) if branch.nested else operands[1]


def merged(branch, operands):
    """A branch's merge at inference, of shortcut, output of the branch and gate if there is one."""
    layer = branch.merge
    if isinstance(layer, SkippingMerge):  # which would compute the branch itself
        return StochasticMerge.call(layer, operands, training=False)
    if isinstance(layer, StochasticMerge):
        return layer.call(operands, training=False)
    return Merge.call(layer, operands)


def compiled(function, tensors):
    """A graph of `function(list of tensors, training=False) -> tensors`, for any batch size."""
    specs = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in tensors]

    @tf.function(input_signature=[specs])
    def run(values):
        return flat(function(values, training=False))

    return run


class Steps:
    """The steps of a network with what stands before and after them.

    Args:
        network: `Network` with a classifier.

    Attributes:
        steps: List of `Step`, from stem to head.
        before: `before([images]) -> tensors` that enter the first step.
        after: `after(tensors) -> [logits]`.

    Raises:
        UserError: If it is no `Network` with a classifier.
    """

    def __init__(self, network):
        if not isinstance(network, Network) or not network.options["include_top"]:
            raise UserError(
                "The model must be a keras_resnets.Network with a classifier, whose blocks are "
                f"known. Received: {network!r}"
            )
        self.network = network
        self.steps = [step for block in network.blocks for step in _steps_of(block)]
        start, end = flat(self.steps[0].start), flat(self.steps[-1].end)
        image = network.inputs
        is_bare = [id(t) for t in start] == [id(t) for t in image]
        self.before = list if is_bare else compiled(keras.Model(image, start), image)
        self.after = compiled(keras.Model(end, network.outputs), end)

    @property
    def deletable(self):
        """Numbers of the steps that can be deleted: list of ints."""
        return [number for number, step in enumerate(self.steps) if step.can_be_deleted]


def as_steps(network):
    """The `Steps` of a network, or what is `Steps` already."""
    return network if isinstance(network, Steps) else Steps(network)


def _steps_of(block):
    """A residual block is one step; a plain one has as many as convolutions."""
    if block.branches:
        yield Step(block.name, block.stage, block.input, block.output, block.branches)
        return
    layers = [
        layer for layer in reversed(block.layers) if isinstance(layer, keras.layers.Conv2D)
    ]
    if isinstance(block.input, tuple) or isinstance(block.output, tuple) or not layers:
        yield Step(block.name, block.stage, block.input, block.output, ())
        return
    starts = [block.input, *(layer.input for layer in layers[1:])]
    ends = [*starts[1:], block.output]
    for layer, start, end in zip(layers, starts, ends, strict=True):
        yield Step(layer.name, block.stage, start, end, ())
