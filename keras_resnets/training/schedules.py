"""Learning rates by step, from papers' numbers in epochs."""

import math

import keras
from keras import ops
from keras.optimizers.schedules import CosineDecay, LearningRateSchedule, PiecewiseConstantDecay

from keras_resnets.errors import UserError

SCHEDULES = ("piecewise", "one_cycle")
# A one-cycle run starts at this part of its highest rate (fastai, torch's OneCycleLR).
ONE_CYCLE_START = 1 / 25
# Keras compares steps as int32, in which a later boundary would become an earlier one.
LAST_STEP = 2**31 - 1


@keras.saving.register_keras_serializable(package="keras_resnets")
class Warmup(LearningRateSchedule):
    """Linear warm-up: the first steps of another schedule at a growing share of its rate.

    Step `s` of the first `steps` runs at `(s + 1) / steps` times the rate that `schedule` has at
    `s`, so that the last of them is at the full rate (Goyal 2017, section 2.2).

    Args:
        schedule: `keras.optimizers.schedules.LearningRateSchedule`.
        steps: Int, at least 1.
    """

    def __init__(self, schedule, steps):
        super().__init__()
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step):
        rate = self.schedule(step)
        return rate * ops.minimum((ops.cast(step, rate.dtype) + 1.0) / self.steps, 1.0)

    def get_config(self):
        serialize = keras.optimizers.schedules.serialize
        return {"schedule": serialize(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["steps"])


def boundary_steps(boundaries, steps_per_epoch):
    """The first step at each new rate, for boundaries in epochs."""
    return [min(round(epoch * steps_per_epoch), LAST_STEP) for epoch in boundaries]


def check_boundaries(boundaries):
    """Raises UserError unless boundaries are above 0, increase, and are finite.

    They may lie beyond the last epoch: a run can be extended later, or tried for a few epochs.
    """
    rising = all(low < high for low, high in zip((0, *boundaries), boundaries, strict=False))
    if not rising or math.inf in boundaries:
        received = ",".join(f"{epoch:g}" for epoch in boundaries)
        raise UserError(
            f"`boundaries` must be above 0, increase, and be finite. Received: "
            f"boundaries={received}"
        )


def make_schedule(
    schedule,
    learning_rate,
    *,
    steps_per_epoch,
    epochs,
    boundaries=(),
    decay_factor=0.1,
    warmup_epochs=0,
):
    """Makes the schedule of a run.

    `"piecewise"` holds `learning_rate` and multiplies it with `decay_factor` at each boundary: the
    first step after `boundary` finished epochs runs at the new rate. `"one_cycle"` rises linearly
    from 1/25 of `learning_rate` during the warm-up and falls to zero along half a cosine.

    Args:
        schedule: `"piecewise"` or `"one_cycle"`.
        learning_rate: Float, for a step on a global batch.
        steps_per_epoch: Int.
        epochs: Int. Length of the run.
        boundaries: Sequence of epochs, fractions allowed. Defaults to none.
        decay_factor: Float. Defaults to 0.1.
        warmup_epochs: Float. Defaults to 0.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        UserError: If the schedule is unknown, or boundaries or the warm-up do not fit the run.
    """
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    if not 0 <= warmup_epochs < epochs:
        raise UserError(
            f"`warmup_epochs` must be at least 0 and below `epochs`={epochs}. "
            f"Received: warmup_epochs={warmup_epochs:g}"
        )
    if schedule == "one_cycle":
        if boundaries:
            raise UserError("`boundaries` belong to schedule='piecewise', not to 'one_cycle'")
        return _one_cycle(learning_rate, epochs * steps_per_epoch, warmup_steps)
    if schedule != "piecewise":
        raise UserError(
            f"`schedule` must be one of {SCHEDULES}. Received: schedule={schedule!r}"
        )
    check_boundaries(boundaries)
    # PiecewiseConstantDecay keeps the old value while `step <= boundary`.
    last_steps = [step - 1 for step in boundary_steps(boundaries, steps_per_epoch)]
    rates = [learning_rate * decay_factor**power for power in range(len(boundaries) + 1)]
    if not boundaries:  # Keras' class must have one
        last_steps, rates = [0], [learning_rate] * 2
    rates = PiecewiseConstantDecay(last_steps, rates)
    return Warmup(rates, warmup_steps) if warmup_steps else rates


def _one_cycle(learning_rate, steps, warmup_steps):
    if not warmup_steps:
        return CosineDecay(learning_rate, steps)
    return CosineDecay(
        learning_rate * ONE_CYCLE_START,
        max(steps - warmup_steps, 1),
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
