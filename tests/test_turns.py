"""What is asked in one turn is answered at once, and nobody's question spoils another's answer."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Sequence

import pytest

from feedback_guard.turns import Turns
from tests.patience import PATIENCE_SECONDS


class Doubles:
    """Doubles numbers and notes what it was asked at once; it cannot double 13."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.asked.append(list(numbers))
        if 13 in numbers:
            raise ValueError("not 13")
        return [2 * number for number in numbers]


def test_what_is_asked_in_a_turn_is_answered_at_once_and_to_whom_it_belongs() -> None:
    doubles = Doubles()
    turns = Turns(doubles)

    async def main() -> list[Sequence[int]]:
        first = await asyncio.gather(turns.ask([1, 2]), turns.ask([]), turns.ask([3]))
        return [*first, await turns.ask([4])]

    assert asyncio.run(main()) == [[2, 4], [], [6], [8]]
    assert doubles.asked == [[1, 2, 3], [4]]


def test_what_cannot_be_answered_fails_alone() -> None:
    doubles = Doubles()
    turns = Turns(doubles)

    async def main() -> list[Sequence[int] | BaseException]:
        return await asyncio.gather(*(turns.ask([n]) for n in (12, 13, 14)), return_exceptions=True)

    one, two, three = asyncio.run(main())
    assert (one, three) == ([24], [28])
    assert isinstance(two, ValueError)
    assert doubles.asked == [[12, 13, 14], [12], [13], [14]]


def test_who_was_cancelled_is_not_asked_for() -> None:
    doubles = Doubles()
    turns = Turns(doubles)

    async def main() -> Sequence[int]:
        tasks = [asyncio.create_task(turns.ask([n])) for n in (1, 2)]
        asyncio.get_running_loop().call_soon(tasks[0].cancel)  # after both have asked, before the turn ends
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        return await tasks[1]

    assert asyncio.run(main()) == [4]
    assert doubles.asked == [[2]]


def test_every_loop_has_turns_of_its_own() -> None:
    """One whose turn has not come yet neither waits for the other nor is answered by it."""
    doubles = Doubles()
    turns = Turns(doubles)
    waits, goes_on = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        asked = waits.create_task(_ask(turns, 1))
        waits.call_soon(waits.stop)
        waits.run_forever()
        assert goes_on.run_until_complete(_ask(turns, 2)) == [4]
        assert waits.run_until_complete(asked) == [2]
    finally:
        waits.close()
        goes_on.close()
    assert doubles.asked == [[2], [1]]


def test_a_loop_that_was_closed_before_its_turn_is_forgotten() -> None:
    turns = Turns(Doubles())
    left = asyncio.new_event_loop()
    asked = left.create_task(_ask(turns, 1))
    left.call_soon(left.stop)
    left.run_forever()
    asked.cancel()
    left.close()
    gone = weakref.ref(left)
    del left, asked
    asyncio.run(_ask(turns, 2))
    gc.collect()
    assert gone() is None


def test_what_a_future_does_not_take_is_told_all_the_same() -> None:
    def stops(_: Sequence[int]) -> Sequence[int]:
        raise StopIteration

    async def main() -> None:
        asked = asyncio.gather(*(Turns(stops).ask([n]) for n in (1, 2)), return_exceptions=True)
        found = await asyncio.wait_for(asked, PATIENCE_SECONDS)
        assert [type(each) for each in found] == [RuntimeError, RuntimeError]

    asyncio.run(main())


def test_a_turn_is_nobodys_part() -> None:
    """What is logged on the way is not to carry the request of whoever asked first."""
    seen: list[str] = []
    request = contextvars.ContextVar("request", default="nobody's")

    def notes(numbers: Sequence[int]) -> Sequence[int]:
        seen.append(request.get())
        return numbers

    async def main() -> None:
        request.set("the first one's")
        await Turns(notes).ask([1])

    asyncio.run(main())
    assert seen == ["nobody's"]


async def _ask(turns: Turns[int, int], number: int) -> Sequence[int]:
    return await turns.ask([number])
