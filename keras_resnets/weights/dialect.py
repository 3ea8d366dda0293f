"""How others name and store the weights of networks that are here too."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_resnets import layers
from keras_resnets.errors import UserError

# Names that torch keeps beside the weights, which mean nothing at inference.
BATCH_COUNTER = "num_batches_tracked"


class Description(NamedTuple):
    """The network that a file is of.

    Attributes:
        family: String, a registry name.
        options: Dictionary of the family's options.
        channels: Int. Channels of the images.
        classes: Int, outputs of the classifier; 0 where the file has none.
    """

    family: str
    options: dict[str, Any]
    channels: int
    classes: int


class Slot(NamedTuple):
    """One variable of a network and its counterpart in a file.

    Attributes:
        layer: The layer of the variable.
        variable: Keras variable.
        key: String, the name in the file.
        shape: Tuple of ints, the shape in the file.
        take: `take(array) -> array`, from the file's form to the variable's.
        give: `give(array) -> array`, the way back.
    """

    layer: Any
    variable: Any
    key: str
    shape: tuple[int, ...]
    take: Callable
    give: Callable


def _same(array):
    return array


def torch_slots(layer, module):
    """The variables of a layer as torch names and arranges them.

    A convolution's kernel is `(out, in, height, width)`, a dense one `(out, in)`; a batch norm has
    weight, bias, running_mean, running_var.
    """
    names = ("weight", "bias", "running_mean", "running_var")
    for name, variable in zip(names, layer.weights, strict=False):
        shape, take, give = tuple(variable.shape), _same, _same
        if len(shape) == 4:
            shape = (shape[3], shape[2], shape[0], shape[1])
            take, give = _from_torch_kernel, _to_torch_kernel
        elif len(shape) == 2:
            shape, take, give = shape[::-1], np.transpose, np.transpose
        yield Slot(layer, variable, f"{module}.{name}", shape, take, give)


def _from_torch_kernel(array):
    return np.transpose(array, (2, 3, 1, 0))


def _to_torch_kernel(array):
    return np.transpose(array, (3, 2, 0, 1))


def convolved_slots(layer, module):
    """As `torch_slots`, where the classifier is a 1x1 convolution."""
    for slot in torch_slots(layer, module):
        if len(slot.shape) == 2:
            slot = slot._replace(
                shape=(*slot.shape, 1, 1), take=_from_convolution, give=_to_convolution
            )
        yield slot


def _from_convolution(array):
    return np.transpose(array[:, :, 0, 0])


def _to_convolution(array):
    return np.transpose(array)[:, :, None, None]


def keras_slots(layer, name):
    """The variables of a layer as Keras arranges them, numbered as in its files."""
    for number, variable in enumerate(layer.weights):
        shape = tuple(variable.shape)
        yield Slot(layer, variable, f"{name}/{number}", shape, _same, _same)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """One way to name the weights of a network: a table from its places to the names in a file.

    Attributes:
        name: String.
        source: String, the code whose names these are.
        ends: Mapping from the names of the layers outside the blocks to the file's.
        block: String, the file's name of a block, with `{stage}` (from 1), `{next}` and
            `{previous}` (stages), `{index}` (in the stage, from 1), `{before}` (from 0) and
            `{stride}` (of the stage).
        parts: Mapping from the names of a block's layers, less the block's own, to what follows
            `block` in the file, with the same fields.
        family: String, the family of the networks.
        options: Mapping, options that its code fixes and that no shape shows.
        describe: `describe(dialect, checkpoint) -> Description` of the network, by the shapes of
            its tensors, or `None` if it is none of the family's.
        mean: Tuple of floats, of the pixels divided by 255 that its networks are trained on.
        std: Tuple of floats.
        resize_share: Float. Share of the resized image's shorter side that the crop keeps, or
            `None` where nothing is cropped.
        interpolation: String, of its preprocessing.
        marks: Tuple of strings, the parts of a first block that show whose names they are.
        slots: `slots(layer, name)`: `torch_slots`, `convolved_slots` or `keras_slots`.
        prepare: `prepare(tensors) -> tensors`, what is to be computed before names fit.
        refuse: `refuse(tensors) -> reason` why networks of this dialect's names are none of ours,
            or `None`.
    """

    name: str
    source: str
    ends: Mapping[str, str]
    block: str
    parts: Mapping[str, str]
    family: str
    describe: Callable
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    resize_share: float | None = None
    interpolation: str = "bilinear"
    marks: tuple[str, ...] = ("conv1", "conv2")
    slots: Callable = torch_slots
    prepare: Callable = _same
    refuse: Callable = lambda tensors: None

    def place(self, stage, index, part=""):
        """The file's name of a block, or of a part of it, by numbers from 1."""
        name = f"{self.block}{self._joint}{part}" if part else self.block
        stride = 1 if stage == 1 else 2
        return name.format(
            stage=stage, next=stage + 1, previous=stage - 1, index=index, before=index - 1,
            stride=stride,
        )

    @property
    def _joint(self):
        return "_" if self.slots is keras_slots else "."

    @property
    def separator(self):
        """What stands between a layer's name and its variable's."""
        return "/" if self.slots is keras_slots else "."

    def kernel(self, tensors, module):
        """The shape `(height, width, in, out)` of a kernel in a file, or `None`."""
        if self.slots is keras_slots:
            found = tensors.get(f"{module}/0")
            return found.shape if found is not None else None
        found = tensors.get(f"{module}.weight")
        if found is None:
            return None
        shape = (*found.shape, 1, 1)[:4]
        return (shape[2], shape[3], shape[1], shape[0])

    def has_statistics(self, tensors, module):
        """Whether a normalization layer has moving statistics, as batch norm."""
        end = "/3" if self.slots is keras_slots else ".running_var"
        return f"{module}{end}" in tensors

    def fits(self, checkpoint):
        """Whether a file has this dialect's stem and first block."""
        tensors = checkpoint.tensors
        marks = [self.place(1, 1, self.parts[part]) for part in self.marks]
        return all(self.kernel(tensors, name) for name in (self.ends["stem_conv"], *marks))

    def depths(self, tensors):
        """Number of blocks of each stage in a file: tuple of ints."""
        found = []
        while True:
            count, part = 0, self.parts["conv1"]
            while self.kernel(tensors, self.place(len(found) + 1, count + 1, part)):
                count += 1
            if not count:
                return tuple(found)
            found.append(count)

    def explained(self, tensors):
        """How many tensors of a file have names that the dialect knows: int."""
        names = set(self.ends.values())
        for stage, depth in enumerate(self.depths(tensors), 1):
            for index in range(1, depth + 1):
                names.update(self.place(stage, index, part) for part in self.parts.values())
        return sum(key.rpartition(self.separator)[0] in names for key in tensors)

    def table(self, network):
        """All variables of a network with their counterparts: list of `Slot`.

        Raises:
            UserError: If the dialect has no name for one of its layers.
        """
        blocks = {
            layer.name: block for block in network.blocks for layer in block.layers if layer.weights
        }
        slots = []
        for layer in network.layers:
            if not layer.weights or isinstance(layer, layers.Merge):  # whose branch's layers follow
                continue
            name = self.name_of(layer, blocks.get(layer.name))
            if name is None:
                raise UserError(
                    f"{self.name} has no name for the layer {layer.name} of {network.name}"
                )
            slots.extend(self.slots(layer, name))
        return slots

    def name_of(self, layer, block):
        """The file's name of a layer; `None` if it has none.

        Args:
            layer: Keras layer.
            block: `Block` that it is in, or `None`.
        """
        if block is None:
            return self.ends.get(layer.name)
        part = self.parts.get(layer.name.removeprefix(f"{block.name}_"))
        return part and self.place(block.stage, block.index, part)
