"""The part of a route that says what a client is answered, and what happens when a request comes twice."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Expression, Strict

# RFC 9110, section 5.5, without obs-text: what every client reads the same.
_VALUE: Final = re.compile(r"[!-~]([ \t!-~]*[!-~])?")
_NOT_OURS: Final = frozenset(
    {
        # Connection control and framing: the server's.
        "connection",
        "content-length",
        "date",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        # The body is neither compressed nor in parts.
        "accept-ranges",
        "content-encoding",
        "content-range",
        # A template answers everybody: it must not log anybody in or out.
        "authorization",
        "clear-site-data",
        "set-cookie",
        "www-authenticate",
    }
)


def _header_value(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError("a header's value is printable ASCII on one line, without white space around it")
    return value


HeaderValue = Annotated[
    str, Field(min_length=1, max_length=settings.MAX_ANSWER_HEADER_CHARS), AfterValidator(_header_value)
]


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Acknowledge(StrEnum):
    """Whether an answer shows what was decided."""

    PLAIN = "plain"
    UNIFORM = "uniform"


class HeldAnswerPolicy(Strict):
    """What the client of a held contribution is answered, so that the application's own client takes it."""

    status: int = Field(202, ge=200, le=299)
    """A status of success."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, max_length=settings.MAX_ANSWER_HEADERS)
    """Header fields, in this order, with constant values. `Content-Type` is `application/json` if there is a body and
    nothing else is said; `Cache-Control: no-store` is added. Framing, hop-by-hop and authentication fields are
    refused, and so is `Set-Cookie`."""
    body: Expression | None = None
    """JMESPath from the request's body to the answer's, sent as JSON. It may call `id()`, the submission's
    identifier; `at()` and `at_ms()`, the time it came; `contributor()`; and what `extract` may call, such as
    `path('name')`. Constants stand in backticks. Without it the answer has no body."""

    @field_validator("status")
    @classmethod
    def _is_whole(cls, status: int) -> int:
        if status == 206:
            raise ValueError("206 answers a request for a part; take 200, 201 or 202")
        return status

    @field_validator("headers")
    @classmethod
    def _are_fit(cls, headers: dict[str, str]) -> dict[str, str]:
        names: set[str] = set()
        for name in headers:
            if name.lower() in _NOT_OURS:
                raise ValueError(f"{name} is not for a template to set; remove it")
            if name.lower() in names:
                raise ValueError(f"{name} stands twice; field names are the same in any case")
            names.add(name.lower())
        return headers

    @model_validator(mode="after")
    def _has_a_body_if_it_may(self) -> Self:
        if self.body is not None and self.status in {204, 205}:
            raise ValueError(f"an answer with status {self.status} has no body; remove `body`, or take 200")
        return self


class UniformPolicy(Strict):
    """When a uniform answer leaves."""

    floor: Duration = 500_000
    """How long after its arrival a request is answered, whatever was decided. An answer that is not ready by then
    leaves after a whole multiple of it. Choose it longer than judging takes, model included."""
    jitter: Duration = 50_000
    """A random time up to this long is added."""

    @field_validator("floor")
    @classmethod
    def _is_a_time(cls, floor: int) -> int:
        if not 1_000 <= floor <= settings.MAX_UNIFORM_FLOOR_US:
            raise ValueError(f"between 1ms and {settings.MAX_UNIFORM_FLOOR_US // MICROSECONDS}s")
        return floor

    @field_validator("jitter")
    @classmethod
    def _is_short(cls, jitter: int) -> int:
        if jitter > settings.MAX_UNIFORM_FLOOR_US:
            raise ValueError(f"at most {settings.MAX_UNIFORM_FLOOR_US // MICROSECONDS}s")
        return jitter


class IdempotencyPolicy(Strict):
    """`Idempotency-Key`, as in draft-ietf-httpapi-idempotency-key-header."""

    key: Literal["optional", "required", "ignore"] = "optional"
    """`optional` honours a key where a client sends one, `required` answers 400 to a contribution without, `ignore`
    leaves the field to the application."""
    retain: Duration = 86_400 * MICROSECONDS
    """How long a key is remembered, from the first request on. At most 30 days."""
    max_answer_bytes: int = Field(16_384, ge=0, le=settings.MAX_KEPT_ANSWER_BYTES)
    """Largest answer of the application that is kept for repetitions, in bytes of its body. After a larger one a
    repetition is answered with its status and a short note."""

    @field_validator("retain")
    @classmethod
    def _is_bounded(cls, retain: int) -> int:
        if not MICROSECONDS <= retain <= settings.MAX_RETAIN_US:
            raise ValueError(f"between 1s and {settings.MAX_RETAIN_US // (86_400 * MICROSECONDS)}d")
        return retain


class DuplicatesPolicy(Strict):
    """What happens when the same contributor sends the same body again, without a key."""

    window: Duration = 0
    """How long after the first request the same one counts as its repetition and is answered like it. 0 switches
    this off. Leave it off where sending the same twice means something, such as up, down, up again. Requests without
    a named contributor are never taken for repetitions."""
    wait: Duration = 10 * MICROSECONDS
    """How long a repetition waits for the answer of a first request that is still being handled, before it is
    answered 503 with Retry-After."""

    @field_validator("window")
    @classmethod
    def _window_is_bounded(cls, window: int) -> int:
        if window > settings.MAX_WINDOW_US:
            raise ValueError(f"at most {settings.MAX_WINDOW_US // (3_600 * MICROSECONDS)}h; longer needs a key")
        return window

    @field_validator("wait")
    @classmethod
    def _wait_is_bounded(cls, wait: int) -> int:
        if wait > settings.MAX_REPEAT_WAIT_US:
            raise ValueError(f"at most {settings.MAX_REPEAT_WAIT_US // MICROSECONDS}s")
        return wait
