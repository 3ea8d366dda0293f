"""What a diagram tells of a network's parts: their convolutions, shortcuts, paths and maps."""

import collections
import dataclasses
import itertools

import keras

from keras_resnets.layers import FractalJoin, StochasticMerge, ZeroPadShortcut
from keras_resnets.models.graph import layers_between

MOST_CONVOLUTIONS = 4  # that a recipe lists one by one
_WORDS = {
    "BatchNormalization": "BN",
    "GroupNormalization": "GN",
    "GlobalAveragePooling2D": "average pool",
    "GlobalMaxPooling2D": "max-pool",
    "Concatenate": "concatenate",
    "SplitChannels": "split",
    "Average": "mean",
    "relu": "ReLU",
}


@dataclasses.dataclass(frozen=True)
class Outline:
    """One block, or a run of equal ones.

    Attributes:
        names: Tuple of strings, of the blocks.
        indices: Tuple of ints, their numbers in the stage.
        stride: Int.
        recipe: String, the convolutions of the branch, or of the block where it has none.
        shortcuts: Tuple of strings, one for each line that a branch is added to: `"identity"`,
            `"projection"`, `"zero padding"`, `"mean"` or `"other"`.
        concatenated: Boolean. Whether a path goes on as the input beside something new.
        columns: Int, of a fractal block; else 0.
        paths: Int. Number of tensors that leave the block.
        survivals: Tuple of floats, one for each block.
    """

    names: tuple
    indices: tuple
    stride: int
    recipe: str
    shortcuts: tuple
    concatenated: bool
    columns: int
    paths: int
    survivals: tuple

    @property
    def kind(self):
        """What equal blocks have in common."""
        return (self.stride, self.recipe, self.shortcuts, self.concatenated, self.columns,
                self.paths)


def outline(block):
    """The `Outline` of a `Block`."""
    outputs = paths_of(block.output)
    joined = [
        _maps(layer._inbound_nodes[0].input_tensors)
        for layer in block.layers
        if isinstance(layer, FractalJoin)
    ]
    survivals = [
        branch.merge.survival
        for branch in block.branches
        if isinstance(branch.merge, StochasticMerge)
    ]
    return Outline(
        names=(block.name,),
        indices=(block.index,),
        stride=block.stride,
        recipe=_recipe(block),
        shortcuts=tuple(_shortcuts(block)),
        concatenated=any(_is_concatenated(tensor) for tensor in outputs),
        columns=max(map(len, joined), default=0),
        paths=len(outputs),
        survivals=(min(survivals, default=1.0),),
    )


def fold(outlines, most):
    """Runs of equal blocks as one, the longest first, until there are `most` or fewer."""
    runs = [list(run) for _, run in itertools.groupby(outlines, key=lambda o: o.kind)]
    folded = set()
    for number in sorted(range(len(runs)), key=lambda n: -len(runs[n])):
        if sum(1 if n in folded else len(run) for n, run in enumerate(runs)) <= most:
            break
        folded.add(number)
    for number, run in enumerate(runs):
        if number in folded:
            joined = {
                field: tuple(itertools.chain(*(getattr(o, field) for o in run)))
                for field in ("names", "indices", "survivals")
            }
            yield dataclasses.replace(run[0], **joined)
        else:
            yield from run


def chain(starts, ends):
    """Words for the layers from some tensors to others, in their order."""
    return [layer_words(layer) for layer in reversed(layers_between(starts, ends))
            if not isinstance(layer, keras.layers.InputLayer)]


def layer_words(layer):
    """`"7×7, 64, /2"` for a convolution, and the like."""
    kind = type(layer).__name__
    if isinstance(layer, keras.layers.Conv2D):
        groups = f" in {layer.groups} groups" if layer.groups > 1 else ""
        return f"{sides_words(layer.kernel_size)}, {layer.filters}{groups}{_stride(layer.strides)}"
    if isinstance(layer, keras.layers.Dense):
        return f"dense {layer.units}"
    if kind == "MaxPooling2D":
        return f"max-pool {sides_words(layer.pool_size)}{_stride(layer.strides)}"
    if isinstance(layer, keras.layers.Activation):
        return _WORDS.get(layer.activation.__name__, layer.activation.__name__)
    return _WORDS.get(kind, kind)


