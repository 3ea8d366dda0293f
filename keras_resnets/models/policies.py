"""The dtype policy that a network is built under."""

import contextlib

import keras


@contextlib.contextmanager
def dtype_policy(policy):
    """Builds layers under a Keras dtype policy and gives the global one back afterwards."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
