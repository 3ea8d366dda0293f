"""Merge-and-run networks and their kin for CIFAR: Zhao 2016, *On the Connection of Deep Fusion to
Ensembling* (arXiv 1611.07718), by the authors' code, zlmzju/fusenet."""

import functools

import keras

from keras_resnets.layers import Conv2D, Merge
from keras_resnets.layers.initializers import HE_FAN_IN
from keras_resnets.layers.scale import ChannelScale
from keras_resnets.models.network import STEMS, Stage
from keras_resnets.models.options import shares
from keras_resnets.models.registry import Trunk, family, variant
from keras_resnets.models.residual import FIRST_BLOCK, residual
from keras_resnets.models.stochastic_depth import StochasticDepth

EPSILON = 2e-5  # of the authors' batch norm
RESIDUAL_KINDS = ("resnet", "half", "cross", "fuse3", "fuse6")
conv = functools.partial(Conv2D, kernel_initializer=HE_FAN_IN)


def chain(x, width, stride, dilation, name, *, convs, norm):
    """3x3, BN, `convs` times, with a ReLU between two of them; the first has the stride."""
    for number in range(1, convs + 1):
        x = conv(width, 3, strides=stride, dilation_rate=dilation, name=f"{name}_conv{number}")(x)
        x = norm(name=f"{name}_bn{number}")(x)
        if number < convs:
            x = keras.layers.ReLU(name=f"{name}_relu{number}")(x)
        stride = 1
    return x


def shortcut(x, width, stride, name, *, norm, kernel=1):
    """Identity; a convolution with the stride, BN, where the shape changes."""
    if stride == 1 and x.shape[-1] == width:
        return x
    return conv_shortcut(x, width, stride, name, norm=norm, kernel=kernel)


def conv_shortcut(x, width, stride, name, *, norm, kernel):
    """A convolution with the stride, BN."""
    x = conv(width, kernel, strides=stride, name=f"{name}_shortcut_conv")(x)
    return norm(name=f"{name}_shortcut_bn")(x)


def plain(x, width, stride, dilation, name, position, *, norm):
    """3x3 with the stride, BN, ReLU."""
    x = chain(x, width, stride, dilation, name, convs=1, norm=norm)
    return keras.layers.ReLU(name=f"{name}_relu1")(x)


def resnet(x, width, stride, dilation, name, position, *, norm, merge):
    """x + H(x), ReLU, where H is 3x3 with the stride, BN, ReLU, 3x3, BN.

    Where the shape changes, x goes through a 1x1 with the stride, BN.
    """
    line = shortcut(x, width, stride, name, norm=norm)
    branch = _branch(width, stride, dilation, name, norm=norm)
    return merge(line, x, branch, name, position, activation="relu")


def half(x, width, stride, dilation, name, position, *, norm, merge):
    """x + H1(x) + H2(x), ReLU (DFN-IL); H and the shortcut as in `resnet`."""
    line = shortcut(x, width, stride, name, norm=norm)
    for number, activation in ((1, None), (2, "relu")):
        at = f"{name}_path{number}"
        branch = _branch(width, stride, dilation, at, norm=norm)
        line = merge(line, x, branch, at, position, activation=activation)
    return line


def side(x, width, stride, dilation, name, position, *, norm):
    """H1(x) + H2(x), ReLU: DFN-IL without the identity."""
    branches = [
        chain(x, width, stride, dilation, f"{name}_path{number}", convs=2, norm=norm)
        for number in (1, 2)
    ]
    return Merge("relu", name=f"{name}_merge")(branches)


