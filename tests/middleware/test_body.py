from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest

from feedback_guard.middleware.body import Body, ClientLeftError, check_length, framed
from feedback_guard.middleware.replies import BadInputError
from tests.middleware.direct import Connection
from tests.patience import PATIENCE_SECONDS

READ = {"max_bytes": 100, "deadline_us": 10_000_000}


def messages(connection: Connection) -> Body:
    return Body(connection.receive)


@pytest.mark.parametrize("pieces", [[b"abcdef"], [b"abc", b"def"], [b"", b"abcdef", b""], [b"a"] * 100])
def test_the_body_is_read_whole_and_given_once_as_one_message(pieces: list[bytes]) -> None:
    async def run() -> None:
        connection = Connection(pieces=pieces)
        body = Body(connection.receive)
        whole = b"".join(pieces)
        assert await body.read(max_bytes=100, deadline_us=None) == whole
        receive = body.replay()
        assert await receive() == {"type": "http.request", "body": whole, "more_body": False}
        # The second message is the server's own, which waits for the client to leave.
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        connection.left.set()
        assert await waiting == {"type": "http.disconnect"}
        assert await receive() == {"type": "http.disconnect"}

    asyncio.run(run())


def test_reading_stops_as_soon_as_the_bound_is_passed() -> None:
    async def run() -> None:
        connection = Connection(pieces=[b"x" * 60] * 1_000)
        with pytest.raises(BadInputError) as caught:
            await Body(connection.receive).read(max_bytes=100, deadline_us=None)
        assert caught.value.problem.status == 413
        assert connection.receives == 2

    asyncio.run(run())


def test_a_body_of_exactly_the_bound_is_taken() -> None:
    async def run() -> None:
        assert len(await Body(Connection(b"x" * 100).receive).read(max_bytes=100, deadline_us=None)) == 100

    asyncio.run(run())


def test_a_body_that_does_not_come_is_given_up_at_the_deadline() -> None:
    async def run() -> None:
        connection = Connection(pieces=[b"a"], leaves=True)
        connection.left.clear()  # neither more, nor a disconnect
        with pytest.raises(BadInputError) as caught:
            await Body(connection.receive).read(max_bytes=100, deadline_us=20_000)
        assert caught.value.problem.status == 408

    asyncio.run(run())


@pytest.mark.parametrize("pieces", [[], [b""], [b"abc"], [b"a", b"b", b"c"]])
def test_a_client_that_leaves_is_told_apart_from_a_complete_body(pieces: list[bytes]) -> None:
    async def run() -> None:
        body = Body(Connection(pieces=pieces, leaves=True).receive)
        with pytest.raises(ClientLeftError):
            await body.read(max_bytes=100, deadline_us=None)
        receive = body.replay()
        got = [await receive() for _ in range(1 + bool(b"".join(pieces)))]
        assert got[-1] == {"type": "http.disconnect"}
        if b"".join(pieces):
            assert got[0] == {"type": "http.request", "body": b"".join(pieces), "more_body": True}

    asyncio.run(run())


def test_a_body_that_is_too_large_can_still_be_given_on_whole() -> None:
    """What an observing guard needs: the application reads the beginning from here and the rest from the server."""

    async def run() -> None:
        connection = Connection(pieces=[b"x" * 60, b"y" * 60, b"z" * 60])
        body = Body(connection.receive)
        with pytest.raises(BadInputError):
            await body.read(max_bytes=100, deadline_us=None)
        receive = body.replay()
        assert await receive() == {"type": "http.request", "body": b"x" * 60 + b"y" * 60, "more_body": True}
        assert await receive() == {"type": "http.request", "body": b"z" * 60, "more_body": False}

    asyncio.run(run())


def test_nothing_read_is_nothing_given() -> None:
    async def run() -> None:
        receive = Body(Connection(b"abc").receive).replay()
        assert await receive() == {"type": "http.request", "body": b"abc", "more_body": False}

    asyncio.run(run())


def test_memory_does_not_grow_with_the_number_of_pieces() -> None:
    async def run() -> None:
        pieces = 50_000

        async def receive() -> dict[str, Any]:
            nonlocal pieces
            pieces -= 1
            return {"type": "http.request", "body": b"x", "more_body": pieces > 0}

        tracemalloc.start()
        try:
            await Body(receive).read(max_bytes=100_000, deadline_us=None)
            assert tracemalloc.get_traced_memory()[1] < 500_000
        finally:
            tracemalloc.stop()

    asyncio.run(run())


def test_lingering_is_bounded_in_bytes_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        endless = Connection(pieces=[b"x" * 10_000] * 1_000)
        await Body(endless.receive).linger()
        assert endless.receives == 7
        short = Connection(pieces=[b"x"] * 3)
        await Body(short.receive).linger()
        assert short.receives == 3
        gone = Connection(pieces=[b"x"], leaves=True)
        await Body(gone.receive).linger()
        assert gone.receives == 2
        monkeypatch.setattr("feedback_guard.middleware.body.LINGER_SECONDS", 0.01)
        silent = Connection(pieces=[b"x"], leaves=True)
        silent.left.clear()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await Body(silent.receive).linger()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("length", "fits"), [(b"100", True), (b"101", False), (b"9" * 5_000, False), (b"-1", True), (b"x", True)]
)
def test_an_announced_length_can_only_refuse(length: bytes, fits: bool) -> None:
    headers = [(b"content-length", length)]
    if fits:
        check_length(headers, 100)
        return
    with pytest.raises(BadInputError) as caught:
        check_length(headers, 100)
    assert caught.value.problem.status == 413


A, B = (b"a", b"1"), (b"b", b"2")
LENGTH = (b"content-length", b"7")
FRAMES: dict[str, tuple[Iterable[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]] = {
    "right": ([A, LENGTH, B], [A, LENGTH, B]),
    "chunked": ([A, (b"transfer-encoding", b"chunked"), B], [A, B, LENGTH]),
    "none": ([A, B], [A, B, LENGTH]),
    "wrong": ([A, (b"content-length", b"9"), B], [A, B, LENGTH]),
    "twice": ([LENGTH, A, LENGTH], [A, LENGTH]),
    "both": ([LENGTH, (b"transfer-encoding", b"gzip, chunked")], [LENGTH]),
    "repeated others": ([A, A, B, LENGTH], [A, A, B, LENGTH]),
}


@pytest.mark.parametrize("name", FRAMES)
def test_the_forwarded_framing_fits_the_body(name: str) -> None:
    before, after = FRAMES[name]
    scope = {"headers": tuple(before)}
    assert framed(scope, 7) == after
    assert scope["headers"] == tuple(before)
