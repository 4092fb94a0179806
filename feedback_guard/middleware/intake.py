"""What a request teaches and who offers it, read in the order that costs least.

The order: what path and query say of it, media type and length, who it is, the body, what it teaches. Where requests
that carry no contribution share the path, who it is comes last, so that they need not sign in with the guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from feedback_guard.contribution import Contribution
from feedback_guard.middleware.body import Body, check_length
from feedback_guard.middleware.extract import Extractor
from feedback_guard.middleware.fields import malformed
from feedback_guard.middleware.identity import Identifier
from feedback_guard.middleware.interface import JudgingGuard, Scope
from feedback_guard.middleware.media import reader
from feedback_guard.middleware.principal import Principal
from feedback_guard.middleware.routes import Match


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that carries contributions.

    Parameters
    ----------
    data
        Its whole body.
    value
        The body as expressions see it.
    principal
        Who offers it.
    contributions
        What it teaches; at least one.
    """

    data: bytes
    value: JsonValue
    principal: Principal
    contributions: tuple[Contribution, ...]


class Intake:
    """Reads the requests of all routes; nothing in it changes.

    Parameters
    ----------
    guard
        For its clock and identifiers, and whether it acts.
    identifier
        Says who it is.
    extractors
        By the names of the routes.
    """

    def __init__(self, guard: JudgingGuard, identifier: Identifier, extractors: Mapping[str, Extractor]) -> None:
        self._guard = guard
        self._identifier = identifier
        self._extractors = extractors

    async def take(self, match: Match, scope: Scope, body: Body) -> Taken | None:
        """Read a request; None if it teaches nothing, and may.

        Raises
        ------
        BadInputError
            4xx: it cannot be read, nobody is named, or it teaches nothing although it must.
        IdentityError
            If who it is cannot be found out now.
        ClientLeftError
            If the client left before its end.
        """
        route, params, headers = match.route, match.params, scope["headers"]
        extractor = self._extractors[route.name]
        if not extractor.may_be_feedback(params, scope):
            return None
        read = reader(headers, route.accepts, route.form, scope.get("query_string", b""))
        check_length(headers, route.max_body_bytes)
        principal = await self._identifier.identify(scope) if extractor.always else None
        # A guard that only observes gives the application whatever comes, however slowly.
        deadline_us = route.body_deadline if self._guard.enforcing else None
        data = await body.read(max_bytes=route.max_body_bytes, deadline_us=deadline_us)
        view = read(data)
        if view.files & extractor.reads:
            raise malformed("A field is sent as a file.")
        if not extractor.is_feedback(view.value, params, scope):
            return None
        found = extractor.find(view.value, params, scope)
        if not found:
            return None
        if principal is None:
            principal = await self._identifier.identify(scope)
        contributions = extractor.contributions(
            found, principal=principal, at_us=self._guard.clock.now_us(), new_id=self._guard.new_id
        )
        return Taken(data, view.value, principal, contributions)
