"""The page of the drift alarm: whether it stands, what grew, what to do, and the word that somebody has looked."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feedback_guard.errors import StoreError, TransitionError
from feedback_guard.review import bounds
from feedback_guard.review.body import read_form
from feedback_guard.review.desk import read
from feedback_guard.review.display import show
from feedback_guard.review.part import Part
from feedback_guard.review.problems import Refused
from feedback_guard.review.render import go, page
from feedback_guard.review.rulings import LATE, check_note, unavailable
from feedback_guard.store import drift_alarms


class DriftPages(Part):
    """The moderators' page of the drift alarm."""

    def routes(self) -> list[Route]:
        """Paths and what answers them."""
        return [
            Route("/drift", self.drift, methods=["GET"]),
            Route("/drift/acknowledge", self.acknowledge, methods=["POST"]),
        ]

    async def drift(self, request: Request) -> Response:
        """The alarm that stands, if one does, and what became of earlier ones."""
        session = await self._gate.require(request)
        entries = await read(self._desk, lambda connection: drift_alarms.latest(connection, bounds.PAGE))
        stands = entries[0] if entries and entries[0].stands else None
        return page(
            request,
            "drift",
            session=session,
            here="drift",
            stands=stands,
            entries=[(entry, show(entry.moderator).html, show(entry.note).html) for entry in entries],
            token=session.token(_purpose(stands.seq)) if stands is not None else "",
            note_chars=bounds.MAX_NOTE_CHARS,
            now_us=self._desk.clock.now_us(),
        )

    async def acknowledge(self, request: Request) -> Response:
        """Record that she has looked at the alarm that she was shown."""
        self._gate.own_site(request)
        session = await self._gate.require(request)
        form = await read_form(request)
        if not re.fullmatch(r"[0-9]{1,15}", form.get("entry", "")):
            raise Refused(400, "The form is incomplete. Open the page again.")
        seq, note = int(form["entry"]), form.get("note", "").replace("\r\n", "\n").strip()
        self._gate.token(session, _purpose(seq), form.get("token", ""))
        check_note(note)
        now_us = self._desk.clock.now_us()
        try:
            await self._desk.store.run(
                lambda tx: tx.acknowledge_drift(moderator=session.moderator, note=note, seq=seq, now_us=now_us)
            )
        except TransitionError:
            raise Refused(409, "This alarm does not stand any more. Look at the page again.", title=LATE) from None
        except StoreError:
            raise unavailable() from None
        self._desk.noticed()
        return go(request, "/drift")


def _purpose(seq: int) -> str:
    """Purpose of the token that acknowledges an alarm."""
    return f"drift/{seq}"
