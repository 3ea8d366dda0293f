"""Learning rates at the steps where they change."""

import keras
import numpy as np
import pytest

from keras_resnets import UserError
from keras_resnets.training import make_schedule, needs_length
from keras_resnets.training.schedules import SCHEDULES, boundary_steps

SIZES = {"steps_per_epoch": 10, "epochs": 8}


def rates(schedule, *steps):
    return [float(schedule(np.int64(step))) for step in steps]


def test_the_first_step_of_an_epoch_runs_at_the_new_rate():
    schedule = make_schedule("piecewise", 0.1, boundaries=(3, 6), decay_factor=0.2, **SIZES)
    found = rates(schedule, 0, 29, 30, 59, 60, 79)
    np.testing.assert_allclose(found, [0.1, 0.1, 0.02, 0.02, 0.004, 0.004], rtol=1e-6)


def test_a_boundary_beyond_the_run_is_not_reached():
    schedule = make_schedule("piecewise", 0.1, boundaries=(3, 30), decay_factor=0.5, **SIZES)
    np.testing.assert_allclose(rates(schedule, 0, 30, 79), [0.1, 0.05, 0.05], rtol=1e-6)


def test_a_boundary_that_no_run_reaches():
    for far in (1e9, 1e300):  # as int32, 1e10 steps are fewer than none
        schedule = make_schedule("piecewise", 0.1, boundaries=(3, far), **SIZES)
        np.testing.assert_allclose(rates(schedule, 0, 30, 79), [0.1, 0.01, 0.01], rtol=1e-6)


def test_he_2015_in_steps():
    assert boundary_steps((91, 137), 351) == [31941, 48087]
    assert boundary_steps((91.168, 136.752), 351) == [32000, 48000]


def test_no_boundaries():
    schedule = make_schedule("piecewise", 0.3, **SIZES)
    np.testing.assert_allclose(rates(schedule, 0, 1, 79), 0.3, rtol=1e-6)


def test_warm_up_ends_at_the_full_rate():
    schedule = make_schedule("piecewise", 0.1, boundaries=(3,), warmup_epochs=2, **SIZES)
    found = rates(schedule, 0, 9, 19, 20, 29, 30)
    np.testing.assert_allclose(found, [0.005, 0.05, 0.1, 0.1, 0.1, 0.01], rtol=1e-5)


def test_one_cycle():
    schedule = make_schedule("one_cycle", 0.5, warmup_epochs=2, **SIZES)
    found = rates(schedule, 0, 10, 20, 50, 80)
    np.testing.assert_allclose(found, [0.02, 0.26, 0.5, 0.25, 0.0], atol=1e-6)
    schedule = make_schedule("one_cycle", 0.5, **SIZES)
    np.testing.assert_allclose(rates(schedule, 0, 40, 80), [0.5, 0.25, 0.0], atol=1e-6)


def test_one_cycle_between_other_rates():
    schedule = make_schedule(
        "one_cycle", 0.5, warmup_steps=20, warmup_lr=0.1, lr_end=0.05, **SIZES
    )
    found = rates(schedule, 0, 10, 20, 50, 80)
    np.testing.assert_allclose(found, [0.1, 0.3, 0.5, 0.275, 0.05], rtol=1e-5)


def test_warm_up_from_a_rate():
    """timm: warmup_lr + t * (lr - warmup_lr) / warmup_t; torchvision's LinearLR is the same."""
    schedule = make_schedule("piecewise", 0.1, warmup_steps=5, warmup_lr=0.05, **SIZES)
    found = rates(schedule, 0, 1, 4, 5, 79)
    np.testing.assert_allclose(found, [0.05, 0.06, 0.09, 0.1, 0.1], rtol=1e-6)


def test_exponential():
    smooth = make_schedule("exponential", 0.8, decay_epochs=2.4, decay_factor=0.97, **SIZES)
    steps = [0, 1, 12, 24, 79]
    expected = [0.8 * 0.97 ** (s / 24) for s in steps]
    np.testing.assert_allclose(rates(smooth, *steps), expected, rtol=1e-6)


def test_staircase():
    """torch's StepLR: lr * gamma ** (epoch // step_size)."""
    schedule = make_schedule(
        "exponential", 0.4, decay_epochs=3, decay_factor=0.5, staircase=True, **SIZES
    )
    found = rates(schedule, 0, 29, 30, 59, 60, 79)
    np.testing.assert_allclose(found, [0.4, 0.4, 0.2, 0.2, 0.1, 0.1], rtol=1e-6)
    # 0.1 * 30 is more than 3: every third step all the same.
    schedule = make_schedule(
        "exponential", 1.0, decay_epochs=0.1, decay_factor=0.5, staircase=True,
        steps_per_epoch=30, epochs=1,
    )
    np.testing.assert_allclose(rates(schedule, *range(9)), [1] * 3 + [0.5] * 3 + [0.25] * 3)


def test_cosine():
    schedule = make_schedule("cosine", 0.5, lr_end=0.1, **SIZES)
    found = rates(schedule, 0, 20, 40, 80, 1000)
    quarter = 0.1 + 0.4 * (1 + 0.5**0.5) / 2
    np.testing.assert_allclose(found, [0.5, quarter, 0.3, 0.1, 0.1], rtol=1e-6)


