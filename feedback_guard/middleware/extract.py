"""From a body to contributions: what each teaches comes from the body, who offers it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jmespath.exceptions
from pydantic import JsonValue

from feedback_guard import settings
from feedback_guard.clock import format_iso8601
from feedback_guard.contribution import Contribution, parse_contribution
from feedback_guard.errors import ContributionError, UsageError
from feedback_guard.middleware.expressions import (
    RequestFunctions,
    compile_expression,
    fields,
    is_early,
    is_true,
    search,
)
from feedback_guard.middleware.interface import ExtractorCallable, Scope
from feedback_guard.middleware.principal import Principal
from feedback_guard.middleware.replies import BadInputError, bad_input
from feedback_guard.middleware.shapes import check_shapes
from feedback_guard.middleware.traces import place_of
from feedback_guard.policy.routes import RoutePolicy

log = logging.getLogger(__name__)

_CLAIMS: Final = ("id", "at", "contributor", "groups")
"""What a body may say and nobody believes."""
_MAX_NAMED_FIELDS: Final = 8


class Extractor:
    """Reads the contributions of one route.

    Parameters
    ----------
    route
        The policy's route; its expression is compiled once.
    params
        Names of its path's parameters.
    function
        A Python callable instead of the expression.

    Raises
    ------
    UsageError
        If there is neither expression nor callable, or both.
    PolicyError
        If the expression calls a function, or names a path parameter, that does not exist, or writes out what can never
        be a contribution.
    """

    def __init__(self, route: RoutePolicy, params: Sequence[str], function: ExtractorCallable | None) -> None:
        self._route = route
        self._find: Callable[[JsonValue, Mapping[str, str], Scope], Any]
        self._looks_for: tuple[str, ...] = ()
        self.reads: frozenset[str] = frozenset()
        """Names of the body's fields that the expressions read; empty for a callable."""
        self._when: Callable[[JsonValue, Mapping[str, str], Scope], Any] | None = None
        self._when_early: Callable[[JsonValue, Mapping[str, str], Scope], Any] | None = None
        if route.when is not None:
            compiled = compile_expression(route.when, RequestFunctions, params, f"routes: {route.name}: when")
            if is_early(compiled.parsed):
                self._when_early = self._searching(compiled)
            else:
                self._when = self._searching(compiled)
                self.reads |= frozenset(fields(compiled.parsed))
        if function is not None:
            if route.extract is not None:
                raise UsageError(
                    f"route {route.name!r} has both an expression and a callable; remove `extract` from the policy, "
                    "or the callable from `extractors`"
                )
            self._find = self._calling(function)
        elif route.extract is not None:
            compiled = compile_expression(route.extract, RequestFunctions, params, f"routes: {route.name}: extract")
            check_shapes(compiled.parsed, f"routes: {route.name}: extract")
            self.reads |= frozenset(fields(compiled.parsed))
            self._looks_for = tuple(dict.fromkeys(fields(compiled.parsed)))[:_MAX_NAMED_FIELDS]
            self._find = self._searching(compiled)
        else:
            raise UsageError(
                f"route {route.name!r} has no expression; add `extract` to the policy, or pass "
                f"extractors={{{route.name!r}: callable}}"
            )

    @property
    def always(self) -> bool:
        """Whether every request that comes so far carries a contribution, or is refused."""
        return self._route.require_contribution and self._when is None

    def may_be_feedback(self, params: Mapping[str, str], scope: Scope) -> bool:
        """Whether a request may be feedback, as far as path and query say, before its body is read.

        Raises
        ------
        BadInputError
            400 if the query is ambiguous.
        """
        return self._when_early is None or is_true(self._when_early({}, params, scope))

    def is_feedback(self, body: JsonValue, params: Mapping[str, str], scope: Scope) -> bool:
        """Whether a request is feedback, as `when` says of its body.

        Raises
        ------
        BadInputError
            422 if `when` cannot be applied to it, so that nothing can be said.
        """
        return self._when is None or is_true(self._when(body, params, scope))

    def find(self, body: JsonValue, params: Mapping[str, str], scope: Scope) -> list[Any]:
        """Find what a body teaches, not checked yet; empty if the route allows that.

        Raises
        ------
        BadInputError
            422 if there is nothing, too much, or something else than objects.
        """
        found = self._find(body, params, scope)
        if found is None:
            found = []
        if isinstance(found, dict):
            found = [found]
        if not isinstance(found, list):
            raise self._unfit("The extraction gives neither an object, a list of objects, nor null.")
        if len(found) > settings.MAX_CONTRIBUTIONS:
            raise self._unfit(f"One request holds at most {settings.MAX_CONTRIBUTIONS} contributions.")
        if not found and self._route.require_contribution:
            raise self._unfit("The body holds no contribution.", looked_for=list(self._looks_for))
        return found

    def contributions(
        self, found: Sequence[Any], *, principal: Principal, at_us: int, new_id: Callable[[], str]
    ) -> tuple[Contribution, ...]:
        """Make contributions of what was found.

        Raises
        ------
        BadInputError
            422, naming the field that is missing or wrong.
        """
        return tuple(
            self._contribution(item, index if len(found) > 1 else None, principal, at_us, new_id())
            for index, item in enumerate(found)
        )

    def _contribution(self, item: Any, index: int | None, principal: Principal, at_us: int, ident: str) -> Contribution:
        which = "" if index is None else f"Contribution {index}: "
        if not isinstance(item, dict):
            raise self._unfit(f"{which}The extraction gives something that is not an object.")
        # Null is how an expression says that a field is not there; 0, false and "" are values.
        value = {name: part for name, part in item.items() if part is not None}
        claims = {f"claimed_{name}": value.pop(name) for name in _CLAIMS if name in value}
        if claims:
            metadata = value.get("metadata", {})
            if not isinstance(metadata, dict):
                raise self._unfit(f"{which}metadata is not an object.", field="metadata")
            value["metadata"] = {**metadata, **claims}
        value |= {
            "id": ident,
            "at": format_iso8601(at_us),
            "contributor": principal.contributor,
            "groups": dict(principal.groups),
        }
        try:
            return parse_contribution(value)
        except ContributionError as error:
            extra = {"field": error.field} if error.field else {}
            raise self._unfit(f"{which}{error}.", **extra) from None

    def _searching(self, compiled: Any) -> Callable[[JsonValue, Mapping[str, str], Scope], Any]:
        def find(body: JsonValue, params: Mapping[str, str], scope: Scope) -> Any:
            about = RequestFunctions(params, scope.get("query_string", b""))
            try:
                return search(compiled, body, about)
            except jmespath.exceptions.JMESPathTypeError as error:
                raise self._unfit(
                    f"In {error.function_name}(): a value is {error.actual_type}; it must be one of "
                    f"{', '.join(error.expected_types)}."
                ) from None
            except (jmespath.exceptions.JMESPathError, ValueError, TypeError, OverflowError) as error:
                log.info("route %s: the expression fails on a body: %s", self._route.name, type(error).__name__)
                raise self._unfit("The extraction cannot be applied to this body.") from None

        return find

    def _calling(self, function: ExtractorCallable) -> Callable[[JsonValue, Mapping[str, str], Scope], Any]:
        def find(body: JsonValue, params: Mapping[str, str], scope: Scope) -> Any:
            try:
                return function(body, {**scope, "path_params": dict(params)})
            except BadInputError:
                raise
            except ContributionError as error:
                extra = {"field": error.field} if error.field else {}
                raise self._unfit(f"{error}.", **extra) from None
            except Exception as error:  # noqa: BLE001 - a body that the callable did not foresee must not pass unread
                # Where it failed, but not the message: it may repeat contributed text.
                log.error("route %s: the extractor raised %s", self._route.name, place_of(error))
                raise self._unfit("The extraction cannot be applied to this body.") from None

        return find

    def _unfit(self, detail: str, **extra: JsonValue) -> BadInputError:
        return bad_input(422, "no_contribution", detail, route=self._route.name, **extra)
