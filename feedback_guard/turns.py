"""What several coroutines ask in one turn of an event loop is answered together.

A batch of vectors wakes many coroutines at once. Each would go through the detectors by itself, and find that the one
before needed other things near the processor.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

_Asked: TypeAlias = "tuple[Sequence[Q], asyncio.Future[Sequence[A]]]"


class Turns(Generic[Q, A]):
    """Gathers questions until the end of a turn, in every event loop by itself.

    Parameters
    ----------
    answer
        Answers some questions, in order. If it cannot, it is asked for each caller by itself, so that one fails alone.

    Examples
    --------
    >>> turns = Turns[int, int](lambda numbers: [n * len(numbers) for n in numbers])
    >>> async def ask() -> list[list[int]]:
    ...     return list(await asyncio.gather(turns.ask([1, 2]), turns.ask([3])))
    >>> asyncio.run(ask())
    [[3, 6], [9]]
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Sequence[A]]) -> None:
        self._answer = answer
        self._asked: dict[asyncio.AbstractEventLoop, list[_Asked[Q, A]]] = {}

    async def ask(self, questions: Sequence[Q]) -> Sequence[A]:
        """The answers, in order."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Sequence[A]] = loop.create_future()
        asked = self._asked.get(loop)
        if asked is None:
            for closed in [each for each in list(self._asked) if each.is_closed()]:
                self._asked.pop(closed, None)  # before its turn
            asked = self._asked[loop] = []
            # Behind everything that can go on already, and as nobody's part: it is for all who ask.
            loop.call_soon(self._turn, loop, context=contextvars.Context())
        asked.append((questions, waiter))
        return await waiter

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tell([each for each in self._asked.pop(loop, []) if not each[1].done()])

    def _tell(self, asked: list[_Asked[Q, A]]) -> None:
        if not asked:
            return
        try:
            answers = iter(self._answer([question for questions, _ in asked for question in questions]))
        except Exception as error:  # noqa: BLE001 - it is for whoever asked
            if len(asked) > 1:
                for each in asked:
                    self._tell([each])
            else:
                # A future takes no StopIteration.
                asked[0][1].set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)
        else:
            for questions, waiter in asked:
                waiter.set_result(list(itertools.islice(answers, len(questions))))
