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
    """A verdict on a recorded contribution, with what a snapshot cut at the end of the input would hold of it.

    Parameters
    ----------
    verdict
        As it was made when the contribution came.
    campaign
        The campaign that it belongs to by the end of the input.
    final_decision, final_weight
        What a snapshot would hold: a campaign that was found later takes back what was accepted before.
    """

    verdict: Verdict
    campaign: str | None
    final_decision: Decision
    final_weight: float

    def to_json(self) -> dict[str, Any]:
        """The contract's JSON object."""
        return {
            **self.verdict.to_json(),
            "campaign": self.campaign,
            "final": {"decision": self.final_decision.value, "weight": self.final_weight},
        }


def replay(
    engine: Engine, stream: Iterable[Contribution], *, on_progress: Callable[[int], None] | None = None
) -> list[Replayed]:
    """Judge a stream in its order.

    Parameters
    ----------
    engine
        Loaded parts; their memory follows the stream.
    stream
        Contributions in arrival order. A time that lies before an earlier one counts as that earlier one.
    on_progress
        Called with the number of contributions judged since the last call.

    Returns
    -------
    list of Replayed
        One for each contribution, in order. What becomes of them in the end is known only at the end.

    Raises
    ------
    ContributionError
        If an identifier occurs twice, or a text is beyond its bounds.
    """
    budgets, now_us, verdicts = MemoryBudgets(), 0, dict[str, Verdict]()
    campaigns: dict[str, str] = {}
    for chunk in _chunks(stream, CHUNK):
        observations = observe_now(engine.batcher, chunk)
        for observation in observations:
            item = observation.contribution
            if item.id in verdicts:
                raise ContributionError(
                    f"{item.id!r} occurs twice; every contribution needs an id of its own", field="id"
                )
            now_us = max(now_us, item.at_us)
            engine.memory.advance(now_us)
            submission = Submission("", OnHold.PASS, (item,))
            refusal = budgets.peek(engine.settler.early(submission), now_us)
            if refusal is not None:
                settled = engine.settler.limited(submission, [None], refusal)
            else:
                settled = engine.settler.settle(submission, [engine.assessor.assess(observation)], budgets, now_us)
            verdict = verdicts[item.id] = settled.verdicts[0]
            if refusal is None:
                engine.memory.judged(observation, verdict.decision, now_us, verdict.campaign)
            for charge in engine.memory.take_pulled():
                campaigns[charge.ident] = charge.campaign
                engine.memory.withdrawn(charge.ident, now_us)
        if on_progress is not None:
            on_progress(len(chunk))
    return [_finally(engine, verdict, campaigns.get(ident)) for ident, verdict in verdicts.items()]


def _finally(engine: Engine, verdict: Verdict, pulled: str | None) -> Replayed:
    """What a snapshot that is cut now would hold of a contribution, if no moderator decided anything."""
    evidence = engine.memory.evidence
    campaign = pulled or verdict.campaign or (evidence.campaign_of(verdict.id) if evidence is not None else None)
    if pulled is not None and verdict.decision is Decision.ACCEPT:
        return Replayed(verdict, campaign, Decision.QUARANTINE, 0.0)
    if verdict.decision is not Decision.QUARANTINE:
        campaign = None
    return Replayed(verdict, campaign, verdict.decision, verdict.weight)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
