"""What a policy's JMESPath expressions may call, besides the functions of the language, and their check at start-up.

Functions, not fields of a document around the body: inside a projection an expression sees only the element at hand,
but it can call a function from anywhere.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import jmespath
import jmespath.functions
import jmespath.visitor
from pydantic import JsonValue

from feedback_guard import settings
from feedback_guard.clock import format_iso8601
from feedback_guard.errors import PolicyError
from feedback_guard.middleware.fields import Pair, look_up, malformed
from feedback_guard.middleware.replies import bad_input
from feedback_guard.middleware.strict_json import parse_strictly
from feedback_guard.middleware.urlencoded import read_pairs

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_EARLY: Final = frozenset({"literal", "comparator", "or_expression", "and_expression", "not_expression"})
_EARLY_FUNCTIONS: Final = frozenset({"path", "query", "query_list", "to_number", "length", "contains", "starts_with"})


class RequestFunctions(jmespath.functions.Functions):
    """Adds what stands beside the body, and stricter readings of texts.

    - `path('name')`: a parameter of the request's path.
    - `query('name')`: a parameter of its query; null if it is not there, refused if it stands twice.
    - `query_list('name')`: all values of a parameter of the query.
    - `from_json(text)`: what a text says in JSON, read as strictly as a body. Null for null.
    - `to_number(text)`: as in JMESPath, but only for numbers as JSON writes them; Python alone would take `1_000`.

    Parameters
    ----------
    params
        The parameters of the path.
    query
        The query as it was sent; read when it is asked for.

    Examples
    --------
    >>> about = RequestFunctions({"item": "7"}, b"stars=5&tag=a&tag=b")
    >>> made = jmespath.compile("{item: path('item'), stars: to_number(query('stars')), tags: query_list('tag')}")
    >>> made.search({}, jmespath.Options(custom_functions=about))
    {'item': '7', 'stars': 5, 'tags': ['a', 'b']}
    """

    def __init__(self, params: Mapping[str, str], query: bytes = b"") -> None:
        self._params = params
        self._query = query
        self._pairs: list[Pair] | None = None

    @jmespath.functions.signature({"types": ["string"]})
    def _func_path(self, name: str) -> str | None:
        return self._params.get(name)

    @jmespath.functions.signature({"types": ["string"]})
    def _func_query(self, name: str) -> str | None:
        found = self._look_up(name)
        if len(found) > 1:
            raise malformed("A parameter of the query stands more than once.")
        return found[0] if found else None

    @jmespath.functions.signature({"types": ["string"]})
    def _func_query_list(self, name: str) -> list[str]:
        return self._look_up(name)

    @jmespath.functions.signature({"types": ["string", "null"]})
    def _func_from_json(self, text: str | None) -> JsonValue:
        return None if text is None else parse_strictly(text.encode("utf-8"))

    @jmespath.functions.signature({"types": []})
    def _func_to_number(self, value: Any) -> int | float | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            return value
        if not isinstance(value, str) or len(value) > settings.MAX_INTEGER_DIGITS or not _NUMBER.fullmatch(value):
            return None
        number = json.loads(value)
        return number if math.isfinite(number) else None

    def _look_up(self, name: str) -> list[str]:
        if self._pairs is None:
            if len(self._query) > settings.MAX_QUERY_BYTES:
                raise bad_input(414, "query_too_long", f"The query is longer than {settings.MAX_QUERY_BYTES} bytes.")
            self._pairs = read_pairs(self._query, names=False)
        return look_up(self._pairs, name)


class AnswerFunctions(RequestFunctions):
    """Adds what an answer may need to know of its submission: `id()`, `at()`, `at_ms()` and `contributor()`.

    Parameters
    ----------
    params, query
        As above.
    ident
        The submission's identifier.
    at_us
        When it came, microseconds since the epoch.
    contributor
        Who offers it.

    Examples
    --------
    >>> known = AnswerFunctions({}, ident="s-1", at_us=1_500_000, contributor="ada")
    >>> made = jmespath.compile("[].{id: id(), at: at_ms(), who: contributor()}")
    >>> made.search([{}], jmespath.Options(custom_functions=known))
    [{'id': 's-1', 'at': 1500, 'who': 'ada'}]
    """

    def __init__(
        self, params: Mapping[str, str], query: bytes = b"", *, ident: str, at_us: int, contributor: str
    ) -> None:
        super().__init__(params, query)
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


class _Interpreter(jmespath.visitor.TreeInterpreter):
    """The library's own, but for a cache in it that refers back to it.

    It would be garbage that only the collector can free, one for each request, and a collection walks through all that
    a guard has in memory.
    """

    def visit(self, node: Any, *args: Any, **options: Any) -> Any:
        return _VISITS[node["type"]](self, node, *args, **options)


_VISITS: Final[Mapping[str, Callable[..., Any]]] = {
    name.removeprefix("visit_"): getattr(jmespath.visitor.TreeInterpreter, name)
    for name in dir(jmespath.visitor.TreeInterpreter)
    if name.startswith("visit_")
}


def search(compiled: Any, document: JsonValue, functions: jmespath.functions.Functions) -> Any:
    """Apply a compiled expression.

    Parameters
    ----------
    compiled
        What `compile_expression` returned.
    document
        The body.
    functions
        What it may call, with what belongs to this request.

    Raises
    ------
    jmespath.exceptions.JMESPathError
        If it does not fit the document.

    Examples
    --------
    >>> compiled = compile_expression("text || 'none'", RequestFunctions, [], "routes: feedback: extract")
    >>> search(compiled, {"text": "where is my card?"}, RequestFunctions({}))
    'where is my card?'
    """
    return _Interpreter(jmespath.Options(custom_functions=functions)).visit(compiled.parsed, document)


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
        if name == "path" and _literal(given) not in params:
            listed = ", ".join(params) or "none"
            raise PolicyError(
                f"{where}: path() takes the name of a parameter that every path of the route has, in single "
                f"quotes; known: {listed}"
            )
        if name in {"query", "query_list"} and _literal(given) is None:
            raise PolicyError(f"{where}: {name}() takes the name of a parameter of the query in single quotes")
        _check_number(f"{where}: {name}()", known["signature"], len(given))
    return compiled


def _literal(given: Sequence[Mapping[str, Any]]) -> str | None:
    """The one argument, if it is a text that stands in the expression itself."""
    value = given[0].get("value") if len(given) == 1 and given[0]["type"] == "literal" else None
    return value if isinstance(value, str) else None


def _check_number(what: str, signature: Sequence[Mapping[str, Any]], given: int) -> None:
    needed = len(signature)
    variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if given < needed or (given > needed and not variadic):
        raise PolicyError(f"{what} takes {'at least ' if variadic else ''}{needed} arguments, not {given}")


def is_early(tree: Any) -> bool:
    """Whether an expression asks nothing of the body, so that it can be answered before the body is read.

    Examples
    --------
    >>> is_early(jmespath.compile("query('kind') == 'feedback'").parsed), is_early(jmespath.compile("kind").parsed)
    (True, False)
    """
    return all(
        node["value"] in _EARLY_FUNCTIONS if node["type"] == "function_expression" else node["type"] in _EARLY
        for node in nodes(tree)
    )


def is_true(value: JsonValue) -> bool:
    """Whether JMESPath takes a value for true: everything but null, false, and empty texts, lists and objects."""
    return value is not None and value is not False and value not in ("", [], {})


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
