"""Learning rates at the steps where they change."""

import keras
import numpy as np
import pytest

from keras_resnets.training import make_schedule
from keras_resnets.training.schedules import boundary_steps

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


@pytest.mark.parametrize("name, extra", [("piecewise", {"boundaries": (3,)}), ("one_cycle", {})])
def test_serialization(name, extra):
    schedule = make_schedule(name, 0.1, warmup_epochs=1, **SIZES, **extra)
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    steps = range(0, 80, 7)
    assert rates(copy, *steps) == rates(schedule, *steps)


@pytest.mark.parametrize(
    "name, extra, wrong",
    [
        ("piecewise", {"boundaries": (0, 3)}, "boundaries"),
        ("piecewise", {"boundaries": (3, 3)}, "boundaries"),
        ("piecewise", {"boundaries": (5, 3)}, "boundaries"),
        ("piecewise", {"boundaries": (5, float("inf"))}, "boundaries"),
        ("one_cycle", {"boundaries": (5,)}, "boundaries"),
        ("piecewise", {"warmup_epochs": 8}, "warmup_epochs"),
        ("one_cycle", {"warmup_epochs": -1}, "warmup_epochs"),
        ("cosine", {}, "schedule"),
    ],
)
def test_bad_arguments(name, extra, wrong):
    with pytest.raises(ValueError, match=f"^`{wrong}`"):
        make_schedule(name, 0.1, **SIZES, **extra)
