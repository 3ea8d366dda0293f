"""What the inference form of a network consists of."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.serving.flat_graph import Call


@dataclasses.dataclass(eq=False)
class Operation:
    """Reads values and makes values, both as numbers."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def __call__(self, tensors, dtype):
        """Computes the outputs, a list, from `tensors` for the inputs, in `dtype`."""
        raise NotImplementedError


@dataclasses.dataclass(eq=False)
class Convolution(Operation):
    """A convolution and a bias.

    Attributes:
        kernel: Float array `(height, width, channels // groups, filters)`.
        bias: Float array `(filters,)`, or `None`.
        strides: Pair of ints.
        dilation: Pair of ints.
        padding: As `tf.nn.conv2d` takes it.
        is_fused: Boolean, whether TensorFlow may fuse the bias and what follows it.
    """

    kernel: np.ndarray
    bias: np.ndarray | None
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: Any
    is_fused: bool = True

    def then(self, scale, shift):
        """Takes over what follows: factors and summands, numbers or one for each channel."""
        self.kernel = self.kernel * scale
        bias = shift if self.bias is None else self.bias * scale + shift
        self.bias = np.broadcast_to(bias, self.kernel.shape[-1:]) if np.any(bias) else None

    def __call__(self, tensors, dtype):
        images = tf.cast(tensors[0], dtype)
        kernel = _constant(self.kernel, dtype)
        dilation = list(self.dilation)
        maps = tf.nn.conv2d(images, kernel, list(self.strides), self.padding, dilations=dilation)
        if self.bias is None:
            return [maps]
        bias = _constant(self.bias, dtype)
        # Without oneDNN TensorFlow fuses a grouped convolution with a BiasAdd too, and then has no
        # kernel for it ("Fused conv implementation does not support grouped convolutions").
        is_grouped = images.shape[-1] != kernel.shape[2]
        is_apart = is_grouped or not self.is_fused
        return [maps + bias if is_apart else tf.nn.bias_add(maps, bias)]


@dataclasses.dataclass(eq=False)
class Scale(Operation):
    """`x * scale + shift` by channel: a batch norm that no convolution could take over."""

    scale: np.ndarray
    shift: np.ndarray

    def then(self, scale, shift):
        """Takes over what follows: factors and summands, numbers or one for each channel."""
        self.scale, self.shift = self.scale * scale, self.shift * scale + shift

    def __call__(self, tensors, dtype):
        scaled = tf.cast(tensors[0], dtype) * _constant(self.scale, dtype)
        return [scaled + _constant(self.shift, dtype)]


@dataclasses.dataclass(eq=False)
class Sum(Operation):
    """The sum of maps, each times a number; then a function."""

    factors: tuple[float, ...]
    activation: Callable | None

    def __call__(self, tensors, dtype):
        terms = [tf.cast(term, dtype) for term in tensors]
        pairs = zip(terms, self.factors, strict=True)
        first, *others = (term if factor == 1 else term * factor for term, factor in pairs)
        total = sum(others, first)
        return [self.activation(total) if self.activation else total]


@dataclasses.dataclass(eq=False)
class Dense(Operation):
    """A dense layer of a vector for each image, in float32.

    Attributes:
        kernel: Float array `(features, units)`.
        bias: Float array `(units,)`, or `None`.
        activation: Function from tensor to tensor.
    """

    kernel: np.ndarray
    bias: np.ndarray | None
    activation: Callable

    def __call__(self, tensors, dtype):
        outputs = tf.matmul(tf.cast(tensors[0], tf.float32), _constant(self.kernel, tf.float32))
        if self.bias is not None:
            outputs = tf.nn.bias_add(outputs, _constant(self.bias, tf.float32))
        return [self.activation(outputs)]


@dataclasses.dataclass(eq=False)
class LayerCall(Operation):
    """A layer that is left as it is, in float32 if it gives no maps or is of an unknown kind.

    Attributes:
        call: `Call`.
        keeps_scale: Boolean, whether `f(s x) = s f(x)` for all s > 0.
    """

    call: Call
    keeps_scale: bool

    def __call__(self, tensors, dtype):
        inner = dtype if self.call.rank == 4 and _is_known(self.call.layer) else tf.float32
        return self.call([tf.cast(t, inner) if t.dtype.is_floating else t for t in tensors])


def _is_known(layer):
    """Whether a layer computes in the type of what it reads, whatever its own code is."""
    room = type(layer).__module__.partition(".")[0]
    has_code = isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.layers.Lambda)
    return has_code and room in ("keras", "keras_resnets")


def _constant(values, dtype):
    """Constants, not variables: oneDNN then brings a kernel into its own order once, not always."""
    return tf.constant(np.asarray(values, dtype.as_numpy_dtype))
