"""Steps between which a guard's process can be made to end itself, and bugs that can be planted in it.

Nothing of the guard is replaced: each point stands before or after a call that the real code makes.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import Callable
from typing import Any, Final

import h11

from feedback_guard.gateway import relay, wires
from feedback_guard.guard import Guard
from feedback_guard.middleware import passage, repeats
from feedback_guard.middleware.keeping import Keeper
from feedback_guard.repeats import RepeatBook
from feedback_guard.store import inserting
from tests.patience import PATIENCE_SECONDS

COMMON: Final = (
    "before the claim",
    "after the claim",
    "before the record",
    "in the record",
    "after the record",
    "before the answer is kept",
    "after the answer is kept",
    "before the outcome",
    "in the outcome",
    "after the outcome",
)
"""Of both doors."""
OF_THE_APPLICATION: Final = ("before the effect", "after the effect", "in the answer", "after the answer")
"""Of an application in the guard's own process."""
OF_THE_WIRE: Final = (
    "before the connection",
    "after the connection",
    "after the head",
    "after the body",
    "in the answer",
)
"""Of a gateway."""
POINTS: Final = {"middleware": (*COMMON, *OF_THE_APPLICATION), "gateway": (*COMMON, *OF_THE_WIRE)}
NOTHING_YET: Final = frozenset({"before the claim", "after the claim", "before the record", "in the record"})
"""Points before the record: nothing may be there afterwards."""


