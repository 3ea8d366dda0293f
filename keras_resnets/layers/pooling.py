"""Max-pooling padded as in torch."""

import keras
import tensorflow as tf

from keras_resnets.checks import check_choice
from keras_resnets.errors import UserError
from keras_resnets.layers.padding import SamePadding, same_pads


@keras.saving.register_keras_serializable(package="keras_resnets")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` whose `padding="same"` is torch's: symmetric, with -infinity.

    `(pool_size - 1) / 2` pixels are added on each side, at every stride.

    Args:
        pool_size: Int or pair of ints, odd for `padding="same"`. Defaults to 3.
        strides: Int or pair of ints. Defaults to 2.
        padding: `"same"` or `"valid"`. Defaults to `"same"`.
        same_padding: `"symmetric"`, or `"tensorflow"` for TensorFlow's own `SAME`. Defaults to
            `"symmetric"`.
        **kwargs: Further arguments of `keras.layers.MaxPooling2D`.

    Raises:
        ValueError: For an even `pool_size` under `padding="same"`, or
            `data_format="channels_first"`.
    """

    def __init__(
        self, pool_size=3, strides=2, padding="same", same_padding="symmetric", **kwargs
    ):
        check_choice("same_padding", same_padding, SamePadding)
        super().__init__(pool_size, strides=strides, padding=padding, **kwargs)
        self.same_padding = same_padding
        if self.data_format != "channels_last":
            raise UserError(
                "`data_format` must be 'channels_last'. "
                f"Received: data_format={self.data_format!r}"
            )
        if self.padding == "same" and not all(size % 2 for size in self.pool_size):
            raise UserError(
                "`pool_size` must be odd for padding='same' (symmetric padding). "
                f"Received: pool_size={self.pool_size}"
            )

    def call(self, inputs):
        if self.padding == "same":
            pads = same_pads(inputs, self.pool_size, self.strides, self.same_padding)
            inputs = tf.pad(inputs, pads, constant_values=inputs.dtype.min)
        return tf.nn.max_pool2d(inputs, self.pool_size, self.strides, "VALID")

    def get_config(self):
        # By default the config is that of Keras' own layer, which can be made from it.
        own = {"same_padding": self.same_padding} if self.same_padding != "symmetric" else {}
        return {**super().get_config(), **own}
