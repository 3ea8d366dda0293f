"""The one idea: stem -> stages -> head."""

import dataclasses
from collections.abc import Callable, Sequence

import keras

from keras_resnets.checks import is_count, must
from keras_resnets.layers import Dropout
from keras_resnets.layers.initializers import uniform_by_features
from keras_resnets.models.records import Place, Plan, StageRecord, StemRecord


@dataclasses.dataclass(frozen=True)
class Stage:
    """A row of a network's table: `depth` blocks of one width, the first with the stride.

    Attributes:
        block: `block(x, place) -> x`, where `x` is a Keras tensor or a tuple of them (paths) and
            `place` a `Place`.
        depth: Int. Number of blocks.
        width: Int. Channels of the block's spatial convolutions.
        stride: Int. Stride of the first block. Defaults to 1.
        dilation: Int. Dilation of all blocks but the first, which keeps that of the stage before
            (torchvision's rule). Defaults to 1.
    """

    block: Callable
    depth: int
    width: int
    stride: int = 1
    dilation: int = 1

    def __post_init__(self):
        for name in ("depth", "width", "stride", "dilation"):
            value = getattr(self, name)
            must(name, value, is_count(value), "a positive integer")


def mean_of(paths):
    """The mean of paths; a path that is alone is itself."""
    if not isinstance(paths, tuple):
        return paths
    return keras.layers.Average()(list(paths))


@dataclasses.dataclass(frozen=True)
class Trunk:
    """What a family contributes to a network: all but the head.

    Attributes:
        stem: `stem(image) -> maps`, as `Stem.build` returns them.
        stages: Sequence of `Stage`.
        final: `final(x) -> tensor` that ends the trunk (a last BN-ReLU, the join of paths), or
            `None` for a trunk that ends in one tensor. Defaults to `None`.
        join: `join(paths) -> tensor`: one map of the paths that leave a stage. Defaults to their
            mean.
    """

    stem: Callable
    stages: Sequence[Stage]
    final: Callable | None = None
    join: Callable = mean_of


def assemble(options):
    """Builds the functional graph of a network and keeps its plan.

    Args:
        options: `Options` of the family.

    Returns:
        A pair of the output (Keras tensor) and the `Plan`.
    """
    trunk = options.trunk()
    image = keras.Input(options.input_shape, name="image")
    maps = trunk.stem(image)
    stride, x = list(maps.items())[-1]
    stem = StemRecord(stride=stride, maps=maps, output=x)
    blocks = list(_build_stages(trunk.stages, x))
    x = blocks[-1][-1].output
    final = trunk.final(x) if trunk.final else x
    stages = tuple(_stage_records(blocks, stride, final))
    plan = Plan(image=image, stem=stem, stages=stages, final=final, join=trunk.join)
    return head(final, options), plan


def _build_stages(rows, x):
    """Yields the `Block`s of each stage, a tuple of them."""
    total = sum(row.depth for row in rows)
    built, dilation = 0, 1
    for number, row in enumerate(rows, 1):
        blocks = []
        for index in range(1, row.depth + 1):
            built += 1
            place = Place(
                stage=number,
                index=index,
                name=f"stage{number}_block{index}",
                width=row.width,
                stride=row.stride if index == 1 else 1,
                dilation=dilation if index == 1 else row.dilation,
                position=built / total,
                is_first=built == 1,
                is_last=built == total,
            )
            y = row.block(x, place)
            blocks.append(place.record(x, y))
            x = y
        dilation = row.dilation
        yield tuple(blocks)


def _stage_records(blocks, stride, final):
    """Yields the `StageRecord`s; a stage hands on what the next one makes of all its output."""
    following = [stage[0].activated for stage in blocks[1:]]
    for number, (stage, handed_on) in enumerate(zip(blocks, [*following, final], strict=True), 1):
        output = stage[-1].output
        if handed_on is None and not isinstance(output, tuple):
            handed_on = output
        stride *= stage[0].stride
        yield StageRecord(
            number=number, name=f"stage{number}", stride=stride, blocks=stage, map=handed_on
        )


def head(x, options):
    """Global average pool, dropout if asked for, and the classifier, in float32.

    The classifier starts uniform in +-1 / sqrt(features), kernel and bias, as torchvision's.

    Args:
        x: Keras tensor `(batch, height, width, channels)`.
        options: `Options`, of which `include_top`, `pooling`, `head_dropout`, `num_classes` and
            `classifier_activation` are used.

    Returns:
        Keras tensor.
    """
    if not options.include_top and options.pooling is None:
        return x
    pool = keras.layers.GlobalMaxPooling2D if options.pooling == "max" else (
        keras.layers.GlobalAveragePooling2D
    )
    x = pool(name="pool")(x)
    if not options.include_top:
        return x
    if options.head_dropout:
        x = Dropout(options.head_dropout, name="head_dropout")(x)
    initializer = uniform_by_features(x.shape[-1])
    return keras.layers.Dense(
        options.num_classes,
        activation=options.classifier_activation,
        kernel_initializer=initializer,
        bias_initializer=initializer,
        dtype="float32",
        name="logits",
    )(x)
