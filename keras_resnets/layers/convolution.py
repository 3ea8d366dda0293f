"""2-D convolution with symmetric padding, by the raw TensorFlow op."""

import functools

import keras
import tensorflow as tf

from keras_resnets.checks import check_choice
from keras_resnets.errors import UserError
from keras_resnets.layers.initializers import HE_FAN_OUT
from keras_resnets.layers.padding import SamePadding, same_pads


@functools.cache
def raw_convolution_works(dtype, device_type, groups=1, dilation=1):
    """Whether `tf.nn.conv2d` and its gradient take such kernels, found by trying once.

    On CPU the gradient of grouped and dilated kernels is oneDNN's alone: it is missing in float16,
    and in every type when oneDNN is off or absent.

    Args:
        dtype: String. Type of images and kernel.
        device_type: String, `"CPU"` or `"GPU"`.
        groups: Int. Defaults to 1.
        dilation: Int. Defaults to 1.
    """
    with tf.init_scope(), tf.device(f"/{device_type}:0"):
        images = tf.ones([1, 5, 5, 2 * groups], dtype)
        kernel = tf.ones([3, 3, 2, 2 * groups], dtype)
        dilations = [1, dilation, dilation, 1]
        same = {"strides": [1, 1, 1, 1], "padding": "SAME", "dilations": dilations}
        try:  # no tape records inside init_scope, so the gradient's own ops are called
            outputs = tf.nn.conv2d(images, kernel, **same)
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=images.shape, filter=kernel, out_backprop=outputs, **same
            )
            tf.raw_ops.Conv2DBackpropFilter(
                input=images, filter_sizes=kernel.shape, out_backprop=outputs, **same
            )
        except tf.errors.OpError:
            return False
    return True


def _device_type(tensor):
    """The kind of device that `tensor` is computed on: its own where it names one."""
    named = tf.DeviceSpec.from_string(tensor.device or "").device_type
    return named or ("GPU" if tf.config.list_logical_devices("GPU") else "CPU")


def convolve(images, kernel, strides, padding, dilation, groups, same_padding="symmetric"):
    """`tf.nn.conv2d` with symmetric padding, for plain, grouped and dilated kernels.

    Stride 1 uses `SAME`, which is symmetric for odd kernels; larger strides pad first and use
    `VALID`. Explicit padding inside the op would give the same values, but its gradient is
    2 (float32) to 60 (bfloat16) times slower on CPU.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        kernel: Tensor `(height, width, channels // groups, filters)`.
        strides: Pair of ints.
        padding: `"same"` or `"valid"`.
        dilation: Pair of ints.
        groups: Int.
        same_padding: What `"same"` is at strides above 1, see `padding.same_pads`. Defaults to
            `"symmetric"`.

    Returns:
        Tensor `(batch, new_height, new_width, filters)`.
    """
    op_padding = padding.upper()
    if padding == "same" and max(strides) > 1:
        extents = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
        if max(extents) > 1:
            images = tf.pad(images, same_pads(images, extents, strides, same_padding))
        op_padding = "VALID"

    where = (images.dtype.name, _device_type(images))
    is_dilated = max(dilation) > 1

    def op(part, weights):
        if kernel.shape[:2] == (1, 1) and max(strides) > 1 and kernel.shape[2] < 16:
            # oneDNN 3.7's gradient of such kernels is wrong at times at stride 2, by threads that
            # race (AVX2, below 8 channels), or writes where it must not (AVX-512, below 16).
            part = part[:, :: strides[0], :: strides[1]]
            return tf.nn.conv2d(part, weights, 1, "VALID")
        if is_dilated and not raw_convolution_works(*where, dilation=2):
            # By space-to-batch, which has no strides: all pixels, then those of the stride.
            dense = tf.nn.convolution(part, weights, padding=op_padding, dilations=list(dilation))
            return dense[:, :: strides[0], :: strides[1]]
        return tf.nn.conv2d(part, weights, list(strides), op_padding, dilations=list(dilation))

    if groups == 1 or raw_convolution_works(*where, 2, 2 if is_dilated else 1):
        return op(images, kernel)
    parts = zip(tf.split(images, groups, -1), tf.split(kernel, groups, -1), strict=True)
    return tf.concat([op(part, weights) for part, weights in parts], -1)


def _positive_pair(value, name):
    """An int or a pair of ints as a pair."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
        raise UserError(
            f"`{name}` must be a positive integer or two of them. Received: {name}={value!r}"
        )
    return pair


@keras.saving.register_keras_serializable(package="keras_resnets")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with torch's padding, calling the TensorFlow op itself.

    The variables and the config are those of Keras' layer. What differs: `padding="same"` puts
    `(kernel - 1) * dilation / 2` on each side at every stride, as torch and Caffe do (TensorFlow's
    own `SAME` is asymmetric at stride 2), stride and dilation may both be above 1, and grouped
    kernels go to `tf.nn.conv2d`, where Keras compiles them with XLA (about 190 times slower to
    train on CPU). Where the device has no gradient for grouped kernels, the groups are convolved
    one by one.

    The defaults are those of residual networks: no bias (batch normalization follows) and He
    initialisation (He 2015b) by fan-out with an untruncated normal, as fb.resnet.torch and
    torchvision.

    Args:
        filters: Int. Number of output channels.
        kernel_size: Int or pair of ints, odd for `padding="same"`.
        strides: Int or pair of ints. Defaults to 1.
        padding: `"same"` (symmetric) or `"valid"`. Defaults to `"same"`.
        dilation_rate: Int or pair of ints. Defaults to 1.
        groups: Int dividing the channels of input and output. Defaults to 1.
        use_bias: Boolean. Defaults to `False`.
        kernel_initializer: Defaults to `VarianceScaling(2, "fan_out", "untruncated_normal")`.
        same_padding: `"symmetric"`, or `"tensorflow"` for TensorFlow's own `SAME` at strides above
            1, which puts the odd pixel last and needs fewer where the stride does not divide the
            side. Defaults to `"symmetric"`.
        **kwargs: Further arguments of `keras.layers.Conv2D`.

    Raises:
        ValueError: For an even kernel under `padding="same"`, or `data_format="channels_first"`.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="same",
        dilation_rate=1,
        groups=1,
        use_bias=False,
        kernel_initializer=None,
        same_padding="symmetric",
        **kwargs,
    ):
        check_choice("same_padding", same_padding, SamePadding)
        if kernel_initializer is None:
            kernel_initializer = HE_FAN_OUT
        super().__init__(
            filters,
            kernel_size,
            strides=1,
            padding=padding,
            dilation_rate=dilation_rate,
            groups=groups,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        # Keras refuses strides together with dilation, which the op computes.
        self.strides = _positive_pair(strides, "strides")
        self.same_padding = same_padding
        if self.data_format != "channels_last":
            raise UserError(
                "`data_format` must be 'channels_last'. "
                f"Received: data_format={self.data_format!r}"
            )
        if self.padding == "same" and not all(k % 2 for k in self.kernel_size):
            raise UserError(
                "`kernel_size` must be odd for padding='same' (symmetric padding). "
                f"Received: kernel_size={self.kernel_size}"
            )

    def convolution_op(self, inputs, kernel):
        return convolve(
            inputs,
            kernel,
            self.strides,
            self.padding,
            self.dilation_rate,
            self.groups,
            self.same_padding,
        )

    def get_config(self):
        # By default the config is that of Keras' own layer, which can be made from it.
        own = {"same_padding": self.same_padding} if self.same_padding != "symmetric" else {}
        return {**super().get_config(), **own}
