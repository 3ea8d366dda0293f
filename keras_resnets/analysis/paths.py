"""The paths of a residual network: how long they are, and how much gradient each length carries.

Veit 2016 (arXiv 1605.06431), sections 3 and 4.3. A network of n blocks is a sum over 2^n paths,
each of which takes, block by block, the branch or the shortcut. The gradient of a path is what the
backward pass leaves when each block passes it on through that side alone.
"""

import math
import random

import numpy as np
import tensorflow as tf

from keras_resnets.analysis.steps import Steps, branch_output, flat
from keras_resnets.checks import is_count, must
from keras_resnets.errors import UserError

_SHORTCUT, _BRANCH, _GATE = 0, 1, 2  # operands of a merge


def path_lengths(blocks):
    """How many paths take the branch of k blocks: binomial coefficients.

    Args:
        blocks: Int n, or a `Network`, whose branches count.

    Returns:
        Array of floats `(n + 1,)`: the share of all 2^n paths that have length 0, 1, ..., n. Of 54
        blocks 98.02 % have length 19 to 35 and 0.4537 % length 5 to 17.
    """
    if not isinstance(blocks, int):
        blocks = sum(len(block.branches) for block in blocks.blocks)
    must("blocks", blocks, is_count(blocks), "a positive integer, or a residual network")
    return np.array([math.comb(blocks, length) / 2**blocks for length in range(blocks + 1)])


