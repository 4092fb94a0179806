from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from feedback_guard import settings
from feedback_guard.middleware.keeping import Keeper
from feedback_guard.store.repeats import KeptAnswer

Headers = Sequence[tuple[bytes, bytes]]


def start(status: int = 200, headers: Headers = ()) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def watch(*messages: dict[str, Any], max_bytes: int = 100) -> list[Any]:
    """What happens, in order: what is sent, and what is kept."""
    happened: list[Any] = []

    async def send(message: Any) -> None:
        happened.append(message.get("body", message["type"]))

    async def keep(answer: KeptAnswer | None, status: int) -> None:
        happened.append((answer, status))

    async def run() -> None:
        keeper = Keeper(send, keep, max_bytes)
        for message in messages:
            await keeper.send(message)
        await keeper.finish()

    asyncio.run(run())
    return happened


def kept(happened: list[Any]) -> tuple[KeptAnswer | None, int]:
    (found,) = (each for each in happened if isinstance(each, tuple))
    return found


def test_an_answer_ends_for_its_client_after_it_was_kept() -> None:
    happened = watch(start(), piece(b"a", more=True), piece(b"b"))
    assert happened[0:2] == ["http.response.start", b"a"]
    answer, status = happened[2]
    assert (answer.body, status) == (b"ab", 200)
    assert happened[3:] == [b"b"]


def test_the_last_of_the_announced_bytes_are_held_back_too() -> None:
    headers = [(b"Content-Length", b"2")]
    happened = watch(start(headers=headers), piece(b"a", more=True), piece(b"b", more=True), piece(b""))
    assert [each if isinstance(each, bytes | str) else "kept" for each in happened] == [
        "http.response.start",
        b"a",
        "kept",
        b"b",
        b"",
    ]


def test_what_was_held_back_goes_out_although_the_application_never_said_that_it_is_done() -> None:
    happened = watch(start(headers=[(b"content-length", b"1")]), piece(b"a", more=True))
    assert happened == ["http.response.start", b"a"]


def test_an_answer_beyond_the_bound_is_passed_on_and_not_kept() -> None:
    happened = watch(start(), piece(b"x" * 60, more=True), piece(b"x" * 41))
    assert kept(happened) == (None, 200)
    assert happened[1] + happened[-1] == b"x" * 101
    answer, _ = kept(watch(start(), piece(b"x" * 60, more=True), piece(b"x" * 40)))
    assert answer is not None


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
def test_an_answer_that_does_not_come_this_way_is_not_kept(kind: str) -> None:
    happened = watch(start(), {"type": kind, "path": "/x", "file": None})
    assert happened == ["http.response.start", (None, 200), kind]


def test_only_fields_that_say_the_same_later_are_kept() -> None:
    headers = [
        (b"Content-Type", b"a/b"),
        (b"set-cookie", b"s=1"),
        (b"x-token", b"secret"),
        (b"authorization", b"x"),
        (b"vary", b"Origin"),
        (b"vary", b"Accept"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"content-length", b"1"),
        (b"connection", b"close"),
    ]
    answer, _ = kept(watch(start(headers=headers), piece(b"a")))
    assert answer is not None
    assert answer.headers == (
        (b"content-type", b"a/b"),
        (b"vary", b"Origin"),
        (b"vary", b"Accept"),
        (b"access-control-allow-origin", b"*"),
        (b"content-length", b"1"),
    )


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_no_length(status: int) -> None:
    answer, _ = kept(watch(start(status), piece(b"")))
    assert answer == KeptAnswer(status, (), b"")


def test_fields_beyond_the_bound_are_not_kept() -> None:
    headers = [(b"link", b"x" * settings.MAX_KEPT_HEADER_BYTES)]
    assert kept(watch(start(headers=headers), piece(b"a"))) == (None, 200)