def map_words(tensors):
    """`"2 × 64 channels, 8×8"` for the tensor, or the tuple of them, that leaves a part."""
    tensors = paths_of(tensors)
    channels = [tensor.shape[-1] for tensor in tensors]
    alike = len(set(channels)) == 1
    words = f"{len(channels)} × {channels[0]}" if alike else " + ".join(map(str, channels))
    words = str(channels[0]) if len(channels) == 1 else words
    sides = tensors[0].shape[1:3]
    return f"{words} channels" + ("" if None in sides else f", {sides_words(sides)}")


def paths_of(tensors):
    """The maps of one tensor or a tuple of them, as a tuple."""
    return _maps(tensors if isinstance(tensors, tuple) else (tensors,))


def _maps(tensors):
    """Those that are maps: a fractal net's draw of drop-path, or `None`, goes along with them."""
    return tuple(tensor for tensor in tensors if tensor is not None and len(tensor.shape) == 4)


def _recipe(block):
    if not block.branches:
        return _convolutions(layers_between(block.input, block.output))
    recipes = [
        _convolutions(layers_between(branch.input, branch.output)) for branch in block.branches
    ]
    if len(set(recipes)) > 1:
        return " | ".join(recipes)
    return recipes[0] if len(recipes) == 1 else f"{len(recipes)} × ({recipes[0]})"


def _convolutions(layers):
    layers = [layer for layer in reversed(layers) if isinstance(layer, keras.layers.Conv2D)]
    if len(layers) <= MOST_CONVOLUTIONS:
        return " → ".join(layer_words(layer) for layer in layers)
    kinds = collections.Counter((sides_words(layer.kernel_size), layer.filters) for layer in layers)
    return ", ".join(
        f"{count} convolutions {sides}, {filters}" for (sides, filters), count in kinds.items()
    )


def _shortcuts(block):
    """The kind of each line that a branch is added to; sums on the way to a sum are none."""
    merged = [branch.merge.output for branch in block.branches]
    starts = [block.input, merged, [branch.source for branch in block.branches]]
    for branch in block.branches:
        if any(branch.shortcut is tensor for tensor in merged):
            continue
        layers = layers_between(starts, branch.shortcut)
        kinds = {type(layer).__name__ for layer in layers}
        if any(isinstance(layer, keras.layers.Conv2D) for layer in layers):
            yield "projection"
        elif any(isinstance(layer, ZeroPadShortcut) for layer in layers):
            yield "zero padding"
        elif "Average" in kinds:
            yield "mean"
        elif kinds <= {"BatchNormalization", "GroupNormalization", "ReLU", "Concatenate"}:
            yield "identity"
        else:
            yield "other"


def _is_concatenated(tensor):
    return isinstance(tensor._keras_history[0], keras.layers.Concatenate)


def sides_words(sides):
    """`"3×3"`; a side that may be any is `any`."""
    return "×".join("any" if side is None else str(side) for side in sides)


def _stride(strides):
    return f", /{max(strides)}" if max(strides) > 1 else ""


def note(blocks):
    """What the blocks of a stage compute, the most frequent kind, and how likely they stay."""
    recipes = [box.recipe for box in blocks]
    usual = max(set(recipes), key=recipes.count)
    words = [f"block: {usual}"] if usual else []
    columns = max(box.columns for box in blocks)
    words += [f"in {columns} columns, joined by their mean"] if columns else []
    survivals = [rate for box in blocks for rate in box.survivals]
    words += [f"survival {rate_range(survivals)}"] if min(survivals) < 1 else []
    return "; ".join(words)


def span(names):
    """The names of a run of blocks."""
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def rate_range(rates):
    """Survival rates of the first and the last block, or the one that all have."""
    low, high = f"{min(rates):.3g}", f"{max(rates):.3g}"
    return low if low == high else f"{rates[0]:.3g} to {rates[-1]:.3g}"


def parameter_words(parameters):
    """`"60.3 M parameters"`."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:.3g} {letter} parameters"
    return f"{parameters} parameters"
