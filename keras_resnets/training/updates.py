"""What all optimizers have in common: decay, clipping, accumulation, and averages of weights."""

import keras
import tensorflow as tf
from keras import ops

from keras_resnets.checks import check_choice, is_count, is_real, must
from keras_resnets.errors import UserError
from keras_resnets.layers.normalization import average_copies
from keras_resnets.models.freezing import HEAD

DECAYS = ("all", "kernels", "no_1d")
# The moving statistics of batch normalization, which no gradient reaches.
STATISTICS = ("moving_mean", "moving_variance")
# Keras' own ways, which know neither replicas nor batch normalization.
_OF_KERAS = (
    "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "gradient_accumulation_steps"
)


class Updates(keras.optimizers.Optimizer):
    """An optimizer's surroundings: what comes before and after its `update_step`.

    The gradients of `accumulate_steps` steps, each the mean over its global batch, are averaged;
    then the average is clipped, and the variables are updated once. `iterations`, and with it the
    learning rate's schedule, counts updates. Batch normalization sees each step by itself: it
    normalizes by the step's batch and moves its statistics every step. Sums begun in one epoch go
    on in the next. All of it happens after the gradients of the replicas were added, so that any
    number of devices computes the same; Keras' own accumulation fails on more than one, and its
    clipping there looks at each replica's part by itself.

    The averages are exponential ones, as timm's `ModelEmaV3` and torch's `AveragedModel` keep them:
    the first update copies the weights, and each later one moves
    `average += (1 - ema_decay) * (weight - average)`. They are of the trainable variables, and once
    the optimizer follows a model, of its batch norms' moving statistics too.

    Sums and averages are variables of the optimizer: they are in every `.keras` file beside the
    velocities, and a training that goes on from one goes on with them.

    Args:
        learning_rate: Float or `keras.optimizers.schedules.LearningRateSchedule`, by update.
        weight_decay: Float, at least 0. Defaults to 0.
        decay: `"all"` decays every trainable variable, batch norm's and biases too, as
            fb.resnet.torch does; `"kernels"` those whose name ends in `kernel`; `"no_1d"` those of
            two dimensions and more, as timm's recipes do. Defaults to `"all"`.
        clip_norm: Float. Gradients whose norm, over all variables together, is larger are scaled
            down to it; 0 leaves them as they are. Defaults to 0.
        accumulate_steps: Int, steps to an update. Defaults to 1.
        ema_decay: Float in [0, 1), the share of the old average that an update keeps; 0 keeps no
            averages. Defaults to 0.
        backbone_lr: Float in (0, 1]. Factor of the learning rate, as of the decay that goes with
            it, for all variables but those of the classifier, the layer `logits`. Defaults to 1.
        **kwargs: Further arguments of the Keras optimizer.

    Raises:
        UserError: If an argument is out of its range, or Keras' own clipping, accumulation or
            averages are asked for beside these.
    """

    def __init__(
        self,
        learning_rate,
        weight_decay=0.0,
        decay="all",
        clip_norm=0.0,
        accumulate_steps=1,
        ema_decay=0.0,
        backbone_lr=1.0,
        **kwargs,
    ):
        for name, value in (("weight_decay", weight_decay), ("clip_norm", clip_norm)):
            is_legal = is_real(value) and 0 <= value < float("inf")
            must(name, value, is_legal, "at least 0 and finite")
        check_choice("decay", decay, DECAYS)
        must("accumulate_steps", accumulate_steps, is_count(accumulate_steps), "at least 1")
        must("ema_decay", ema_decay, is_real(ema_decay) and 0 <= ema_decay < 1, "in [0, 1)")
        is_legal = is_real(backbone_lr) and 0 < backbone_lr <= 1
        must("backbone_lr", backbone_lr, is_legal, "in (0, 1]")
        theirs = [name for name in _OF_KERAS if kwargs.get(name)]
        if theirs and (clip_norm or accumulate_steps > 1 or ema_decay):
            raise UserError(
                "`clip_norm`, `accumulate_steps` and `ema_decay` do not go together with Keras' "
                f"own. Received: {theirs[0]}={kwargs[theirs[0]]!r}"
            )
        super().__init__(learning_rate, weight_decay=float(weight_decay), **kwargs)
        self.decay = decay
        self.clip_norm = float(clip_norm)
        self.accumulate_steps = accumulate_steps
        self.ema_decay = float(ema_decay)
        self.backbone_lr = float(backbone_lr)
        self._sums, self._averages = [], []
        self._statistics, self._averaged_statistics = None, []

    def build(self, variables):
        if self.built:
            return
        self._decays = [self.decays(variable) for variable in variables]
        self._is_head = [HEAD in variable.path.split("/") for variable in variables]
        super().build(variables)
        if self.accumulate_steps > 1:
            self._sums = self.add_optimizer_variables(variables, "sum")
        if self.ema_decay:
            self._averages = self._add_copies(variables)

    def follow(self, model):
        """Averages the moving statistics of a model's batch norms too, from now on.

        To be called once the optimizer is built, before it is loaded, and by the first update at
        the latest. A `Network` does so by itself when it is compiled or loaded, and before `fit`.

        Args:
            model: `keras.Model`, that of the trainable variables.
        """
        if self.ema_decay and self.built and self._statistics is None:
            with self._distribution_strategy.scope():
                self._statistics = statistics_of(model)
                self._averaged_statistics = self._add_copies(self._statistics)

    @property
    def averaged_statistics(self):
        """List of variables, the averages of batch norm's moving statistics."""
        return list(self._averaged_statistics)

    def averages(self):
        """Pairs of each averaged variable of the model and its average, a variable too.

        Raises:
            UserError: If there are none.
        """
        if not self.ema_decay:
            raise UserError("There are no averaged weights: the optimizer has no `ema_decay`")
        for average in self._averaged_statistics:
            average_copies(average)
        return [
            *zip(self._trainable_variables, self._averages, strict=True),
            *zip(self._statistics or [], self._averaged_statistics, strict=True),
        ]

    def decays(self, variable):
        """Whether a trainable variable is decayed."""
        if self.decay == "kernels":
            chosen = variable.name.endswith("kernel")
        else:
            chosen = self.decay == "all" or len(variable.shape) > 1
        return self.weight_decay > 0 and chosen

    def is_decayed(self, variable):
        """As `decays`, of a variable or a replica's part of one, known since `build`."""
        return self._decays[self._get_variable_index(variable)]

    def rate_of(self, variable, learning_rate):
        """The learning rate of a variable in its own dtype."""
        rate = tf.cast(learning_rate, variable.dtype)
        is_slow = self.backbone_lr < 1 and not self._is_head[self._get_variable_index(variable)]
        return rate * self.backbone_lr if is_slow else rate

    @property
    def iterations(self):
        """Number of updates."""
        if self.accumulate_steps == 1:
            return self._iterations
        return ops.floor_divide(self._iterations, self.accumulate_steps)

    def save_own_variables(self, store):
        for average in self._averaged_statistics:
            average_copies(average)
        super().save_own_variables(store)

    def get_config(self):
        names = ("decay", "clip_norm", "accumulate_steps", "ema_decay", "backbone_lr")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _add_copies(self, variables):
        copies = self.add_optimizer_variables(variables, "average")
        for copy, variable in zip(copies, variables, strict=True):
            copy.assign(variable)
        return copies

    def _get_current_learning_rate(self):
        is_schedule = isinstance(
            self._learning_rate, keras.optimizers.schedules.LearningRateSchedule
        )
        if self.accumulate_steps == 1 or not is_schedule:
            return super()._get_current_learning_rate()
        return self._learning_rate(self.iterations)  # Keras' would be that of the steps

    def _apply_weight_decay(self, variables):
        """Nothing, instead of Keras' decay before the update: `update_step` decays."""

    def _backend_apply_gradients(self, grads, trainable_variables):
        if self.accumulate_steps == 1 and not self.clip_norm and not self.ema_decay:
            super()._backend_apply_gradients(grads, trainable_variables)
            return
        if self.ema_decay and self._statistics is None:
            raise UserError(
                "`ema_decay` averages batch norm's statistics too: call optimizer.follow(model) "
                "before the first step"
            )
        places = [self._get_variable_index(variable) for variable in trainable_variables]
        variables = [self._trainable_variables[place].value for place in places]
        pairs = self._all_reduce_sum_gradients(zip(grads, variables, strict=True))
        grads = [grad for grad, _ in pairs]
        sums = []
        if self.accumulate_steps > 1:
            sums = [self._sums[place].value for place in places]
            grads = [total + grad for total, grad in zip(sums, grads, strict=True)]
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._update, self._distribution_strategy,
            grads, self._means(grads), variables, sums, self.learning_rate,
        )  # fmt: skip

    def _means(self, totals):
        """The gradients of an update: the averages of the steps', clipped."""
        grads = totals
        if self.accumulate_steps > 1:
            grads = [total / self.accumulate_steps for total in totals]
        if self.clip_norm:
            norm = tf.linalg.global_norm(grads)
            scale = self.clip_norm / tf.maximum(norm, self.clip_norm)
            grads = [grad * tf.cast(scale, grad.dtype) for grad in grads]
        return grads

    def _update(self, strategy, totals, means, variables, sums, rate):
        """One step, on all devices: an update, or if more steps shall come before it, the sums."""
        update = strategy.extended.update
        steps = self.accumulate_steps

        def apply():
            for mean, variable in zip(means, variables, strict=True):
                update(variable, self._step, args=(mean, rate), group=False)
            for total in sums:
                update(total, lambda total: total.assign(tf.zeros_like(total)), group=False)
            if self.ema_decay:
                is_first = self._iterations < steps
                pairs = [*zip(self._trainable_variables, self._averages, strict=True)]
                pairs += zip(self._statistics, self._averaged_statistics, strict=True)
                for value, average in pairs:
                    update(average.value, self._move, args=(value.value, is_first), group=False)

        def add():
            for variable, total in zip(sums, totals, strict=True):
                update(variable, lambda variable, total: variable.assign(total), args=(total,),
                       group=False)

        if steps == 1:
            apply()
        else:
            # Here, across replicas: no condition of a replica may hold what is done across them.
            tf.cond((self._iterations + 1) % steps == 0, apply, add)

    def _step(self, variable, gradient, rate):
        self.update_step(gradient, variable, rate)

    def _move(self, average, value, is_first):
        value = tf.identity(value)
        moved = average + (1.0 - self.ema_decay) * (value - average)
        average.assign(tf.where(is_first, value, moved))


def statistics_of(model):
    """The moving means and variances of a model's batch norms, a list of `keras.Variable`s."""
    return [v for v in model.non_trainable_variables if v.name in STATISTICS]


def unwrapped(optimizer):
    """The optimizer inside the loss scale of mixed_float16, or itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)
