"""Layers that are refused at once and made when they are first called.

Their random generators are variables, and with the first variable TensorFlow begins to compute: it
will no longer split a CPU into devices, or connect workers.
"""

import functools
from unittest import mock

import keras
import tensorflow as tf


class Later:
    """A layer of a class with arguments.

    Args:
        kind: Class of Keras layers.
        arguments: Dictionary of its constructor's arguments.

    Attributes:
        layer: Function without arguments that returns the layer, the same one each time.

    Raises:
        Exception: What the constructor raises.
    """

    def __init__(self, kind, arguments):
        self.layer = functools.cache(functools.partial(_make, kind, arguments))
        generators = mock.patch.multiple(
            tf.random, Generator=mock.DEFAULT, get_global_generator=mock.DEFAULT
        )
        with keras.StatelessScope(initialize_variables=False), generators:
            kind(**arguments)

    def __call__(self, image):
        return self.layer()(image)


def _make(kind, arguments):
    with tf.init_scope():
        return kind(**arguments)
