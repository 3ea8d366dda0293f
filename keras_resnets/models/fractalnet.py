"""FractalNet: Larsson 2017, *Ultra-Deep Neural Networks without Residuals* (arXiv 1605.07648)."""

import functools

import keras

from keras_resnets.layers import Conv2D, MaxPooling2D
from keras_resnets.layers.fractal import DRAWS, ColumnDraw, FractalJoin
from keras_resnets.models.network import STEMS, Network, Stage
from keras_resnets.models.registry import Trunk, family, variant

POOLS = ("before_join", "after_join")

# Caffe's filler "xavier", uniform by fan-in. A config, not an object: Keras 3 gives equal values
# to equal shapes from one shared initialiser.
XAVIER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0, "mode": "fan_in", "distribution": "uniform"},
}


def unit(x, width, dilation, name, index, *, dropout, norm):
    """3x3, dropout, BN, ReLU."""
    x = Conv2D(
        width, 3, dilation_rate=dilation, kernel_initializer=XAVIER, name=f"{name}_conv{index}"
    )(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name=f"{name}_dropout{index}")(x)
    x = norm(name=f"{name}_bn{index}")(x)
    return keras.layers.ReLU(name=f"{name}_relu{index}")(x)


def grow(x, first, start, *, columns, column, unit, join):
    """The fractal of the columns from `first` to the last, before the join that ends it.

    It is one unit beside two fractals of the columns after it, the first of them joined (Larsson
    2017, Eqn. 2 and Fig. 1): column c has 2**(c - 1) units. With `column`, only that column's units
    are made, which the joins then pass through.

    Args:
        x: Keras tensor.
        first: Int, from 1.
        start: Int. Units of the deepest column before this fractal.
        columns: Int. Columns of the net.
        column: Int or `None`.
        unit: `unit(x, column, index) -> x`.
        join: `join(xs, index) -> x`.

    Returns:
        List of Keras tensors, one for each column that ends here, the deepest last.
    """
    length = 2 ** (columns - first)  # units of the deepest column beside one of this column
    outputs = []
    if column in (None, first):
        outputs.append(unit(x, first, start // length + 1))
    if first < columns and (column is None or column > first):
        part = functools.partial(grow, columns=columns, column=column, unit=unit, join=join)
        halfway = start + length // 2
        # The joins' index: one ends with every second unit of the deepest column.
        x = join(part(x, first + 1, start), halfway // 2)
        outputs += part(x, first + 1, halfway)
    return outputs


def fractal(
    x, width, stride, dilation, name, position, *, norm, columns, column, dropout, drop_path, pool
):
    """Columns of 1, 2, 4, ... units (3x3, dropout, BN, ReLU), joined by their mean; 2x2 max-pool.

    Columns join wherever they end at one depth (Fig. 1). The max-pool, with the stride of the
    stage, stands before the last join, one for each column, or after it. `x` is a pair: the map,
    and the draw that all joins of the net share (or `None`).
    """
    x, drawn = x

    def column_unit(x, number, index):
        prefix = f"{name}_column{number}"
        return unit(x, width, dilation, prefix, index, dropout=dropout, norm=norm)

    def join(xs, index):
        if len(xs) == 1:
            return xs[0]
        return FractalJoin(drop_path, name=f"{name}_join{index}")(xs, drawn=drawn)

    def shrink(x, prefix):
        return MaxPooling2D(2, strides=stride, padding="valid", name=f"{prefix}_pool")(x)

    xs = grow(x, 1, 0, columns=columns, column=column, unit=column_unit, join=join)
    joins = 2 ** (columns - 1) // 2
    if pool == "after_join":
        return shrink(join(xs, joins), name), drawn
    numbers = range(1, columns + 1) if column is None else (column,)
    xs = [shrink(x, f"{name}_column{number}") for x, number in zip(xs, numbers, strict=True)]
    return join(xs, joins), drawn


def entry(image, *, stem, smallest, draw):
    """The stem, if any, and the draw of the joins: `(map, draw)`."""
    if any(side is not None and side < smallest for side in image.shape[1:3]):
        raise ValueError(
            f"`input_shape` must have sides None or from {smallest} up, for one 2x2 pool a block. "
            f"Received: input_shape={tuple(image.shape[1:])}"
        )
    return stem(image), draw(image) if draw else None


@family(num_classes=10, stem=None)
def fractalnet(
    columns=3,
    blocks=5,
    width=64,
    dropout=0.4,
    drop_path=0.15,
    global_ratio=0.5,
    drop_path_draw="batch",
    pool="before_join",
    column=None,
    *,
    stem,
    norm,
):
    """FractalNet: blocks that are truncated fractals, without residuals.

    A block of C columns is 2**(C - 1) convolutions deep; the widths of the blocks are 1, 2, 4 and
    then 8 times `width` (Larsson 2017, section 4.1). What the authors released (gustavla/
    fractalnet: the generator and Caffe's join) is followed in the order of unit and pool, dropout,
    local drop-path by batch and Caffe's Xavier initialisation; it differs in that
    its convolutions have a bias and its batch norms no gamma and beta: here, as in the usual
    re-implementations, it is the reverse. Global drop-path was not released; here it is one draw
    of a column for the whole net. The classifier starts as in all families.

    Args:
        columns: Int, from 1. Defaults to 3 (20 convolutions deep with 5 blocks).
        blocks: Int, from 1. Each ends in a 2x2 max-pool: sides from `2**blocks`. Defaults to 5.
        width: Int. Channels of the first block: 64, or 16 in the paper's ultra-deep nets. Defaults
            to 64.
        dropout: Float in [0, 1), the rate after the convolutions of the last block, which grows
            linearly from 0 in the first; or a tuple with the rate of each block. Defaults to 0.4
            (with 5 blocks 0, 0.1, 0.2, 0.3, 0.4).
        drop_path: Float in [0, 1]. Probability that local drop-path drops an input of a join. 0
            turns drop-path off, the global one too. Defaults to 0.15.
        global_ratio: Float in [0, 1]. Share of the draws in which drop-path is global: one column
            of the whole net stays alive. Defaults to 0.5.
        drop_path_draw: `"batch"`, one draw a step (the Caffe join, the paper), or `"sample"`, one
            for each image (khanrc/pt.fractalnet). Defaults to `"batch"`.
        pool: `"before_join"`, each column before the block's last join (the released generator),
            or `"after_join"` (Fig. 1 of the paper). Defaults to `"before_join"`.
        column: Int from 1, the shallowest, to `columns`: that column alone, as a plain net with
            the layer names of the fractal; `extract_column` makes it with the fractal's weights.
            `None` is the fractal. Defaults to `None`.
    """
    for key, value in (("columns", columns), ("blocks", blocks), ("width", width)):
        if not _is_count(value):
            raise ValueError(f"`{key}` must be an integer from 1 up. Received: {key}={value!r}")
    for key, value in (("drop_path", drop_path), ("global_ratio", global_ratio)):
        if not (_is_number(value) and 0 <= value <= 1):
            raise ValueError(f"`{key}` must be in [0, 1]. Received: {key}={value!r}")
    for key, value, legal in (("pool", pool, POOLS), ("drop_path_draw", drop_path_draw, DRAWS)):
        if value not in legal:
            raise ValueError(f"`{key}` must be one of {legal}. Received: {key}={value!r}")
    if column is not None:
        _check_column(column, columns)
    block = functools.partial(
        fractal, norm=norm, columns=columns, column=column, drop_path=drop_path, pool=pool
    )
    stages = [
        Stage(functools.partial(block, dropout=rate), 1, width * min(2**index, 8), stride=2)
        for index, rate in enumerate(_rates(dropout, blocks))
    ]
    draw = None
    if drop_path and columns > 1 and column is None:
        draw = ColumnDraw(columns, global_ratio, drop_path_draw, name="drop_path")
    first = functools.partial(STEMS[stem], width=width, norm=norm)
    smallest = 2**blocks * (4 if stem == "imagenet" else 1)
    return Trunk(
        functools.partial(entry, stem=first, smallest=smallest, draw=draw), stages, _map_of
    )


def _map_of(x):
    return x[0]


def _rates(dropout, blocks):
    """The dropout rate of each block."""
    given = dropout if isinstance(dropout, tuple) else (dropout,) * blocks
    if len(given) != blocks or not all(_is_number(rate) and 0 <= rate < 1 for rate in given):
        raise ValueError(
            f"`dropout` must be in [0, 1), or a tuple of {blocks} such rates for blocks={blocks}. "
            f"Received: dropout={dropout!r}"
        )
    if isinstance(dropout, tuple):
        return dropout
    return tuple(dropout * index / max(blocks - 1, 1) for index in range(blocks))


def _check_column(column, columns):
    if not (_is_count(column) and column <= columns):
        raise ValueError(
            f"`column` must be an integer from 1 (the shallowest) to {columns} (the deepest). "
            f"Received: column={column!r}"
        )


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def extract_column(model, column):
    """Takes a column out of a trained FractalNet, as a net of its own.

    The net computes what the fractal computes with only that column alive, at its cost: column c
    has `2**(c - 1)` convolutions a block, and the deepest one is a plain net of
    `blocks * 2**(columns - 1)` (Larsson 2017, sections 3.1 and 4.2). It keeps the fractal's
    options, preprocessing and class names, and is saved and trained as any network.

    Args:
        model: A `Network` of the family `fractalnet`.
        column: Int, from 1, the shallowest, to `model`'s number of columns, the deepest.

    Returns:
        A `Network` with copies of the weights.

    Raises:
        ValueError: If `model` is not a FractalNet or has no such column.
    """
    options = model.options if isinstance(model, Network) else {}
    if options.get("column", "none") is not None:
        raise ValueError(
            f"`model` must be a FractalNet with all its columns. Received: model={model!r}"
        )
    if column is None:  # which would be the whole fractal again
        raise ValueError("`column` must be an integer from 1 up. Received: column=None")
    config = model.get_config()
    config["options"]["column"] = column
    config |= {"name": f"{model.name}_column{column}", "frozen": []}
    net = Network.from_config(config)
    for layer in net.layers:
        source = model.get_layer(layer.name)
        layer.set_weights(source.get_weights())
        layer.trainable = source.trainable
    return net


# The depth counts the convolutions of the deepest column, with 5 blocks.
for _columns in range(1, 7):
    _depth = 5 * 2 ** (_columns - 1)
    variant(f"FractalNet{_depth}", f"fractalnet{_depth}", fractalnet, columns=_columns, blocks=5)
