"""Operations that may fail, in graphs, which have neither `try` nor `raise`."""

import tensorflow as tf


def require(condition, text, value):
    """`value`, which cannot be had unless the condition holds.

    Args:
        condition: Boolean scalar tensor.
        text: Sequence of strings, which together say what is wrong.
        value: Tensor.
    """
    # Not tf.debugging.Assert, which words the error in another way when it runs eagerly.
    check = tf.raw_ops.Assert(condition=condition, data=[tf.strings.join(text)])
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(value)


def attempt(function, value, otherwise):
    """`function(value)`, or `otherwise` where one of its operations fails.

    It takes a tenth to a third of a millisecond, and more for each `tf.cond` in the function.
    """
    tried = tf.data.Dataset.from_tensors(value).map(function).ignore_errors()
    spare = tf.data.Dataset.from_tensors(otherwise)
    return tried.concatenate(spare).take(1).get_single_element()


def plainly(function, value, otherwise):
    """`function(value)`, for callers who may as well `attempt` it."""
    return function(value)
