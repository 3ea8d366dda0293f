"""Stochastic gradient descent whose weight decay is that of the papers."""

import keras
import tensorflow as tf

from keras_resnets.checks import check_choice, is_real, must
from keras_resnets.training.updates import Updates

MOMENTUM_FORMS = ("keras", "torch")


@keras.saving.register_keras_serializable(package="keras_resnets")
class SGD(Updates, keras.optimizers.SGD):
    """Momentum SGD with L2 weight decay in the gradient, as in Caffe and torch.

    Every update uses `g + weight_decay * w` in place of the gradient `g` of a decayed variable `w`,
    so that the decay goes through the momentum. A paper's 1e-4 is `weight_decay=1e-4`: not the
    `2 * weight_decay * w` of `keras.regularizers.L2`, nor the decoupled
    `w -= learning_rate * weight_decay * w` of Keras' own optimizers, which under momentum 0.9
    shrinks weights about ten times more slowly. The loss that is logged stays the cross-entropy.

    With `momentum_form="keras"` the rate is inside the velocity, as in Caffe and Keras:
    `v = momentum * v - learning_rate * g`, `w += v` (Nesterov: `w += momentum * v -
    learning_rate * g`). With `"torch"` it is outside: `v = momentum * v + g`,
    `w -= learning_rate * v` (Nesterov: `w -= learning_rate * (g + momentum * v)`). The two are
    equal while the rate is constant. When it changes, torch's next step is scaled by the new rate
    as a whole; in Keras' form the gradients of earlier steps keep the rate that they came with, and
    fade over the next `1 / (1 - momentum)` steps or so.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`. Defaults to 0.1.
        momentum: Float in [0, 1]. Defaults to 0.9.
        nesterov: Boolean. Defaults to `False`.
        weight_decay: Float, at least 0. Defaults to 0.
        decay: `"all"` decays every trainable variable, batch norm's and biases too, as
            fb.resnet.torch does; `"kernels"` those whose name ends in `kernel`; `"no_1d"` those of
            two dimensions and more, as timm's recipes do. Defaults to `"all"`.
        momentum_form: `"keras"` or `"torch"`. Defaults to `"keras"`.
        **kwargs: `clip_norm`, `accumulate_steps` and `ema_decay`, see `Updates`, and further
            arguments of `keras.optimizers.SGD`. Clipping comes before the decay.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self,
        learning_rate=0.1,
        momentum=0.9,
        nesterov=False,
        weight_decay=0.0,
        decay="all",
        momentum_form="keras",
        **kwargs,
    ):
        must("momentum", momentum, is_real(momentum) and 0 <= momentum <= 1, "in [0, 1]")
        check_choice("momentum_form", momentum_form, MOMENTUM_FORMS)
        super().__init__(
            learning_rate, weight_decay, decay, momentum=float(momentum), nesterov=nesterov,
            **kwargs,
        )  # fmt: skip
        self.momentum_form = momentum_form

    def update_step(self, gradient, variable, learning_rate):
        gradient = tf.cast(gradient, variable.dtype)
        rate = self.rate_of(variable, learning_rate)
        if self.is_decayed(variable):
            gradient += self.weight_decay * variable
        if not self.momentum:
            self.assign_sub(variable, gradient * rate)
            return
        velocity = self.momentums[self._get_variable_index(variable)]
        is_torch = self.momentum_form == "torch"
        gradient = gradient if is_torch else -gradient * rate
        self.assign(velocity, velocity * self.momentum + gradient)
        step = velocity * self.momentum + gradient if self.nesterov else velocity
        self.assign_add(variable, -rate * step if is_torch else step)

    def get_config(self):
        return {**super().get_config(), "momentum_form": self.momentum_form}
