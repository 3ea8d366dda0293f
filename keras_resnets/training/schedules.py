"""Learning rates by update, from papers' numbers in epochs."""

import math
import types

from keras.optimizers.schedules import CosineDecay, PiecewiseConstantDecay

from keras_resnets.checks import check_choice, is_count, must
from keras_resnets.errors import UserError
from keras_resnets.training.rates import Exponential, Fall, Warmup

SCHEDULES = ("piecewise", "one_cycle", "exponential", "cosine", "polynomial")
# Those whose every rate depends on where the run ends.
OF_A_LENGTH = ("one_cycle", "cosine", "polynomial")
# A one-cycle run starts at this part of its highest rate (fastai, torch's OneCycleLR).
ONE_CYCLE_START = 1 / 25
# Keras compares steps as int32, in which a later boundary would become an earlier one.
LAST_STEP = 2**31 - 1


def needs_length(schedule):
    """Whether the rates of a schedule depend on the number of epochs.

    A run with such a schedule cannot be made longer, unless its length was given for itself at the
    start (`schedule_epochs`), which then is the most that it can have.

    Args:
        schedule: One of `SCHEDULES`.
    """
    check_choice("schedule", schedule, SCHEDULES)
    return schedule in OF_A_LENGTH


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


def check_schedule(given, learning_rate):
    """Raises UserError unless the settings of a schedule are legal and belong together.

    Args:
        given: `Recipe`, or whatever else has the arguments of `make_schedule` as attributes.
        learning_rate: Float.
    """

    def require(name, is_legal, legal):
        must(name, getattr(given, name), is_legal, legal)

    check_choice("schedule", given.schedule, SCHEDULES)
    with_it = f"with schedule={given.schedule!r}"
    in_rates = f"in 0..{learning_rate:g}, the highest rate"
    if given.schedule == "piecewise":
        check_boundaries(given.boundaries)
    else:
        require("boundaries", not given.boundaries, f"empty {with_it}")
    require("decay_factor", 0 < given.decay_factor <= 1, "in (0, 1]")
    if given.schedule == "exponential":
        is_legal = 0 < given.decay_epochs < math.inf
        require("decay_epochs", is_legal, f"above 0 and finite {with_it}")
    else:
        require("decay_epochs", given.decay_epochs == 0, f"0 {with_it}")
        require("staircase", not given.staircase, f"False {with_it}")
    require("power", 0 < given.power < math.inf, "above 0 and finite")
    require("power", given.power == 1 or given.schedule == "polynomial", f"1 {with_it}")
    if needs_length(given.schedule):
        require("lr_end", 0 <= given.lr_end <= learning_rate, in_rates)
        require("schedule_epochs", given.schedule_epochs >= 0, "at least 0")
        if 0 < given.schedule_epochs < given.epochs:
            raise UserError(
                f"`epochs` must be at most `schedule_epochs`={given.schedule_epochs}, at whose end "
                f"the rate of schedule={given.schedule!r} has fallen. Received: "
                f"epochs={given.epochs}"
            )
    else:
        require("lr_end", given.lr_end == 0, f"0 {with_it}")
        why = "whose rates do not depend on the number of epochs"
        require("schedule_epochs", given.schedule_epochs == 0, f"0 {with_it}, {why}")
    _check_warmup(given, require)
    require("warmup_lr", 0 <= given.warmup_lr <= learning_rate, in_rates)


def _check_warmup(given, require):
    length, legal = math.inf, "finite"
    if needs_length(given.schedule):  # others may be longer than the run, as boundaries may
        name = "schedule_epochs" if given.schedule_epochs else "epochs"
        length = getattr(given, name)
        legal = f"below `{name}`={length}"
    require("warmup_epochs", 0 <= given.warmup_epochs < length, f"at least 0 and {legal}")
    steps = given.warmup_steps
    require("warmup_steps", steps == 0 or is_count(steps), "an integer, at least 0")
    is_one = not (steps and given.warmup_epochs)
    require("warmup_steps", is_one, "0 where `warmup_epochs` is given")
    has_warmup = bool(steps or given.warmup_epochs)
    require("warmup_lr", given.warmup_lr == 0 or has_warmup, "0 without a warm-up")


