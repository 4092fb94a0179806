"""What a policy's JMESPath expressions may call, besides the functions of the language, and their check at start-up.

Functions, not fields of a document around the body: inside a projection an expression sees only the element at hand,
but it can call a function from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jmespath
import jmespath.functions

from feedback_guard.clock import format_iso8601
from feedback_guard.errors import PolicyError


class RequestFunctions(jmespath.functions.Functions):
    """Adds `path('name')`: a parameter of the request's path.

    Parameters
    ----------
    params
        The parameters of the path.
    """

    def __init__(self, params: Mapping[str, str]) -> None:
        self._params = params

    @jmespath.functions.signature({"types": ["string"]})
    def _func_path(self, name: str) -> str | None:
        return self._params.get(name)


class AnswerFunctions(RequestFunctions):
    """Adds what an answer may need to know of its submission: `id()`, `at()`, `at_ms()` and `contributor()`.

    Parameters
    ----------
    params
        The parameters of the path.
    ident
        The submission's identifier.
    at_us
        When it was recorded, microseconds since the epoch.
    contributor
        Who offers it.

    Examples
    --------
    >>> known = AnswerFunctions({}, "s-1", 1_500_000, "ada")
    >>> made = jmespath.compile("[].{id: id(), at: at_ms(), who: contributor()}")
    >>> made.search([{}], jmespath.Options(custom_functions=known))
    [{'id': 's-1', 'at': 1500, 'who': 'ada'}]
    """

    def __init__(self, params: Mapping[str, str], ident: str, at_us: int, contributor: str) -> None:
        super().__init__(params)
        self._id = ident
        self._at_us = at_us
        self._contributor = contributor

    @jmespath.functions.signature()
    def _func_id(self) -> str:
        return self._id

    @jmespath.functions.signature()
    def _func_at(self) -> str:
        return format_iso8601(self._at_us)

    @jmespath.functions.signature()
    def _func_at_ms(self) -> int:
        return self._at_us // 1_000

    @jmespath.functions.signature()
    def _func_contributor(self) -> str:
        return self._contributor


def compile_expression(
    expression: str, functions: type[jmespath.functions.Functions], params: Sequence[str], where: str
) -> Any:
    """Compile an expression, and refuse at start-up what would fail on every request.

    Parameters
    ----------
    expression
        Checked for its syntax already.
    functions
        What it may call.
    params
        Names that `path()` knows.
    where
        Begins the message of an error, such as `routes: feedback: extract`.

    Raises
    ------
    PolicyError
        If it calls a function, or names a path parameter, that does not exist, or gives a function too few or too
        many arguments.
    """
    compiled = jmespath.compile(expression)
    for node in nodes(compiled.parsed):
        if node["type"] != "function_expression":
            continue
        name, given = node["value"], node["children"]
        known = functions.FUNCTION_TABLE.get(name)
        if known is None:
            raise PolicyError(f"{where}: there is no function {name}()")
        if name == "path":
            wanted = given[0].get("value") if len(given) == 1 else None
            if wanted not in params:
                listed = ", ".join(params) or "none"
                raise PolicyError(
                    f"{where}: path() takes the name of a parameter that every path of the route has, in single "
                    f"quotes; known: {listed}"
                )
        _check_number(f"{where}: {name}()", known["signature"], len(given))
    return compiled


def _check_number(what: str, signature: Sequence[Mapping[str, Any]], given: int) -> None:
    needed = len(signature)
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if given < needed or (given > needed and not variadic):
        raise PolicyError(f"{what} takes {'at least ' if variadic else ''}{needed} arguments, not {given}")


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Return every node of a compiled expression's tree."""
    yield node
    for child in node.get("children", ()):
        yield from nodes(child)


def fields(tree: Any) -> Iterator[str]:
    """Return the names of the body's fields that an expression reads."""
    for node in nodes(tree):
        if node["type"] == "field":
            yield node["value"]
