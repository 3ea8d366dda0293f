"""Residual networks as sums: x_L = x_l + F(x_l) + ... + F(x_L-1), and what scaled shortcuts do.

He 2016, *Identity Mappings in Deep Residual Networks* (arXiv 1603.05027), section 2: Eqn. 4, the
sum; Eqn. 5, its gradient; Eqn. 6 to 8, the product of the lambdas in place of the 1.
"""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.analysis import drawing
from keras_resnets.analysis.gradients import check_images
from keras_resnets.checks import is_count, is_number, must
from keras_resnets.errors import UserError
from keras_resnets.models.assembly import assemble
from keras_resnets.models.network import Network
from keras_resnets.models.resnet import ResNetCifar


@dataclasses.dataclass(frozen=True)
class ResidualSum:
    """How far a block, or a run of blocks, is from the sum of its shortcut and its branches.

    Attributes:
        name: String: `"stage1_block2"`, or for a run `"stage1_block1 to stage1_block3"`.
        blocks: Int. Number of blocks: 1, or those of a run.
        error: Float. |x_L - (x_l + sum F)| / |x_L|, 2-norms over all images.
        branches: Float. |sum F| / |x_L|: how much of the output the branches add.
    """

    name: str
    blocks: int
    error: float
    branches: float


def residual_sums(network, images):
    """Checks x_L = x_l + sum F(x_i) on images, block by block and by runs of blocks.

    A block whose shortcut is not its input itself (the shape changes, or branch and shortcut share
    an activation) begins a run, of which x_l is what its shortcut adds. The network computes as in
    inference: a branch F of stochastic depth by the batch counts its survival probability.

    Args:
        network: `Network` whose blocks have one branch each and an identity after the addition: the
            pre-activation nets, and those with `activation="relu_before_add"`.
        images: Array `(batch, height, width, channels)`, as the network takes them.

    Returns:
        List of `ResidualSum`: a row for each block in their order, then one for each run of several
        blocks. The errors are those of rounding, about 1e-7 in float32.

    Raises:
        UserError: If the images do not fit, or for a network that is no such sum: plain, with an
            activation or batch norm after the addition, with scaled, gated, dropped or convolved
            shortcuts where the shape stays, or with paths.
    """
    must("network", network, isinstance(network, Network), "a keras_resnets.Network")
    images = check_images(network, images)
    for block in network.blocks:
        _require_sum(block)
    outputs, shortcuts, branches = _values(network, images)
    rows, runs, run = [], [], []
    for index, block in enumerate(network.blocks):
        rows.append(_row([block], outputs[index], shortcuts[index], branches[index]))
        if block.branches[0].shortcut is not block.input or not run:
            run = []
            runs.append(run)
        run.append(index)
    for run in runs:
        if len(run) > 1:
            blocks = [network.blocks[index] for index in run]
            total = sum(branches[index] for index in run)
            rows.append(_row(blocks, outputs[run[-1]], shortcuts[run[0]], total))
    return rows


def _require_sum(block):
    """Raises a UserError unless the block's output is its shortcut and one branch, added."""
    reason = _why_no_sum(block)
    if reason:
        raise UserError(
            "`network` must add one branch to an identity shortcut in every block and do nothing "
            f"after it, as pre-activation nets do. Received: {block.name}, {reason}"
        )


def _why_no_sum(block):
    if not block.branches:
        return "which has no shortcut"
    if len(block.branches) > 1 or isinstance(block.output, tuple):
        return f"which has {len(block.branches)} branches or several paths"
    (branch,) = block.branches
    merge = branch.merge
    if merge.activation or block.output is not merge.output:
        return "which has an activation or a batch norm after the addition"
    if merge.gating or tuple(merge.scales) != (1.0, 1.0):
        return "whose shortcut is scaled or gated"
    keeps_shape = block.stride == 1 and block.input.shape[-1] == block.output.shape[-1]
    if keeps_shape and not any(branch.shortcut is x for x in (block.input, block.activated)):
        return "whose shortcut is not the identity"
    return None


def _values(network, images):
    """Outputs, shortcuts and weighed branches of all blocks, as lists of float64 arrays."""
    branches = [block.branches[0] for block in network.blocks]
    taps = keras.Model(
        network.input,
        [
            (branch.shortcut, branch.source if branch.nested else branch.output, block.output)
            for block, branch in zip(network.blocks, branches, strict=True)
        ],
    )
    shortcuts, weighed, outputs = [], [], []
    for branch, (shortcut, y, output) in zip(branches, taps(images, training=False), strict=True):
        y = branch.merge.branch(y, training=False) if branch.nested else y
        by_batch = getattr(branch.merge, "draw", None) == "batch"
        shortcuts.append(np.asarray(shortcut, "float64"))
        weighed.append(np.asarray(y, "float64") * (branch.merge.survival if by_batch else 1.0))
        outputs.append(np.asarray(output, "float64"))
    return outputs, shortcuts, weighed


def _row(blocks, output, shortcut, branches):
    size = np.linalg.norm(output)
    name = blocks[0].name if len(blocks) == 1 else f"{blocks[0].name} to {blocks[-1].name}"
    error, share = (np.linalg.norm(part) for part in (output - (shortcut + branches), branches))
    return ResidualSum(name, len(blocks), float(error / size), float(share / size))