def cross(x, width, stride, dilation, name, position, *, norm, merge):
    """m = (x1 + x2) / 2;  y1 = ReLU(m + H1(x1)),  y2 = ReLU(m + H2(x2)) (DFN-MR).

    Merge and run: where the shape changes, each path has its own 1x1 with the stride, BN, *before*
    the mean. Both paths start from the stem's output. The last block of the net joins them:
    ReLU(m + H1(x1) + H2(x2)).
    """
    x1, x2 = x if isinstance(x, tuple) else (x, x)
    name1, name2 = f"{name}_path1", f"{name}_path2"
    line1 = shortcut(x1, width, stride, name1, norm=norm)
    line2 = shortcut(x2, width, stride, name2, norm=norm)
    mean = keras.layers.Average(name=f"{name}_average")([line1, line2])
    branch1 = _branch(width, stride, dilation, name1, norm=norm)
    branch2 = _branch(width, stride, dilation, name2, norm=norm)
    if position == 1:
        both = merge(mean, x1, branch1, name1, position)
        return merge(both, x2, branch2, name2, position, activation="relu")
    y1 = merge(mean, x1, branch1, name1, position, activation="relu")
    y2 = merge(mean, x2, branch2, name2, position, activation="relu")
    return y1, y2


def fuse(x, width, stride, dilation, name, position, *, convs, norm, merge):
    """L(x) + `convs` times (3x3, BN) with ReLU between, ReLU; the first 3x3 has the stride.

    L is a 3x3 with the stride, BN in the net's first block and where the shape changes, and the
    identity elsewhere.
    """
    path = conv_shortcut if name == FIRST_BLOCK else shortcut
    line = path(x, width, stride, name, norm=norm, kernel=3)
    branch = _branch(width, stride, dilation, name, convs=convs, norm=norm)
    return merge(line, x, branch, name, position, activation="relu")


def _branch(width, stride, dilation, name, *, norm, convs=2):
    """`chain` as a function of its input alone."""
    return functools.partial(
        chain, width=width, stride=stride, dilation=dilation, name=name, convs=convs, norm=norm
    )


def ensemble(x, width, stride, dilation, name, position, *, convs, norm):
    """Every path forks: left 3x3, BN, ReLU; right 3x3, BN, ReLU `convs` times.

    The two sides of a `fuse`, not added but each a path of its own. All paths have the same
    kernels, gammas and betas, and their own statistics, in training and in the moving averages.
    """
    right = paths = x if isinstance(x, tuple) else (x,)
    common = {"width": width, "dilation": dilation, "norm": norm}
    left = _shared_unit(paths, f"{name}_left", 1, stride=stride, **common)
    for number in range(1, convs + 1):
        right = _shared_unit(right, f"{name}_right", number, stride=stride, **common)
        stride = 1
    return (*left, *right)


def _shared_unit(paths, name, number, *, width, stride, dilation, norm):
    """3x3, BN, ReLU on every path, with one kernel, gamma and beta for all."""
    kernel = conv(width, 3, strides=stride, dilation_rate=dilation, name=f"{name}_conv{number}")
    scale = ChannelScale(name=f"{name}_scale{number}")
    relu = keras.layers.ReLU(name=f"{name}_relu{number}")
    outputs = []
    for path, x in enumerate(paths, 1):
        statistics = norm(center=False, scale=False, name=f"{name}_bn{number}_path{path}")
        outputs.append(relu(scale(statistics(kernel(x)))))
    return tuple(outputs)


# kind -> (block, convolutions of the plain net that a block stands for)
BLOCKS = {
    "plain": (plain, 1),
    "resnet": (resnet, 2),
    "half": (half, 4),
    "side": (side, 4),
    "cross": (cross, 4),
}
FUSIONS = {"fuse3": 3, "fuse6": 6}  # kind -> fusions in the net
KINDS = (*BLOCKS, *FUSIONS, "ensemble")


def split_depth(depth, block_depth):
    """Blocks of the three stages: each takes its share of what the stages before it left.

    Integer division as in the authors' `network/base.py`: what a stage cannot use goes to the
    later ones, and what the last cannot use is lost.
    """
    blocks, left = [], depth - 2
    for stages_left in (3, 2, 1):
        blocks.append(left // (block_depth * stages_left))
        left -= blocks[-1] * block_depth
    return blocks


def _rows(kind, depth):
    """Block and number of blocks of each stage."""
    if kind == "ensemble":
        return [(functools.partial(ensemble, convs=convs), 1) for convs in split_depth(depth, 1)]
    if kind in FUSIONS:
        block_depth = (depth - 2) // FUSIONS[kind]
        block = functools.partial(fuse, convs=block_depth)
    else:
        block, block_depth = BLOCKS[kind]
    return [(block, blocks) for blocks in split_depth(depth, block_depth)]


def _check(kind, depth, width, widen):
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}")
    smallest = 8 if kind == "fuse6" else 2 + 3 * BLOCKS.get(kind, (None, 1))[1]
    if type(depth) is not int or depth < smallest:
        raise ValueError(
            f"`depth`, that of the plain net, must be an integer from {smallest} up with "
            f"kind={kind!r}. Received: depth={depth!r}"
        )
    for key, value in (("width", width), ("widen", widen)):
        if type(value) is not int or value < 1:
            raise ValueError(f"`{key}` must be a positive integer. Received: {key}={value!r}")