def test_cosine_after_a_warm_up():
    """torchvision: LinearLR for 2 epochs, then CosineAnnealingLR(T_max=6, eta_min=0)."""
    schedule = make_schedule("cosine", 0.5, warmup_epochs=2, warmup_lr=0.005, **SIZES)
    found = rates(schedule, 0, 10, 20, 35, 50, 80)
    expected = [0.005, 0.2525, 0.5, 0.25 * (1 + 0.5**0.5), 0.25, 0.0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    schedule = make_schedule("cosine", 0.5, warmup_epochs=2, **SIZES)
    np.testing.assert_allclose(rates(schedule, 0, 9, 19, 20), [0.025, 0.25, 0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    "name, extra", [("piecewise", {"boundaries": (20,)}), ("exponential", {"decay_epochs": 30})]
)
def test_a_short_trial_of_a_schedule_without_a_length(name, extra):
    """Its warm-up may be longer than the run, as its boundaries may be beyond the end."""
    for warmup in ({"warmup_steps": 150}, {"warmup_epochs": 15}):
        whole = make_schedule(name, 0.1, steps_per_epoch=10, epochs=40, **warmup, **extra)
        short = make_schedule(name, 0.1, steps_per_epoch=10, epochs=1, **warmup, **extra)
        assert rates(short, 0, 5, 9) == rates(whole, 0, 5, 9)


def test_polynomial():
    line = make_schedule("polynomial", 1.0, lr_end=0.2, **SIZES)
    np.testing.assert_allclose(rates(line, 0, 20, 79, 80), [1.0, 0.8, 0.21, 0.2], rtol=1e-6)
    square = make_schedule("polynomial", 1.0, power=2.0, warmup_steps=40, **SIZES)
    np.testing.assert_allclose(rates(square, 0, 39, 40, 60, 80), [1 / 40, 1, 1, 0.25, 0])


def test_a_length_of_its_own():
    for name in ("cosine", "polynomial", "one_cycle"):
        whole = make_schedule(name, 0.5, warmup_epochs=2, **SIZES)
        part = make_schedule(
            name, 0.5, warmup_epochs=2, steps_per_epoch=10, epochs=3, schedule_epochs=8
        )
        assert rates(whole, *range(0, 80, 9)) == rates(part, *range(0, 80, 9))
    assert [name for name in SCHEDULES if needs_length(name)] == ["one_cycle", "cosine",
                                                                  "polynomial"]


def test_a_fraction_of_an_update_in_an_epoch():
    """7 steps an epoch, 2 to an update."""
    schedule = make_schedule("piecewise", 1.0, steps_per_epoch=3.5, epochs=8, boundaries=(2, 4))
    np.testing.assert_allclose(rates(schedule, 6, 7, 13, 14), [1, 0.1, 0.1, 0.01], rtol=1e-6)
    schedule = make_schedule("cosine", 1.0, steps_per_epoch=3.5, epochs=8)
    np.testing.assert_allclose(rates(schedule, 14, 28), [0.5, 0.0], atol=1e-7)


@pytest.mark.parametrize(
    "name, extra",
    [
        ("piecewise", {"boundaries": (3,)}),
        ("one_cycle", {}),
        ("exponential", {"decay_epochs": 2, "staircase": True, "warmup_lr": 0.01}),
        ("cosine", {"lr_end": 0.01}),
        ("polynomial", {"power": 0.9}),
    ],
)
def test_serialization(name, extra):
    schedule = make_schedule(name, 0.1, warmup_epochs=1, **SIZES, **extra)
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    steps = range(0, 80, 7)
    assert rates(copy, *steps) == rates(schedule, *steps)


BAD = [
    ("piecewise", {"boundaries": (0, 3)}, "boundaries"),
    ("piecewise", {"boundaries": (3, 3)}, "boundaries"),
    ("piecewise", {"boundaries": (5, 3)}, "boundaries"),
    ("piecewise", {"boundaries": (5, float("inf"))}, "boundaries"),
    ("one_cycle", {"boundaries": (5,)}, "boundaries"),
    ("piecewise", {"warmup_epochs": np.inf}, "warmup_epochs"),
    ("cosine", {"warmup_epochs": 8}, "warmup_epochs"),
    ("one_cycle", {"warmup_epochs": -1}, "warmup_epochs"),
    ("linear", {}, "schedule"),
    ("exponential", {}, "decay_epochs"),
    ("exponential", {"decay_epochs": float("inf")}, "decay_epochs"),
    ("exponential", {"decay_epochs": 1, "lr_end": 0.01}, "lr_end"),
    ("piecewise", {"decay_epochs": 1}, "decay_epochs"),
    ("cosine", {"staircase": True}, "staircase"),
    ("cosine", {"lr_end": 0.2}, "lr_end"),
    ("cosine", {"power": 2.0}, "power"),
    ("polynomial", {"power": 0.0}, "power"),
    ("cosine", {"decay_factor": 0.0}, "decay_factor"),
    ("cosine", {"schedule_epochs": 7}, "epochs"),
    ("piecewise", {"schedule_epochs": 9}, "schedule_epochs"),
    ("cosine", {"warmup_steps": 80}, "warmup_steps"),
    ("cosine", {"warmup_steps": -1}, "warmup_steps"),
    ("cosine", {"warmup_steps": 1, "warmup_epochs": 1}, "warmup_steps"),
    ("cosine", {"warmup_lr": 0.01}, "warmup_lr"),
    ("cosine", {"warmup_lr": 0.2, "warmup_epochs": 1}, "warmup_lr"),
]


def test_bad_arguments():
    for name, extra, wrong in BAD:
        with pytest.raises(UserError, match=f"^`{wrong}` .* Received: {wrong}=") as caught:
            make_schedule(name, 0.1, **SIZES, **extra)
        assert "\n" not in str(caught.value)
