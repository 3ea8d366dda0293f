"""Dual Path Networks: Chen 2017, *Dual Path Networks* (arXiv 1707.01629)."""

import functools

import keras

from keras_resnets.layers import Conv2D, Merge
from keras_resnets.layers.split import SplitChannels
from keras_resnets.models.network import STEMS, Stage
from keras_resnets.models.registry import Trunk, family, variant

EPSILON = 1e-3  # of all batch norms: MXNet's default, which the released weights were trained with
HEAD_ACTIVATIONS = ("relu", "elu")


def bn_relu(x, name, index, *, norm):
    """BN, ReLU."""
    x = norm(name=f"{name}_bn{index}")(x)
    return keras.layers.ReLU(name=f"{name}_relu{index}")(x)


def join(x, name):
    """The paths `(residual, dense)` as one map, the residual channels first."""
    if not isinstance(x, tuple):
        return x
    return keras.layers.Concatenate(name=f"{name}_concat")(x)


def projection(x, residual, increment, stride, name, *, norm):
    """BN, ReLU, 1x1 with the stride; its last 2 * increment channels start a new dense path."""
    x = norm(name=f"{name}_shortcut_bn")(x)
    x = keras.layers.ReLU(name=f"{name}_shortcut_relu")(x)
    sizes = (residual, 2 * increment)
    x = Conv2D(sum(sizes), 1, strides=stride, name=f"{name}_shortcut_conv")(x)
    return SplitChannels(sizes, name=f"{name}_shortcut_split")(x)


def dual_path(
    x, width, stride, dilation, name, position, *, norm, groups, residual, increment, variant_b
):
    """BN, ReLU, 1x1, BN, ReLU, grouped 3x3 with the stride, BN, ReLU, 1x1 (Fig. 2d).

    The input is both paths side by side. Of the last convolution's channels the first `residual`
    are added to the residual path, the other `increment` are appended to the dense path; variant b
    computes them by two 1x1 convolutions. A stage's first block projects its shortcut, and with
    2 * increment channels of that the dense path begins anew: after k blocks it has (k + 2) *
    increment.
    """
    joined = join(x, name)
    y = bn_relu(joined, name, 1, norm=norm)
    y = Conv2D(width, 1, name=f"{name}_conv1")(y)
    y = bn_relu(y, name, 2, norm=norm)
    y = Conv2D(
        width, 3, strides=stride, dilation_rate=dilation, groups=groups, name=f"{name}_conv2"
    )(y)
    y = bn_relu(y, name, 3, norm=norm)
    if variant_b:
        added = Conv2D(residual, 1, name=f"{name}_conv3")(y)
        appended = Conv2D(increment, 1, name=f"{name}_dense_conv")(y)
    else:
        y = Conv2D(residual + increment, 1, name=f"{name}_conv3")(y)
        added, appended = SplitChannels((residual, increment), name=f"{name}_split")(y)
    goes_on = isinstance(x, tuple) and x[0].shape[-1] == residual and stride == 1
    shortcut, dense = (
        x if goes_on else projection(joined, residual, increment, stride, name, norm=norm)
    )
    return (
        Merge(name=f"{name}_merge")([shortcut, added]),
        keras.layers.Concatenate(name=f"{name}_dense")([dense, appended]),
    )


def join_and_activate(x, *, norm, activation):
    """The paths side by side, BN, ReLU or ELU."""
    x = norm(name="final_bn")(join(x, "final"))
    return keras.layers.Activation(activation, name=f"final_{activation}")(x)


def _stem_conv(filters, kernel_size, *, stem_kernel, **kwargs):
    return Conv2D(filters, stem_kernel or kernel_size, **kwargs)


