"""The middleware: pure ASGI, for any framework and server that speak it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Final

from feedback_guard.errors import UsageError
from feedback_guard.middleware.answers import Answers
from feedback_guard.middleware.callables import IdentifyCallable
from feedback_guard.middleware.credentials import CredentialCallable, Credentials
from feedback_guard.middleware.dispatch import DEADLINE_SECONDS, POLL_SECONDS
from feedback_guard.middleware.ending import Endings
from feedback_guard.middleware.exchange import Exchange, Setup
from feedback_guard.middleware.extract import Extractor
from feedback_guard.middleware.intake import Intake
from feedback_guard.middleware.interface import (
    PASSAGE,
    PASSAGE_KEY,
    ASGIApp,
    ExtractorCallable,
    JudgingGuard,
    Receive,
    Scope,
    Send,
)
from feedback_guard.middleware.pace import Pace
from feedback_guard.middleware.receipts import Receipts
from feedback_guard.middleware.repeats import Repeats
from feedback_guard.middleware.routes import RouteTable, own_root_path, parameters
from feedback_guard.middleware.service import Service
from feedback_guard.middleware.serving import Serving
from feedback_guard.middleware.sources import make_identifier
from feedback_guard.middleware.spelling import routes_exactly
from feedback_guard.middleware.tasks import Wait, wait_for_event

log = logging.getLogger(__name__)


class FeedbackGuardMiddleware:
    """Judges the feedback that reaches an application, before the application does anything with it.

    Requests to the policy's routes are read, judged and recorded; then they are passed on, held for a moderator, or
    refused. Everything else, websockets included, passes untouched and unbuffered; only answers of endpoints that
    `receipts.serving` names get a receipt. The verdicts stand in
    `scope["state"]["feedback_guard"]`, which is `request.state.feedback_guard` in Starlette and FastAPI.

    It may stand outside an application, be added to it (`add_middleware`), or wrap a mounted one. Where it stands
    among other middleware decides what it knows: to take contributors from `scope["user"]` it must be further in than
    authentication.

    Parameters
    ----------
    app
        The application.
    guard
        The engine; see `feedback_guard.Guard`.
    extractors
        Python callables for routes whose policy has no expression, by the route's name. Each takes the body (JSON,
        or a form as a dictionary) and the scope (with `path_params`), and returns one contribution (a dictionary), a
        list of them, or None.
    identify
        A Python function that says who sends a request, for a policy with `identity.callable`. It takes the scope, and
        returns a name, a dictionary of `contributor` and `groups`, or None. It may be asynchronous; one that is not is
        called in a thread.
    credentials
        Functions that make a credential for a replayed request, by the route's name. Each takes a
        `feedback_guard.middleware.replayed.Replay` and returns header fields (a dictionary), or None if there are none
        to be had; it may be a coroutine function.
    poll_seconds
        Longest time before an approval in another process is noticed.
    replay_deadline_seconds
        How long the application may take over a replayed request, or one that was acknowledged before it was called,
        before it is cancelled and its outcome is `UNKNOWN`.
    silence_seconds
        How long the application may say nothing to a client that waits before its outcome is `UNKNOWN`. It is not
        cancelled; what it answers after all is recorded then.
    keep
        Whether `gc.freeze` is called once, when guard and application have started: what is there by then is no longer
        searched for garbage, which stops all requests for a tenth of a second each time, and what is new is searched
        after 10,000 objects instead of 700 (`gc.set_threshold`). False if the application
        itself gives up much of what it made before it started, and that in cycles, or calls `gc.freeze` by itself.
    wait
        How to wait for a decision; for tests.

    Raises
    ------
    PolicyError
        If a route's path, expression or answer, or the identity rules, cannot work.
    UsageError
        If a route has neither expression nor callable, a callable has no route, a route has two ways with
        credentials, or the policy and `identify` do not go together.

    Examples
    --------
    >>> from starlette.applications import Starlette
    >>> from feedback_guard import Guard
    >>> app = Starlette()
    >>> app.add_middleware(FeedbackGuardMiddleware, guard=Guard.from_policy("balanced"))
    """

    is_feedback_guard: Final = True
    """Known by this among the middleware of an application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        guard: JudgingGuard,
        extractors: Mapping[str, ExtractorCallable] | None = None,
        identify: IdentifyCallable | None = None,
        credentials: Mapping[str, CredentialCallable] | None = None,
        poll_seconds: float = POLL_SECONDS,
        replay_deadline_seconds: float = DEADLINE_SECONDS,
        silence_seconds: float = DEADLINE_SECONDS,
        keep: bool = True,
        wait: Wait = wait_for_event,
    ) -> None:
        self.app = app
        callables = dict(extractors or {})
        routes = guard.policy.routes
        unknown = sorted(callables.keys() - {route.name for route in routes})
        if unknown:
            known = ", ".join(route.name for route in routes) or "none"
            raise UsageError(f"extractors: the policy has no route {unknown[0]!r}; it has: {known}")
        if not routes:
            log.warning("the policy %r has no routes: the middleware judges nothing", guard.policy.name)
        self._routes = RouteTable(routes, root_path=own_root_path(app), exactly=partial(routes_exactly, app))
        self._service = Service(
            app,
            guard,
            credentials=Credentials(guard.policy, credentials or {}),
            wait=wait,
            poll_seconds=poll_seconds,
            deadline_seconds=replay_deadline_seconds,
            silence_seconds=silence_seconds,
            keep=keep,
        )
        identifier = make_identifier(guard.policy.identity, guard.clock, identify)
        self._unguarded = app
        if guard.policy.receipts.serving:
            self._unguarded = Serving(app, guard, identifier, self._service, root_path=own_root_path(app))
        self._setup = Setup(
            app=app,
            guard=guard,
            intake=Intake(
                guard,
                identifier,
                {route.name: Extractor(route, parameters(route), callables.get(route.name)) for route in routes},
            ),
            receipts=Receipts(guard, routes),
            answers={route.name: Answers(route, parameters(route), guard.metrics) for route in routes},
            service=self._service,
            endings=Endings(self._service, Repeats(guard, self._service.tasks, wait), Pace(wait)),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http":
            match = self._routes.match(scope)
            if match is not None and scope.get(PASSAGE_KEY) is not PASSAGE:
                await Exchange(self._setup, match, scope, receive, send).run()
                return
        elif scope["type"] == "lifespan":
            await self._service.lifespan(scope, receive, send)
            return
        await self._unguarded(scope, receive, send)
