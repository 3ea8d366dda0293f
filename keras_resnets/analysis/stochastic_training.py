"""Training with and without stochastic depth, side by side: gradients and time.

Huang 2016, *Deep Networks with Stochastic Depth* (arXiv 1603.09382), sections 3 and 5.
"""

import dataclasses
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from keras_resnets.analysis import drawing
from keras_resnets.analysis.gradients import (
    check_images,
    cross_entropy,
    layers_with_kernels,
    one_hot,
)
from keras_resnets.checks import is_count, is_number, must
from keras_resnets.models.network import Network
from keras_resnets.models.stochastic_depth import expected_depth


@dataclasses.dataclass(frozen=True)
class FirstGradient:
    """The gradient of the first convolution's kernel in one step of two trainings.

    Attributes:
        step: Int, from 1.
        learning_rate: Float, of this step.
        plain: Float. Root mean square without stochastic depth.
        stochastic: Float. Root mean square with it.
    """

    step: int
    learning_rate: float
    plain: float
    stochastic: float


def first_gradients(
    network, images, labels, survival=0.5, rule="linear", steps=120, batch_size=32, lr=0.1, seed=0
):
    """Trains a network with and without stochastic depth and looks at its first convolution.

    Both trainings start from the network's weights, which stay as they are, and see the same
    batches. They are those of Huang 2016, section 4: SGD with Nesterov momentum 0.9, and a rate
    divided by 10 after a half and after three quarters of the steps. The paper's Figure 7 has the
    mean of |g| over CIFAR-10 epochs of ResNet-110; here it is the root mean square by step.

    Args:
        network: `Network` of a family with stochastic depth.
        images: Array `(images, height, width, channels)`, as the network takes them.
        labels: Class numbers or one-hot, as for `gradient_norms`.
        survival: Float in (0, 1), of the last block. Defaults to 0.5.
        rule: `"linear"` or `"uniform"`. Defaults to `"linear"`.
        steps: Int. Defaults to 120.
        batch_size: Int, at most the number of images. Defaults to 32.
        lr: Float above 0. Learning rate at the start. Defaults to 0.1.
        seed: Int, of the order of images and the draws (Keras' global seed is set). Defaults to 0.

    Returns:
        List of `FirstGradient`.

    Raises:
        UserError: If an argument is not legal, or the network has no stochastic depth.
    """
    must("steps", steps, is_count(steps), "a positive integer")
    must("lr", lr, is_number(lr) and lr > 0, "a number above 0")
    batches = _batches(network, images, labels, batch_size, seed)
    keras.utils.set_random_seed(seed)
    trainings = [_Training(net, lr) for net in _pair(network, survival, rule)]
    rows = []
    for step in range(steps):
        rate = lr * 0.1 ** ((step >= steps / 2) + (step >= steps * 3 / 4))
        batch = next(batches)
        rows.append(
            FirstGradient(step + 1, rate, *(float(one.step(*batch, rate)) for one in trainings))
        )
    return rows


@dataclasses.dataclass(frozen=True)
class TimeSaved:
    """How long training steps take with and without stochastic depth.

    Attributes:
        plain: Float. Median seconds of a step without it.
        stochastic: Float. Median seconds of a step with it.
        ratio: Float, `stochastic / plain`.
        expected: Float. The expected share of blocks that are computed.
    """

    plain: float
    stochastic: float
    ratio: float
    expected: float


def time_saved(network, images, labels, survival=0.5, rule="linear", steps=20, batch_size=32):
    """Measures training steps with and without stochastic depth, in turn, on this machine.

    Two steps of each are not counted. Stem and head are computed in every step, and skipping has a
    cost of its own: the ratio is above the expected share of blocks, most so in small networks.

    Args:
        network: As for `first_gradients`, and so are the other arguments.
        images: Array `(images, height, width, channels)`.
        labels: Class numbers or one-hot.
        survival: Float in (0, 1). Defaults to 0.5.
        rule: `"linear"` or `"uniform"`. Defaults to `"linear"`.
        steps: Int. Measured steps of each. Defaults to 20.
        batch_size: Int. Defaults to 32.

    Returns:
        `TimeSaved`.

    Raises:
        UserError: As `first_gradients` does.
    """
    must("steps", steps, is_count(steps), "a positive integer")
    batches = _batches(network, images, labels, batch_size, seed=0)
    nets = _pair(network, survival, rule)
    trainings = [_Training(net, 0.01) for net in nets]
    seconds = [[], []]
    for step in range(-2, steps):
        batch = next(batches)
        for training, own in zip(trainings, seconds, strict=True):
            started = time.perf_counter()
            float(training.step(*batch, 0.01))
            if step >= 0:
                own.append(time.perf_counter() - started)
    plain, stochastic = (statistics.median(own) for own in seconds)
    expected = expected_depth(nets[1]) / len(nets[1].blocks)
    return TimeSaved(plain, stochastic, stochastic / plain, expected)


