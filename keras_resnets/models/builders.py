"""Families and their variants: builders of networks from dataclasses of options."""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any, ParamSpec

from keras_resnets.errors import UserError
from keras_resnets.models import registry
from keras_resnets.models.assembly import assemble
from keras_resnets.models.network import FORMAT, Network
from keras_resnets.models.options import Options, as_python

P = ParamSpec("P")

# A docstring's section of options, and one option of it with its further lines.
_SECTION = re.compile(r"^(Args|Options of [^\n]*):\n((?: {4}.*\n?|\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)

# What an error names of the options.
_COMMON = ("num_classes", "input_shape", "stem", "include_top", "norm")
_WEIGHTS = "weights"  # which a builder takes beside its options

_RETURNS = """
Returns:
    A `Network`, which is a functional `keras.Model` from images `(batch, height, width,
    channels)` to logits `(batch, num_classes)`.

Raises:
    ValueError: If an option is unknown or its value is not legal.
"""


def family(name: str, options: Callable[P, Options]) -> Callable[P, Network]:
    """Makes a dataclass of options a builder of networks: `resnet = family("resnet", ResNet)`.

    Args:
        name: String. The registry name, which is also the builder's own.
        options: Subclass of `Options`, a frozen, keyword-only dataclass. Its docstring and those
            of its bases, one section of options each, make the builder's.

    Returns:
        A function of the options, by keyword, that returns a `Network`.
    """
    if not (isinstance(options, type) and "__dataclass_params__" in vars(options)):
        raise UserError(
            "`options` must be a class under @dataclasses.dataclass(frozen=True, kw_only=True). "
            f"Received: options={options!r}"
        )
    return _make_builder(name, name, options, name, {}, False)


def variant(
    name: str, registry_name: str, family_builder: Callable[P, Network], **fixed: Any
) -> Callable[P, Network]:
    """Names one member of a family: `ResNet50 = variant("ResNet50", "resnet50", resnet, depth=50)`.

    Args:
        name: String, the public name in the field's spelling.
        registry_name: String, the lower-case name for `create_model`.
        family_builder: A builder made by `family`.
        **fixed: The options that make this member. A call cannot change them.

    Returns:
        The builder.
    """
    options = family_builder.options  # type: ignore[attr-defined]
    fixed = {key: as_python(key, value) for key, value in fixed.items()}
    _checked(name, options, {}, family_builder.__name__, fixed)
    return _make_builder(name, registry_name, options, family_builder.__name__, fixed, True)


def create_model(registry_name: str, /, **options: Any) -> Network:
    """Builds a network by its registry name.

    Args:
        registry_name: String, one of `list_models()` or the name of a family (`"resnet"`).
        **options: The builder's options; `help(keras_resnets.ResNet50)` lists them.
            `create_model(model.registry_name, **model.options)` builds any network again.

    Returns:
        A `Network`.

    Raises:
        ValueError: If the name or an option is unknown (the nearest is suggested), or a value is
            not legal.
    """
    return registry.find(registry_name)(**options)


def options_of(name: str) -> dict[str, Any]:
    """The names and defaults of the options of a registered model, as a dictionary."""
    parameters = inspect.signature(registry.find(name)).parameters
    return {key: parameter.default for key, parameter in parameters.items()}


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raises ValueError unless a registered model has options of these names that it does not fix.

    Their values are checked when it is built: some depend on each other.
    """
    builder: Any = registry.find(name)
    _checked(builder.__name__, builder.options, builder.fixed, builder.family, options)


def _make_builder(name, registry_name, options, family_name, fixed, is_variant):
    def build(given, layer_order=FORMAT):
        chosen = options(**_checked(name, options, fixed, family_name, given))
        output, plan = assemble(chosen)
        return Network(
            plan,
            output,
            registry_name=registry_name,
            family=family_name,
            options=chosen,
            layer_order=layer_order,
        )

    def builder(*args, **given):
        if args:
            raise UserError(f"{name} takes its options by name. Received: {args[0]!r} without one")
        weights = given.pop(_WEIGHTS, None)
        if weights is None:
            return build(given)
        _checked(name, options, fixed, family_name, given)
        return registry.build_with_weights(builder, given, weights)

    builder.__name__ = builder.__qualname__ = name
    builder.__module__ = options.__module__
    builder.__signature__ = _signature(options, fixed)
    builder.__doc__ = _documentation(name, options, family_name, fixed)
    builder.options, builder.family = options, family_name
    builder.fixed, builder.build, builder.registry_name = fixed, build, registry_name
    registry.register(registry_name, builder, is_variant)
    return builder


def _checked(name, options, fixed, family_name, given):
    """The options that were given with those that are fixed."""
    known = [field.name for field in dataclasses.fields(options)]
    free = [key for key in (*known, _WEIGHTS) if key not in fixed]
    for key, value in given.items():
        if key not in known:
            raise UserError(
                f"{name} has no option `{key}`.{registry.nearest(key, free)} It has "
                f"{', '.join(_COMMON)} and those that help({name}) lists"
            )
        if key in fixed and as_python(key, value) != fixed[key]:
            raise UserError(
                f"{name} fixes `{key}` at {fixed[key]!r}; `{family_name}` builds other members. "
                f"Received: {key}={value!r}"
            )
    return {**given, **fixed}


def _bases(options):
    """The dataclasses of a family's options: the common ones, its own, those it shares."""
    own = [cls for cls in options.__mro__ if dataclasses.is_dataclass(cls) and cls is not Options]
    return [Options, *own]


def _signature(options, fixed):
    fields = {field.name: field for field in dataclasses.fields(options)}
    names = [key for cls in _bases(options) for key in vars(cls).get("__annotations__", ())]
    hidden = {*fixed, *_unused(options, fixed)}
    free = [key for key in dict.fromkeys(names) if key in (*fields, _WEIGHTS) and key not in hidden]
    defaults = {key: field.default for key, field in fields.items()} | {_WEIGHTS: None}
    return inspect.Signature(
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=defaults[key])
            for key in free
        ]
    )


def _unused(options, fixed):
    """The options that no member with these fixed ones can use."""
    if not fixed:
        return set()
    return {
        name
        for unused in options(**fixed).all_unused()
        if unused.because in fixed
        for name in unused.names
    }


def _documentation(name, options, family_name, fixed):
    """The family's docstring with the options of all its bases, in the order of the signature."""
    titles, texts = {}, {}
    for cls in reversed(options.__mro__):
        for title, entries in _SECTION.findall(inspect.cleandoc(vars(cls).get("__doc__") or "")):
            for key, text in _ENTRY.findall(entries):
                titles.setdefault(key, title)
                texts[key] = text.rstrip()
    sections = {}
    for key, parameter in _signature(options, fixed).parameters.items():
        text = f"{key}: {' '.join(texts.get(key, '').split())}"
        if "Defaults to" not in text:
            text += f" Defaults to `{parameter.default!r}`."
        sections.setdefault(titles.get(key, "Args"), []).append(_wrap(text))
    summary = _SECTION.sub("", inspect.cleandoc(options.__doc__)).strip()
    if fixed:
        settings = ", ".join(f"{key}={value!r}" for key, value in fixed.items())
        summary = f"{name} is `{family_name}({settings})`.\n\n{summary}"
    parts = ["\n".join([f"{title}:", *entries]) for title, entries in sections.items()]
    return "\n\n".join([summary, *parts, _RETURNS.strip()])


def _wrap(text):
    return textwrap.fill(
        " ".join(text.split()),
        width=96,
        initial_indent=" " * 4,
        subsequent_indent=" " * 8,
        break_long_words=False,
        break_on_hyphens=False,
    )
