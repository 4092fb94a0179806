"""What is asked in one turn is answered at once, and nobody's question spoils another's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from feedback_guard.turns import Turns


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
    doubles = Doubles()
    turns = Turns(doubles)
    for number in (1, 2):
        assert asyncio.run(_ask(turns, number)) == [2 * number]
    assert doubles.asked == [[1], [2]]


async def _ask(turns: Turns[int, int], number: int) -> Sequence[int]:
    return await turns.ask([number])
