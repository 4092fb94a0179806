"""The moderators' application as one ASGI app: pages, JSON API, `/metrics` and `/healthz`.

What it rests on: contributed text is hostile, so there is no script and the policy of the pages allows none
(`headers`, `display`); a decision is made by a known person, on one version of what was shown to her, and never on
her own contribution (`gate`, `offers`, `rulings`); logins live on the server and end when they are ended
(`sessions`).

`/metrics` and `/healthz` ask nobody who they are: they hold no contributed value. Bind the application to an address
that only your own people and Prometheus reach.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import StoreError
from feedback_guard.metrics_page import metrics_app
from feedback_guard.review.api import Api
from feedback_guard.review.campaign_api import CampaignApi
from feedback_guard.review.campaign_pages import CampaignPages
from feedback_guard.review.campaigns import Carrier
from feedback_guard.review.desk import Desk, read
from feedback_guard.review.drift_pages import DriftPages
from feedback_guard.review.entrance import Entrance, login_page
from feedback_guard.review.gate import Gate
from feedback_guard.review.headers import SecurityHeaders
from feedback_guard.review.pages import Pages
from feedback_guard.review.problems import Refused, problem
from feedback_guard.review.render import page
from feedback_guard.review.rulings import NO_ITEM, is_item_id
from feedback_guard.store.campaign_reads import count_campaigns
from feedback_guard.store.states import Resolution

logger = logging.getLogger(__name__)

_TOO_LATE = "Your login had ended, so nothing was done. Log in and do it again; a note has to be written anew."
_STORE_FAILED = "The store does not answer. Nothing was changed; try again."


def review_app(guard: Desk, *, judging: bool = True) -> ASGIApp:
    """Make the moderators' application.

    Parameters
    ----------
    guard
        A `Guard`, started or not, or anything else with the attributes of `Desk`. The caller stops it.
    judging
        Whether this process judges contributions. If it does not, `/metrics` leaves out what only those know that do,
        unless they share theirs.

    Returns
    -------
    ASGI application
        It may be mounted below a path, and keeps its store open as long as the guard does.
    """
    gate = Gate(guard)
    carrier = Carrier(guard)
    inner = Starlette(
        routes=[
            *Api(guard, gate).routes(),
            *Entrance(gate).routes(),
            *Pages(guard, gate).routes(),
            *CampaignApi(guard, gate, carrier).routes(),
            *CampaignPages(guard, gate, carrier).routes(),
            *DriftPages(guard, gate).routes(),
            Route("/metrics", _Metrics(guard, judging=judging), methods=["GET"]),
            Route("/healthz", _health(guard), methods=["GET"]),
        ],
        exception_handlers={
            Refused: _refused,
            StoreError: _store_failed,
            HTTPException: _http_error,
            Exception: _failed,
        },
    )
    # A path that is nearly right is a 404, not a redirect made from the Host header.
    inner.router.redirect_slashes = False
    return SecurityHeaders(inner, secure=gate.secure)


class _Metrics:
    """`/metrics`, with what is held counted at the moment of the scrape."""

    def __init__(self, desk: Desk, *, judging: bool) -> None:
        self._desk = desk
        self._app = metrics_app(desk.metrics, judging=judging)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        summary = await asyncio.to_thread(self._desk.store.held_summary)
        waited_us = self._desk.clock.now_us() - summary.oldest_at_us if summary.oldest_at_us is not None else 0
        self._desk.metrics.held(summary.count, max(waited_us, 0) / MICROSECONDS)
        self._desk.metrics.undelivered(await asyncio.to_thread(self._desk.store.count_stuck))
        _, waiting, in_campaigns = await read(self._desk, count_campaigns)
        self._desk.metrics.campaigns_waiting(waiting, in_campaigns)
        await self._app(scope, receive, send)


def _health(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def health(_: Request) -> Response:
        """Whether the store can be read; an error of it is answered 503."""
        await asyncio.to_thread(desk.store.held_summary)
        return PlainTextResponse("ok\n")

    return health


def _is_page(request: Request) -> bool:
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    return not path.startswith(("/api/", "/metrics", "/healthz"))


def _answer(request: Request, refused: Refused) -> Response:
    if not _is_page(request):
        return problem(refused.status, refused.detail, title=refused.title, headers=refused.headers)
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if refused.status == 401:
        # A decision that came too late to its session leads back to the item, not to the decision.
        target = path
        for action in ("approve", "deny", "confirm", "decide", "acknowledge", *Resolution):
            target = target.removesuffix(f"/{action}")
        late = request.method == "POST" and path not in ("/login", "/logout")
        message = _TOO_LATE if late else "" if path == "/" else refused.detail
        return login_page(request, target=target, message=message, status=401)
    item = request.path_params.get("item", "")
    answer = page(
        request,
        "error",
        session=None,
        status=refused.status,
        title=refused.title,
        detail=refused.detail,
        item=item if is_item_id(item) and refused.detail != NO_ITEM else "",
    )
    answer.headers.update(refused.headers)
    return answer


async def _refused(request: Request, error: Exception) -> Response:
    return _answer(request, error if isinstance(error, Refused) else Refused(500, "The answer could not be made."))


async def _store_failed(request: Request, error: Exception) -> Response:
    logger.error("the store failed under the review application: %s", type(error).__name__)
    return _answer(request, Refused(503, _STORE_FAILED, headers={"Retry-After": "5"}))


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = {404: "There is no such page.", 405: "This address does not take that method."}
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return _answer(request, Refused(status, detail.get(status, "The request cannot be answered."), headers=headers))


async def _failed(request: Request, _: Exception) -> Response:
    # `SecurityHeaders` logs it.
    return _answer(request, Refused(500, "The review application failed; its log says where."))
