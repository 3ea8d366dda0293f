"""Residual networks in NumPy, float64, with the weights of a model: what the tests compare to."""

import numpy as np


def randomize(model, seed=0):
    """Weights and statistics of no symmetry, small enough for outputs of about 1."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "seed_generator" in variable.path:
            continue
        name, shape = variable.path.rsplit("/", 1)[-1], variable.shape
        values = rng.normal(size=shape)
        if name == "moving_variance":
            values = rng.uniform(0.5, 1.5, shape)
        elif name == "gamma":
            values = 1 + 0.2 * values
        elif name == "kernel":
            values *= np.sqrt(2 / np.prod(shape[:-1]))
        else:
            values *= 0.2
        variable.assign(values.astype("float32"))
    return model


def images(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolve(x, kernel, stride=1, dilation=1):
    """A convolution with torch's padding, tap by tap; groups by the shape of the kernel."""
    size, groups = kernel.shape[0], x.shape[-1] // kernel.shape[2]
    pad = (size - 1) * dilation // 2
    x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    height, width = (
        (side - (size - 1) * dilation - 1) // stride + 1 for side in x.shape[1:3]
    )
    parts = []
    for part, weights in zip(
        np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True
    ):
        total = 0
        for i in range(size):
            for j in range(size):
                top, left = i * dilation, j * dilation
                rows = slice(top, top + (height - 1) * stride + 1, stride)
                columns = slice(left, left + (width - 1) * stride + 1, stride)
                total = total + part[:, rows, columns] @ weights[i, j]
        parts.append(total)
    return np.concatenate(parts, -1)


def max_pool(x):
    """3x3, stride 2, padded with -infinity."""
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    height, width = ((side - 3) // 2 + 1 for side in x.shape[1:3])
    taps = [
        x[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
        for i in range(3)
        for j in range(3)
    ]
    return np.max(taps, axis=0)


def zero_pad(x, channels, stride):
    """Shortcut A: every `stride`-th pixel, zeros after the channels."""
    x = x[:, ::stride, ::stride]
    zeros = np.zeros((*x.shape[:3], channels - x.shape[-1]))
    return np.concatenate([x, zeros], -1)


class Net:
    """The layers of a model by name, computed in NumPy."""

    def __init__(self, model):
        self.weights = {
            layer.name: {w.path.rsplit("/", 1)[-1]: np.float64(w) for w in layer.weights}
            for layer in model.layers
        }

    def __contains__(self, name):
        return name in self.weights

    def conv(self, x, name, stride=1, dilation=1):
        weights = self.weights[name]
        return convolve(x, weights["kernel"], stride, dilation) + weights.get("bias", 0.0)

    def bn(self, x, name):
        w = self.weights[name]
        scale = w["gamma"] / np.sqrt(w["moving_variance"] + 1e-5)
        return (x - w["moving_mean"]) * scale + w["beta"]

    def bn_relu(self, x, name):
        return relu(self.bn(x, name))

    def logits(self, x):
        weights = self.weights["logits"]
        return x.mean((1, 2)) @ weights["kernel"] + weights["bias"]