@family(num_classes=1000, stem="imagenet")
def dpn(
    depths=(3, 4, 20, 3),
    increments=(16, 32, 24, 128),
    k_r=96,
    groups=32,
    base_width=256,
    stem_width=64,
    stem_kernel=None,
    variant_b=False,
    head_activation="relu",
    *,
    stem,
    norm,
):
    """Dual Path Network: a residual path that adds and a dense path that concatenates.

    Every block reads both paths (Chen 2017, section 4 and Table 1). Widths and wiring are those of
    the released MXNet symbols (cypw/DPNs, `settings/symbol_dpn*.py`), and so is the epsilon of
    1e-3. Stage i, from 0, has `base_width * 2**i` residual channels and 3x3 convolutions of
    `k_r * 2**i` channels; its dense path starts at 2 increments and grows by one with each block.

    Args:
        depths: Tuple of ints. Blocks of each stage. Defaults to DPN-92's `(3, 4, 20, 3)`.
        increments: Tuple of ints, one for each stage. Channels that a block appends to the dense
            path. Defaults to `(16, 32, 24, 128)`.
        k_r: Int, a multiple of `groups`. Channels of the grouped 3x3 convolutions in the first
            stage. Defaults to 96.
        groups: Int. Cardinality of the 3x3 convolutions. Defaults to 32.
        base_width: Int. Channels of the residual path in the first stage: 256, or 64 in DPN-68.
            Defaults to 256.
        stem_width: Int. Channels of the stem. Defaults to 64.
        stem_kernel: Odd int, the kernel of the stem's convolution, or `None` for the stem's own
            (7 for imagenet, 3 for cifar). DPN-68 has 3. Defaults to `None`.
        variant_b: Boolean. The end of a block as two 1x1 convolutions instead of one that is
            split, with as many parameters (`symbol_dpn_b.py`, DPN-68b). Defaults to `False`.
        head_activation: `"relu"`, or `"elu"` as in timm, whose converted weights expect it.
            Defaults to `"relu"`.
    """
    _check(depths, increments, stem_kernel, variant_b, head_activation)
    given = {"k_r": k_r, "groups": groups, "base_width": base_width, "stem_width": stem_width}
    for key, value in given.items():
        if not _is_count(value):
            raise ValueError(f"`{key}` must be a positive integer. Received: {key}={value!r}")
    if k_r % groups:
        raise ValueError(
            "`groups` must divide `k_r`, the channels of the 3x3 convolutions. "
            f"Received: groups={groups}, k_r={k_r}"
        )
    norm = functools.partial(norm, epsilon=EPSILON)
    block = functools.partial(dual_path, norm=norm, groups=groups, variant_b=variant_b)
    stages = [
        Stage(
            functools.partial(block, residual=base_width * 2**index, increment=increment),
            depth,
            k_r * 2**index,
            stride=1 if index == 0 else 2,
        )
        for index, (depth, increment) in enumerate(zip(depths, increments, strict=True))
    ]
    conv = functools.partial(_stem_conv, stem_kernel=stem_kernel)
    return Trunk(
        functools.partial(STEMS[stem], width=stem_width, norm=norm, conv=conv),
        stages,
        functools.partial(join_and_activate, norm=norm, activation=head_activation),
    )


def _check(depths, increments, stem_kernel, variant_b, head_activation):
    for key, value in (("depths", depths), ("increments", increments)):
        if not (isinstance(value, tuple) and value and all(map(_is_count, value))):
            raise ValueError(
                f"`{key}` must be a tuple of positive integers, one for each stage. "
                f"Received: {key}={value!r}"
            )
    if len(depths) != len(increments):
        raise ValueError(
            "`depths` and `increments` must have one number for each stage. "
            f"Received: depths={depths}, increments={increments}"
        )
    if stem_kernel is not None and not (_is_count(stem_kernel) and stem_kernel % 2):
        raise ValueError(
            f"`stem_kernel` must be an odd integer or None. Received: stem_kernel={stem_kernel!r}"
        )
    if not isinstance(variant_b, bool):
        raise ValueError(f"`variant_b` must be True or False. Received: variant_b={variant_b!r}")
    if head_activation not in HEAD_ACTIVATIONS:
        raise ValueError(
            f"`head_activation` must be one of {HEAD_ACTIVATIONS}. "
            f"Received: head_activation={head_activation!r}"
        )


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


# cypw/DPNs, settings/symbol_dpn-*.py.
_SMALL = {
    "depths": (3, 4, 12, 3),
    "increments": (16, 32, 32, 64),
    "k_r": 128,
    "groups": 32,
    "base_width": 64,
    "stem_width": 10,
    "stem_kernel": 3,
}
variant("DPN68", "dpn68", dpn, variant_b=False, **_SMALL)
variant("DPN68b", "dpn68b", dpn, variant_b=True, **_SMALL)
for _depth, _depths, _increments, _k_r, _groups, _stem_width in (
    (92, (3, 4, 20, 3), (16, 32, 24, 128), 96, 32, 64),
    (98, (3, 6, 20, 3), (16, 32, 32, 128), 160, 40, 96),
    (131, (4, 8, 28, 3), (16, 32, 32, 128), 160, 40, 128),
    (107, (4, 8, 20, 3), (20, 64, 64, 128), 200, 50, 128),
):
    variant(
        f"DPN{_depth}",
        f"dpn{_depth}",
        dpn,
        depths=_depths,
        increments=_increments,
        k_r=_k_r,
        groups=_groups,
        base_width=256,
        stem_width=_stem_width,
    )
