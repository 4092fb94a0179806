"""Waits that end when they are told to."""

from __future__ import annotations

import asyncio

import pytest

from feedback_guard.middleware.tasks import wait_for_event


@pytest.mark.parametrize("turns", range(6))
def test_a_loop_that_waits_ends_when_it_is_cancelled_just_as_its_event_is_set(turns: int) -> None:
    waits = 0

    async def loop(event: asyncio.Event) -> None:
        nonlocal waits
        while waits < 3:
            waits += 1
            event.clear()
            await wait_for_event(event, 30.0)

    async def run() -> None:
        event = asyncio.Event()
        task = asyncio.ensure_future(loop(event))
        await asyncio.sleep(0)
        event.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        waited = waits
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert task.cancelled()
        assert waits == waited

    asyncio.run(run())


def test_the_time_is_over_or_the_event_is_set_and_neither_is_an_error() -> None:
    async def run() -> None:
        event = asyncio.Event()
        await wait_for_event(event, 0.001)
        assert not event.is_set()
        asyncio.get_running_loop().call_soon(event.set)
        await wait_for_event(event, 30.0)

    asyncio.run(run())


def test_an_event_of_another_loop_is_as_one_that_is_never_set() -> None:
    event = asyncio.Event()

    async def run() -> None:
        await wait_for_event(event, 0.001)

    asyncio.run(run())
    asyncio.run(run())
