"""The textbook's figure of vanishing gradients: five fully connected layers, one skip."""

import math

import keras
import numpy as np

from keras_resnets.analysis.gradients import gradient_norms
from keras_resnets.checks import is_count, must


def five_layers(skip, seed=0, units=8):
    """Five equal fully connected layers with ReLU, the net of the textbook's figure.

    Args:
        skip: Boolean. Whether the output of the first layer is added to the input of the fourth.
        seed: Int. Seed of the weights, which do not depend on `skip`: kernels uniform in
            +-1 / sqrt(units), biases 0. Defaults to 0.
        units: Int. Inputs and outputs of each layer. Defaults to 8.

    Returns:
        `keras.Model` from `(batch, units)` to `(batch, units)` with the layers fc1 to fc5.
    """
    must("units", units, is_count(units), "a positive integer")
    rng = np.random.default_rng(seed)
    x = first = inputs = keras.Input((units,))
    for number in range(1, 6):
        if skip and number == 4:
            x = keras.layers.Add(name="skip")([first, x])
        x = keras.layers.Dense(units, activation="relu", name=f"fc{number}")(x)
        first = x if number == 1 else first
    model = keras.Model(inputs, x, name="with_skip" if skip else "sequential")
    bound = 1 / math.sqrt(units)
    for number in range(1, 6):
        kernel = rng.uniform(-bound, bound, (units, units))
        model.get_layer(f"fc{number}").set_weights([kernel, np.zeros(units)])
    return model


def dense_experiment(seed=0, units=8, batch=64):
    """Gradients of five fully connected layers with and without a skip around two of them.

    Both nets have the same weights, normal inputs and normal labels; the loss is the mean squared
    error. Without the skip the gradient shrinks about tenfold on the way from the last layer to the
    first; the skip brings the first one's back (5 to 13 times larger with seeds 0 to 5).

    Args:
        seed: Int. Seed of weights, inputs and labels. Defaults to 0.
        units: Int. Inputs and outputs of each layer. Defaults to 8.
        batch: Int. Number of inputs. Defaults to 64.

    Returns:
        Dictionary from `"sequential"` and `"with skip"` to the lists of `LayerGradient`, as
        `plot_gradient_norms` takes it.
    """
    must("batch", batch, is_count(batch), "a positive integer")
    nets = {
        label: five_layers(skip, seed, units)
        for label, skip in (("sequential", False), ("with skip", True))
    }
    inputs, labels = np.random.default_rng([seed, 1]).standard_normal((2, batch, units), "float32")
    return {
        label: gradient_norms(net, inputs, labels, loss="mean_squared_error")
        for label, net in nets.items()
    }
