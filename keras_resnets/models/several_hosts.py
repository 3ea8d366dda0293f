"""What Keras 3 lacks to train under `tf.distribute.MultiWorkerMirroredStrategy`.

Keras does not support that strategy (keras-team/keras#20585), for two reasons, which are mended
here and nowhere else: it builds a model from the mean of a batch over all hosts, which cannot be
computed, and it averages what a step returns, scalars, over their first axis. Both places are
private methods of Keras; tests/test_training_hosts.py tells when they change.
"""

import functools

import tensorflow as tf


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


def _as_rows(step_function):
    """The step function with an axis in front of all results, which Keras reduces over."""

    @functools.wraps(step_function)
    def step(data):
        return tf.nest.map_structure(lambda value: tf.reshape(value, [1]), step_function(data))

    return step
