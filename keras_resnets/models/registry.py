"""The names that networks are built by."""

import difflib
import fnmatch
from collections.abc import Callable
from typing import Any

from keras_resnets.errors import UserError

_BUILDERS: dict[str, Callable[..., Any]] = {}  # registry name -> builder, families and variants
_LOADERS: list[Callable[..., Any]] = []  # the last one builds networks with trained weights
_VARIANTS: dict[str, str] = {}  # registry name -> public name, in the order of the tables


def register(registry_name, builder, is_variant):
    """Makes a builder known by its name.

    A module that is run again, as a notebook's cell, replaces its own builders.

    Raises:
        ValueError: If another module's builder has the name.
    """
    known = _BUILDERS.get(registry_name)
    if known and known.__module__ != builder.__module__:
        raise UserError(
            f"`registry_name` must be new. Received: {registry_name!r}, which "
            f"{known.__module__} has"
        )
    _BUILDERS[registry_name] = builder
    if is_variant:
        _VARIANTS[registry_name] = builder.__name__


def load_weights_by(build):
    """Makes a function known that builds networks with trained weights.

    Args:
        build: `build(builder, given, weights) -> Network`.
    """
    _LOADERS.append(build)


def build_with_weights(builder, given, weights):
    """The network of a builder and its options, with trained weights."""
    return _LOADERS[-1](builder, given, weights)


def find(name):
    """The builder of a registry name.

    Raises:
        ValueError: If there is none; the nearest name is suggested.
    """
    if not isinstance(name, str) or name not in _BUILDERS:
        raise UserError(
            f"Unknown model {name!r}.{nearest(str(name).lower(), _BUILDERS)} "
            "`list_models()` names all; a family of your own must be imported first."
        )
    return _BUILDERS[name]


def list_models(pattern: str = "*") -> list[str]:
    """Registry names of the variants that match a shell pattern, such as `"resnet*"`."""
    return [name for name in _VARIANTS if fnmatch.fnmatch(name, pattern.lower())]


def public_builders() -> dict[str, Callable[..., Any]]:
    """All builders by their public names: families (`resnet`) and variants (`ResNet50`)."""
    return {builder.__name__: builder for builder in _BUILDERS.values()}


def nearest(word, words):
    """A suggestion for an error message: the most similar word, if one is similar."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
