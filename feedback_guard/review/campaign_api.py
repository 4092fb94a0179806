"""Campaigns in the JSON API: what each teaches, its members, and one decision on all of them or a part."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from feedback_guard import settings
from feedback_guard.review import bounds
from feedback_guard.review.api import PREFIX
from feedback_guard.review.body import CampaignBody, read_json
from feedback_guard.review.campaign_views import campaign_document, decision_document, member_document
from feedback_guard.review.campaigns import (
    below_odds,
    find_campaign,
    find_decision,
    from_odds,
    rule_campaign,
)
from feedback_guard.review.desk import read
from feedback_guard.review.part import CampaignPart
from feedback_guard.review.problems import Refused
from feedback_guard.store import campaign_reads
from feedback_guard.store.campaign_decisions import CampaignDecision, Selection
from feedback_guard.store.campaign_tables import UNKNOWN
from feedback_guard.store.states import Learning

SHOWN: Final = ("all", "mature", *(state.value for state in Learning))
"""Which members can be asked for."""


class CampaignApi(CampaignPart):
    """Campaigns in the JSON API."""

    def routes(self) -> list[Route]:
        """Paths and what answers them."""
        one = f"{PREFIX}/campaigns/{{campaign}}"
        return [
            Route(f"{PREFIX}/campaigns", self.campaigns, methods=["GET"]),
            Route(one, self.campaign, methods=["GET"]),
            Route(f"{one}/members", self.members, methods=["GET"]),
            Route(f"{one}/approve", self._decide(approve=True), methods=["POST"]),
            Route(f"{one}/deny", self._decide(approve=False), methods=["POST"]),
            Route(f"{one}/decisions/{{decision}}", self.decision, methods=["GET"]),
        ]

    async def campaigns(self, request: Request) -> Response:
        """Campaigns: `{"count", "waiting", "held", "items", "next"}`.

        `order` is `largest` (those with held members, most of them first) or `newest` (all); `page` counts from 1.
        """
        await self._gate.bearer(request)
        limit, page = _limit(request), page_number(request)
        waiting = _one_of(request, "order", ("largest", "newest")) == "largest"
        found = await read(
            self._desk,
            lambda connection: campaign_reads.campaigns(
                connection, limit=limit, offset=limit * (page - 1), waiting=waiting
            ),
        )
        total, n_waiting, n_held = await read(self._desk, campaign_reads.count_campaigns)
        return JSONResponse(
            {
                "count": total,
                "waiting": n_waiting,
                "held": n_held,
                "items": [campaign_document(each) for each in found],
                "next": page + 1 if len(found) == limit else None,
            }
        )

    async def campaign(self, request: Request) -> Response:
        """One campaign, with its latest decisions and a few held members as examples."""
        await self._gate.bearer(request)
        found = await find_campaign(self._desk, request.path_params["campaign"])
        examples = await read(
            self._desk, lambda connection: campaign_reads.examples(connection, found.id, bounds.EXAMPLES)
        )
        decisions = await read(
            self._desk, lambda connection: campaign_reads.decisions_on_campaign(connection, found.id)
        )
        for made in decisions:
            self._carrier.resume(made)
        return JSONResponse(
            {
                **campaign_document(found),
                "examples": [member_document(each) for each in examples],
                "decisions": [decision_document(each) for each in decisions],
            }
        )

    async def members(self, request: Request) -> Response:
        """Members, the ones first that the evidence indicts least: `{"items", "next"}`; `show` is one of `SHOWN`."""
        await self._gate.bearer(request)
        found = await find_campaign(self._desk, request.path_params["campaign"])
        limit, shown, after = _limit(request), _one_of(request, "show", SHOWN), after_member(request)
        listed = await read(
            self._desk,
            lambda connection: campaign_reads.members(connection, found.id, limit=limit, after=after, **filters(shown)),
        )
        return JSONResponse(
            {
                "items": [member_document(each) for each in listed],
                "next": place_of(listed[-1]) if len(listed) == limit else None,
            }
        )

    async def decision(self, request: Request) -> Response:
        """How far a decision got; `later` counts held members that joined after what it is about."""
        await self._gate.bearer(request)
        name = request.path_params["campaign"]
        made = await find_decision(self._desk, name, decision_number(request.path_params["decision"]))
        self._carrier.resume(made)
        return await self._told(made)

    def _decide(self, *, approve: bool) -> Callable[[Request], Awaitable[Response]]:
        async def decide(request: Request) -> Response:
            """Decide on held members; 202 while it is carried out still."""
            moderator = await self._gate.bearer(request)
            body = await read_json(request, CampaignBody)
            made = await rule_campaign(
                self._desk,
                request.path_params["campaign"],
                _selection(body),
                approve=approve,
                moderator=moderator,
                note=body.note,
                version=body.version,
                fence=body.fence,
            )
            return await self._told(await self._carrier.start(made))

        return decide

    async def _told(self, made: CampaignDecision) -> Response:
        later = await read(
            self._desk, lambda connection: campaign_reads.count_new(connection, made.campaign, made.fence)
        )
        return JSONResponse(decision_document(made, later=later), status_code=202 if made.running else 200)


def _selection(body: CampaignBody) -> Selection:
    return Selection(
        least_milli=None if body.odds_from is None else from_odds(body.odds_from).least_milli,
        most_milli=None if body.odds_below is None else below_odds(body.odds_below).most_milli,
        numbers=None if body.members is None else tuple(body.members),
        undoes=body.undo,
    )


def filters(shown: str) -> dict[str, Any]:
    """What `campaign_reads.members` is asked for."""
    if shown == "all":
        return {}
    return {"mature": True} if shown == "mature" else {"state": Learning(shown)}


def place_of(member: campaign_reads.Member) -> str:
    """Where a member stands in the list, for the next page."""
    return f"{UNKNOWN if member.contrary_milli is None else member.contrary_milli}.{member.number}"


def after_member(request: Request) -> tuple[int, int] | None:
    """The place in `after`, as `place_of` wrote it."""
    text = request.query_params.get("after")
    if text is None:
        return None
    match = re.fullmatch(r"(-?[0-9]{1,9})\.([0-9]{1,15})", text)
    if match is None:
        raise Refused(422, "after: the `next` of the page before")
    return int(match[1]), int(match[2])


def decision_number(text: str) -> int:
    """The number of a decision; 0, which none has, for what is no number."""
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else 0


def page_number(request: Request) -> int:
    """The page that is asked for, from 1."""
    text = request.query_params.get("page", "1")
    page = int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0
    if not 1 <= page <= bounds.MAX_PAGES:
        raise Refused(422, f"page: a number from 1 to {bounds.MAX_PAGES}")
    return page


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(bounds.PAGE))
    limit = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0
    if not 1 <= limit <= settings.MAX_REVIEW_PAGE:
        raise Refused(422, f"limit: a number from 1 to {settings.MAX_REVIEW_PAGE}")
    return limit


def _one_of(request: Request, name: str, values: tuple[str, ...]) -> str:
    value = request.query_params.get(name, values[0])
    if value not in values:
        raise Refused(422, f"{name}: one of {', '.join(values)}")
    return value
