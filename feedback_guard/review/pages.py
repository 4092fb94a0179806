"""The pages: what is held, one item, its full text, what was decided. Server-rendered, without any script."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from feedback_guard.review import bounds, queries, words
from feedback_guard.review.body import read_form
from feedback_guard.review.desk import read
from feedback_guard.review.display import show
from feedback_guard.review.documents import item_document
from feedback_guard.review.headers import CSP_RAW
from feedback_guard.review.offers import going_on, offers, ruling, saw_sheet, sheet_token
from feedback_guard.review.part import Part
from feedback_guard.review.problems import Refused
from feedback_guard.review.render import go, page
from feedback_guard.review.rows import decided_row, held_row, step_row, undelivered_row
from feedback_guard.review.rulings import find, is_item_id, is_own, rule
from feedback_guard.review.sessions import Session
from feedback_guard.review.views import content_sha256, may, present, sheets
from feedback_guard.review.ways import go_on, why_not
from feedback_guard.store import drift_alarms
from feedback_guard.store.campaign_reads import campaigns_of, count_campaigns
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import Delivery, Learning, Resolution

_STYLE: Final = files("feedback_guard.review").joinpath("static/review.css").read_bytes()


class Pages(Part):
    """The moderators' pages."""

    def routes(self) -> list[Route]:
        """Paths and what answers them."""
        return [
            Route("/", self.held, methods=["GET"]),
            Route("/decided", self.decided, methods=["GET"]),
            Route("/items/{item}", self.item, methods=["GET"]),
            Route("/items/{item}/full", self.full, methods=["GET"]),
            Route("/items/{item}/raw", self.raw, methods=["GET"]),
            Route("/items/{item}/approve", self.approve, methods=["POST"]),
            Route("/items/{item}/deny", self.deny, methods=["POST"]),
            Route("/undelivered", self.undelivered, methods=["GET"]),
            *(
                Route(f"/items/{{item}}/{resolution.value}", self._way(resolution), methods=["POST"])
                for resolution in Resolution
            ),
            Route("/static/review.css", self.style, methods=["GET"]),
        ]

    async def style(self, _: Request) -> Response:
        """The stylesheet."""
        return Response(_STYLE, media_type="text/css")

    async def held(self, request: Request) -> Response:
        """What waits for a decision, oldest first."""
        session = await self._gate.require(request)
        after = _item_parameter(request, "after")
        done = _item_parameter(request, "done")
        store = self._desk.store
        if after:
            # The page before may have been decided on meanwhile, but it is never gone.
            await find(self._desk, after)
        found = await asyncio.to_thread(store.held, limit=bounds.PAGE + 1, after=after)
        summary = await asyncio.to_thread(store.held_summary)
        decided = await asyncio.to_thread(store.submission, done) if done else None
        following = await asyncio.to_thread(store.held, limit=1, after=done) if done and decided else []
        _, n_campaigns, in_campaigns = await read(self._desk, count_campaigns)
        drift = await read(self._desk, drift_alarms.standing)
        return page(
            request,
            "held",
            session=session,
            here="held",
            rows=[held_row(stored) for stored in found[: bounds.PAGE]],
            more=found[bounds.PAGE - 1].id if len(found) > bounds.PAGE else None,
            after=after,
            summary=summary,
            n_campaigns=n_campaigns,
            in_campaigns=in_campaigns,
            drift=drift,
            now_us=self._desk.clock.now_us(),
            notice={"id": done, "text": _outcome(decided), "next": following[0].id if following else ""}
            if decided
            else None,
        )

    async def undelivered(self, request: Request) -> Response:
        """Requests that did not plainly arrive, and wait for somebody's word, oldest first."""
        session = await self._gate.require(request)
        after = _item_parameter(request, "after")
        done = _item_parameter(request, "done")
        store = self._desk.store
        if after:
            await find(self._desk, after)
        found = await asyncio.to_thread(store.stuck, limit=bounds.PAGE + 1, after=after)
        gone = await asyncio.to_thread(store.submission, done) if done else None
        return page(
            request,
            "undelivered",
            session=session,
            here="undelivered",
            rows=[undelivered_row(stored) for stored in found[: bounds.PAGE]],
            more=found[bounds.PAGE - 1].id if len(found) > bounds.PAGE else None,
            after=after,
            count=await asyncio.to_thread(store.count_stuck),
            now_us=self._desk.clock.now_us(),
            notice={"id": done, "text": words.DELIVERY_WORDS[gone.delivery][1]} if gone else None,
        )

    async def decided(self, request: Request) -> Response:
        """The last decisions, newest first, with what became of each request."""
        session = await self._gate.require(request)
        before = request.query_params.get("before")
        if before is not None and not re.fullmatch(r"[0-9]{1,18}", before):
            raise Refused(400, "`before` is the number of a ledger entry.")
        below = int(before) if before else None
        found = await read(self._desk, lambda connection: queries.decisions(connection, bounds.PAGE + 1, below))
        stored = await asyncio.to_thread(lambda: [self._desk.store.submission(entry.submission) for entry in found])
        pairs = [(entry, item) for entry, item in zip(found, stored, strict=True) if item is not None]
        return page(
            request,
            "decided",
            session=session,
            here="decided",
            rows=[decided_row(entry, item) for entry, item in pairs[: bounds.PAGE]],
            more=found[bounds.PAGE - 1].seq if len(found) > bounds.PAGE else None,
            before=below,
            stuck=await asyncio.to_thread(self._desk.store.count_stuck),
            now_us=self._desk.clock.now_us(),
        )

    async def item(self, request: Request) -> Response:
        """One item: what it would teach, why it is held, where it stands."""
        session = await self._gate.require(request)
        stored = await find(self._desk, request.path_params["item"])
        contributions, left_off = present(stored)
        own = is_own(stored, session.moderator)
        names = [item.contribution.contributor for item in stored.contributions]

        def look_up(
            connection: Connection,
        ) -> tuple[dict[str, queries.History], list[queries.Decided], list[queries.Step], dict[str, str]]:
            return (
                queries.histories(connection, names, stored.id),
                queries.decisions_on(connection, stored),
                queries.steps_of(connection, stored.id),
                campaigns_of(connection, [item.contribution.id for item in stored.contributions]),
            )

        histories, decisions, steps, campaigns = await read(self._desk, look_up)
        state, sentence = words.DELIVERY_WORDS[stored.delivery]
        return page(
            request,
            "item",
            session=session,
            stored=stored,
            contributions=contributions,
            left_off=left_off,
            may_approve=may(stored, approve=True) and not own,
            own=own,
            undelivered=stored.delivery in (Delivery.HELD, Delivery.APPROVED, Delivery.DENIED),
            offers=offers(session, stored, own=own, all_shown=left_off == 0),
            campaigns=[campaigns.get(item.contribution.id) for item in stored.contributions],
            histories=[histories[name].sentence() for name in names],
            decisions=[decided_row(entry, stored) for entry in decisions],
            steps=[step_row(step) for step in steps],
            barred=why_not(stored),
            delivery_words=state,
            delivery_sentence=sentence,
            detail=[
                (show(name, identifier=True), show(_scalar(value), max_chars=500))
                for name, value in sorted(stored.detail.items())
            ],
            content=content_sha256(stored),
            request_bytes=len(stored.request) if stored.request is not None else None,
            note_chars=bounds.MAX_NOTE_CHARS,
            now_us=self._desk.clock.now_us(),
        )

    async def full(self, request: Request) -> Response:
        """One sheet of the full text. The address of a sheet proves that the one before it was given out."""
        session = await self._gate.require(request)
        stored = await find(self._desk, request.path_params["item"])
        wanted = request.query_params.get("sheet", "1")
        number = int(wanted) if re.fullmatch(r"[1-9][0-9]{0,5}", wanted) else 0
        parts = await asyncio.to_thread(sheets, stored)
        if not 1 <= number <= len(parts):
            raise Refused(404, "There is no such sheet.")
        content = content_sha256(stored)
        if number > 1:
            seen = request.query_params.get("seen", "")
            if not saw_sheet(session, stored, content, number - 1, seen):
                return go(request, f"/items/{stored.id}/full")
        last = number == len(parts)
        own = is_own(stored, session.moderator)
        return page(
            request,
            "full",
            session=session,
            stored=stored,
            sheet=number,
            n_sheets=len(parts),
            passages=parts[number - 1],
            next_seen=None if last else sheet_token(session, stored, content, number),
            own=own,
            offers=offers(session, stored, own=own, all_shown=last),
            note_chars=bounds.MAX_NOTE_CHARS,
        )

    async def raw(self, request: Request) -> Response:
        """One item as JSON in ASCII: plain text in a sandbox, every other character as its number."""
        await self._gate.require(request)
        stored = await find(self._desk, request.path_params["item"])
        text = json.dumps(item_document(stored), ensure_ascii=True, indent=1)
        return PlainTextResponse(text, headers={"Content-Security-Policy": CSP_RAW})

    async def approve(self, request: Request) -> Response:
        """Approve an item."""
        return await self._decide(request, approve=True)

    async def deny(self, request: Request) -> Response:
        """Deny an item."""
        return await self._decide(request, approve=False)

    def _way(self, resolution: Resolution) -> Callable[[Request], Awaitable[Response]]:
        async def way(request: Request) -> Response:
            """Go a way on from where the request of an item stands."""
            item, session, form, version, content = await self._form(request)
            offered = form.get(f"{resolution.value}_token", "")
            self._gate.token(session, going_on(item, version, content, resolution), offered)
            await go_on(
                self._desk,
                item,
                resolution,
                moderator=session.moderator,
                note=_note(form),
                version=version,
                content=content,
            )
            return go(request, f"/undelivered?done={item}")

        return way

    async def _form(self, request: Request) -> tuple[str, Session, Mapping[str, str], int, str]:
        """What a decision is made of: the item, who makes it, the form, the version and the content it is about."""
        item = request.path_params["item"]
        self._gate.own_site(request)
        session = await self._gate.require(request)
        form = await read_form(request)
        version = form.get("version", "")
        if not is_item_id(item) or not re.fullmatch(r"[0-9]{1,9}", version):
            raise Refused(400, "The form is incomplete. Open the page again.")
        return item, session, form, int(version), form.get("content", "")

    async def _decide(self, request: Request, *, approve: bool) -> Response:
        item, session, form, version, content = await self._form(request)
        offered = form.get("approve_token" if approve else "deny_token", "")
        self._gate.token(session, ruling(item, version, content, approve=approve), offered)
        await rule(
            self._desk,
            item,
            approve=approve,
            moderator=session.moderator,
            note=_note(form),
            version=version,
            content=content,
        )
        return go(request, f"/?done={item}")


def _item_parameter(request: Request, name: str) -> str | None:
    value = request.query_params.get(name)
    if value is not None and not is_item_id(value):
        raise Refused(400, f"`{name}` is the identifier of an item.")
    return value


def _note(form: Mapping[str, str]) -> str:
    # A browser sends a line break as CR LF.
    return form.get("note", "").replace("\r\n", "\n").strip()


def _outcome(stored: StoredSubmission) -> str:
    """What was decided, as the record has it now."""
    states = {item.learning for item in stored.contributions}
    if Learning.HELD in states:
        return "The item still waits."
    if Learning.APPROVED in states:
        return "The item is approved."
    return "The item is denied." if Learning.DENIED in states else "The item is decided."


def _scalar(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
