"""Checks of values that many functions and options have in common. All raise in one line."""

import dataclasses
import numbers
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal

from keras_resnets.errors import UserError


@dataclasses.dataclass(frozen=True)
class Legal:
    """What a value must be, in words and as a function.

    Used in annotations: `width: Count = 64` is an int to a type checker, and `check_fields` knows
    that it must be positive.
    """

    words: str
    test: Callable[[Any], bool]


def is_number(value):
    """Whether `value` is an int or a float, and finite; `True` and `False` are not numbers."""
    return type(value) in (int, float) and abs(value) < float("inf")


def is_real(value):
    """Whether `value` is a number of Python or NumPy, `inf` and `nan` too."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_count(value):
    """Whether `value` is an int from 1 up."""
    return type(value) is int and value > 0


def _counts(value):
    return isinstance(value, tuple) and len(value) > 0 and all(map(is_count, value))


Count = Annotated[int, Legal("a positive integer", is_count)]
Counts = Annotated[tuple[int, ...], Legal("a tuple of positive integers", _counts)]
OddCount = Annotated[int, Legal("a positive odd integer", lambda v: is_count(v) and v % 2 == 1)]
Number = Annotated[float, Legal("a finite number", is_number)]
# A rate of dropout: 1 would leave nothing.
Rate = Annotated[float, Legal("in [0, 1)", lambda v: is_number(v) and 0 <= v < 1)]
Share = Annotated[float, Legal("in [0, 1]", lambda v: is_number(v) and 0 <= v <= 1)]
# A probability of survival: with 0 nothing would be left to compute.
Survival = Annotated[float, Legal("in (0, 1]", lambda v: is_number(v) and 0 < v <= 1)]


def must(name, value, is_legal, legal):
    """Raises a ValueError with the name, what is legal and what came, unless `is_legal`."""
    if not is_legal:
        raise UserError(f"`{name}` must be {legal}. Received: {name}={value!r}")


def check_choice(name, value, legal):
    """Raises a ValueError that names the legal values unless `value` is one of them.

    Args:
        name: String.
        value: Anything.
        legal: Sequence of values, or a `typing.Literal` of them.
    """
    legal = typing.get_args(legal) or tuple(legal)
    is_legal = any(type(value) is type(choice) and value == choice for choice in legal)
    must(name, value, is_legal, f"one of {legal}")


def check_fields(instance):
    """Checks each field of a dataclass by its type: literals, booleans, `Count` and its kin.

    Raises:
        ValueError: With the first field whose value is not legal.
    """
    hints = typing.get_type_hints(type(instance), include_extras=True)
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        legal = _legal(hints[field.name])
        if legal:
            must(field.name, value, legal.test(value), legal.words)


def _legal(hint):
    """The `Legal` of a type, or `None` where the type says nothing that is checked here."""
    if typing.get_origin(hint) is Annotated:
        return next((part for part in hint.__metadata__ if isinstance(part, Legal)), None)
    if hint is bool:
        return Legal("True or False", lambda value: isinstance(value, bool))
    choices = _choices(hint)
    if choices:
        return Legal(
            f"one of {choices}",
            lambda value: any(type(value) is type(c) and value == c for c in choices),
        )
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_legal(part) for part in typing.get_args(hint) if part is not type(None)]
        if len(parts) == 1 and parts[0]:
            return Legal(
                f"None or {parts[0].words}", lambda value: value is None or parts[0].test(value)
            )
    return None


def _choices(hint):
    """The values of a `Literal`, or of one or `None`."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = typing.get_args(hint)
        if all(part is type(None) or typing.get_origin(part) is Literal for part in parts):
            return (None, *(value for part in parts for value in typing.get_args(part)))
    return ()
