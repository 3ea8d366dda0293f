"""AdamW and LAMB as torch and timm compute them."""

import keras
import tensorflow as tf

from keras_resnets.checks import is_real, must
from keras_resnets.training.updates import Updates


class _Moments(Updates):
    """An optimizer of the moving moments of the gradient, with Adam's correction of their bias."""

    def __init__(self, learning_rate, beta_1, beta_2, epsilon, **kwargs):
        for name, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            must(name, value, is_real(value) and 0 <= value < 1, "in [0, 1)")
        is_legal = is_real(epsilon) and 0 < epsilon < float("inf")
        must("epsilon", epsilon, is_legal, "above 0 and finite")
        super().__init__(learning_rate, **kwargs)
        self.beta_1, self.beta_2 = float(beta_1), float(beta_2)
        self.epsilon = float(epsilon)

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self._first, self._second = self.add_optimizer_variables(
                variables, ["first_moment", "second_moment"]
            )

    def direction(self, gradient, variable):
        """Moves the moments of a variable, and returns Adam's step at rate 1.

        It is `m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)` at update `t`, from 1.
        """
        place = self._get_variable_index(variable)
        first, second = self._first[place], self._second[place]
        gradient = tf.cast(gradient, variable.dtype)
        self.assign(first, first + (1.0 - self.beta_1) * (gradient - first))
        self.assign(second, self.beta_2 * second + (1.0 - self.beta_2) * tf.square(gradient))
        # In float32 the 1 - 0.999 of the first update would be wrong in the fifth digit.
        step = tf.cast(self.iterations + 1, tf.float64)
        bias_1, bias_2 = (
            tf.cast(1.0 - tf.pow(tf.constant(beta, tf.float64), step), variable.dtype)
            for beta in (self.beta_1, self.beta_2)
        )
        return first / bias_1 / (tf.sqrt(second / bias_2) + self.epsilon)

    def get_config(self):
        names = ("beta_1", "beta_2", "epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="keras_resnets")
class AdamW(_Moments):
    """Adam with decoupled weight decay, as in torch (Loshchilov & Hutter 2019, algorithm 2).

    A decayed variable is first shrunk, `w -= learning_rate * weight_decay * w`; then comes Adam's
    step, which the decay does not go through. The rate in the decay follows the schedule.
    `keras.optimizers.AdamW` puts `epsilon` elsewhere: before the correction of the bias.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`. Defaults to
            0.001.
        beta_1: Float in [0, 1), the share of the old mean of gradients. Defaults to 0.9.
        beta_2: Float in [0, 1), the share of the old mean of their squares. Defaults to 0.999.
        epsilon: Float above 0, added to the root. Defaults to 1e-8.
        weight_decay: Float, at least 0. Defaults to 0.01.
        decay: Which variables are decayed, as in `SGD`. Defaults to `"all"`.
        **kwargs: `clip_norm`, `accumulate_steps` and `ema_decay`, see `Updates`, and arguments of
            `keras.optimizers.Optimizer`.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        weight_decay=0.01,
        **kwargs,
    ):
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay, **kwargs
        )

    def update_step(self, gradient, variable, learning_rate):
        rate = self.rate_of(variable, learning_rate)
        if self.is_decayed(variable):
            self.assign(variable, variable * (1.0 - rate * self.weight_decay))
        self.assign_sub(variable, rate * self.direction(gradient, variable))


@keras.saving.register_keras_serializable(package="keras_resnets")
class LAMB(_Moments):
    """LAMB (You et al. 2020) as timm and apex's FusedLAMB compute it.

    The step is Adam's plus `weight_decay * w`, scaled by the trust ratio: the norm of the variable
    divided by that of the step, or 1 where either is 0. Variables that are not decayed keep Adam's
    step, unless `always_adapt`. "ResNet strikes back" (Wightman et al. 2021) trains with it: rate
    5e-3 at 2048 images, decay 0.02 of everything but vectors. `keras.optimizers.Lamb` adapts all
    variables, and its decay is outside of the step.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`. Defaults to
            0.001.
        beta_1: Float in [0, 1), the share of the old mean of gradients. Defaults to 0.9.
        beta_2: Float in [0, 1), the share of the old mean of their squares. Defaults to 0.999.
        epsilon: Float above 0, added to the root. Defaults to 1e-6.
        weight_decay: Float, at least 0. Defaults to 0.01.
        decay: Which variables are decayed, as in `SGD`. Defaults to `"no_1d"`.
        always_adapt: Boolean. Whether the trust ratio scales variables without decay too. Defaults
            to `False`.
        clip_norm: As in `Updates`. Defaults to 1, as in timm and apex.
        **kwargs: `accumulate_steps` and `ema_decay`, see `Updates`, and arguments of
            `keras.optimizers.Optimizer`.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        weight_decay=0.01,
        decay="no_1d",
        always_adapt=False,
        clip_norm=1.0,
        **kwargs,
    ):
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon,
            weight_decay=weight_decay, decay=decay, clip_norm=clip_norm, **kwargs,
        )  # fmt: skip
        self.always_adapt = bool(always_adapt)

    def update_step(self, gradient, variable, learning_rate):
        step = self.direction(gradient, variable)
        is_decayed = self.is_decayed(variable)
        if is_decayed:
            step += self.weight_decay * variable
        if is_decayed or self.always_adapt:
            size, length = tf.norm(variable), tf.norm(step)
            is_plain = tf.logical_or(size == 0, length == 0)
            step *= tf.where(is_plain, tf.ones_like(size), tf.math.divide_no_nan(size, length))
        self.assign_sub(variable, self.rate_of(variable, learning_rate) * step)

    def get_config(self):
        return {**super().get_config(), "always_adapt": self.always_adapt}