def _pair(network, survival, rule):
    """Copies of a network without and with stochastic depth."""
    must("survival", survival, is_number(survival) and 0 < survival < 1, "in (0, 1)")
    options = {"survival_rule": rule, "survival_draw": "batch"}
    return [network.copy_with(survival=value, **options) for value in (1.0, survival)]


def _batches(network, images, labels, batch_size, seed):
    """Yields batches of images and one-hot labels without end, reshuffled when all were seen."""
    must("network", network, isinstance(network, Network), "a keras_resnets.Network")
    images = np.asarray(check_images(network, images))
    labels = one_hot(network, labels, len(images))
    legal = is_count(batch_size) and batch_size <= len(images)
    must("batch_size", batch_size, legal, f"in 1..{len(images)}, the number of images")

    def endless():
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(images))
            for start in range(0, len(order) - batch_size + 1, batch_size):
                chosen = order[start : start + batch_size]
                yield images[chosen], labels[chosen]

    return endless()


class _Training:
    """A network with its optimizer; `step` returns the rms of the first kernel's gradient."""

    def __init__(self, network, lr):
        self.network = network
        self.loss = cross_entropy(network)
        self.kernel = layers_with_kernels(network)[0][1][0]
        self.optimizer = keras.optimizers.SGD(lr, momentum=0.9, nesterov=True)
        self.optimizer.build(network.trainable_variables)

    def step(self, images, targets, rate):
        self.optimizer.learning_rate = rate
        return self._step(tf.constant(images), tf.constant(targets))

    @tf.function
    def _step(self, images, targets):
        variables = self.network.trainable_variables
        values = [variable.value for variable in variables]
        with tf.GradientTape() as tape:
            tape.watch(self.kernel.value)
            loss = self.loss(targets, self.network(images, training=True))
        gradients, first = tape.gradient(loss, [values, self.kernel.value])
        self.optimizer.apply(gradients, variables)
        return tf.sqrt(tf.reduce_mean(tf.square(first)))


def plot_first_gradients(rows, path, title=None):
    """Draws the first convolution's gradient by step, each step lightly and running means boldly.

    Args:
        rows: Rows of `first_gradients`.
        path: Path of the PNG or SVG file to write.
        title: String or `None`. Defaults to `None`.
    """
    must("rows", rows, len(rows) > 0, "rows of `first_gradients`, at least one")
    figure, (axes,) = drawing.new_figure(width=6.4)
    steps = np.array([row.step for row in rows])
    window = max(1, len(rows) // 12)
    fields = {"without stochastic depth": "plain", "with stochastic depth": "stochastic"}
    for (label, field), look in zip(fields.items(), drawing.styles(), strict=False):
        values = np.array([getattr(row, field) for row in rows])
        axes.plot(steps, values, color=look["color"], linewidth=0.8, alpha=0.3)
        mean = np.convolve(values, np.full(window, 1 / window), "valid")
        places = steps[: len(mean)] + (window - 1) / 2
        axes.plot(places, mean, label=label, markevery=window, **look)
    for before, row in zip(rows, rows[1:], strict=False):
        if row.learning_rate < before.learning_rate:
            axes.axvline(row.step - 0.5, color="#555555", linewidth=0.8, linestyle=":")
            axes.annotate(
                f" rate {row.learning_rate:g}",
                (row.step, 0.01),
                xycoords=("data", "axes fraction"),
                fontsize=8,
            )
    what = "first convolution's gradient (rms)"
    drawing.finish(axes, "training step", what, title, log=True, legend=True)
    drawing.save(figure, path)
