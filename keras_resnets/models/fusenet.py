"""Merge-and-run networks and their kin for CIFAR: Zhao 2016, *On the Connection of Deep Fusion to
Ensembling* (arXiv 1611.07718), by the authors' code, zlmzju/fusenet."""

import dataclasses
import functools
from typing import Any, ClassVar, Literal

import keras

from keras_resnets.checks import Count, is_count, must
from keras_resnets.layers import ChannelScale, Merge
from keras_resnets.layers.initializers import HE_FAN_IN
from keras_resnets.models.assembly import Stage, Trunk
from keras_resnets.models.builders import family, variant
from keras_resnets.models.options import Options
from keras_resnets.models.stochastic_depth import StochasticDepth
from keras_resnets.models.units import residual

Kind = Literal["plain", "resnet", "half", "side", "cross", "fuse3", "fuse6", "ensemble"]
EPSILON = 2e-5  # of the authors' batch norm
RESIDUAL_KINDS = ("resnet", "half", "cross", "fuse3", "fuse6")


def chain(x, place, *, net, convs, name):
    """3x3, BN, `convs` times, with a ReLU between two of them; the first has the stride."""
    stride = place.stride
    for number in range(1, convs + 1):
        x = net.conv(
            place.width,
            3,
            strides=stride,
            dilation_rate=place.dilation,
            name=f"{name}_conv{number}",
        )(x)
        x = net.normalization(name=f"{name}_bn{number}")(x)
        if number < convs:
            x = keras.layers.ReLU(name=f"{name}_relu{number}")(x)
        stride = 1
    return x


def shortcut(x, place, *, net, name, kernel=1, always=False):
    """Identity; a convolution with the stride, BN, where the shape changes, or `always`."""
    if place.stride == 1 and x.shape[-1] == place.width and not always:
        return x
    x = net.conv(place.width, kernel, strides=place.stride, name=f"{name}_shortcut_conv")(x)
    return net.normalization(name=f"{name}_shortcut_bn")(x)


def plain(x, place, *, net):
    """3x3 with the stride, BN, ReLU."""
    x = chain(x, place, net=net, convs=1, name=place.name)
    return keras.layers.ReLU(name=f"{place.name}_relu1")(x)


def resnet(x, place, *, net):
    """x + H(x), ReLU, where H is 3x3 with the stride, BN, ReLU, 3x3, BN.

    Where the shape changes, x goes through a 1x1 with the stride, BN.
    """
    line = shortcut(x, place, net=net, name=place.name)
    return run(line, x, place, net=net, name=place.name, activation="relu")


def half(x, place, *, net):
    """x + H1(x) + H2(x), ReLU (DFN-IL); H and the shortcut as in `resnet`."""
    line = shortcut(x, place, net=net, name=place.name)
    line = run(line, x, place, net=net, name=f"{place.name}_path1")
    return run(line, x, place, net=net, name=f"{place.name}_path2", activation="relu")


def side(x, place, *, net):
    """H1(x) + H2(x), ReLU: DFN-IL without the identity, hence no residual."""
    branches = [
        chain(x, place, net=net, convs=2, name=f"{place.name}_path{number}") for number in (1, 2)
    ]
    return Merge("relu", name=f"{place.name}_merge")(branches)


def cross(x, place, *, net):
    """m = (x1 + x2) / 2;  y1 = ReLU(m + H1(x1)),  y2 = ReLU(m + H2(x2)) (DFN-MR).

    Merge and run: where the shape changes, each path has its own 1x1 with the stride, BN, *before*
    the mean. Both paths start from the stem's output. The last block of the net joins them:
    ReLU(m + H1(x1) + H2(x2)).
    """
    x1, x2 = x if isinstance(x, tuple) else (x, x)
    name1, name2 = f"{place.name}_path1", f"{place.name}_path2"
    lines = [shortcut(y, place, net=net, name=name) for y, name in ((x1, name1), (x2, name2))]
    mean = keras.layers.Average(name=f"{place.name}_average")(lines)
    if place.is_last:
        both = run(mean, x1, place, net=net, name=name1)
        return run(both, x2, place, net=net, name=name2, activation="relu")
    return (
        run(mean, x1, place, net=net, name=name1, activation="relu"),
        run(mean, x2, place, net=net, name=name2, activation="relu"),
    )


def fuse(x, place, *, net, convs):
    """L(x) + `convs` times (3x3, BN) with ReLU between, ReLU; the first 3x3 has the stride.

    L is a 3x3 with the stride, BN in the net's first block and where the shape changes, and the
    identity elsewhere.
    """
    line = shortcut(x, place, net=net, name=place.name, kernel=3, always=place.is_first)
    return run(line, x, place, net=net, name=place.name, convs=convs, activation="relu")


