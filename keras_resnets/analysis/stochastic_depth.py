"""The depths that a training with stochastic depth draws (Huang 2016, arXiv 1603.09382, section 3).

The depth that is expected is `keras_resnets.expected_depth`.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.analysis import drawing
from keras_resnets.checks import is_count, must
from keras_resnets.errors import UserError
from keras_resnets.layers import StochasticMerge, draws
from keras_resnets.models.network import Network


def effective_depth(network, steps, first_step=0):
    """The number of blocks that survive each training step, as the layers themselves draw them.

    A layer's draw is a function of its own key and the number of the step; both are read, none is
    changed. `run_effective_depth` does it for the keys of a run.

    Args:
        network: `Network` with `survival_draw="batch"`.
        steps: Int. Number of steps.
        first_step: Int. Number of the first step, from 0 on; `keras_resnets.training.train` counts
            them over all epochs, `fit` from when the network was built. Defaults to 0.

    Returns:
        Float array `(steps,)`. A block without stochastic depth counts 1, one of several branches
        the share of those that survive.

    Raises:
        UserError: If an argument is not legal, or the network draws by the image.
    """
    must("network", network, isinstance(network, Network), "a keras_resnets.Network")
    must("steps", steps, is_count(steps), "a positive integer")
    must(
        "first_step",
        first_step,
        first_step == 0 or is_count(first_step),
        "an integer from 0 up",
    )
    numbers = np.arange(first_step, first_step + steps)
    depth = np.zeros(steps)
    for block in network.blocks:
        survived = [_survived(branch.merge, numbers) for branch in block.branches]
        depth += np.mean(survived, axis=0) if survived else 1.0
    return depth


def _survived(merge, numbers):
    """Whether a branch survives the steps of these numbers, as 0 and 1."""
    if not isinstance(merge, StochasticMerge):
        return np.ones(len(numbers))
    if merge.draw != "batch":
        raise UserError(
            "`network` must draw by the batch, so that a step has one depth. "
            f"Received: survival_draw={merge.draw!r}"
        )
    state = np.asarray(merge.seed_generator.state)
    seeds = np.stack([np.full(len(numbers), state[0]), numbers % 2**32], axis=1)
    return np.asarray(_uniform(tf.constant(seeds, tf.int64)) < merge.survival, "float64")


class _Seed:
    """A generator whose next seed is known."""

    def __init__(self, seed):
        self.seed = seed

    def next(self):
        return self.seed


@tf.function(reduce_retracing=True)
def _uniform(seeds):
    """The number that `StochasticMerge` draws with each seed."""
    return tf.map_fn(
        lambda seed: draws.uniform(_Seed(seed), (), "batch"), seeds, fn_output_signature=tf.float32
    )


def run_effective_depth(run_dir):
    """`effective_depth` of all steps of a run of `keras_resnets.training.train` so far.

    The keys of its layers are those of the network built again under the run's seed, as a run that
    goes on builds it. Keras' global seed is set.

    Args:
        run_dir: Folder of the run.

    Returns:
        Float array `(steps,)`.

    Raises:
        UserError: If there is no run, it has no finished step, or it draws by the image.
    """
    from keras_resnets.training import Recipe, RunDirectory

    run = RunDirectory(run_dir)
    if not (run.path / "recipe.json").exists():
        raise UserError(f"`run_dir` must be the folder of a run. Received: run_dir={run.path}")
    start = run.start()
    steps = start.step + (start.history[-1]["steps"] if start.history else 0)
    if not steps:
        raise UserError(f"{run.path} has no finished step yet")
    keras.utils.set_random_seed(Recipe.load(run.path / "recipe.json").seed)
    return effective_depth(Network.from_config(start.config), steps)


def plot_effective_depth(depths, expected, path, title=None):
    """Draws the surviving blocks over the steps, and how often each number came.

    Args:
        depths: Array of `effective_depth`.
        expected: Float, `keras_resnets.expected_depth` of the network.
        path: Path of the PNG or SVG file to write.
        title: String or `None`. Defaults to `None`.

    Raises:
        UserError: If there is no step.
    """
    from matplotlib.ticker import MaxNLocator

    depths = np.asarray(depths)
    must("depths", depths.shape, depths.ndim == 1 and depths.size > 0, "of one step at least")
    figure, (steps, counts) = drawing.new_figure(columns=2, width=4.6)
    dark, light = drawing.COLOURS[1], drawing.COLOURS[0]
    steps.plot(depths, ".", color=light, markersize=3, alpha=0.6, label="drawn")
    window = max(1, len(depths) // 20)
    if window > 1:
        mean = np.convolve(depths, np.full(window, 1 / window), "valid")
        places = np.arange(len(mean)) + (window - 1) / 2
        steps.plot(places, mean, color="black", linewidth=1.5, label=f"mean of {window} steps")
    steps.axhline(expected, color=dark, linestyle="--", label=f"expected, {expected:g}")
    low, high = min(depths.min(), expected), max(depths.max(), expected)
    steps.set_ylim(low - 0.25 * (high - low) - 1, high + 0.5)  # the legend is below the points
    drawing.finish(steps, "training step", "surviving blocks", title)
    steps.legend(frameon=False, loc="lower center", ncols=3, fontsize=8, columnspacing=1.2)
    numbers = np.arange(np.floor(depths.min()), np.ceil(depths.max()) + 2) - 0.5
    counts.hist(depths, numbers, color=light, edgecolor="white", linewidth=0.5)
    counts.axvline(expected, color=dark, linestyle="--")
    counts.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    drawing.finish(counts, "surviving blocks", "training steps")
    drawing.save(figure, path)
