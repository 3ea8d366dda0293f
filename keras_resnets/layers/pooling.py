"""Max-pooling padded as in torch."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_resnets")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` whose `padding="same"` is torch's: symmetric, with -infinity.

    `(pool_size - 1) / 2` pixels are added on each side, at every stride.

    Args:
        pool_size: Int or pair of ints, odd for `padding="same"`. Defaults to 3.
        strides: Int or pair of ints. Defaults to 2.
        padding: `"same"` or `"valid"`. Defaults to `"same"`.
        **kwargs: Further arguments of `keras.layers.MaxPooling2D`.

    Raises:
        ValueError: For an even `pool_size` under `padding="same"`, or
            `data_format="channels_first"`.
    """

    def __init__(self, pool_size=3, strides=2, padding="same", **kwargs):
        super().__init__(pool_size, strides=strides, padding=padding, **kwargs)
        if self.data_format != "channels_last":
            raise ValueError(
                "`data_format` must be 'channels_last'. "
                f"Received: data_format={self.data_format!r}"
            )
        if self.padding == "same" and not all(size % 2 for size in self.pool_size):
            raise ValueError(
                "`pool_size` must be odd for padding='same' (symmetric padding). "
                f"Received: pool_size={self.pool_size}"
            )

    def call(self, inputs):
        if self.padding == "same":
            pads = [[(size - 1) // 2] * 2 for size in self.pool_size]
            inputs = tf.pad(inputs, [[0, 0], *pads, [0, 0]], constant_values=inputs.dtype.min)
        return tf.nn.max_pool2d(inputs, self.pool_size, self.strides, "VALID")