class PathGradients:
    """Gradients of single paths, at one batch of images.

    The network is at inference, so that images do not depend on each other. Gates, which belong to
    neither side, are constants.

    Args:
        network: `Network` whose blocks have one branch each.
        images: Array `(batch, height, width, channels)`, standardized as the network takes them.
        labels: Array of class numbers `(batch,)`.

    Raises:
        UserError: If a block has no branch or several, or labels do not fit.
    """

    def __init__(self, network, images, labels):
        rows = Steps(network)
        for step in rows.steps:
            if len(step.branches) != 1 or len(flat(step.end)) != 1 or len(flat(step.start)) != 1:
                raise UserError(
                    "The network must have one branch in every block, so that a path takes it or "
                    f"not. Received: {network.name}, whose {step.name} has {len(step.branches)}"
                )
        labels = np.asarray(labels)
        must("labels", labels.shape, labels.shape == (len(images),), f"({len(images)},)")
        self._images = tf.cast(images, network.inputs[0].dtype)
        self._labels = labels
        self._steps = rows.steps
        self._sides = [[_backward(step, side) for side in (False, True)] for step in rows.steps]
        self._inputs, self._seed = self._forward(rows)
        self._stem = _vector_product(rows.before)

    @property
    def blocks(self):
        """Number of blocks: int n."""
        return len(self._steps)

    def _forward(self, rows):
        """What enters each step, and the gradient of the loss at what leaves the last."""
        inputs, tensors = [], rows.before([self._images])
        for step in rows.steps:
            inputs.append(tensors[0])
            tensors = step.whole(tensors)
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            logits = tf.cast(rows.after(tensors)[0], tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(self._labels, logits)
        return inputs, tape.gradient(losses, tensors)[0]

    def gradient(self, path):
        """The gradient of each image's cross-entropy at that image, through one path.

        Args:
            path: Sequence of n booleans, from the first block: whether it takes the branch.

        Returns:
            Array of the images' shape. Summed over all 2^n paths it is the whole gradient.
        """
        must("path", path, len(path) == self.blocks, f"{self.blocks} booleans")
        return next(self._gradients([tuple(path)])).numpy()

    def norms(self, paths):
        """The norms of the gradients of several paths.

        Args:
            paths: Sequence of paths, see `gradient`.

        Returns:
            Array of floats `(len(paths),)`: the 2-norm of each image's gradient at that image, its
            mean over the images.
        """
        return np.array(
            [
                float(tf.reduce_mean(tf.norm(tf.reshape(g, (len(g), -1)), axis=1)))
                for g in self._gradients(paths)
            ]
        )

    def _gradients(self, paths):
        """The gradients at the images, in the order of the paths; those that end alike share it."""
        found, waiting = {}, [(self._seed, self.blocks, list(dict.fromkeys(map(tuple, paths))))]
        while waiting:
            gradient, depth, group = waiting.pop()
            if not depth:
                found[group[0]] = self._stem([self._images], [gradient])[0]
                continue
            for side in (False, True):
                rest = [path for path in group if bool(path[depth - 1]) == side]
                if rest:
                    back = self._sides[depth - 1][side]
                    passed = back([self._inputs[depth - 1]], [gradient])[0]
                    waiting.append((passed, depth - 1, rest))
        return (found[tuple(path)] for path in paths)


def gradients_by_length(network, images, labels, lengths=None, samples=20, seed=0):
    """The norm of the gradient over the length of the path (Veit 2016, Figure 6).

    Args:
        network: As for `PathGradients`.
        images: As for `PathGradients`; some ten suffice.
        labels: As for `PathGradients`.
        lengths: Sequence of ints in 0..n. Defaults to all.
        samples: Int, paths drawn for each length. Defaults to 20.
        seed: Int. Defaults to 0.

    Returns:
        List of dictionaries: `length`, `share` of all paths, `norm` (the mean over the paths that
        were drawn), `lowest` and `highest` of them, and `total`, share times norm.

    Raises:
        UserError: If a length is not legal.
    """
    gradients = PathGradients(network, images, labels)
    blocks, shares = gradients.blocks, path_lengths(gradients.blocks)
    lengths = range(blocks + 1) if lengths is None else lengths
    draws, rows = random.Random(seed), []
    for length in lengths:
        is_legal = isinstance(length, int) and 0 <= length <= blocks
        must("lengths", length, is_legal, f"from 0 to {blocks}, the blocks")
        count = min(samples, math.comb(blocks, length))
        drawn = set()
        while len(drawn) < count:
            drawn.add(frozenset(draws.sample(range(blocks), length)))
        paths = [tuple(n in taken for n in range(blocks)) for taken in sorted(drawn, key=sorted)]
        norms = gradients.norms(paths)
        rows.append(
            {
                "length": length,
                "share": float(shares[length]),
                "norm": float(norms.mean()),
                "lowest": float(norms.min()),
                "highest": float(norms.max()),
                "total": float(shares[length] * norms.mean()),
            }
        )
    return rows


def effective_lengths(rows, share=0.9):
    """The shortest range of path lengths that carries most of the gradient.

    Args:
        rows: What `gradients_by_length` returned, for all lengths in their order.
        share: Float in (0, 1], of the sum of `total`. Defaults to 0.9.

    Returns:
        Pair of ints, the lowest and the highest length, and the share of all paths that is (a
        triple).
    """
    must("share", share, 0 < share <= 1, "in (0, 1]")
    totals = np.array([row["total"] for row in rows])
    sums, best = np.concatenate([[0], np.cumsum(totals)]), None
    for low in range(len(rows)):
        enough = np.searchsorted(sums, sums[low] + share * sums[-1] * (1 - 1e-12))
        if enough <= len(rows) and (best is None or enough - low < best[1] - best[0]):
            best = (low, int(enough))
    low, high = best
    paths = sum(row["share"] for row in rows[low:high])
    return rows[low]["length"], rows[high - 1]["length"], float(paths)


def _backward(step, through_branch):
    """`back([x], [gradient]) -> [gradient]` of a step, through its branch or its shortcut alone."""

    constant = (_SHORTCUT if through_branch else _BRANCH, _GATE)
    return _vector_product(lambda tensors: step.combined(tensors, branch_output, constant))


def _vector_product(function):
    """`product(inputs, gradients) -> gradients`: those at the outputs, taken to the inputs."""
    if function is list:
        return lambda inputs, gradients: gradients

    @tf.function
    def product(inputs, gradients):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(inputs)
        return tape.gradient(
            outputs, inputs, gradients, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    return product
