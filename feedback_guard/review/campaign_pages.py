"""The pages of campaigns: the list, one with its members, and the confirmation of one decision on many of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feedback_guard.names import same_person
from feedback_guard.review import bounds
from feedback_guard.review.body import read_form
from feedback_guard.review.campaign_api import (
    SHOWN,
    after_member,
    decision_number,
    filters,
    page_number,
    place_of,
)
from feedback_guard.review.campaign_views import decision_row, member_row, progress, view, which_words
from feedback_guard.review.campaigns import (
    below_odds,
    find_campaign,
    find_decision,
    from_odds,
    is_campaign_id,
    rule_campaign,
)
from feedback_guard.review.desk import read
from feedback_guard.review.part import CampaignPart
from feedback_guard.review.problems import Refused
from feedback_guard.review.render import go, page
from feedback_guard.review.rulings import LATE
from feedback_guard.store import campaign_reads
from feedback_guard.store.campaign_decisions import MAX_CHOSEN, Selection, count_selected
from feedback_guard.store.states import Learning

PLAIN_ODDS: Final = 10.0
"""Odds from which a member contradicts its content plainly."""
WHICH: Final[Mapping[str, str]] = {
    "all": "all that are held",
    "fitting": "those that fit their content",
    "contrary": "those that contradict their content",
    "plain": "those that contradict it plainly, 10 to 1 or more",
    "chosen": "those that are ticked",
}
"""Which held members a decision may be about, in words."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A decision that a form asks for: everything that its token is bound to."""

    approve: bool
    which: str
    numbers: tuple[int, ...]
    undo: int
    version: int
    fence: int

    @property
    def selection(self) -> Selection:
        """The members that it is about."""
        if self.which == "undo":
            return Selection(undoes=self.undo)
        if self.which == "chosen":
            return Selection(numbers=self.numbers)
        if self.which == "fitting":
            return below_odds(1.0)
        if self.which == "contrary":
            return from_odds(1.0)
        return from_odds(PLAIN_ODDS) if self.which == "plain" else Selection()

    def purpose(self, campaign: str) -> str:
        """Purpose of the token that makes it."""
        chosen = ",".join(map(str, self.numbers))
        verb = "approve" if self.approve else "deny"
        return f"campaign-{verb}/{campaign}/{self.version}/{self.fence}/{self.which}/{self.undo}/{chosen}"