@family(num_classes=10, stem="cifar")
@shares("stochastic_depth", StochasticDepth)
def fusenet(kind="cross", depth=62, width=16, widen=1, *, stem, norm, stochastic_depth):
    """Deeply-fused nets for CIFAR: merge-and-run (DFN-MR) and its relatives (Zhao 2016).

    Three stages of 16, 32, 64 times `widen` channels; after the stem of 3x3, BN, ReLU there are:

    - `"plain"`: 3x3, BN, ReLU;
    - `"resnet"`: x + H(x), with projections where the shape changes;
    - `"half"` (DFN-IL): x + H1(x) + H2(x);
    - `"side"`: H1(x) + H2(x);
    - `"cross"` (DFN-MR, merge-and-run): two paths, each added to the mean of both;
    - `"fuse3"`, `"fuse6"`: a third or a sixth of the plain net beside one skip;
    - `"ensemble"`: fuse3 unfolded into its 2^3 chains, with shared weights.

    Exact to the authors' code (`network/*.py`): the wiring and the blocks a stage, batch norm with
    momentum 0.9 and epsilon 2e-5, He initialisation by fan-in, and the classifier's kernel, which
    is uniform in +-1 / sqrt(features). What deviates: the classifier's bias starts uniform like
    its kernel, not at 0. The ensemble is one net whose logits are the mean of its eight members'
    (the authors' has eight softmax outputs with a loss for each, and their training code is
    unpublished), and its batch norm has momentum 0.9 like the others' (there 0.99).

    Args:
        kind: String, see above. Defaults to `"cross"`.
        depth: Int, the depth of the *plain* net with the same number of 3x3 convolutions, as the
            authors' `--depth`. The two paths of half, side and cross lie beside each other, so
            these nets have 2 (blocks) + 2 layers: the 56-layer DFN-MR1 is `depth=110`. A block of
            plain, resnet and the three takes 1, 2 and 4 of the depth - 2 layers; the remainder of
            the division is dropped (`depth=56` with cross gives 4, 4, 5 blocks). Defaults to 62.
        width: Int. Channels of the first stage before widening. Defaults to 16.
        widen: Int. Widening factor, of the stem too (not of the ensemble's, as released).
            Defaults to 1.
    """
    _check(kind, depth, width, widen)
    bound = {"norm": functools.partial(norm, epsilon=EPSILON)}
    if kind in RESIDUAL_KINDS:
        bound["merge"] = functools.partial(residual, stochastic_depth=stochastic_depth)
    elif stochastic_depth.survival < 1:
        raise ValueError(
            f"`survival` must be 1 with kind={kind!r}, whose blocks have no identity; it is for "
            f"{RESIDUAL_KINDS}. Received: survival={stochastic_depth.survival}"
        )
    stages = [
        Stage(
            functools.partial(block, **bound),
            blocks,
            width * widen * 2**index,
            stride=1 if index == 0 else 2,
        )
        for index, (block, blocks) in enumerate(_rows(kind, depth))
    ]
    is_ensemble = kind == "ensemble"
    stem_width = width if is_ensemble else width * widen
    return Trunk(
        functools.partial(STEMS[stem], width=stem_width, norm=bound["norm"], conv=conv),
        stages,
        keras.layers.Average(name="final_average") if is_ensemble else None,
    )


for _name, _depth, _widen in (("1", 110, 1), ("2", 62, 4), ("3", 98, 4)):
    variant(
        f"DFNMR{_name}", f"dfn_mr{_name}", fusenet, kind="cross", depth=_depth, widen=_widen
    )
