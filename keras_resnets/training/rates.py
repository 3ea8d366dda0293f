"""The learning rate as a function of the step: warm-up, exponential, cosine, polynomial."""

import math

import keras
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule


@keras.saving.register_keras_serializable(package="keras_resnets")
class Warmup(LearningRateSchedule):
    """Linear warm-up before another schedule.

    Without `start`, step `s` of the first `steps` runs at `(s + 1) / steps` times the rate that
    `schedule` has at `s`, so that the last of them is at the full rate (Goyal 2017, section 2.2).
    With it, step `s` runs at `start + (rate - start) * s / steps`, so that step 0 is at `start` and
    the first step after them at the full rate (timm's `warmup_lr`; torchvision's LinearLR, whose
    `start_factor` is `start / rate`).

    Args:
        schedule: `keras.optimizers.schedules.LearningRateSchedule`.
        steps: Int, at least 1.
        start: Float or `None`. Defaults to `None`.
    """

    def __init__(self, schedule, steps, start=None):
        super().__init__()
        self.schedule = schedule
        self.steps = steps
        self.start = start

    def __call__(self, step):
        rate = self.schedule(step)
        step = ops.cast(step, rate.dtype)
        if self.start is None:
            return rate * ops.minimum((step + 1.0) / self.steps, 1.0)
        return self.start + (rate - self.start) * ops.clip(step / self.steps, 0.0, 1.0)

    def get_config(self):
        serialize = keras.optimizers.schedules.serialize
        return {"schedule": serialize(self.schedule), "steps": self.steps, "start": self.start}

    @classmethod
    def from_config(cls, config):
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["steps"], config.get("start"))


@keras.saving.register_keras_serializable(package="keras_resnets")
class Exponential(LearningRateSchedule):
    """`learning_rate * factor ** (s / steps)` at step `s`.

    Args:
        learning_rate: Float.
        steps: Float, above 0. Steps in which the rate is multiplied with `factor`.
        factor: Float in (0, 1].
        staircase: Boolean. Whether the exponent is rounded down. Defaults to `False`.
    """

    def __init__(self, learning_rate, steps, factor, staircase=False):
        super().__init__()
        self.learning_rate = learning_rate
        self.steps = steps
        self.factor = factor
        self.staircase = staircase

    def __call__(self, step):
        # In float64: in float32 two steps of a long run would be one.
        power = tf.maximum(tf.cast(step, tf.float64), 0.0) / self.steps
        # A step that is whole but for rounding counts as whole.
        power = tf.floor(power + 1e-9) if self.staircase else power
        rate = self.learning_rate * tf.pow(tf.constant(self.factor, tf.float64), power)
        return tf.cast(rate, tf.float32)

    def get_config(self):
        names = ("learning_rate", "steps", "factor", "staircase")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="keras_resnets")
class Fall(LearningRateSchedule):
    """From one rate to another, along half a cosine or a polynomial.

    With `p` the part of the way from step `begin` to step `end`, in [0, 1], the rate is
    `last + (first - last) * (1 + cos(pi * p)) / 2` (Loshchilov & Hutter 2017), or where there is a
    power, `last + (first - last) * (1 - p) ** power`.

    Args:
        first: Float, the rate up to `begin`.
        last: Float, the rate from `end` on.
        begin: Int.
        end: Int, above `begin`.
        power: Float, or `None` for the cosine. Defaults to `None`.
    """

    def __init__(self, first, last, begin, end, power=None):
        super().__init__()
        self.first = first
        self.last = last
        self.begin = begin
        self.end = end
        self.power = power

    def __call__(self, step):
        part = (tf.cast(step, tf.float64) - self.begin) / (self.end - self.begin)
        part = tf.clip_by_value(part, 0.0, 1.0)
        if self.power is None:
            height = (1.0 + tf.cos(math.pi * part)) / 2.0
        else:
            height = tf.pow(1.0 - part, self.power)
        return tf.cast(self.last + (self.first - self.last) * height, tf.float32)

    def get_config(self):
        names = ("first", "last", "begin", "end", "power")
        return {name: getattr(self, name) for name in names}