class CampaignPages(CampaignPart):
    """The moderators' pages of campaigns."""

    def routes(self) -> list[Route]:
        """Paths and what answers them."""
        return [
            Route("/campaigns", self.campaigns, methods=["GET"]),
            Route("/campaigns/{campaign}", self.campaign, methods=["GET"]),
            Route("/campaigns/{campaign}/confirm", self.confirm, methods=["GET"]),
            Route("/campaigns/{campaign}/decide", self.decide, methods=["POST"]),
        ]

    async def campaigns(self, request: Request) -> Response:
        """Campaigns with held members, the largest first; or all, the newest first."""
        session = await self._gate.require(request)
        number = page_number(request)
        total, n_waiting, n_held = await read(self._desk, campaign_reads.count_campaigns)
        # Where nothing waits, the list of all is what there is to see.
        order = request.query_params.get("order") or ("largest" if n_waiting else "newest")
        if order not in ("largest", "newest"):
            raise Refused(400, "`order` is largest or newest.")
        found = await read(
            self._desk,
            lambda connection: campaign_reads.campaigns(
                connection, limit=bounds.PAGE + 1, offset=bounds.PAGE * (number - 1), waiting=order == "largest"
            ),
        )
        return page(
            request,
            "campaigns",
            session=session,
            here="campaigns",
            rows=[view(each) for each in found[: bounds.PAGE]],
            order=order,
            total=total,
            n_waiting=n_waiting,
            n_held=n_held,
            number=number,
            more=len(found) > bounds.PAGE,
            now_us=self._desk.clock.now_us(),
        )

    async def campaign(self, request: Request) -> Response:
        """What a campaign teaches and why that is believed, its members, and what can be decided."""
        session = await self._gate.require(request)
        found = await find_campaign(self._desk, request.path_params["campaign"])
        shown = request.query_params.get("show") or ("held" if found.n_held else "all")
        if shown not in SHOWN:
            raise Refused(400, f"`show` is one of {', '.join(SHOWN)}.")
        after = after_member(request)
        listed, examples, decisions = await read(
            self._desk,
            lambda connection: (
                campaign_reads.members(connection, found.id, limit=bounds.PAGE + 1, after=after, **filters(shown)),
                campaign_reads.examples(connection, found.id, bounds.EXAMPLES),
                campaign_reads.decisions_on_campaign(connection, found.id),
            ),
        )
        for made in decisions:
            self._carrier.resume(made)
        running = next((made for made in decisions if made.running), None)
        done = next((made for made in decisions if str(made.id) == request.query_params.get("done")), None)
        later = 0
        if done is not None:
            fence = done.fence
            later = await read(self._desk, lambda connection: campaign_reads.count_new(connection, found.id, fence))
        rows = listed[: bounds.PAGE]
        answer = page(
            request,
            "campaign",
            session=session,
            here="campaigns",
            view=view(found),
            campaign=found,
            rows=[member_row(member) for member in rows],
            own={
                member.number
                for member in rows
                if same_person(member.stored.contribution.contributor, session.moderator)
            },
            examples=[member_row(member) for member in examples],
            shown=shown,
            tabs=_tabs(found),
            after=after,
            more=place_of(rows[-1]) if len(listed) > bounds.PAGE else None,
            decisions=[decision_row(made) for made in decisions],
            running=decision_row(running) if running else None,
            done=progress(done) if done else None,
            later=later,
            which=WHICH,
            now_us=self._desk.clock.now_us(),
        )
        if running is not None:
            answer.headers["Refresh"] = "2"
        return answer

    async def confirm(self, request: Request) -> Response:
        """What a decision would do, counted, with the form that makes it."""
        session = await self._gate.require(request)
        found = await find_campaign(self._desk, request.path_params["campaign"])
        asked = _asked(request.query_params, request.query_params.getlist("member"))
        if asked.version != found.version:
            raise Refused(409, "Somebody decided on this campaign after you opened it. Look at it again.", title=LATE)
        words = WHICH.get(asked.which, "")
        if asked.which == "undo":
            made = await find_decision(self._desk, found.id, asked.undo)
            words = f"{'approved' if made.approve else 'denied'} by {made.moderator}, {which_words(made)}"
        count, later = await read(
            self._desk,
            lambda connection: (
                count_selected(connection, found.id, asked.selection, approve=asked.approve, fence=asked.fence),
                campaign_reads.count_new(connection, found.id, asked.fence),
            ),
        )
        return page(
            request,
            "confirm",
            session=session,
            here="campaigns",
            view=view(found),
            campaign=found,
            asked=asked,
            words=words,
            count=count,
            later=later,
            chosen=",".join(map(str, asked.numbers)),
            token=session.token(asked.purpose(found.id)),
            note_chars=bounds.MAX_NOTE_CHARS,
        )

    async def decide(self, request: Request) -> Response:
        """Make a decision that was confirmed."""
        name = request.path_params["campaign"]
        self._gate.own_site(request)
        session = await self._gate.require(request)
        form = await read_form(request)
        chosen = form.get("members", "")
        asked = _asked(form, chosen.split(",") if chosen else [])
        if not is_campaign_id(name):
            raise Refused(400, "The form is incomplete. Open the page again.")
        self._gate.token(session, asked.purpose(name), form.get("token", ""))
        made = await rule_campaign(
            self._desk,
            name,
            asked.selection,
            approve=asked.approve,
            moderator=session.moderator,
            note=form.get("note", "").replace("\r\n", "\n").strip(),
            version=asked.version,
            fence=asked.fence,
        )
        await self._carrier.start(made)
        return go(request, f"/campaigns/{name}?done={made.id}")


def _asked(form: Mapping[str, str], chosen: list[str]) -> Asked:
    """Read what is asked for; it is checked here and bound by a token later."""
    numbers = {name: form.get(name, "") for name in ("version", "fence")}
    undo = decision_number(form.get("undo", ""))
    which = "undo" if undo else form.get("which", "")
    complete = form.get("do") in ("approve", "deny") and (which == "undo" or which in WHICH)
    if not complete or not all(re.fullmatch(r"[0-9]{1,15}", value) for value in numbers.values()):
        raise Refused(400, "The form is incomplete. Open the page again.")
    if len(chosen) > MAX_CHOSEN or not all(re.fullmatch(r"[0-9]{1,15}", each) for each in chosen):
        raise Refused(400, f"Tick at most {MAX_CHOSEN} members.")
    if which == "chosen" and not chosen:
        raise Refused(400, "No member is ticked. Go back, tick some, or choose other members.", title="Nothing chosen")
    return Asked(
        approve=form.get("do") == "approve",
        which=which,
        numbers=tuple(sorted({int(each) for each in chosen})) if which == "chosen" else (),
        undo=undo,
        version=int(numbers["version"]),
        fence=int(numbers["fence"]),
    )


def _tabs(found: campaign_reads.StoredCampaign) -> list[tuple[str, str, int]]:
    """The lists of members that are not empty: name, words, count."""
    tabs: list[tuple[str, str, int]] = [
        (state.value, state.value, found.counts[state])
        for state in (Learning.HELD, Learning.DENIED, Learning.APPROVED, Learning.REJECTED, Learning.ACCEPTED)
        if found.counts.get(state)
    ]
    if found.n_mature:
        tabs.append(("mature", "for recall", found.n_mature))
    return [*tabs, ("all", "all", found.n_members)] if len(tabs) > 1 else tabs