def make_schedule(
    schedule,
    learning_rate,
    *,
    steps_per_epoch,
    epochs,
    boundaries=(),
    decay_factor=0.1,
    decay_epochs=0.0,
    staircase=False,
    lr_end=0.0,
    power=1.0,
    warmup_epochs=0.0,
    warmup_steps=0,
    warmup_lr=0.0,
    schedule_epochs=0,
):
    """Makes the schedule of a run.

    - `"piecewise"` holds `learning_rate` and multiplies it with `decay_factor` at each boundary:
      the first step after `boundary` finished epochs runs at the new rate.
    - `"exponential"` multiplies it with `decay_factor` in every `decay_epochs` epochs, smoothly
      or, with `staircase`, at their ends (torch's StepLR, timm's `step`).
    - `"cosine"` falls from `learning_rate` to `lr_end` along half a cosine (Loshchilov & Hutter
      2017), from the end of the warm-up to that of the run, as torchvision's recipes do.
    - `"polynomial"` falls there as `(1 - part of the way) ** power`.
    - `"one_cycle"` rises linearly from 1/25 of `learning_rate` during the warm-up and falls to
      `lr_end` along half a cosine.

    All but the last rise to the rate that they have without a warm-up as `Warmup` says: from a
    fraction of it, or where `warmup_lr` is given, from there. Boundaries and decays count from the
    start of the run, warm-up included.

    Args:
        schedule: One of these.
        learning_rate: Float, for an update from a global batch.
        steps_per_epoch: Int or float, updates in an epoch: a fraction where gradients of several
            steps are accumulated.
        epochs: Int. Length of the run.
        boundaries: Sequence of epochs, fractions allowed. Defaults to none.
        decay_factor: Float in (0, 1]. Defaults to 0.1.
        decay_epochs: Float, of `"exponential"`.
        staircase: Boolean, of `"exponential"`. Defaults to `False`.
        lr_end: Float, the last rate of those that fall to the end of the run. Defaults to 0.
        power: Float, of `"polynomial"`. Defaults to 1, a line.
        warmup_epochs: Float. Defaults to 0.
        warmup_steps: Int, updates, instead of `warmup_epochs`. Defaults to 0.
        warmup_lr: Float, the rate of the first step; 0 is the way of the schedule. Defaults to 0.
        schedule_epochs: Int. Length of the schedule where it has one, if that is not the run's: a
            run of fewer epochs stops on the way. 0 is `epochs`. Defaults to 0.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        UserError: If the schedule is unknown, an argument is not legal or does not belong to it, or
            the warm-up is longer than a schedule whose rates depend on its length.
    """
    check_schedule(types.SimpleNamespace(**locals()), learning_rate)
    steps = round((schedule_epochs or epochs) * steps_per_epoch)
    warmup = min(warmup_steps or round(warmup_epochs * steps_per_epoch), LAST_STEP)
    if needs_length(schedule) and warmup_steps >= max(steps, 1):
        raise UserError(
            f"`warmup_steps` must be below the {steps} updates of the schedule. "
            f"Received: warmup_steps={warmup_steps}"
        )
    if schedule == "one_cycle":
        return _one_cycle(learning_rate, lr_end, steps, warmup, warmup_lr)
    if schedule == "piecewise":
        rates = _piecewise(learning_rate, boundary_steps(boundaries, steps_per_epoch), decay_factor)
    elif schedule == "exponential":
        length = decay_epochs * steps_per_epoch
        rates = Exponential(learning_rate, length, decay_factor, staircase)
    else:
        exponent = power if schedule == "polynomial" else None
        rates = Fall(learning_rate, lr_end, warmup, max(steps, warmup + 1), exponent)
    return Warmup(rates, warmup, warmup_lr or None) if warmup else rates


def _piecewise(learning_rate, steps, factor):
    # PiecewiseConstantDecay keeps the old value while `step <= boundary`.
    last_steps = [step - 1 for step in steps]
    rates = [learning_rate * factor**power for power in range(len(steps) + 1)]
    if not steps:  # Keras' class must have one
        last_steps, rates = [0], [learning_rate] * 2
    return PiecewiseConstantDecay(last_steps, rates)


def _one_cycle(learning_rate, lr_end, steps, warmup_steps, warmup_lr):
    end = lr_end / learning_rate
    if not warmup_steps:
        return CosineDecay(learning_rate, max(steps, 1), end)
    return CosineDecay(
        warmup_lr or learning_rate * ONE_CYCLE_START,
        max(steps - warmup_steps, 1),
        end,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
