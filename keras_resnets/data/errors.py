"""What went wrong in a pipeline, in one line."""

import contextlib
import re

import tensorflow as tf

_SCOPE = "augment."  # of the operations' nodes in a graph

_OF_FILES = (
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)


def scope(operation):
    """The name scope of an operation of augmentation, by which `error_line` names it."""
    return _SCOPE + re.sub(r"\W", "", operation.word(), flags=re.ASCII)


def error_line(error):
    """Says in one line what a TensorFlow error is about: the file or the operation, and the reason.

    Errors that come out of a `tf.data` pipeline hold that reason among node names, iterators and
    stack traces, in another place for each caller.

    Args:
        error: `tf.errors.OpError`, from a dataset or from `fit`, `evaluate` or `predict` on one.

    Returns:
        String.
    """
    message = str(error.message)
    operation = re.search(rf"\b{re.escape(_SCOPE)}(\w+)", message)
    text = re.sub(r"\{\{function_node .*?\}\} ?", "", message)
    text = re.sub(r"Error in user-defined function passed to .*? iterator: \S+: ", "", text)
    # Where several replicas fail, each has a line such as `(0) NOT_FOUND:  ...`.
    lines = [re.sub(r"^\(\d+\) [A-Z_]+: +", "", line.strip()) for line in text.splitlines()]
    lines = [line for line in lines if not re.match(r"\d+ (root error|successful op)", line)]
    skipped = ("Graph execution error", "Detected at node", "<stack traces", 'File "', "[[")
    lines = [line for line in lines if line and not line.startswith(skipped)] or lines
    line = re.sub(r"( \[Op:\w+\])?( name:.*)?$", "", lines[0])
    asserted = re.fullmatch(r"assertion failed: \[(.*)\]", line)
    if asserted:
        return asserted[1]
    file, found, reason = line.rpartition("; ")
    if found and isinstance(error, _OF_FILES):  # as tf.io.read_file words it
        return f"Cannot read {file}: {reason}"
    return f"`{operation[1]}` of `augment` failed: {line}" if operation else line


@contextlib.contextmanager
def reading():
    """Makes an OSError, in a line, of what TensorFlow raises while images are read in the block.

    Where memory is short, the error is left as it is.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError:
        raise
    except tf.errors.OpError as error:
        raise OSError(error_line(error)) from error


def data_error(error):
    """What was wrong with the images or their augmentation, in one line.

    Args:
        error: `tf.errors.OpError`, from `fit`, `evaluate` or `predict`.

    Returns:
        String, or `None` if the error came from elsewhere or memory was short.
    """
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return None
    return error_line(error) if "IteratorGetNext" in str(error.message) else None
