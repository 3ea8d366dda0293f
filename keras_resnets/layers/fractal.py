"""FractalNet's join, and the draw of a column that all joins of a net share."""

import keras
import tensorflow as tf

from keras_resnets.checks import check_choice
from keras_resnets.errors import UserError
from keras_resnets.layers import draws
from keras_resnets.layers.draws import Draw


@keras.saving.register_keras_serializable(package="keras_resnets")
class ColumnDraw(keras.layers.Layer):
    """Decides between local and global drop-path, and draws the column of the latter.

    Global drop-path leaves one column of the whole net alive, so that all joins must know of one
    draw: this layer makes it and each `FractalJoin` takes it as an input (Larsson 2017,
    section 3.1).

    Args:
        columns: Int. Number of columns of the net.
        global_ratio: Float in [0, 1]. Share of the draws that are global. Defaults to 0.5.
        draw: `"batch"` for one draw a step, alike on all replicas, `"sample"` for one for each
            image. Defaults to `"batch"`.
        **kwargs: Further arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor `(batch, ...)`, of which only the batch size is read.
        training: Boolean.

    Returns:
        Tensor `(1, columns)`, or `(batch, columns)` for a draw by sample: a row with a one at the
        drawn column for global drop-path, a row of zeros for local drop-path and in inference.
    """

    def __init__(self, columns, global_ratio=0.5, draw="batch", **kwargs):
        super().__init__(**kwargs)
        check_choice("draw", draw, Draw)
        self.columns, self.global_ratio, self.draw = columns, global_ratio, draw
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs, training=False):
        rows = 1 if self.draw == "batch" else tf.shape(inputs)[0]
        if not training:
            return tf.zeros((rows, self.columns), self.compute_dtype)
        numbers = draws.uniform(self.seed_generator, (rows, 2), self.draw)
        drawn = tf.cast(numbers[:, 0] * self.columns, tf.int32)
        is_global = numbers[:, 1:] < self.global_ratio
        return tf.cast(is_global, self.compute_dtype) * tf.one_hot(
            drawn, self.columns, dtype=self.compute_dtype
        )

    def compute_output_shape(self, input_shape):
        return (1 if self.draw == "batch" else input_shape[0], self.columns)

    def get_config(self):
        config = {"columns": self.columns, "global_ratio": self.global_ratio, "draw": self.draw}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="keras_resnets")
class FractalJoin(keras.layers.Layer):
    """The mean of the columns that end here; in training, of those that drop-path leaves alive.

    Local drop-path drops each input with probability `drop_path`, and revives a random one if all
    were dropped. Global drop-path keeps the input of the drawn column alone. A join that this
    column does not pass through gives the mean of all its inputs: nothing downstream uses the
    value, and the batch statistics of the layers behind it stay those of real images (Larsson
    2017, section 3.1).

    Args:
        drop_path: Float in [0, 1]. Defaults to 0.15.
        draw: `"batch"` or `"sample"`, that of the `ColumnDraw`. Defaults to `"batch"`.
        **kwargs: Further arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: List of n tensors `(batch, height, width, channels)`, by the depth of their
            columns: the last n columns of the net, the deepest last.
        drawn: The output of `ColumnDraw`, or `None` for a join without drop-path.
        training: Boolean. Without training, all inputs are alive.

    Returns:
        Tensor of the inputs' shape.

    Raises:
        ValueError: If the shapes of the inputs differ.
    """

    def __init__(self, drop_path=0.15, draw="batch", **kwargs):
        super().__init__(**kwargs)
        check_choice("draw", draw, Draw)
        self.drop_path, self.draw = drop_path, draw
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs, drawn=None, training=False):
        if not training or drawn is None:
            return tf.add_n(inputs) * (1.0 / len(inputs))
        weights = tf.cast(self.weights_of(drawn, len(inputs)), inputs[0].dtype)
        weights = weights[:, :, None, None, None]
        return tf.add_n([columns * weights[:, i] for i, columns in enumerate(inputs)])

    def weights_of(self, drawn, inputs):
        """The factor of each input in the mean.

        Args:
            drawn: Tensor `(rows, columns)`, the output of `ColumnDraw`.
            inputs: Int. Number of inputs.

        Returns:
            Tensor `(rows, inputs)`, float32: 1 / live inputs, and 0 for the dropped ones. Each row
            adds up to 1.
        """
        drawn = tf.cast(drawn, tf.float32)
        rows = tf.shape(drawn)[0]
        numbers = draws.uniform(self.seed_generator, (rows, inputs + 1), self.draw)
        local = tf.cast(numbers[:, 1:] >= self.drop_path, tf.float32)
        revived = tf.cast(numbers[:, 0] * inputs, tf.int32)
        local = _or_else(local, tf.one_hot(revived, inputs))
        only = _or_else(drawn[:, -inputs:], tf.ones((rows, inputs)))
        is_global = tf.reduce_any(drawn > 0, axis=-1, keepdims=True)
        alive = tf.where(is_global, only, local)
        return alive / tf.reduce_sum(alive, axis=-1, keepdims=True)

    def compute_output_shape(self, inputs_shape, drawn_shape=None):
        shapes = {tuple(shape) for shape in inputs_shape}
        if len(shapes) > 1:
            raise UserError(f"The inputs of a join must have one shape. Received: {shapes}")
        return shapes.pop()

    def get_config(self):
        return {**super().get_config(), "drop_path": self.drop_path, "draw": self.draw}


def _or_else(alive, otherwise):
    """The rows of `alive`, and those of `otherwise` where a row of `alive` is all zeros."""
    return tf.where(tf.reduce_any(alive > 0, axis=-1, keepdims=True), alive, otherwise)
