"""How residual blocks are wired: shortcuts, their variants, and where the activations stand.

The variants are those of He 2016, *Identity Mappings in Deep Residual Networks* (arXiv
1603.05027): section 3.1 and Table 1 for the shortcuts, section 4.1 and Table 2 for the activations.
"""

import dataclasses
import functools
from typing import ClassVar, Literal, NamedTuple

import keras

from keras_resnets.checks import Number, Rate
from keras_resnets.layers import Dropout, ZeroPadShortcut
from keras_resnets.layers.initializers import constant
from keras_resnets.layers.merge import Pad
from keras_resnets.models.options import Unused, UnusedOption


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
# The options that belong to one kind of shortcut.
_OF_SKIPS = {
    "skip_scale": ("constant",),
    "branch_scale": ("constant",),
    "gate_bias": ("exclusive_gate", "shortcut_gate"),
    "skip_dropout": ("dropout",),
    "skip_lambda": ("lambda",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wiring:
    """What the families whose blocks `residual_unit` makes share.

    Options of the residual blocks:
        shortcut_pad: Where shortcut A puts the zero channels: `"end"` (fb.resnet.torch) or `"both"`
            (half before, half after: akamaster/pytorch_resnet_cifar10).
        zero_init_residual: Boolean. The last batch norm of every branch starts with gamma 0 (Goyal
            2017, section 5.1), or its last convolution with 0 where no batch norm follows it, so
            that a block starts as its shortcut.
        activation: Where batch norms and ReLUs stand (He 2016, Figure 4): `"original"`,
            `"bn_after_add"`, `"relu_before_add"`, `"relu_preact"` or `"full_preact"` (ResNet V2).
        skip: What every block does to its shortcut x (He 2016, Table 1); where the shape changes,
            to what option A or B makes of x. `"identity"`: x. `"constant"`: skip_scale x +
            branch_scale F(x). `"lambda"`: skip_lambda x + F(x). `"exclusive_gate"`: (1 - g) x +
            g F(x), and `"shortcut_gate"`: (1 - g) x + F(x), with g = sigmoid(1x1 convolution of
            x). `"conv"`: a 1x1 convolution in every block, which is option C. `"dropout"`: dropout
            of x. `"none"`: no shortcut at all, a plain net.
        skip_scale: Float, for `skip="constant"`.
        branch_scale: Float, for `skip="constant"`; the paper has 1 and 0.5.
        gate_bias: Float, at which the biases of the gates start. Defaults to -6, the paper's best.
        skip_dropout: Float in [0, 1), for `skip="dropout"`. Kept values are scaled up in training.
        skip_lambda: Float, for `skip="lambda"`: above 1 the gradient grows exponentially with the
            number of blocks, below 1 it vanishes (He 2016, Eqn. 6).
    """

    shortcut_pad: Pad = "end"
    zero_init_residual: bool = False
    activation: Literal[
        "original", "bn_after_add", "relu_before_add", "relu_preact", "full_preact"
    ] = "original"
    skip: Literal[
        "identity",
        "constant",
        "lambda",
        "exclusive_gate",
        "shortcut_gate",
        "conv",
        "dropout",
        "none",
    ] = "identity"
    skip_scale: Number = 0.5
    branch_scale: Number = 1.0
    gate_bias: Number = -6.0
    skip_dropout: Rate = 0.5
    skip_lambda: Number = 0.9

    # Of these only training, or its start, takes notice.
    interchangeable: ClassVar[tuple[str, ...]] = (
        "zero_init_residual",
        "gate_bias",
        "skip_dropout",
    )

    @property
    def placement(self):
        """The `Placement` of batch norms and ReLUs."""
        return PLACEMENTS[self.activation]

    def unused(self):
        """Yields the options of other kinds of shortcut."""
        names = tuple(name for name, skips in _OF_SKIPS.items() if self.skip not in skips)
        yield Unused(names, f"skip={self.skip!r}", "skip")

    def check(self):
        """Raises a ValueError unless the options fit together."""
        reasons = {
            "skip='none', whose blocks would give 0": self.skip == "none",
            "activation='relu_before_add': the ReLU after a gamma of 0 passes no gradient on": (
                self.activation == "relu_before_add"
            ),
        }
        for reason, holds in reasons.items():
            if self.zero_init_residual and holds:
                raise UnusedOption(
                    f"`zero_init_residual` must be False with {reason}. "
                    "Received: zero_init_residual=True",
                    "zero_init_residual",
                )


def _identity(shortcut, name, net):
    return shortcut, {}


def _constant(shortcut, name, net):
    return shortcut, {"scales": (net.skip_scale, net.branch_scale)}


def _lambda(shortcut, name, net):
    return shortcut, {"scales": (net.skip_lambda, 1.0)}


def _dropout(shortcut, name, net):
    layer = Dropout(net.skip_dropout, name=f"{name}_shortcut_dropout")
    return layer(shortcut), {}


def _gated(shortcut, name, net, *, gating):
    gate = net.conv(
        shortcut.shape[-1],
        1,
        use_bias=True,
        bias_initializer=constant(net.gate_bias),
        activation="sigmoid",
        name=f"{name}_gate",
    )
    return shortcut, {"gate": gate(shortcut), "gating": gating}


# `skip(shortcut, name, net) -> (shortcut, arguments of residual)`; "none" has no shortcut.
SKIPS = {
    "identity": _identity,
    "constant": _constant,
    "exclusive_gate": functools.partial(_gated, gating="exclusive"),
    "shortcut_gate": functools.partial(_gated, gating="shortcut"),
    "conv": _identity,  # of a shortcut C, which is a convolution in every block
    "dropout": _dropout,
    "lambda": _lambda,
}


def shortcut_path(x, channels, stride, name, *, kind, net, normed):
    """The shortcut of a block, by the types of He 2015, section 4.1.

    A: identity, subsampled and with zeros for new channels where the shape changes; no parameters.
    B: identity, and a 1x1 convolution with the stride where the shape changes. C: the convolution
    in every block. The convolution has a batch norm if `normed`.
    """
    changes = stride > 1 or x.shape[-1] != channels
    if kind == "C" or (kind == "B" and changes):
        x = net.conv(channels, 1, strides=stride, name=f"{name}_shortcut_conv")(x)
        return net.normalization(name=f"{name}_shortcut_bn")(x) if normed else x
    if changes:
        layer = ZeroPadShortcut(channels, stride, net.shortcut_pad, name=f"{name}_shortcut_pad")
        return layer(x)
    return x


def activate(x, kinds, name, number=None, *, net, **norm):
    """Batch norms and ReLUs, numbered by the convolution that they precede or follow, if any."""
    for kind in kinds:
        layer_name = f"{name}_{kind}"
        if number is not None:
            layer_name += str(number + (kind in net.placement.before))
        if kind == "bn":
            x = net.normalization(name=layer_name, **norm)(x)
        else:
            x = keras.layers.ReLU(name=layer_name)(x)
    return x


def final_activation(x, *, net):
    """Ends a trunk: the activation that pre-activated blocks leave to the next one."""
    return activate(x, net.placement.before, "final", net=net)
