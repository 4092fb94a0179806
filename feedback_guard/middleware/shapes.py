"""Refuses at start-up an expression that writes out an object which can never be a contribution.

Such a policy would be valid, and every request would be answered with 422 or, on a route that passes what is no
feedback, never be judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from feedback_guard.contribution import REQUIRED_FIELDS, ContributionModel, Kind
from feedback_guard.errors import PolicyError


def check_shapes(tree: Any, where: str) -> None:
    """Look at every object that an `extract` expression writes out as its result.

    Parameters
    ----------
    tree
        Of the compiled expression.
    where
        Begins the message of an error, such as `routes: feedback: extract`.

    Raises
    ------
    PolicyError
        If one has a field that no contribution has, or none that every contribution needs, whatever the body is.

    Examples
    --------
    >>> import jmespath
    >>> check_shapes(jmespath.compile("rows[].{kind: 'label', input: text, label: label}").parsed, "extract")
    >>> check_shapes(jmespath.compile("{kind: 'label', input: text, lable: label}").parsed, "extract")
    Traceback (most recent call last):
    feedback_guard.errors.PolicyError: extract: no contribution has a field 'lable'; did you mean 'label'?
    """
    for node in _results(tree):
        written = {pair["value"]: pair["children"][0] for pair in node["children"]}
        for name in written:
            _check_known(name, where)
        if "kind" not in written:
            raise PolicyError(f"{where}: the object has no `kind`; write one of {', '.join(Kind)} into it")
        kind = written["kind"]
        if kind["type"] == "literal":
            _check_kind(kind["value"], written, where)


def _check_known(name: str, where: str) -> None:
    known = list(ContributionModel.model_fields)
    if name not in known:
        alike = get_close_matches(name, known, 1)
        hint = f"did you mean {alike[0]!r}?" if alike else f"it may have {', '.join(known)}"
        raise PolicyError(f"{where}: no contribution has a field {name!r}; {hint}")


def _check_kind(kind: Any, written: Mapping[str, Any], where: str) -> None:
    if kind not in list(Kind):
        raise PolicyError(f"{where}: {kind!r} is no kind of contribution; there are {', '.join(Kind)}")
    missing = sorted(REQUIRED_FIELDS[Kind(kind)] - written.keys())
    if missing:
        raise PolicyError(f"{where}: a {kind} needs {', '.join(missing)}, which the object does not have")


def _results(node: Any) -> Iterator[dict[str, Any]]:
    """Every object that is written out where an expression's value comes from."""
    children = node.get("children", ())
    match node["type"]:
        case "multi_select_dict":
            yield node
        case "or_expression" | "multi_select_list":
            for child in children:
                yield from _results(child)
        case "projection" | "filter_projection" | "value_projection":
            yield from _results(children[1])
        case "pipe" | "subexpression" | "and_expression":
            yield from _results(children[-1])
