"""A branch that is sometimes off: Huang 2016, *Deep Networks with Stochastic Depth*."""

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.checks import check_choice, is_number, must
from keras_resnets.layers import draws
from keras_resnets.layers.draws import Draw
from keras_resnets.layers.merge import Merge


@keras.saving.register_keras_serializable(package="keras_resnets")
class StochasticMerge(Merge):
    """A `Merge` whose branch survives a training step with probability `survival`.

    The draws come from a seed generator of the layer's own, keyed by its seed and the number of
    training steps. Replicas draw alike by the batch, each for itself by the image.

    Args:
        survival: Float in (0, 1].
        draw: `"batch"`, the paper's form: one draw a step, no rescaling in training, the branch
            times `survival` otherwise (yueatsprograms/Stochastic_Depth, `ResidualDrop.lua`); or
            `"sample"`: one draw an image, divided by `survival` in training, the plain sum
            otherwise (timm's DropPath). Defaults to `"batch"`.
        seed: Int, or `None` for one from Keras' global seed. Defaults to `None`.
        **kwargs: Further arguments of `Merge`.

    Call arguments:
        inputs: As for `Merge`.
        training: Boolean.

    Raises:
        ValueError: If `survival` or `draw` is not legal.
    """

    def __init__(self, survival, draw="batch", seed=None, **kwargs):
        super().__init__(**kwargs)
        must("survival", survival, is_number(survival) and 0 < survival <= 1, "in (0, 1]")
        check_choice("draw", draw, Draw)
        self.survival, self.draw, self.seed = survival, draw, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=None):
        shortcut, branch, *gate = inputs
        return super().call([shortcut, self._thin(branch, training), *gate])

    def _thin(self, branch, training):
        """The branch with the factor of this step."""
        if self.draw == "batch":
            factor = self._survives(()) if training else self.survival
        elif training:
            shape = (tf.shape(branch)[0],) + (1,) * (len(branch.shape) - 1)
            factor = tf.cast(self._survives(shape), tf.float32) / self.survival
        else:
            return branch
        return branch * tf.cast(factor, branch.dtype)

    def _survives(self, shape):
        return draws.uniform(self.seed_generator, shape, self.draw) < self.survival

    def get_config(self):
        config = {"survival": self.survival, "draw": self.draw, "seed": self.seed}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="keras_resnets")
class SkippingMerge(StochasticMerge):
    """A `StochasticMerge` by the batch that computes its branch itself, or not at all.

    In a step that the branch does not survive it is computed neither forward nor backward: in a
    `tf.function`, as in `fit`, its variables get gradients of zero (in an eager tape, which sees
    only what was computed, `None`), and its batch norms keep their moving statistics. Its seed
    generators move on by one nevertheless, as those of the rest of the net do.

    Args:
        branch: `keras.Model` of one input and one output.
        **kwargs: Further arguments of `StochasticMerge`.

    Call arguments:
        inputs: `[shortcut, x]`, where `branch(x)` has the shape of `shortcut`.
        training: Boolean.
    """

    def __init__(self, branch, **kwargs):
        super().__init__(**kwargs)
        self.branch = branch

    def call(self, inputs, training=None):
        shortcut, x = inputs

        def whole():
            return Merge.call(self, [shortcut, self.branch(x, training=True)])

        def without():
            for state in self.branch.variables:
                if state.name == "seed_generator_state":
                    state.assign(state + np.array([0, 1], state.dtype))
            return Merge.call(self, [shortcut, tf.zeros_like(shortcut)])

        if training:
            return tf.cond(self._survives(()), whole, without)
        return super().call([shortcut, self.branch(x, training=False)])

    def compute_output_shape(self, input_shape):
        shortcut, x = input_shape
        return super().compute_output_shape([shortcut, self.branch.compute_output_shape(x)])

    def get_config(self):
        branch = keras.saving.serialize_keras_object(self.branch)
        return {**super().get_config(), "branch": branch}

    @classmethod
    def from_config(cls, config):
        branch = keras.saving.deserialize_keras_object(config.pop("branch"))
        return cls(branch=branch, **config)
