"""Stochastic gradient descent whose weight decay is that of the papers."""

import keras

from keras_resnets.errors import UserError

DECAYS = ("all", "kernels")


@keras.saving.register_keras_serializable(package="keras_resnets")
class SGD(keras.optimizers.SGD):
    """Momentum SGD with L2 weight decay in the gradient, as in Caffe and torch.

    Every step uses `g + weight_decay * w` in place of the gradient `g` of a decayed variable `w`,
    so that the decay goes through the momentum. A paper's 1e-4 is `weight_decay=1e-4`: not the
    `2 * weight_decay * w` of `keras.regularizers.L2`, nor the decoupled
    `w -= learning_rate * weight_decay * w` of Keras' own optimizers, which under momentum 0.9
    shrinks weights about ten times more slowly. The loss that is logged stays the cross-entropy.

    The rate is inside the velocity, as in Caffe and Keras: `v = momentum * v - learning_rate * g`,
    `w += v`. torch computes `v = momentum * v + g`, `w -= learning_rate * v`. The two are equal
    while the rate is constant. When it changes, torch's next step is scaled by the new rate as a
    whole; here the gradients of earlier steps keep the rate that they came with, and fade over
    the next `1 / (1 - momentum)` steps or so.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`. Defaults to 0.1.
        momentum: Float in [0, 1]. Defaults to 0.9.
        nesterov: Boolean. Defaults to `False`.
        weight_decay: Float, at least 0. Defaults to 0.
        decay: `"all"` decays every trainable variable, batch norm's and biases too, as
            fb.resnet.torch does; `"kernels"` those whose name ends in `kernel`. Defaults to
            `"all"`.
        **kwargs: Further arguments of `keras.optimizers.SGD`. Clipping comes before the decay.

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
        **kwargs,
    ):
        if not 0 <= weight_decay < float("inf"):
            raise UserError(
                "`weight_decay` must be at least 0 and finite. "
                f"Received: weight_decay={weight_decay}"
            )
        if decay not in DECAYS:
            raise UserError(f"`decay` must be one of {DECAYS}. Received: decay={decay!r}")
        # Keras' own `weight_decay` stays None: it would be the decoupled one.
        super().__init__(learning_rate, float(momentum), nesterov, **kwargs)
        self.l2 = float(weight_decay)
        self.decay = decay

    def build(self, variables):
        if not self.built:
            self._decays = [self.decays(variable) for variable in variables]
        super().build(variables)

    def decays(self, variable):
        """Whether a trainable variable is decayed."""
        return self.l2 > 0 and (self.decay == "all" or variable.name.endswith("kernel"))

    def update_step(self, gradient, variable, learning_rate):
        if self._decays[self._get_variable_index(variable)]:
            gradient = keras.ops.cast(gradient, variable.dtype) + self.l2 * variable
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "weight_decay": self.l2, "decay": self.decay}
