"""The layer that ends every residual block."""

from typing import Literal

import keras
import tensorflow as tf

from keras_resnets.checks import check_choice
from keras_resnets.errors import UserError

Gating = Literal[None, "exclusive", "shortcut"]
Pad = Literal["end", "both"]


@keras.saving.register_keras_serializable(package="keras_resnets")
class Merge(keras.layers.Layer):
    """Adds a block's branch to its shortcut, then applies the block's activation if it has one.

    `y = activation(shortcut + branch)` (He 2015, Eqn. 1; He 2016, Eqn. 1 and 2). It is called
    with `[shortcut, branch]`, in this order: Keras walks a graph recursively along the operand
    that it meets first, and along the shortcuts a net of 1001 layers is 333 calls deep, within
    Python's default limit; along the branches it is not.

    Args:
        activation: String or `None`, e.g. `"relu"`. Defaults to `None`.
        scales: Pair of floats, the factors of shortcut and branch. Defaults to `(1.0, 1.0)`.
        gating: `None`, or what a third operand g does: `"exclusive"` weighs the shortcut with
            1 - g and the branch with g, `"shortcut"` only the shortcut, with 1 - g (He 2016,
            section 3.1). Defaults to `None`.
        **kwargs: Further arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `[shortcut, branch]` or, with gating, `[shortcut, branch, gate]`: tensors of one
            shape.

    Raises:
        ValueError: If the shapes of the operands differ, their number is not the one that the
            gating needs, or an argument is not legal.
    """

    def __init__(self, activation=None, scales=(1.0, 1.0), gating=None, **kwargs):
        super().__init__(**kwargs)
        check_choice("gating", gating, Gating)
        if len(scales) != 2:
            raise UserError(f"`scales` must be two numbers. Received: scales={scales}")
        self.activation = keras.activations.get(activation) if activation else None
        self.scales, self.gating = tuple(scales), gating

    def call(self, inputs):
        shortcut, branch, *gate = inputs
        shortcut, branch = (
            part if scale == 1 else part * scale
            for part, scale in zip((shortcut, branch), self.scales, strict=True)
        )
        if gate:
            shortcut *= 1.0 - gate[0]
        if self.gating == "exclusive":
            branch *= gate[0]
        outputs = shortcut + branch
        return self.activation(outputs) if self.activation else outputs

    def compute_output_shape(self, input_shape):
        shapes = [tuple(shape) for shape in input_shape]
        needed = 3 if self.gating else 2
        if len(shapes) != needed:
            raise UserError(
                f"Merge needs {needed} operands with gating={self.gating!r}. "
                f"Received: {len(shapes)} operands"
            )
        if len(set(shapes)) > 1:
            raise UserError(
                "Shortcut, branch and gate must have one shape. "
                f"Received: shapes {', '.join(map(str, shapes))}"
            )
        return shapes[0]

    def get_config(self):
        activation = keras.activations.serialize(self.activation) if self.activation else None
        config = {"activation": activation, "scales": self.scales, "gating": self.gating}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="keras_resnets")
class ZeroPadShortcut(keras.layers.Layer):
    """The parameter-free shortcut, option A of He 2015: subsampling, and zeros for new channels.

    Args:
        channels: Int. Number of output channels, at least that of the input.
        strides: Int. Every how many pixels one is kept. Defaults to 1.
        pad: `"end"` appends the zero channels, as fb.resnet.torch (`models/resnet.lua`) does, or
            `"both"` puts half of them before and half after, as akamaster/pytorch_resnet_cifar10.
            Defaults to `"end"`.
        **kwargs: Further arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, ceil(height / strides), ceil(width / strides), self.channels)`.

    Raises:
        ValueError: If `channels` is below the input's, or `pad` is unknown.
    """

    def __init__(self, channels, strides=1, pad="end", **kwargs):
        super().__init__(**kwargs)
        check_choice("pad", pad, Pad)
        self.channels, self.strides, self.pad = channels, strides, pad

    def call(self, inputs):
        outputs = inputs[:, :: self.strides, :: self.strides]
        added = self.channels - inputs.shape[-1]
        before = added // 2 if self.pad == "both" else 0
        return tf.pad(outputs, [[0, 0], [0, 0], [0, 0], [before, added - before]])

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        if channels > self.channels:
            raise UserError(
                f"`channels` must be at least the input's {channels}. "
                f"Received: channels={self.channels}"
            )
        sides = [side and -(-side // self.strides) for side in sides]
        return (batch, *sides, self.channels)

    def get_config(self):
        config = {"channels": self.channels, "strides": self.strides, "pad": self.pad}
        return {**super().get_config(), **config}
