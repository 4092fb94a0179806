"""Judge a recorded stream as the guard would have judged it live: the same parts, with `at` as the clock.

Budgets live in memory and nothing is recorded besides the verdicts. The same input gives the same verdicts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from feedback_guard.contribution import Contribution
from feedback_guard.engine import Engine, observe_now
from feedback_guard.errors import ContributionError
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.policy.schema import OnHold
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision, Verdict

CHUNK = 256
"""Contributions that are embedded together; they are judged one by one, in order."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Replayed:
    """A verdict on a recorded contribution, with what a snapshot cut at the end of the input would hold of it."""

    verdict: Verdict
    final_decision: Decision
    final_weight: float

    def to_json(self) -> dict[str, Any]:
        """The contract's JSON object."""
        return {
            **self.verdict.to_json(),
            "final": {"decision": self.final_decision.value, "weight": self.final_weight},
        }


def replay(
    engine: Engine, stream: Iterable[Contribution], *, on_progress: Callable[[int], None] | None = None
) -> Iterator[Replayed]:
    """Judge a stream in its order.

    Parameters
    ----------
    engine
        Loaded parts; their memory follows the stream.
    stream
        Contributions in arrival order. A time that lies before an earlier one counts as that earlier one.
    on_progress
        Called with the number of contributions judged since the last call.

    Yields
    ------
    Replayed
        One for each contribution, in order.

    Raises
    ------
    ContributionError
        If an identifier occurs twice, or a text is beyond its bounds.
    """
    budgets, now_us, seen = MemoryBudgets(), 0, set[str]()
    for chunk in _chunks(stream, CHUNK):
        observations = observe_now(engine.batcher, chunk)
        for observation in observations:
            item = observation.contribution
            if item.id in seen:
                raise ContributionError(
                    f"{item.id!r} occurs twice; every contribution needs an id of its own", field="id"
                )
            seen.add(item.id)
            now_us = max(now_us, item.at_us)
            engine.memory.advance(now_us)
            submission = Submission("", OnHold.PASS, (item,))
            refusal = budgets.peek(engine.settler.early(submission), now_us)
            if refusal is not None:
                settled = engine.settler.limited(submission, [None], refusal)
            else:
                settled = engine.settler.settle(submission, [engine.assessor.assess(observation)], budgets, now_us)
            verdict = settled.verdicts[0]
            if refusal is None:
                engine.memory.judged(observation, verdict.decision, now_us)
            yield Replayed(verdict, verdict.decision, verdict.weight)
        if on_progress is not None:
            on_progress(len(chunk))


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
