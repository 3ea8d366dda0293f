"""Values of a recipe's fields, from flags or Python, as Python's own types."""

import dataclasses
import numbers
import os
from collections.abc import Iterable, Mapping

import numpy as np

from keras_resnets.checks import must
from keras_resnets.data import parse_augment, parse_mix
from keras_resnets.data.recorded import is_lost, is_own, record
from keras_resnets.data.texts import literal, split_list
from keras_resnets.errors import UserError


def parse_options(entries):
    """Options of a builder from `key=value` entries; values are Python literals, or else strings.

    Args:
        entries: Iterable of strings.

    Returns:
        Dictionary.

    Raises:
        UserError: If an entry is not key=value, or comes twice.
    """
    options = {}
    for entry in entries:
        key, equals, text = entry.partition("=")
        key = key.strip()
        must("option", entry, equals and key.isidentifier(), "key=value")
        must("option", entry, key not in options, f"given once for each key ({key!r} is not)")
        options[key] = literal(text.strip())
    return options


def parse_sizes(entries):
    """Sides of training images by epoch, from `176` or `128, 6:160, 12:192`.

    Args:
        entries: Sequence of strings.

    Returns:
        Tuple of pairs (epoch from 0, side in pixels) in the order of their epochs.

    Raises:
        UserError: If an entry is something else, or the epochs do not begin with 0 and rise.
    """
    sizes = []
    for place, entry in enumerate(entries):
        epoch, colon, side = entry.rpartition(":")
        epoch = epoch if colon else ("0" if place == 0 else "")
        legal = "a side in pixels, and more of them as epoch:side with epochs that rise"
        is_legal = epoch.isdecimal() and side.isdecimal() and 0 < int(side) < 2**15
        is_legal = is_legal and (int(epoch) > sizes[-1][0] if sizes else int(epoch) == 0)
        must("train_image_size", ",".join(entries), is_legal, legal)
        sizes.append((int(epoch), int(side)))
    return tuple(sizes)


def check_operations(recipe, lost=False):
    """Raises UserError unless the operations of a recipe can be made, and batches be mixed.

    Args:
        recipe: `Recipe`.
        lost: Boolean. Whether those made in Python may be missing, as in a recipe from a file.
            Defaults to `False`.
    """
    for name, parse in _OPERATIONS.items():
        parse([entry for entry in getattr(recipe, name) if not (lost and is_lost(entry))])
    is_legal = recipe.batch_size > 1 or not recipe.mix  # an image would be its own partner
    must("batch_size", recipe.batch_size, is_legal, "2 or more with `mix`")


def flag_lines(recipe):
    """A recipe as lines of a flagfile."""
    lines = []
    for own in filter(is_own, (*recipe.augment, *recipe.mix)):
        lines.append(f"# {own} was made in Python: this file alone cannot start the run again.")
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if value is None:  # of no meaning to the optimizer
            continue
        if field.metadata.get("repeatable"):
            lines += [f"--{field.name}={entry}" for entry in value]
        elif field.type is tuple:
            entries = (f"{v:.15g}" if isinstance(v, float) else str(v) for v in value)
            lines.append(f"--{field.name}={','.join(entries)}")
        elif field.type is bool:
            lines.append(f"--{field.name}={str(value).lower()}")
        else:
            lines.append(f"--{field.name}={value}")
    return lines


_OPERATIONS = {"augment": parse_augment, "mix": parse_mix}
_SCALARS = {
    str: ("a string", str | os.PathLike, os.fspath),
    int: ("an integer", numbers.Integral, int),
    float: ("a number", numbers.Real, float),
    bool: ("True or False", bool | np.bool_, bool),
}


def as_type(field, value):
    """A value as Python's own type of its field: a path as a string, NumPy's numbers too."""
    if value is None and field.default in ("", None):
        return field.default
    if field.name in _OPERATIONS:
        entries = _split(value)
        entries = entries if isinstance(entries, Iterable) else (entries,)
        return record(entries, _OPERATIONS[field.name])
    if field.name == "boundaries":
        return _floats(field.name, _split(value))
    if field.name == "train_image_size" and isinstance(value, numbers.Integral):
        value = str(value) if value else ()
    if field.type is tuple:
        legal, entries = "a sequence of strings", _split(value)
        if field.name == "option":
            legal = "a dictionary, or a sequence of key=value"
            entries = _entries(value) if isinstance(value, Mapping) else value
        sound = isinstance(entries, Iterable) and not isinstance(entries, str)
        sound = sound and all(isinstance(entry, str) for entry in entries)
        convert = tuple
    else:
        entries, (legal, kind, convert) = value, _SCALARS[field.type]
        sound = isinstance(value, kind) and (field.type is bool or not isinstance(value, bool))
    if not sound:
        raise UserError(f"`{field.name}` must be {legal}. Received: {field.name}={value!r}")
    return convert(entries)


def _split(value):
    """A string with commas as the flag takes it; anything else as it is."""
    return split_list(value) if isinstance(value, str) else value


def _entries(options):
    """The entries key=value of a dictionary of options."""
    entries = []
    for key, value in options.items():
        value = value.item() if isinstance(value, np.generic) else value
        is_plain = isinstance(value, str) and literal(value.strip()) == value
        text = value if is_plain else repr(value)
        if literal(text) != value:
            raise UserError(
                "`option` must hold numbers, strings, booleans, None, and tuples of them. "
                f"Received: {key}={text}"
            )
        entries.append(f"{key}={text}")
    return entries


def _floats(name, values):
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise UserError(
            f"`{name}` must be a sequence of numbers. Received: {name}={values!r}"
        ) from None
