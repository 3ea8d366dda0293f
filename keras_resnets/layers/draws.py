"""Random numbers of layers: one key a step from the layer's own generator.

A layer draws once a step, however many numbers it needs, so that the counter of its generator is
the number of the step: training sets the counters at the start of an epoch and goes on exactly.
Whatever leaves a layer out in a step, as `SkippingMerge` does, moves its counter instead.
"""

from typing import Literal

import tensorflow as tf

Draw = Literal["batch", "sample"]  # one a step, or one an image


def uniform(generator, shape, draw):
    """Uniform numbers in [0, 1) of this step.

    Args:
        generator: `keras.random.SeedGenerator` of the layer, which moves on by one.
        shape: Shape of the numbers.
        draw: `"batch"`, the same numbers on all replicas, or `"sample"`, each replica's own, for
            numbers that belong to its images.

    Returns:
        float32 tensor.
    """
    return tf.random.stateless_uniform(shape, key(generator, draw))


def key(generator, draw):
    """The seed of this step for the `tf.random.stateless_*` functions, int64 `(2,)`."""
    seed = tf.cast(generator.next(), tf.int64)
    if draw == "batch":
        return seed
    context = tf.distribute.get_replica_context()
    replica = context.replica_id_in_sync_group if context else 0
    return tf.random.experimental.stateless_fold_in(seed, replica)
