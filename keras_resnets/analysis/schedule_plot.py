"""The learning rate of a run as a picture, before it is trained."""

import numpy as np

from keras_resnets.checks import is_count, must

POINTS = 2000  # of the curve: more than a picture has columns


def plot_schedule(recipe_or_schedule, steps_per_epoch=None, epochs=None, path="schedule.png"):
    """Draws the learning rate over the epochs, on a linear and on a logarithmic axis.

    Args:
        recipe_or_schedule: `Recipe`, or a function from the int64 numbers of updates, from 0, to
            rates, such as a `keras.optimizers.schedules.LearningRateSchedule`.
        steps_per_epoch: Int. Steps in an epoch, which of a recipe with `accumulate_steps` are more
            than its updates; of a schedule, updates. Defaults to those of the recipe, for which
            its image set is opened.
        epochs: Int. Defaults to those of the recipe.
        path: Path of the PNG file to write. Defaults to `"schedule.png"`.

    Returns:
        Tuple of two float arrays: the epochs that are drawn, and their rates.

    Raises:
        UserError: If a number is not a positive integer, the recipe's warm-up does not fit it, or
            its image set cannot be opened.
        OSError: If the file cannot be written.
    """
    from matplotlib.figure import Figure

    from keras_resnets.analysis.plots import DPI, GRID, RATE
    from keras_resnets.training.building import count_steps, schedule_of

    is_recipe = hasattr(recipe_or_schedule, "accumulate_steps")
    epochs = recipe_or_schedule.epochs if is_recipe and epochs is None else epochs
    if is_recipe and steps_per_epoch is None:
        steps_per_epoch = count_steps(recipe_or_schedule)
    must("steps_per_epoch", steps_per_epoch, is_count(steps_per_epoch), "a positive integer")
    must("epochs", epochs, is_count(epochs), "a positive integer")
    accumulated = recipe_or_schedule.accumulate_steps if is_recipe else 1
    schedule = schedule_of(recipe_or_schedule, steps_per_epoch) if is_recipe else recipe_or_schedule
    updates = max(epochs * steps_per_epoch // accumulated, 1)
    steps = np.unique(np.linspace(0, updates - 1, min(updates, POINTS)).round().astype(np.int64))
    rates = np.array([float(schedule(step)) for step in steps])
    places = steps * accumulated / steps_per_epoch

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    for axes, scale in zip(figure.subplots(1, 2), ("linear", "log"), strict=True):
        shown = rates > 0 if scale == "log" else rates >= 0
        axes.plot(places[shown], rates[shown], color=RATE, linewidth=1.6, drawstyle="steps-post")
        axes.set_yscale(scale)
        axes.set_xlabel("epoch")
        axes.set_ylabel("learning rate")
        axes.grid(which="both" if scale == "log" else "major", **GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=DPI, format="png")
    return places, rates
