"""What the guard answers by itself: 202, 429, problems (RFC 9457), and nothing that helps to find its thresholds."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pydantic import JsonValue

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import GuardError
from feedback_guard.limits.interface import UNIT, Measure, Refusal
from feedback_guard.middleware.interface import Send
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement
from feedback_guard.verdict import Decision

RETRY_AFTER_SECONDS: Final = 5
"""What a client is told to wait when the guard cannot record, in seconds."""
QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""Type of the problem of a budget that has no room (draft-ietf-httpapi-ratelimit-headers-11, section 5.1)."""
_QUOTA_EXCEEDED_TITLE: Final = "Request cannot be satisfied as assigned quota has been exceeded"
_MAX_SF_INTEGER: Final = 999_999_999_999_999


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    async def send(self, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})

    async def send_and_close(self, send: Send, linger: Callable[[], Awaitable[None]]) -> None:
        """Send it to a client whose body was not read to its end, and have an HTTP/1 server close the connection.

        Parameters
        ----------
        send
            The server's.
        linger
            Called when the answer is on its way and the connection still open.
        """
        headers = [*self.headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await linger()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer as problem details (RFC 9457).

    Parameters
    ----------
    status
        The HTTP status.
    code
        A word for programs: what is wrong.
    detail
        A sentence for people: what is wrong and what to do. It never repeats contributed text.
    retry_after_seconds
        For the Retry-After field; None leaves it out.
    extra
        Further members.
    headers
        Further header fields.
    type, title
        A registered type of problem with its title; by default the status says it all.
    """

    status: int
    code: str
    detail: str
    retry_after_seconds: int | None = None
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    type: str = "about:blank"
    title: str = ""

    def reply(self) -> Reply:
        """The response.

        Examples
        --------
        >>> Problem(413, "body_too_large", "the body is larger than 64 bytes").reply().status
        413
        """
        members: dict[str, JsonValue] = {
            "type": self.type,
            "title": self.title or _phrase(self.status),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
        headers = list(self.headers)
        if self.retry_after_seconds is not None:
            headers.append((b"retry-after", str(self.retry_after_seconds).encode("ascii")))
        return _json(self.status, members, b"application/problem+json", headers)


class BadInputError(GuardError):
    """A request that the guard cannot read: it is answered, not judged."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def bad_input(status: int, code: str, detail: str, **extra: JsonValue) -> BadInputError:
    """Make the error for a request that cannot be read."""
    return BadInputError(Problem(status, code, detail, extra=extra))


def unavailable(detail: str) -> Reply:
    """Answer that nothing was recorded and nothing was passed on; the client may try again."""
    return Problem(503, "unavailable", detail, retry_after_seconds=RETRY_AFTER_SECONDS).reply()


def decided(judgement: Judgement) -> Reply:
    """Answer for a submission that the application does not get.

    Held and refused answers say nothing of scores or reasons: they would teach an attacker where the limits lie.
    """
    if judgement.delivery is Delivery.HELD:
        return held(judgement.submission)
    if judgement.decision is Decision.LIMIT:
        return _limited(judgement)
    return refused(judgement.submission)


def held(ident: str) -> Reply:
    """Answer that a submission waits for a moderator."""
    members = {"status": "held", "id": ident, "detail": "Received. A moderator looks at it before it takes effect."}
    return _json(202, members, b"application/json", [])


def refused(ident: str) -> Reply:
    """Answer that a submission is not accepted, and not why."""
    return Problem(422, "refused", "This contribution is not accepted.", extra={"id": ident}).reply()


def settled(status: int, ident: str) -> Reply:
    """Answer a repetition with the status of the first answer, which was too large to be kept."""
    detail = "This request was handled before; its answer was not kept."
    if status >= 400:
        return Problem(status, "repeated", detail, extra={"id": ident}).reply()
    if status in {204, 205, 304}:
        return Reply(status, b"", ((b"cache-control", b"no-store"),))
    return _json(status, {"status": "repeated", "id": ident, "detail": detail}, b"application/json", [])


def received(ident: str) -> Reply:
    """Answer that a submission was received, and not what was decided."""
    return _json(202, {"status": "received", "id": ident}, b"application/json", [])


def rate_limit_fields(refusal: Refusal) -> tuple[tuple[bytes, bytes], ...]:
    """The fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).

    They count whole units: attempts, or weight rounded down. A lifetime budget has no window. The draft's registry
    knows no unit for weight, and `qu` takes registered ones only; a parameter of our own says so instead. No
    partition key: it would name the contributor.
    """
    budget = refusal.charge.budget
    policy = f'"{budget.name}";q={_integer(budget.amount_micro // UNIT)}'
    if budget.measure is not Measure.COUNT:
        policy += f';feedback-guard-unit="{budget.measure.value}"'
    if budget.period_us is not None:
        policy += f";w={_integer(max(1, _seconds_up(budget.period_us)))}"
    limit = f'"{budget.name}";r={_integer(max(0, refusal.remaining_micro) // UNIT)}'
    if refusal.retry_after_us is not None:
        limit += f";t={_integer(_seconds_up(refusal.retry_after_us))}"
    return (b"ratelimit-policy", policy.encode("ascii")), (b"ratelimit", limit.encode("ascii"))


def _limited(judgement: Judgement) -> Reply:
    refusal = judgement.refusal
    if refusal is not None:
        retry_after_us = refusal.retry_after_us
    else:
        waits = [v.retry_after_us for v in judgement.verdicts if v.decision is Decision.LIMIT]
        retry_after_us = None if None in waits else max((wait for wait in waits if wait is not None), default=None)
    if retry_after_us is None:
        detail, seconds = "A budget for contributions is used up, and it is not refilled.", None
    else:
        seconds = max(1, _seconds_up(retry_after_us))
        detail = f"A budget for contributions is used up. Try again in {seconds} s."
    extra: dict[str, JsonValue] = {"id": judgement.submission}
    if refusal is None:
        return Problem(429, "limited", detail, retry_after_seconds=seconds, extra=extra).reply()
    name = refusal.charge.budget.name
    return Problem(
        429,
        "limited",
        detail,
        retry_after_seconds=seconds,
        extra=extra | {"budget": name, "violated-policies": [name]},
        headers=rate_limit_fields(refusal),
        type=QUOTA_EXCEEDED,
        title=_QUOTA_EXCEEDED_TITLE,
    ).reply()


def _json(status: int, members: Mapping[str, Any], media: bytes, headers: list[tuple[bytes, bytes]]) -> Reply:
    body = json.dumps(members, ensure_ascii=True, allow_nan=False).encode("ascii")
    return Reply(
        status,
        body,
        (
            (b"content-type", media),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            *headers,
        ),
    )


def _phrase(status: int) -> str:
    """The name of a status; an application may have one of its own."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _seconds_up(us: int) -> int:
    return -(-us // MICROSECONDS)


def _integer(value: int) -> int:
    """Keep to what a structured field can carry (RFC 9651, section 3.3.1)."""
    return min(value, _MAX_SF_INTEGER)