@dataclasses.dataclass(frozen=True)
class LambdaGradient:
    """What becomes of a gradient on its way back through blocks x' = lambda x + F(x).

    Attributes:
        skip_lambda: Float, lambda.
        blocks: Int. Number of blocks that it passes.
        product: Float. The product of the lambdas, lambda^blocks.
        shortcuts: Float. Norm at the first block's output over that at the last block's, through
            the shortcuts alone: the branches are 0.
        whole: Float. The same through shortcuts and branches.
    """

    skip_lambda: float
    blocks: int
    product: float
    shortcuts: float
    whole: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OneStage(ResNetCifar):
    """All blocks of a CIFAR net in its first stage: no shortcut has to change the shape."""

    def trunk(self):
        return self.trunk_of(((self.depth - 2) // 2,), ())


def lambda_gradients(lambdas, depth=56, width=8, side=8, batch=8, seed=0):
    """The gradient at the first block of nets whose shortcuts are scaled with lambda.

    The nets are those of `skip="lambda"` with full pre-activation and the (depth - 2) / 2 basic
    blocks of a CIFAR net, here all of one shape, with new weights and in training mode. They differ
    by lambda alone. The gradient that arrives at the last block's output is the same normal one for
    all. Through the shortcuts it is multiplied by lambda in each block; for lambda < 1 what is left
    goes through the branches, whose batch norms scale the small signal up again. Keras' global seed
    is set.

    Args:
        lambdas: Sequence of floats above 0.
        depth: Int, 6n+2. Layers of the net. Defaults to 56, 27 blocks.
        width: Int. Channels. Defaults to 8.
        side: Int. Height and width of the images in pixels. Defaults to 8.
        batch: Int. Number of images, which are normal noise. Defaults to 8.
        seed: Int. Seed of weights, images and gradient. Defaults to 0.

    Returns:
        List of `LambdaGradient`, by lambda.

    Raises:
        UserError: If an argument is not legal.
    """
    lambdas = [value.item() if isinstance(value, np.generic) else value for value in lambdas]
    legal = bool(lambdas) and all(is_number(value) and value > 0 for value in lambdas)
    must("lambdas", lambdas, legal, "numbers above 0, at least one")
    for name, value in (("side", side), ("batch", batch)):
        must(name, value, is_count(value), "a positive integer")
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((batch, side, side, 3), "float32")
    arriving = rng.standard_normal((batch, side, side, width), "float32")
    options = {"depth": depth, "width": width, "input_shape": (side, side, 3)}
    rows = []
    for value in sorted(lambdas):
        shortcuts, whole = (
            _passed(images, arriving, seed, skip_lambda=value, zero_init_residual=zero, **options)
            for zero in (True, False)
        )
        blocks = (depth - 2) // 2 - 1
        rows.append(LambdaGradient(value, blocks, value**blocks, shortcuts, whole))
    return rows


def _passed(images, arriving, seed, **options):
    """Norm of the gradient at the first block's output over that of `arriving`, at the last's."""
    options = _OneStage(activation="full_preact", skip="lambda", **options)
    keras.utils.set_random_seed(seed)
    _, plan = assemble(options)
    blocks = plan.stages[0].blocks
    x = keras.Model(plan.image, blocks[0].output)(images, training=True)
    rest = keras.Model(blocks[0].output, blocks[-1].output)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = rest(x, training=True)
    gradient = tape.gradient(y, x, output_gradients=arriving)
    # float64: the squares of small gradients are below what float32 can hold
    sizes = [np.linalg.norm(np.asarray(part, "float64")) for part in (gradient, arriving)]
    return float(sizes[0] / sizes[1])


def plot_lambda_gradients(rows, path, title=None):
    """Draws the gradient at the first block over lambda, beside the product of the lambdas.

    Args:
        rows: Rows of `lambda_gradients`.
        path: Path of the PNG or SVG file to write.
        title: String or `None`. Defaults to one with the number of blocks.

    Raises:
        UserError: If there are no rows.
    """
    must("rows", rows, len(rows) > 0, "rows of `lambda_gradients`, at least one")
    figure, (axes,) = drawing.new_figure(width=6.0, height=4.2)
    lambdas = [row.skip_lambda for row in rows]
    product = [row.product for row in rows]
    axes.plot(lambdas, product, color="#999999", linewidth=5, label="product of the lambdas")
    curves = {"shortcuts alone": "shortcuts", "shortcuts and branches": "whole"}
    for (label, field), look in zip(curves.items(), drawing.styles(), strict=False):
        values = [getattr(row, field) or math.nan for row in rows]
        axes.plot(lambdas, values, label=label, **look)
    axes.axvline(1.0, color="#555555", linewidth=0.8)
    title = title or f"Gradient at the first block, {rows[0].blocks} blocks before the last"
    drawing.finish(
        axes,
        "lambda, the factor of every shortcut",
        "gradient's norm, relative to the last block's",
        title,
        log=True,
        legend=True,
    )
    drawing.save(figure, path)
