"""Options that several families have in common, declared once."""

import inspect


def shares(keyword, options):
    """Gives a family's trunk function the fields of `options` as options of its own.

    They are checked, and reach the function as one keyword argument.

    Args:
        keyword: String, the function's keyword-only parameter.
        options: NamedTuple class with a default for each field, a docstring that continues an
            `Args:` section, and a method `check()`.

    Returns:
        A decorator.
    """

    def decorate(trunk):
        def whole(**given):
            own = options(**{key: given.pop(key) for key in options._fields})
            own.check()
            return trunk(**{keyword: own}, **given)

        kept = [p for p in inspect.signature(trunk).parameters.values() if p.name != keyword]
        shared = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value)
            for key, value in options._field_defaults.items()
        ]
        whole.__name__ = whole.__qualname__ = trunk.__name__
        whole.__module__ = trunk.__module__
        whole.__signature__ = inspect.Signature(kept + shared)
        whole.__doc__ = f"{inspect.getdoc(trunk)}\n\n{inspect.getdoc(options)}"
        return whole

    return decorate


def check_choice(name, value, legal):
    """Raises a ValueError that names the legal values unless `value` is one of them."""
    legal = tuple(legal)
    if value not in legal:
        raise ValueError(f"`{name}` must be one of {legal}. Received: {name}={value!r}")
