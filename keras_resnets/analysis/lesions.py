"""Lesions: what is left of a network's accuracy without some of its blocks, or in another order.

Veit 2016, *Residual Networks Behave Like Ensembles of Relatively Shallow Networks* (arXiv
1605.06431), section 4. Nothing is trained again, and the network itself is not changed.
"""

import dataclasses
import itertools
import random

import numpy as np
import tensorflow as tf

from keras_resnets.analysis.steps import as_steps
from keras_resnets.checks import is_count, must

BATCH = 250


@dataclasses.dataclass(frozen=True)
class Lesion:
    """One deleted block.

    Attributes:
        name: String, the block's, or the layer's in a plain net.
        stage: Int, from 1.
        number: Int, from 0: which of the network's steps it is.
        is_downsampling: Boolean. Whether it changes the shape; its shortcut is kept.
        error: Float, the share of wrong answers without it.
    """

    name: str
    stage: int
    number: int
    is_downsampling: bool
    error: float


def single_lesions(network, images, labels, batch_size=BATCH):
    """The error with each block deleted, one at a time (Veit 2016, Figure 3).

    A residual block keeps its shortcut, with the projection where it changes the shape. In a plain
    net a layer that keeps the shape (convolution, batch norm, ReLU) becomes the identity; those
    that change it cannot be left out. All variants share what they have in common: n deletions cost
    about n / 2 evaluations.

    Args:
        network: `Network` with a classifier, or its `Steps`, where several studies follow.
        images: Array or tensor `(images, height, width, channels)`, standardized as the network
            takes them.
        labels: Array of class numbers `(images,)`.
        batch_size: Int. Images at a time. Defaults to 250.

    Returns:
        Pair of the error of the whole network (float, a share) and a list of `Lesion`.

    Raises:
        UserError: If the network has no blocks that can be deleted, or labels do not fit.
    """
    steps = as_steps(network)
    variants = [_whole(steps)] + [_deleted(steps, (number,)) for number in _deletable(steps)]
    intact, *errors = variant_errors(steps, images, labels, variants, batch_size)
    lesions = [
        Lesion(step.name, step.stage, number, not step.keeps_shape, error)
        for number, error in zip(steps.deletable, errors, strict=True)
        for step in [steps.steps[number]]
    ]
    return intact, lesions


def random_lesions(network, images, labels, counts=None, trials=10, seed=0, batch_size=BATCH):
    """The error with several blocks deleted at random (Veit 2016, Figure 5 a).

    Args:
        network: As for `single_lesions`.
        images: As for `single_lesions`.
        labels: As for `single_lesions`.
        counts: Sequence of ints, how many blocks are deleted. Defaults to 1 up to all but one.
        trials: Int, draws for each count. Defaults to 10.
        seed: Int. Defaults to 0.
        batch_size: Int. Defaults to 250.

    Returns:
        List of dictionaries with `deleted`, `trial` and `error`.

    Raises:
        UserError: If a count is not legal.
    """
    steps = as_steps(network)
    deletable = _deletable(steps)
    counts = list(range(1, len(deletable))) if counts is None else list(counts)
    for count in counts:
        is_legal = is_count(count) and count <= len(deletable)
        must("counts", count, is_legal, f"from 1 to {len(deletable)}, the blocks to delete")
    must("trials", trials, is_count(trials), "a positive integer")
    draws = random.Random(seed)
    cases = [(count, trial) for count in counts for trial in range(trials)]
    variants = [_deleted(steps, draws.sample(deletable, count)) for count, _ in cases]
    errors = variant_errors(steps, images, labels, variants, batch_size)
    return [
        {"deleted": count, "trial": trial, "error": error}
        for (count, trial), error in zip(cases, errors, strict=True)
    ]


