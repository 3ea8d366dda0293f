"""What all residual blocks share: shortcuts, their variants, and where the activations stand.

The variants are those of He 2016, *Identity Mappings in Deep Residual Networks* (arXiv
1603.05027): section 3.1 and Table 1 for the shortcuts, section 4.1 and Table 2 for the activations.
"""

import functools
from typing import NamedTuple

import keras

from keras_resnets.layers import Conv2D, Merge, SkippingMerge, StochasticMerge, ZeroPadShortcut
from keras_resnets.models.options import check_choice
from keras_resnets.models.stochastic_depth import ALWAYS

FIRST_BLOCK = "stage1_block1"


class Placement(NamedTuple):
    """Where a block has its batch norms and ReLUs; between two convolutions it has both, always.

    Attributes:
        before: Layers before the first convolution.
        after: Layers after the last one, in the branch.
        merged: Layers after the addition.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    merged: tuple[str, ...]


# The columns (a) to (e) of He 2016, Figure 4.
PLACEMENTS = {
    "original": Placement((), ("bn",), ("relu",)),
    "bn_after_add": Placement((), (), ("bn", "relu")),
    "relu_before_add": Placement((), ("bn", "relu"), ()),
    "relu_preact": Placement(("relu",), ("bn",), ()),
    "full_preact": Placement(("bn", "relu"), (), ()),
}


class Wiring(NamedTuple):
    """How the blocks of a net are wired.

    Options of the residual blocks:
        shortcut_pad: Where shortcut A puts the zero channels: `"end"` (fb.resnet.torch) or `"both"`
            (half before, half after: akamaster/pytorch_resnet_cifar10). Defaults to `"end"`.
        zero_init_residual: Boolean. The last batch norm of every branch starts with gamma 0 (Goyal
            2017, section 5.1), or its last convolution with 0 where no batch norm follows it, so
            that a block starts as its shortcut. Defaults to `False`.
        activation: Where batch norms and ReLUs stand (He 2016, Figure 4): `"original"`,
            `"bn_after_add"`, `"relu_before_add"`, `"relu_preact"` or `"full_preact"` (ResNet V2).
            Defaults to `"original"`.
        skip: What every block does to its shortcut x (He 2016, Table 1); where the shape changes,
            to what option A or B makes of x. `"identity"`: x. `"constant"`: skip_scale x +
            branch_scale F(x). `"lambda"`: skip_lambda x + F(x). `"exclusive_gate"`: (1 - g) x +
            g F(x), and `"shortcut_gate"`: (1 - g) x + F(x), with g = sigmoid(1x1 convolution of
            x). `"conv"`: a 1x1 convolution in every block, which is option C. `"dropout"`: dropout
            of x. `"none"`: no shortcut at all, a plain net. Defaults to `"identity"`.
        skip_scale: Float, for `skip="constant"`. Defaults to 0.5.
        branch_scale: Float, for `skip="constant"`; the paper has 1 and 0.5. Defaults to 1.
        gate_bias: Float, at which the biases of the gates start. Defaults to -6, the paper's best.
        skip_dropout: Float in [0, 1), for `skip="dropout"`. Kept values are scaled up in training.
            Defaults to 0.5.
        skip_lambda: Float, for `skip="lambda"`: above 1 the gradient grows exponentially with the
            number of blocks, below 1 it vanishes (He 2016, Eqn. 6). Defaults to 0.9.
    """

    shortcut_pad: str = "end"
    zero_init_residual: bool = False
    activation: str = "original"
    skip: str = "identity"
    skip_scale: float = 0.5
    branch_scale: float = 1.0
    gate_bias: float = -6.0
    skip_dropout: float = 0.5
    skip_lambda: float = 0.9

    def check(self):
        """Raises a ValueError unless every option is legal."""
        check_choice("shortcut_pad", self.shortcut_pad, ("end", "both"))
        check_choice("zero_init_residual", self.zero_init_residual, (False, True))
        check_choice("activation", self.activation, PLACEMENTS)
        check_choice("skip", self.skip, SKIPS)
        for name in ("skip_scale", "branch_scale", "gate_bias", "skip_lambda"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not abs(value) < float("inf"):
                raise ValueError(f"`{name}` must be a finite number. Received: {name}={value!r}")
        rate = self.skip_dropout
        if type(rate) not in (int, float) or not 0 <= rate < 1:
            raise ValueError(f"`skip_dropout` must be in [0, 1). Received: skip_dropout={rate!r}")
        if self.zero_init_residual and self.skip == "none":
            raise ValueError(
                "`zero_init_residual` must be False with skip='none', whose blocks would give 0. "
                "Received: zero_init_residual=True"
            )


def residual(
    shortcut,
    x,
    branch,
    name,
    position,
    *,
    stochastic_depth=ALWAYS,
    activation=None,
    gate=None,
    **merge,
):
    """Ends a residual block: `activation(shortcut + branch(x))`.

    Args:
        shortcut: Tensor `(batch, height, width, channels)`.
        x: Tensor that the branch starts from.
        branch: `branch(x) -> tensor` of the shortcut's shape.
        name: String, the block's name.
        position: Float in (0, 1], the block's place in the net.
        stochastic_depth: `StochasticDepth`. Defaults to branches that always survive.
        activation: String or `None`, applied after the addition. Defaults to `None`.
        gate: Tensor of the shortcut's shape, or `None`. Defaults to `None`.
        **merge: Further arguments of `Merge`.

    Returns:
        Tensor of the shortcut's shape.
    """
    options = {"activation": activation, "name": f"{name}_merge", **merge}
    survival = stochastic_depth.at(position)
    if survival < 1:
        options |= {"survival": survival, "draw": stochastic_depth.survival_draw}
        if gate is None and stochastic_depth.survival_draw == "batch":
            nested = _skippable(x, branch, name)
            if nested:
                return SkippingMerge(nested, **options)([shortcut, x])
    merge = StochasticMerge if survival < 1 else Merge
    operands = [shortcut, branch(x)] if gate is None else [shortcut, branch(x), gate]
    return merge(**options)(operands)


def _skippable(x, branch, name):
    """The branch as a model of its own, or `None` if it cannot run inside a condition.

    Synchronized batch norm cannot: its replicas must all take part.
    """
    inner = keras.Input(x.shape[1:], dtype=x.dtype, name=f"{name}_input")
    model = keras.Model(inner, branch(inner), name=f"{name}_branch")
    if any(getattr(layer, "synchronized", False) for layer in model.layers):
        return None
    return model


def _identity(shortcut, name, wiring):
    return shortcut, {}


def _constant(shortcut, name, wiring):
    return shortcut, {"scales": (wiring.skip_scale, wiring.branch_scale)}


def _lambda(shortcut, name, wiring):
    return shortcut, {"scales": (wiring.skip_lambda, 1.0)}


def _dropout(shortcut, name, wiring):
    layer = keras.layers.Dropout(wiring.skip_dropout, name=f"{name}_shortcut_dropout")
    return layer(shortcut), {}


def _gated(shortcut, name, wiring, *, gating):
    gate = Conv2D(
        shortcut.shape[-1],
        1,
        use_bias=True,
        bias_initializer=keras.initializers.Constant(wiring.gate_bias),
        activation="sigmoid",
        name=f"{name}_gate",
    )
    return shortcut, {"gate": gate(shortcut), "gating": gating}


# `skip(shortcut, name, wiring) -> (shortcut, arguments of residual)`; None has no shortcut.
SKIPS = {
    "identity": _identity,
    "constant": _constant,
    "exclusive_gate": functools.partial(_gated, gating="exclusive"),
    "shortcut_gate": functools.partial(_gated, gating="shortcut"),
    "conv": _identity,  # `residual_unit` has made it a projection
    "dropout": _dropout,
    "lambda": _lambda,
    "none": None,
}


def shortcut_path(x, channels, stride, name, *, kind, pad, norm):
    """The shortcut of a block, by the types of He 2015, section 4.1.

    A: identity, subsampled and with zeros for new channels where the shape changes; no parameters.
    B: identity, and a 1x1 convolution with the stride where the shape changes. C: the convolution
    in every block. The convolution has a batch norm unless `norm` is `None`.
    """
    changes = stride > 1 or x.shape[-1] != channels
    if kind == "C" or (kind == "B" and changes):
        x = Conv2D(channels, 1, strides=stride, name=f"{name}_shortcut_conv")(x)
        return norm(name=f"{name}_shortcut_bn")(x) if norm else x
    if changes:
        return ZeroPadShortcut(channels, stride, pad, name=f"{name}_shortcut_pad")(x)
    return x


def activate(x, kinds, name, number=None, *, norm, placement):
    """Batch norms and ReLUs, numbered by the convolution that they precede or follow, if any."""
    for kind in kinds:
        layer_name = f"{name}_{kind}"
        if number is not None:
            layer_name += str(number + (kind in placement.before))
        x = norm(name=layer_name)(x) if kind == "bn" else keras.layers.ReLU(name=layer_name)(x)
    return x


def residual_unit(
    x,
    convolutions,
    stride,
    name,
    position,
    *,
    shortcut,
    norm,
    wiring,
    stochastic_depth,
    activated,
):
    """The convolutions with their batch norms and ReLUs, merged with the shortcut.

    In the pre-activation placements the layers before the first convolution are shared by branch
    and shortcut in the first block of the net and where the shape changes
    (facebookarchive/fb.resnet.torch, `models/preresnet.lua`; KaimingHe/resnet-1k-layers,
    `resnet-pre-act.lua`); elsewhere they are in the branch. The shortcut's convolution has a batch
    norm where the branch ends in one.

    Args:
        x: Tensor `(batch, height, width, channels)`.
        convolutions: Sequence of dictionaries, the arguments of each `Conv2D` of the branch.
        stride: Int, that of the whole block.
        name: String, the block's name.
        position: Float in (0, 1], the block's place in the net.
        shortcut: `"A"`, `"B"` or `"C"`.
        norm: `norm(name=...) -> layer`.
        wiring: `Wiring`.
        stochastic_depth: `StochasticDepth`.
        activated: Boolean. Whether the stem ends in the first block's activation.
    """
    placement, last = PLACEMENTS[wiring.activation], len(convolutions)
    is_normed = "bn" in placement.after
    kind = "C" if wiring.skip == "conv" else shortcut
    channels = convolutions[-1]["filters"]
    act = functools.partial(activate, name=name, norm=norm, placement=placement)

    before, is_first = placement.before, name == FIRST_BLOCK
    if is_first and activated:
        before = ()
    elif is_first or stride > 1 or x.shape[-1] != channels:
        x, before = act(x, before, number=0), ()

    last_norm = norm
    if wiring.zero_init_residual and is_normed:
        last_norm = functools.partial(norm, gamma_initializer="zeros")
    elif wiring.zero_init_residual:
        convolutions = (*convolutions[:-1], convolutions[-1] | {"kernel_initializer": "zeros"})

    def branch(y):
        y = act(y, before, number=0)
        for number, arguments in enumerate(convolutions, 1):
            y = Conv2D(**arguments, name=f"{name}_conv{number}")(y)
            if number < last:
                y = act(y, ("bn", "relu"), number=number)
        return act(y, placement.after, number=last, norm=last_norm)

    if wiring.skip == "none":
        return act(branch(x), placement.merged, number=last)
    path_norm = norm if is_normed else None
    path = shortcut_path(
        x, channels, stride, name, kind=kind, pad=wiring.shortcut_pad, norm=path_norm
    )
    path, merge = SKIPS[wiring.skip](path, name, wiring)
    # An addition and its ReLU are one layer: half the calls of Keras' walk along the shortcuts.
    is_fused = placement.merged == ("relu",)
    y = residual(
        path,
        x,
        branch,
        name,
        position,
        stochastic_depth=stochastic_depth,
        activation="relu" if is_fused else None,
        **merge,
    )
    return y if is_fused else act(y, placement.merged, number=last)


def final_activation(x, *, norm, wiring):
    """Ends a trunk: the activation that pre-activated blocks leave to the next one."""
    placement = PLACEMENTS[wiring.activation]
    return activate(x, placement.before, "final", norm=norm, placement=placement)
