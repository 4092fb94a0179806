"""Compiles the few functions in which the guard would otherwise spend its time calling numpy on a handful of numbers.

A call of numpy costs a microsecond or more, however few numbers it is about, and a contribution has some forty facets
with a dozen sums each. Written as plain loops and compiled by [numba](https://numba.pydata.org), the same arithmetic
costs what it costs. Without compiling, the functions do the same, slowly.

Compiled code is kept beside the source, as Python keeps its own; where that cannot be written to, in the user's cache
directory (or `NUMBA_CACHE_DIR`), and where there is none, each process compiles anew, which takes some seconds.

Two rules, because what is kept is found by the source of its own file alone: a compiled function uses no constant and
calls no compiled function of another file. What it needs from there, it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(signature: str | None = None) -> Callable[[F], F]:
    """Compile a function of numbers and arrays, when its module is imported.

    Parameters
    ----------
    signature
        Types of what it returns and of its parameters, in numba's words. A call with others is a `TypeError`. None: it
        is called by other compiled functions only.

    Examples
    --------
    >>> import numpy as np
    >>> @compiled("float64(float64[:])")
    ... def largest(numbers):
    ...     top = -np.inf
    ...     for number in numbers:
    ...         top = max(top, number)
    ...     return top
    >>> largest(np.array([1.0, 3.0, 2.0]))
    3.0
    """

    def decorate(function: F) -> F:
        # Division by zero gives infinity, as numpy has it. The interpreter's lock is kept: a call takes microseconds,
        # and who lets go of the lock may wait milliseconds for it.
        try:
            made = njit(signature, cache=True, error_model="numpy")(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            made = njit(signature, error_model="numpy")(function)
        return cast("F", made)

    return decorate