def run(line, x, place, *, net, name, convs=2, activation=None):
    """line + `chain` of x, with stochastic depth."""
    branch = functools.partial(chain, place=place, net=net, convs=convs, name=name)
    return residual(line, x, branch, place, net=net, name=name, activation=activation)


def ensemble(x, place, *, net, convs):
    """Every path forks: left 3x3, BN, ReLU; right 3x3, BN, ReLU `convs` times.

    The two sides of a `fuse`, not added but each a path of its own. All paths have the same
    kernels, gammas and betas, and their own statistics, in training and in the moving averages.
    """
    right = paths = x if isinstance(x, tuple) else (x,)
    left = _shared_unit(paths, place, "left", 1, net=net)
    for number in range(1, convs + 1):
        right = _shared_unit(right, place, "right", number, net=net)
    return (*left, *right)


def _shared_unit(paths, place, side, number, *, net):
    """3x3, BN, ReLU on every path, with one kernel, gamma and beta for all; the first strides."""
    name = f"{place.name}_{side}"
    kernel = net.conv(
        place.width,
        3,
        strides=place.stride if number == 1 else 1,
        dilation_rate=place.dilation,
        name=f"{name}_conv{number}",
    )
    scale = ChannelScale(name=f"{name}_scale{number}")
    relu = keras.layers.ReLU(name=f"{name}_relu{number}")
    outputs = []
    for path, x in enumerate(paths, 1):
        statistics = net.normalization(
            center=False, scale=False, name=f"{name}_bn{number}_path{path}"
        )
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class FuseNet(Options, StochasticDepth):
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
        kind: String, see above.
        depth: Int, the depth of the *plain* net with the same number of 3x3 convolutions, as the
            authors' `--depth`. The two paths of half, side and cross lie beside each other, so
            these nets have 2 (blocks) + 2 layers: the 56-layer DFN-MR1 is `depth=110`. Of the
            depth - 2 layers a block of plain takes 1, of resnet 2, of half, side and cross 4; the
            remainder of the division is dropped (`depth=56` with cross gives 4, 4, 5 blocks).
        width: Int. Channels of the first stage before widening.
        widen: Int. Widening factor, of the stem too (not of the ensemble's, as released).
    """

    num_classes: Count = 10
    stem: Literal["imagenet", "cifar"] = "cifar"
    kind: Kind = "cross"
    depth: int = 62
    width: Count = 16
    widen: Count = 1

    epsilon: ClassVar[float] = EPSILON
    kernel_initializer: ClassVar[Any] = HE_FAN_IN

    def check(self):
        _, convs = BLOCKS.get(self.kind, (None, 1))
        smallest = 8 if self.kind == "fuse6" else 2 + 3 * convs
        must(
            "depth",
            self.depth,
            is_count(self.depth) and self.depth >= smallest,
            f"an integer from {smallest} up with kind={self.kind!r}, the depth of the plain net",
        )
        must(
            "survival",
            self.survival,
            self.survival == 1 or self.kind in RESIDUAL_KINDS,
            f"1 with kind={self.kind!r}, whose blocks have no identity; it is for {RESIDUAL_KINDS}",
        )

    def rows(self):
        """Block and number of blocks of each stage."""
        if self.kind == "ensemble":
            return [
                (functools.partial(ensemble, convs=convs), 1)
                for convs in split_depth(self.depth, 1)
            ]
        if self.kind in FUSIONS:
            convs = (self.depth - 2) // FUSIONS[self.kind]
            block = functools.partial(fuse, convs=convs)
        else:
            block, convs = BLOCKS[self.kind]
        return [(block, blocks) for blocks in split_depth(self.depth, convs)]

    def trunk(self):
        stages = [
            Stage(
                functools.partial(block, net=self),
                blocks,
                self.width * self.widen * 2**index,
                stride=1 if index == 0 else 2,
            )
            for index, (block, blocks) in enumerate(self.rows())
        ]
        is_ensemble = self.kind == "ensemble"
        width = self.width if is_ensemble else self.width * self.widen
        return Trunk(
            functools.partial(self.build_stem, width=width),
            stages,
            keras.layers.Average(name="final_average") if is_ensemble else None,
        )


fusenet = family("fusenet", FuseNet)

DFNMR1 = variant("DFNMR1", "dfn_mr1", fusenet, kind="cross", depth=110, widen=1)
DFNMR2 = variant("DFNMR2", "dfn_mr2", fusenet, kind="cross", depth=62, widen=4)
DFNMR3 = variant("DFNMR3", "dfn_mr3", fusenet, kind="cross", depth=98, widen=4)