def shuffles(network, images, labels, swaps=None, trials=10, seed=0, batch_size=BATCH):
    """The error with blocks of one shape in another order (Veit 2016, Figure 5 b).

    Each swap exchanges two blocks of one stage that keep the shape.

    Args:
        network: As for `single_lesions`.
        images: As for `single_lesions`.
        labels: As for `single_lesions`.
        swaps: Sequence of ints, how many swaps are made one after the other. Defaults to 1, 2, 4,
            8, 16 and 32.
        trials: Int, draws for each number of swaps. Defaults to 10.
        seed: Int. Defaults to 0.
        batch_size: Int. Defaults to 250.

    Returns:
        List of dictionaries with `swaps`, `trial`, `kendall_tau` (of the order of the blocks that
        can be exchanged: 1 as it was, -1 turned round) and `error`.

    Raises:
        UserError: If no two blocks can be exchanged.
    """
    from scipy.stats import kendalltau

    steps = as_steps(network)
    swaps = [1, 2, 4, 8, 16, 32] if swaps is None else list(swaps)
    pairs = exchangeable(steps)
    movable = sorted({number for pair in pairs for number in pair})
    must("network", steps.network.name, bool(pairs), "one with two blocks of one shape in a stage")
    draws = random.Random(seed)
    cases, variants = [], []
    for count in swaps:
        must("swaps", count, is_count(count), "positive integers")
        for trial in range(trials):
            order = list(range(len(steps.steps)))
            for a, b in draws.choices(pairs, k=count):
                order[a], order[b] = order[b], order[a]
            tau = kendalltau(movable, [order[number] for number in movable]).statistic
            cases.append({"swaps": count, "trial": trial, "kendall_tau": float(tau)})
            variants.append(tuple((number, True) for number in order))
    errors = variant_errors(steps, images, labels, variants, batch_size)
    return [{**case, "error": error} for case, error in zip(cases, errors, strict=True)]


def variant_errors(steps, images, labels, variants, batch_size=BATCH):
    """The error of each variant of a network.

    Args:
        steps: `Steps` of the network.
        images: Array `(images, height, width, channels)`.
        labels: Array of class numbers `(images,)`.
        variants: Sequence of variants, each a tuple of pairs: the number of a step, and whether it
            is taken whole or without its branches, in the order in which they are taken.
        batch_size: Int.

    Returns:
        List of floats, shares of wrong answers.

    Raises:
        UserError: If images and labels are not as many.
    """
    labels = np.asarray(labels)
    legal = f"({len(images)},), a class number for each image"
    must("labels", labels.shape, labels.shape == (len(images),), legal)
    must("batch_size", batch_size, is_count(batch_size), "a positive integer")
    wrong = np.zeros(len(variants), int)
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        batch = tf.cast(images[part], steps.network.inputs[0].dtype)
        for number, logits in _logits(steps, batch, variants):
            wrong[number] += int((logits.argmax(-1) != labels[part]).sum())
    return [float(count) / len(images) for count in wrong]


def _logits(steps, images, variants):
    """Yields number and logits of each variant; what several begin with is computed once."""
    waiting = [(steps.before([images]), 0, list(range(len(variants))))]
    while waiting:
        tensors, depth, numbers = waiting.pop()
        ended = [number for number in numbers if len(variants[number]) == depth]
        if ended:
            logits = steps.after(tensors)[0].numpy()
            yield from ((number, logits) for number in ended)
        following = {}
        for number in numbers:
            if len(variants[number]) > depth:
                following.setdefault(variants[number][depth], []).append(number)
        for (step, is_whole), group in following.items():
            step = steps.steps[step]
            waiting.append(((step.whole if is_whole else step.without)(tensors), depth + 1, group))


def _whole(steps):
    return tuple((number, True) for number in range(len(steps.steps)))


def _deleted(steps, numbers):
    return tuple((number, number not in numbers) for number in range(len(steps.steps)))


def _deletable(steps):
    numbers = steps.deletable
    must("network", steps.network.name, bool(numbers), "one with blocks that can be deleted")
    return numbers


def exchangeable(steps):
    """Pairs of steps, by number, that can change places: of one stage, keeping the shape."""
    stages = {}
    for number, step in enumerate(steps.steps):
        if step.keeps_shape:
            stages.setdefault(step.stage, []).append(number)
    return [pair for stage in stages.values() for pair in itertools.combinations(stage, 2)]
