"""Cases of which the default suite runs a few; `-m slow` runs the others."""

import pytest

SLOW = pytest.mark.slow


def first(count, cases):
    """`cases` for `pytest.mark.parametrize`, of which all but the first `count` are slow.

    Args:
        count: Int.
        cases: Sequence of values, or of tuples of values where there are several names.
    """
    others = (case if isinstance(case, tuple) else (case,) for case in cases[count:])
    return [*cases[:count], *(pytest.param(*case, marks=SLOW) for case in others)]