class Ending:
    """Ends the process when it comes to a point."""

    def __init__(self, point: str) -> None:
        self._point = point

    def reach(self, point: str) -> None:
        if point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str, before: str, after: str) -> None:
        """Put a point before and one behind an asynchronous method."""
        real = getattr(owner, name)

        @functools.wraps(real)
        async def wrapped(*args: Any, **options: Any) -> Any:
            self.reach(before)
            made = await real(*args, **options)
            self.reach(after)
            return made

        setattr(owner, name, wrapped)

    def install(self) -> None:
        """Put all points in their places."""
        self.around(RepeatBook, "claim", "before the claim", "after the claim")
        self.around(RepeatBook, "keep", "before the answer is kept", "after the answer is kept")
        self.around(Guard, "judge", "before the record", "after the record")
        self.around(Guard, "record_delivery", "before the outcome", "after the outcome")
        self._inside(inserting, "insert", "in the record")
        self._in_the_outcome()
        self.on_the_wire()

    def _inside(self, owner: Any, name: str, point: str) -> None:
        """Put a point behind a part of a transaction, which is open there."""
        real = getattr(owner, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            made = real(*args, **options)
            self.reach(point)
            return made

        setattr(owner, name, wrapped)

    def _in_the_outcome(self) -> None:
        from feedback_guard.store.transaction import Transaction

        self._inside(Transaction, "deliver", "in the outcome")

    def on_the_wire(self) -> None:
        """Put the points of a gateway in their places."""
        self.around(wires.Wires, "connect", "before the connection", "after the connection")
        real_send, real_read = wires.Wire.send, wires.Wire.read

        async def send(wire: wires.Wire, event: h11.Event) -> None:
            await real_send(wire, event)
            if isinstance(event, h11.Request):
                self.reach("after the head")
            elif isinstance(event, h11.EndOfMessage):
                self.reach("after the body")

        async def read(wire: wires.Wire) -> Any:
            event = await real_read(wire)
            self.reach("in the answer")
            return event

        setattr(wires.Wire, "send", send)  # noqa: B010
        setattr(wires.Wire, "read", read)  # noqa: B010


# Bugs. The history that a process leaves must tell each of them.


def calls_before_the_record() -> None:
    """Gives the request to the application while it is still being judged."""
    from feedback_guard.middleware.exchange import Exchange

    real = Exchange._ask

    async def ask(self: Exchange, submission: Any, admitted: Any) -> Any:
        early = self._passage.unseen(bytes(self._body._whole or b""), (), "early", seconds=PATIENCE_SECONDS)
        await asyncio.gather(early, return_exceptions=True)  # as if the application were the faster
        return await real(self, submission, admitted)

    setattr(Exchange, "_ask", ask)  # noqa: B010


def acknowledges_before_the_commit() -> None:
    """Answers as if it had been recorded, and records it when there is time."""
    from feedback_guard.submission import Judgement

    real = Guard.judge

    async def judge(self: Guard, submission: Any) -> Judgement:
        from feedback_guard.store.states import Delivery
        from feedback_guard.verdict import Decision

        async def later() -> None:
            await asyncio.sleep(PATIENCE_SECONDS)  # longer than it takes to kill the process
            await real(self, submission)

        self._later = asyncio.ensure_future(later())  # type: ignore[attr-defined]
        return Judgement("s-early", (), Decision.QUARANTINE, Delivery.HELD, observed=False)

    setattr(Guard, "judge", judge)  # noqa: B010


def recognises_nothing() -> None:
    """Takes a repetition for a new request."""

    async def admit(*_: Any, **__: Any) -> None:
        return None

    setattr(repeats.Repeats, "admit", admit)  # noqa: B010


def begins_anew_after_a_crash() -> None:
    """Judges a request again whose outcome nobody knows."""

    async def settled(*_: Any, **__: Any) -> None:
        return None

    setattr(repeats.Repeats, "_settled", settled)  # noqa: B010


def rewrites_the_body() -> None:
    """Gives the application another body than the one that is recorded."""
    from feedback_guard.middleware import body

    real = body.Body.replay

    def replay(self: body.Body) -> Any:
        if self._whole is not None:
            self._whole = self._whole.replace(b'": "', b'":"')
        return real(self)

    setattr(body.Body, "replay", replay)  # noqa: B010

    def framed(scope: Any, _: int) -> list[tuple[bytes, bytes]]:
        fields = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        return [*fields, (b"transfer-encoding", b"chunked")]

    setattr(passage, "framed", framed)  # noqa: B010


def sends_twice() -> None:
    """Sends a request again when the connection to the upstream ended before an answer."""
    real = relay.Relay._exchange

    async def exchange(self: relay.Relay, wire: Any, request: Any, first: Any) -> None:
        try:
            await real(self, wire, request, first)
        except wires.UpstreamLostError:
            whole = {"type": "http.request", "body": self._scope["state"]["whole"], "more_body": False}
            await real(self, await self._wires.connect(), request, whole)

    real_judged = passage.Passage._judged

    def judged(self: passage.Passage, data: bytes, verdicts: Any) -> Any:
        scope = real_judged(self, data, verdicts)
        scope["state"]["whole"] = data
        return scope

    setattr(relay.Relay, "_exchange", exchange)  # noqa: B010
    setattr(passage.Passage, "_judged", judged)  # noqa: B010


def forgets_the_outcome() -> None:
    """Leaves a request open for ever whose process was killed."""
    from feedback_guard.store.transaction import Transaction

    setattr(Transaction, "abandon_lost", lambda *_, **__: [])  # noqa: B010


def tells_before_it_keeps() -> None:
    """Lets a client read an answer to its end before it is kept for repetitions."""
    real = Keeper.send

    async def send(self: Keeper, message: Any) -> None:
        kept, self._keep = self._keep, _nothing
        await real(self, message)
        self._keep = kept

    setattr(Keeper, "send", send)  # noqa: B010


async def _nothing(*_: Any) -> None:
    return


def forgets_what_was_charged() -> None:
    """Keeps budgets in the process, and not in the transaction that records what they were charged for."""
    from feedback_guard.limits.grouped import GroupBudgets

    def flush(self: GroupBudgets) -> None:
        self._changed.clear()
        self._undo.clear()

    setattr(GroupBudgets, "flush", flush)  # noqa: B010


def passes_what_it_cannot_score() -> None:
    """Takes a contribution that the model failed on for a good one, as if it had been scored."""
    from feedback_guard.assess import Assessor
    from feedback_guard.assessment import Assessment
    from feedback_guard.verdict import Decision

    def failed(_: Assessor, __: str) -> Assessment:
        return Assessment(Decision.ACCEPT, 1.0, 0.0, ())

    setattr(Assessor, "failed", failed)  # noqa: B010


BUGS: Final[dict[str, Callable[[], None]]] = {
    bug.__name__: bug
    for bug in (
        calls_before_the_record,
        acknowledges_before_the_commit,
        recognises_nothing,
        begins_anew_after_a_crash,
        rewrites_the_body,
        sends_twice,
        forgets_the_outcome,
        tells_before_it_keeps,
        forgets_what_was_charged,
        passes_what_it_cannot_score,
    )
}
