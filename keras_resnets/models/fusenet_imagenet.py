"""Merge-and-run networks for ImageNet: Zhao 2016 (arXiv 1611.07718), by zlmzju/fusenet."""

import functools

import keras

from keras_resnets.models.fusenet import EPSILON, conv
from keras_resnets.models.network import STEMS, Stage
from keras_resnets.models.options import shares
from keras_resnets.models.registry import Trunk, family, variant
from keras_resnets.models.residual import residual
from keras_resnets.models.stochastic_depth import StochasticDepth


def bottleneck(x, width, stride, dilation, name, *, norm):
    """1x1, BN, ReLU, 3x3 with the stride, BN, ReLU, 1x1 to 4 times the width, BN."""
    x = conv(width, 1, name=f"{name}_conv1")(x)
    x = norm(name=f"{name}_bn1")(x)
    x = keras.layers.ReLU(name=f"{name}_relu1")(x)
    x = conv(width, 3, strides=stride, dilation_rate=dilation, name=f"{name}_conv2")(x)
    x = norm(name=f"{name}_bn2")(x)
    x = keras.layers.ReLU(name=f"{name}_relu2")(x)
    x = conv(4 * width, 1, name=f"{name}_conv3")(x)
    return norm(name=f"{name}_bn3")(x)


def resnet(x, width, stride, dilation, name, position, *, norm, merge):
    """x + H(x), ReLU; where the shape changes there is no shortcut: H(x), ReLU."""
    branch = _branch(width, stride, dilation, name, norm=norm)
    if stride > 1 or x.shape[-1] != 4 * width:
        return keras.layers.ReLU(name=f"{name}_relu3")(branch(x))
    return merge(x, x, branch, name, position, activation="relu")


def cross(x, width, stride, dilation, name, position, *, norm, merge):
    """m = (x1 + x2) / 2;  y1 = ReLU(m + H1(x1)),  y2 = ReLU(m + H2(x2)).

    Where the shape changes there is no shortcut: y1 = ReLU(H1(x1)), y2 = ReLU(H2(x2)). Both paths
    start from the stem's output.
    """
    paths = x if isinstance(x, tuple) else (x, x)
    names = [f"{name}_path{number}" for number in (1, 2)]
    branches = [_branch(width, stride, dilation, at, norm=norm) for at in names]
    runs = list(zip(paths, branches, names, strict=True))
    if stride > 1 or paths[0].shape[-1] != 4 * width:
        return tuple(keras.layers.ReLU(name=f"{at}_relu3")(branch(y)) for y, branch, at in runs)
    mean = keras.layers.Average(name=f"{name}_average")(list(paths))
    return tuple(
        merge(mean, y, branch, at, position, activation="relu") for y, branch, at in runs
    )


def _branch(width, stride, dilation, name, *, norm):
    """`bottleneck` as a function of its input alone."""
    return functools.partial(
        bottleneck, width=width, stride=stride, dilation=dilation, name=name, norm=norm
    )


def _concatenate(x):
    return keras.layers.Concatenate(name="final_concat")(list(x))


# kind -> (block, join of the paths)
KINDS = {
    "cross": (cross, _concatenate),
    "resnet": (resnet, None),
}


@family(num_classes=1000, stem="imagenet")
@shares("stochastic_depth", StochasticDepth)
def fusenet_imagenet(
    kind="cross", blocks=(1, 2, 11, 2), width=64, *, stem, norm, stochastic_depth
):
    """Merge-and-run nets for ImageNet, and the ResNet they are compared with (Zhao 2016).

    Four stages of bottlenecks as in ResNet-50. Exact to the authors' code (`symbol_cross.py`,
    `symbol_resnet.py`), which differs from the paper's CIFAR nets: no shortcut, identity or
    projection, where the shape changes; the two paths are concatenated before the pool, not added
    in the last block; no BN-ReLU in the stem; the stride is on the 3x3. Batch norm has epsilon
    2e-5, the initialisation is He's by fan-in. What deviates: the classifier's bias starts
    uniform, not at 0.

    Args:
        kind: `"cross"` (merge-and-run) or `"resnet"`. Defaults to `"cross"`.
        blocks: Tuple of four ints, the blocks of the stages. Defaults to (1, 2, 11, 2), the
            50 layers of DFN-MR; the released ResNet-98 has (2, 4, 22, 4).
        width: Int. Channels of the stem and of the first stage's 3x3. Defaults to 64.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {tuple(KINDS)}. Received: kind={kind!r}")
    is_four = isinstance(blocks, tuple) and len(blocks) == 4
    if not is_four or not all(type(number) is int and number > 0 for number in blocks):
        raise ValueError(
            f"`blocks` must be four positive integers, such as (1, 2, 11, 2). "
            f"Received: blocks={blocks!r}"
        )
    if type(width) is not int or width < 1:
        raise ValueError(f"`width` must be a positive integer. Received: width={width!r}")
    norm = functools.partial(norm, epsilon=EPSILON)
    block, final = KINDS[kind]
    merge = functools.partial(residual, stochastic_depth=stochastic_depth)
    block = functools.partial(block, norm=norm, merge=merge)
    stages = [
        Stage(block, number, width * 2**index, stride=1 if index == 0 else 2)
        for index, number in enumerate(blocks)
    ]
    return Trunk(functools.partial(STEMS[stem], width=width, norm=None, conv=conv), stages, final)


variant("DFNMR50", "dfn_mr50", fusenet_imagenet, kind="cross", blocks=(1, 2, 11, 2))
variant("DFNResNet98", "dfn_resnet98", fusenet_imagenet, kind="resnet", blocks=(2, 4, 22, 4))
