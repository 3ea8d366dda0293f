"""Operations made in Python, by the texts that a run keeps of them."""

import contextlib
import re

from keras_resnets.data.foreign import EachImage
from keras_resnets.data.operations import Operation
from keras_resnets.errors import UserError

_OWN = "own:"
# Of a layer's config: what does not change what it does, as every draw is keyed by the image.
_UNTOLD = ("name", "trainable", "dtype", "seed")


class Recorded(str):
    """The text of an operation that no text can make, with the `operation` itself.

    It begins with `own:` and tells the class or the function, and the settings: two runs whose
    texts differ have different operations. A function's code is not in it.
    """

    def __new__(cls, operation):
        text = re.sub(r" at 0x[0-9a-f]+", "", _OWN + _described(operation))
        text = super().__new__(cls, re.sub(r",\s*", ";", " ".join(text.split())))
        text.operation = operation
        return text

    def __deepcopy__(self, memo):  # `dataclasses.asdict` copies, and a layer is not to be copied
        return self


def record(entries, parse):
    """Strings for a sequence of descriptions and operations, which `parse` takes as it takes them.

    Args:
        entries: Sequence of what `parse` takes in a sequence.
        parse: `parse_augment` or `parse_mix`.

    Returns:
        Tuple of strings: descriptions, and a `Recorded` where none makes the operation again.
    """
    return tuple(entry if isinstance(entry, str) else _text(entry, parse) for entry in entries)


def restored(argument, entry):
    """The operation of a `Recorded`; anything else as it is.

    Raises:
        UserError: If it is the text of one, read from a file.
    """
    if is_lost(entry):
        raise UserError(
            f"`{argument}` holds an operation that was made in Python and is in no file: train "
            f"from Python, by a Recipe with {argument}=[...] of the operations. Received: {entry}"
        )
    return getattr(entry, "operation", entry) if isinstance(entry, Recorded) else entry


def is_own(entry):
    """Whether an entry is the text of an operation that no text can make."""
    return isinstance(entry, str) and entry.startswith(_OWN)


def is_lost(entry):
    """Whether an entry is such a text, without its operation."""
    return is_own(entry) and not isinstance(entry, Recorded)


def _text(operation, parse):
    text = str(operation)
    if isinstance(operation, Operation) and "," not in text:
        with contextlib.suppress(ValueError):
            if parse([text]) == parse([operation]):
                return text
    return Recorded(operation)


def _described(operation):
    if isinstance(operation, EachImage):
        return f"{operation}:p={operation.p}"
    if isinstance(operation, Operation):
        return str(operation)
    if hasattr(operation, "get_config"):
        config = operation.get_config().items()
        told = (f"{key}={value}" for key, value in config if key not in _UNTOLD)
        return ":".join([type(operation).__name__, *told])
    return getattr(operation, "__qualname__", type(operation).__name__)
