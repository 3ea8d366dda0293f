"""The plan of a network: what its assembly knew, kept with the graph.

The records hold Keras tensors of the network's own graph. They are dataclasses, which Keras does
not look into when it tracks and saves a model's attributes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from keras_resnets.models.graph import layers_between


@dataclasses.dataclass(frozen=True, eq=False)
class Branch:
    """A branch that was merged with a shortcut: `merge([shortcut, output])`.

    Attributes:
        name: String, the block's, or of one of its paths.
        shortcut: Keras tensor that the branch is added to.
        input: Keras tensor that the branch starts from.
        output: Keras tensor that the branch ends in.
        merge: The `Merge` layer.
        nested: Boolean. Whether the branch is a model of its own, `merge.branch`, that stochastic
            depth can leave out; `input` and `output` then belong to that model's graph.
    """

    name: str
    shortcut: Any
    input: Any
    output: Any
    merge: Any
    nested: bool

    @property
    def source(self):
        """The tensor of the network's graph that the branch starts from, nested or not."""
        return self.merge._inbound_nodes[0].input_tensors[1] if self.nested else self.input


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class _Position:
    """Where a block stands.

    Attributes:
        stage: Int. Number of the stage, from 1.
        index: Int. Number of the block in its stage, from 1.
        name: String, `"stage2_block1"`: the prefix of the names of its layers.
        width: Int. Channels of the block's spatial convolutions.
        stride: Int. The block's own stride.
        dilation: Int. Dilation of the block's spatial convolutions.
        position: Float in (0, 1], the number of the block in the net divided by all.
        is_first: Boolean. Whether it is the first block of the net.
        is_last: Boolean. Whether it is the last block of the net.
    """

    stage: int
    index: int
    name: str
    width: int
    stride: int
    dilation: int
    position: float
    is_first: bool
    is_last: bool


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Place(_Position):
    """Where a block is being built, and what it reports.

    Attributes:
        branches: List of `Branch`, to which `residual` appends.
        activated: List. A block whose shortcut starts from its whole input, joined and activated,
            appends that: the map that the stage before hands on.
    """

    branches: list = dataclasses.field(default_factory=list)
    activated: list = dataclasses.field(default_factory=list)

    def record(self, x, y):
        """The `Block` that was built here from `x` to `y`."""
        where = {field.name: getattr(self, field.name) for field in dataclasses.fields(_Position)}
        activated = self.activated[0] if self.activated else None
        branches = tuple(self.branches)
        return Block(**where, input=x, activated=activated, output=y, branches=branches)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Block(_Position):
    """A block of a built network.

    Attributes:
        input: Keras tensor, or tuple of them (paths), that enters the block.
        activated: Keras tensor, the whole input joined and activated, which the shortcut starts
            from; `None` where it starts from `input` itself.
        output: Keras tensor, or tuple of them, that leaves the block.
        branches: Tuple of `Branch`, in the order of their merges; empty in blocks without shortcut.
    """

    input: Any
    activated: Any
    output: Any
    branches: tuple[Branch, ...]

    @property
    def layers(self):
        """List of the block's layers, those of skippable branches included."""
        return layers_between(self.input, self.output)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StemRecord:
    """The stem of a built network.

    Attributes:
        stride: Int. Input pixels a pixel of `output`.
        maps: Mapping from stride to Keras tensor: what the stem computes at each stride.
        output: Keras tensor, or tuple of them, that enters the first stage.
    """

    stride: int
    maps: Mapping[int, Any]
    output: Any


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StageRecord:
    """A stage of a built network.

    Attributes:
        number: Int, from 1.
        name: String, `"stage2"`.
        stride: Int. Input pixels a pixel of `output`: the product of the strides so far.
        blocks: Tuple of `Block`.
        map: Keras tensor that the stage hands on: in pre-activation nets after the activation that
            follows it, where the next block's shortcut has it too (it does wherever the shape
            changes), with its paths joined as the net joins them. `None` where the net leaves them
            apart.
    """

    number: int
    name: str
    stride: int
    blocks: tuple[Block, ...]
    map: Any

    @property
    def input(self):
        """Keras tensor, or tuple of them, that enters the stage."""
        return self.blocks[0].input

    @property
    def output(self):
        """Keras tensor, or tuple of them, that leaves the stage's last block."""
        return self.blocks[-1].output


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """All records of a network.

    Attributes:
        image: Keras tensor, the input.
        stem: `StemRecord`.
        stages: Tuple of `StageRecord`.
        final: Keras tensor that ends the trunk, after the last activation.
        join: `join(paths) -> tensor`, which makes one map of the paths that leave a stage.
    """

    image: Any
    stem: StemRecord
    stages: tuple[StageRecord, ...]
    final: Any
    join: Callable
