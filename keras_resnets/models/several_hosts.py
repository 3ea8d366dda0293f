"""What Keras 3 lacks to train under `tf.distribute.MultiWorkerMirroredStrategy`.

Keras does not support that strategy (keras-team/keras#20585), for two reasons, which are mended
here and nowhere else: it builds a model from the mean of a batch over all hosts, which cannot be
computed, and it averages what a step returns, scalars, over their first axis. Both places are
private methods of Keras; tests/test_training_hosts.py tells when they change.
"""

import functools

import tensorflow as tf

from keras_resnets.layers.normalization import average_copies


def is_on_several_hosts(strategy):
    """Whether a strategy has replicas in other processes too."""
    is_multi_worker = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    return is_multi_worker and strategy.extended._in_multi_worker_mode()


class SeveralHosts:
    """A part of `Network`: without several hosts, both methods are Keras' own."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        strategy = self.distribute_strategy
        if iterator is not None and is_on_several_hosts(strategy):
            batches = next(iter(iterator))[2]
            iterator, data_batch = None, tf.nest.map_structure(
                lambda value: strategy.experimental_local_results(value)[0], next(batches)
            )
        super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    def _make_function(self, step_function):
        if is_on_several_hosts(self.distribute_strategy):
            step_function = _as_rows(step_function)
        return super()._make_function(step_function)


def mean_over_hosts(strategy, variables):
    """Sets each copy of variables to the mean of all copies, where there are several hosts.

    Equal copies, as those of what is frozen, stay as they are to the last bit.

    Args:
        strategy: `tf.distribute.Strategy`.
        variables: List of `keras.Variable`s of floats. All workers call this with the same ones.
    """
    if not variables or not is_on_several_hosts(strategy):
        return
    for variable in variables:
        average_copies(variable)
    # In float64 the sum of equal float32 numbers is exact, and so is their mean.
    values = [tf.cast(tf.identity(variable.value), tf.float64) for variable in variables]
    flat = tf.concat([tf.reshape(value, [-1]) for value in values], axis=0)
    means = tf.split(all_reduce(strategy, "MEAN", flat), [tf.size(value) for value in values])
    for variable, value, mean in zip(variables, values, means, strict=True):
        variable.assign(tf.cast(tf.reshape(mean, value.shape), variable.dtype))


def all_reduce(strategy, reduction, vector):
    """The sum or the mean of what all replicas have, those of a host the same.

    Args:
        strategy: `tf.distribute.Strategy`.
        reduction: `"SUM"` or `"MEAN"`.
        vector: Tensor `(n,)` of this host. All workers call this with as long ones.

    Returns:
        Tensor `(n,)`, the same on all.
    """
    return _reducer(strategy, reduction, vector.dtype)(vector)


@functools.cache
def _reducer(strategy, reduction, dtype):
    def reduce(vector):
        return tf.distribute.get_replica_context().all_reduce(reduction, tf.identity(vector))

    @tf.function(input_signature=[tf.TensorSpec([None], dtype)])
    def reducer(vector):
        return strategy.experimental_local_results(strategy.run(reduce, args=(vector,)))[0]

    return reducer


def _as_rows(step_function):
    """The step function with an axis in front of all results, which Keras reduces over."""

    @functools.wraps(step_function)
    def step(data):
        return tf.nest.map_structure(lambda value: tf.reshape(value, [1]), step_function(data))

    return step
