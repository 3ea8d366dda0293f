"""Families, their variants, and the names they are built by."""

import difflib
import fnmatch
import functools
import inspect
import json
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from keras_resnets.models.network import (
    DEFAULT_INPUT_SHAPE,
    NORMS,
    SMALLEST_SIDE,
    STEMS,
    Network,
    assemble,
)

_BUILDERS = {}  # registry name -> builder, of families and of variants
_VARIANTS = {}  # registry name -> public name, in the order of the tables

# The options of every family that the assembly takes; the trunk takes the others.
_TOP = (
    "input_shape",
    "num_classes",
    "include_top",
    "pooling",
    "classifier_activation",
    "head_dropout",
)
_COMMON_DOC = """
    Options of every family:
        num_classes: Int. Outputs of the classifier. Defaults to {num_classes}.
        input_shape: `(height, width, channels)`; sides may be `None`. Defaults to
            `(224, 224, 3)` for the imagenet stem, else `(32, 32, 3)`.
        stem: `"imagenet"` (7x7 stride 2, max-pool; sides from 32) or `"cifar"` (3x3 stride 1;
            sides from 8){without}. Defaults to `{stem!r}`.
        norm: `"batch"`, `"sync_batch"` (statistics over all replicas) or `"group"` (32 groups of
            channels; where 32 does not divide the channels, the greatest common divisor of both).
            Defaults to `"batch"`.
        include_top: Boolean. `False` ends in the last feature map. Defaults to `True`.
        pooling: `None`, `"avg"` or `"max"`: the global pool, also without top. With the top,
            `None` means `"avg"`. Defaults to `None`.
        classifier_activation: `None` (float32 logits) or a Keras activation such as
            `"softmax"`. Defaults to `None`.
        head_dropout: Float in [0, 1). Dropout before the classifier. Defaults to 0.

    Returns:
        A `Network`, which is a functional `keras.Model` from images `(batch, height, width,
        channels)` to logits `(batch, num_classes)`.

    Raises:
        ValueError: If an option is unknown or its value is not legal.
"""


class Trunk(NamedTuple):
    """What a family contributes to a network.

    Attributes:
        stem: `stem(image) -> x`.
        stages: Sequence of `Stage`.
        final: `final(x) -> tensor` that ends the trunk, or `None`. Defaults to `None`.
    """

    stem: Callable
    stages: tuple
    final: Callable | None = None


def family(*, num_classes, stem):
    """Makes `trunk(own options, *, stem, norm) -> Trunk` a builder of networks.

    The builder takes the function's own options and those of every family, checks the latter,
    and leaves the former to the function. Its registry name is the function's.

    Args:
        num_classes: Int. Default of the option.
        stem: String, or `None` for a family that can do without. Default of the option.
    """

    def decorate(trunk):
        own = inspect.signature(trunk).parameters.values()
        own = [p for p in own if p.name not in ("stem", "norm")]
        common = {
            "num_classes": num_classes,
            "input_shape": None,
            "stem": stem,
            "norm": "batch",
            "include_top": True,
            "pooling": None,
            "classifier_activation": None,
            "head_dropout": 0.0,
        }
        keywords = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value)
            for key, value in common.items()
        ]
        without = "" if stem else ", or `None` for none: the image enters the first block"
        doc = _COMMON_DOC.format(num_classes=num_classes, stem=stem, without=without)
        doc = inspect.cleandoc(doc)
        builder = _make_builder(
            trunk,
            name=trunk.__name__,
            signature=inspect.Signature(own + keywords),
            doc=f"{inspect.getdoc(trunk)}\n\n{doc}",
        )
        _BUILDERS[trunk.__name__] = builder
        return builder

    return decorate


def variant(name, registry_name, family_builder, **fixed):
    """Names one member of a family: `variant("ResNet50", "resnet50", resnet, depth=50)`.

    Args:
        name: String, the public name in the field's spelling.
        registry_name: String, the lower-case name for `create_model`.
        family_builder: A builder made by `family`.
        **fixed: The options that make this member. A call cannot change them.

    Returns:
        The builder.
    """
    whole = family_builder.__signature__
    free = [p for key, p in whole.parameters.items() if key not in fixed]
    settings = ", ".join(f"{key}={value!r}" for key, value in fixed.items())
    builder = _make_builder(
        family_builder.trunk,
        name=registry_name,
        signature=whole.replace(parameters=free),
        doc=f"{name} is `{family_builder.__name__}({settings})`.\n\n{family_builder.__doc__}",
        fixed=fixed,
    )
    builder.__name__ = builder.__qualname__ = name
    _BUILDERS[registry_name] = builder
    _VARIANTS[registry_name] = name
    return builder


