"""2-D convolution with symmetric padding, by the raw TensorFlow op."""

import functools

import keras
import tensorflow as tf


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


def convolve(images, kernel, strides, padding, dilation, groups):
    """`tf.nn.conv2d` with symmetric padding, for plain, grouped and dilated kernels.

    Stride 1 uses `SAME`, which is symmetric for odd kernels; larger strides pad first and use
    `VALID`. Explicit padding inside the op would give the same values, but its gradient is
    2 (float32) to 60 (bfloat16) times slower on CPU.

    Args:
        images: Tensor `(batch, height, width, channels)`.
        kernel: Tensor `(height, width, channels // groups, filters)`.
        strides: Pair of ints.
        padding: `"same"`, `(kernel - 1) * dilation / 2` on each side, or `"valid"`.
        dilation: Pair of ints.
        groups: Int.

    Returns:
        Tensor `(batch, new_height, new_width, filters)`.
    """
    op_padding = padding.upper()
    if padding == "same" and max(strides) > 1:
        pads = [(k - 1) * d // 2 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
        if any(pads):
            images = tf.pad(images, [[0, 0], [pads[0]] * 2, [pads[1]] * 2, [0, 0]])
        op_padding = "VALID"

    where = (images.dtype.name, _device_type(images))
    is_dilated = max(dilation) > 1

    def op(part, weights):
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
        raise ValueError(
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
        **kwargs,
    ):
        if kernel_initializer is None:
            kernel_initializer = keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            )
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
        if self.data_format != "channels_last":
            raise ValueError(
                "`data_format` must be 'channels_last'. "
                f"Received: data_format={self.data_format!r}"
            )
        if self.padding == "same" and not all(k % 2 for k in self.kernel_size):
            raise ValueError(
                "`kernel_size` must be odd for padding='same' (symmetric padding). "
                f"Received: kernel_size={self.kernel_size}"
            )

    def convolution_op(self, inputs, kernel):
        return convolve(
            inputs, kernel, self.strides, self.padding, self.dilation_rate, self.groups
        )
