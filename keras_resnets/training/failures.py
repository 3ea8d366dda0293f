"""TensorFlow's errors in words."""

import re

import tensorflow as tf

# What TensorFlow puts around the reason: where in the graph it happened.
_FRAME = re.compile(
    r"^(Graph execution error:|Detected at node .*|<stack traces unavailable>|\s*\[\[.*)$|"
    r"Error in user-defined function passed to .*? transformation with iterator: [\w:\[\]]+: |"
    r"\{\{function_node .*?\}\} |\s*\[Op:\w+\]( name:)?",
    re.MULTILINE,
)


def data_error(error):
    """What was wrong with the images or their augmentation, in one line.

    Args:
        error: `tf.errors.OpError`.

    Returns:
        String, or `None` if the error came from elsewhere or memory was short.
    """
    message = error.message or ""
    if isinstance(error, tf.errors.ResourceExhaustedError) or "IteratorGetNext" not in message:
        return None
    return " ".join(_FRAME.sub("", message).split())
