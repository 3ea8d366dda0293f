"""FractalNet: Larsson 2017, *Ultra-Deep Neural Networks without Residuals* (arXiv 1605.07648)."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import keras

from keras_resnets.checks import Count, Share, is_count, is_number, must
from keras_resnets.errors import UserError
from keras_resnets.layers import ColumnDraw, Dropout, FractalJoin, MaxPooling2D
from keras_resnets.layers.draws import Draw
from keras_resnets.layers.initializers import XAVIER
from keras_resnets.models.assembly import Stage, Trunk
from keras_resnets.models.builders import family, variant
from keras_resnets.models.network import Network
from keras_resnets.models.options import Options, Unused
from keras_resnets.models.stems import NO_STEM, STEMS, Stem


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


def fractal(x, place, *, net, dropout):
    """Columns of 1, 2, 4, ... units (3x3, dropout, BN, ReLU), joined by their mean; 2x2 max-pool.

    Columns join wherever they end at one depth (Fig. 1). The max-pool, with the stride of the
    stage, stands before the last join, one for each column, or after it. `x` is a pair: the map,
    and the draw that all joins of the net share (or `None`).
    """
    x, drawn = x
    name, columns, column = place.name, net.columns, net.column

    def unit(x, number, index):
        """3x3, dropout, BN, ReLU."""
        at = f"{name}_column{number}"
        conv = net.conv(place.width, 3, dilation_rate=place.dilation, name=f"{at}_conv{index}")
        x = conv(x)
        if dropout:
            x = Dropout(dropout, name=f"{at}_dropout{index}")(x)
        x = net.normalization(name=f"{at}_bn{index}")(x)
        return keras.layers.ReLU(name=f"{at}_relu{index}")(x)

    def join(xs, index):
        if len(xs) == 1:
            return xs[0]
        layer = FractalJoin(net.drop_path, net.drop_path_draw, name=f"{name}_join{index}")
        return layer(xs, drawn=drawn)

    def shrink(x, prefix):
        return MaxPooling2D(2, strides=place.stride, padding="valid", name=f"{prefix}_pool")(x)

    xs = grow(x, 1, 0, columns=columns, column=column, unit=unit, join=join)
    joins = 2 ** (columns - 1) // 2
    if net.pool == "after_join":
        return shrink(join(xs, joins), name), drawn
    numbers = range(1, columns + 1) if column is None else (column,)
    xs = [shrink(x, f"{name}_column{number}") for x, number in zip(xs, numbers, strict=True)]
    return join(xs, joins), drawn


def _map_of(x):
    """The map of a pair of map and draw."""
    return x[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FractalNet(Options):
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
        blocks: Int, from 1. Each ends in a 2x2 max-pool: sides from `2**blocks`.
        width: Int. Channels of the first block: 64, or 16 in the paper's ultra-deep nets.
        dropout: Float in [0, 1), the rate after the convolutions of the last block, which grows
            linearly from 0 in the first; or a tuple with the rate of each block. Defaults to 0.4
            (with 5 blocks 0, 0.1, 0.2, 0.3, 0.4).
        drop_path: Float in [0, 1]. Probability that local drop-path drops an input of a join. 0
            turns drop-path off, the global one too.
        global_ratio: Float in [0, 1]. Share of the draws in which drop-path is global: one column
            of the whole net stays alive.
        drop_path_draw: `"batch"`, one draw a step (the Caffe join, the paper), or `"sample"`, one
            for each image (khanrc/pt.fractalnet).
        pool: `"before_join"`, each column before the block's last join (the released generator),
            or `"after_join"` (Fig. 1 of the paper).
        column: Int from 1, the shallowest, to `columns`: that column alone, as a plain net with
            the layer names of the fractal; `extract_column` makes it with the fractal's weights.
            `None` is the fractal.
        stem: `None`, the image enters the first block, `"cifar"` (3x3 stride 1) or `"imagenet"`
            (7x7 stride 2, max-pool).
    """

    num_classes: Count = 10
    stem: Literal["imagenet", "cifar"] | None = None
    columns: Count = 3
    blocks: Count = 5
    width: Count = 64
    dropout: float | tuple[float, ...] = 0.4
    drop_path: Share = 0.15
    global_ratio: Share = 0.5
    drop_path_draw: Draw = "batch"
    pool: Literal["before_join", "after_join"] = "before_join"
    column: Count | None = None

    stems: ClassVar[Mapping[str | None, Stem]] = {**STEMS, None: NO_STEM}
    kernel_initializer: ClassVar[Any] = XAVIER
    interchangeable: ClassVar[tuple[str, ...]] = (
        *("dropout", "drop_path", "global_ratio", "drop_path_draw"),
    )

    def unused(self):
        if self.stem is None:
            yield Unused(("stem_width",), "stem=None", "stem")

    def check(self):
        rates = self.dropout if isinstance(self.dropout, tuple) else (self.dropout,) * self.blocks
        must(
            "dropout",
            self.dropout,
            len(rates) == self.blocks and all(is_number(rate) and 0 <= rate < 1 for rate in rates),
            f"in [0, 1), or a tuple of {self.blocks} such rates for blocks={self.blocks}",
        )
        if self.column is not None:
            _check_column(self.column, self.columns)
        smallest = 2**self.blocks * self.stems[self.stem].stride
        must(
            "input_shape",
            self.input_shape,
            all(side is None or side >= smallest for side in self.input_shape[:2]),
            f"of sides None or from {smallest} up, for one 2x2 pool a block",
        )

    @property
    def rates(self):
        """Tuple of the dropout rates of the blocks."""
        if isinstance(self.dropout, tuple):
            return self.dropout
        last = max(self.blocks - 1, 1)
        return tuple(self.dropout * index / last for index in range(self.blocks))

    def trunk(self):
        stages = [
            Stage(
                functools.partial(fractal, net=self, dropout=rate),
                1,
                self.width * min(2**index, 8),
                stride=2,
            )
            for index, rate in enumerate(self.rates)
        ]
        return Trunk(self._entry, stages, _map_of, _map_of)

    def _entry(self, image):
        """The maps of the stem; the last one with the draw that the joins share."""
        maps = self.build_stem(image, self.width)
        draw = None
        if self.drop_path and self.columns > 1 and self.column is None:
            draw = ColumnDraw(
                self.columns, self.global_ratio, self.drop_path_draw, name="drop_path"
            )(image)
        *_, (stride, x) = maps.items()
        return {**maps, stride: (x, draw)}


def _check_column(column, columns):
    must(
        "column",
        column,
        is_count(column) and column <= columns,
        f"an integer from 1 (the shallowest) to {columns} (the deepest)",
    )


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
        raise UserError(
            f"`model` must be a FractalNet with all its columns. Received: model={model!r}"
        )
    if column is None:  # which would be the whole fractal again
        raise UserError("`column` must be an integer from 1 up. Received: column=None")
    return model.copy_with(name=f"{model.name}_column{column}", column=column)


fractalnet = family("fractalnet", FractalNet)

# The depth counts the convolutions of the deepest column, with 5 blocks.
FractalNet5 = variant("FractalNet5", "fractalnet5", fractalnet, columns=1, blocks=5)
FractalNet10 = variant("FractalNet10", "fractalnet10", fractalnet, columns=2, blocks=5)
FractalNet20 = variant("FractalNet20", "fractalnet20", fractalnet, columns=3, blocks=5)
FractalNet40 = variant("FractalNet40", "fractalnet40", fractalnet, columns=4, blocks=5)
FractalNet80 = variant("FractalNet80", "fractalnet80", fractalnet, columns=5, blocks=5)
FractalNet160 = variant("FractalNet160", "fractalnet160", fractalnet, columns=6, blocks=5)