def create_model(name, **options):
    """Builds a network by its registry name.

    Args:
        name: String, one of `list_models()` or the name of a family (`"resnet"`).
        **options: The builder's options; `help(keras_resnets.ResNet50)` lists them.

    Returns:
        A `Network`.

    Raises:
        ValueError: If the name or an option is unknown (the nearest is suggested), or a value is
            not legal.
    """
    if not isinstance(name, str) or name not in _BUILDERS:
        raise ValueError(
            f"Unknown model {name!r}.{_nearest(str(name).lower(), _BUILDERS)} "
            "`list_models()` names all."
        )
    return _BUILDERS[name](**options)


def list_models(pattern="*"):
    """Registry names of the variants that match a shell pattern, such as `"resnet*"`."""
    return [name for name in _VARIANTS if fnmatch.fnmatch(name, pattern.lower())]


def public_builders():
    """All builders by their public names: families (`resnet`) and variants (`ResNet50`)."""
    return {builder.__name__: builder for builder in _BUILDERS.values()}


def options_of(name):
    """The option names and defaults of a registered model, as a dictionary."""
    parameters = _BUILDERS[name].__signature__.parameters
    return {key: parameter.default for key, parameter in parameters.items()}


def _make_builder(trunk, name, signature, doc, fixed=None):
    fixed = fixed or {}

    @functools.wraps(trunk)
    def builder(*args, **options):
        options = _bind(builder.__name__, signature, fixed, args, options)
        without = signature.parameters["stem"].default is None
        _check_common(options, [stem for stem in STEMS if stem or without])
        top = {key: options[key] for key in _TOP}
        own = {key: value for key, value in options.items() if key not in top}
        parts = trunk(**{**own, **fixed, "norm": NORMS[options["norm"]]})
        image, outputs = assemble(parts.stem, parts.stages, final=parts.final, **top)
        return Network(image, outputs, registry_name=name, options=options)

    builder.__signature__ = signature
    builder.__doc__ = doc
    builder.trunk = trunk
    return builder


def _bind(name, signature, fixed, args, options):
    """All options by name, defaults filled in, lists as tuples."""
    for key, value in options.items():
        if key in fixed:
            raise ValueError(
                f"{name} fixes `{key}` at {fixed[key]!r}; build another member by its family. "
                f"Received: {key}={value!r}"
            )
        if key not in signature.parameters:
            legal = ", ".join(signature.parameters)
            raise ValueError(
                f"{name} has no option `{key}`.{_nearest(key, signature.parameters)} "
                f"It has: {legal}."
            )
    try:
        bound = signature.bind(*args, **options)
    except TypeError as error:
        raise ValueError(f"{name}: {error}; give options by name") from None
    bound.apply_defaults()
    return {key: _as_python(key, value) for key, value in bound.arguments.items()}


def _as_python(key, value):
    """A list as a tuple, a NumPy number as Python's: what JSON can say and gives back."""
    value = tuple(value) if isinstance(value, list) else value
    value = value.item() if isinstance(value, np.generic) else value
    try:
        json.dumps(value)
    except TypeError:
        raise ValueError(
            f"`{key}` must be a number, string, boolean, tuple or None. Received: {key}={value!r}"
        ) from None
    return value


def _check_common(options, stems):
    """Checks the options of every family, and fills in the default input shape."""

    def must(name, is_legal, legal):
        if not is_legal:
            raise ValueError(f"`{name}` must be {legal}. Received: {name}={options[name]!r}")

    for name, legal in (("stem", tuple(stems)), ("norm", tuple(NORMS))):
        must(name, options[name] in legal, f"one of {legal}")
    classes = options["num_classes"]
    must("num_classes", _is_count(classes), "a positive integer")
    must("pooling", options["pooling"] in (None, "avg", "max"), "None, 'avg' or 'max'")
    must("include_top", isinstance(options["include_top"], bool), "True or False")
    rate = options["head_dropout"]
    must("head_dropout", isinstance(rate, int | float) and 0 <= rate < 1, "in [0, 1)")
    activation = options["classifier_activation"]
    is_known = activation is None or hasattr(keras.activations, str(activation))
    must("classifier_activation", is_known, "None or the name of a Keras activation")

    if options["input_shape"] is None:
        options["input_shape"] = DEFAULT_INPUT_SHAPE[options["stem"]]
    shape, smallest = options["input_shape"], SMALLEST_SIDE[options["stem"]]
    is_shape = (
        isinstance(shape, tuple)
        and len(shape) == 3
        and all(side is None or (_is_count(side) and side >= smallest) for side in shape[:2])
        and _is_count(shape[2])
    )
    legal = (
        f"(height, width, channels), sides None or from {smallest} up for "
        f"stem={options['stem']!r}, channels from 1 up"
    )
    must("input_shape", is_shape, legal)


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _nearest(word, words):
    near = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
