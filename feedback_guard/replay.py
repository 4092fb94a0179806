"""Judge a recorded stream as the guard would have judged it live: the same parts, with `at` as the clock.

Budgets live in memory and nothing is recorded besides the verdicts. The same input gives the same verdicts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from feedback_guard.contribution import ANONYMOUS, Contribution
from feedback_guard.engine import CHUNK, Engine, observe_now
from feedback_guard.errors import ContributionError
from feedback_guard.learning.allotment import Allotment, Outcome, Teacher
from feedback_guard.limits.interface import UNIT
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.reputation_memory import MemoryBank
from feedback_guard.policy.routes import OnHold
from feedback_guard.settle import Settled
from feedback_guard.signals.interface import Observation
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision, Verdict

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
        What a snapshot would hold, cut when all that came has become mature: a campaign that was found later takes back
        what was accepted before, and the policy's caps take weight from whoever would teach too much of the whole.
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


@dataclass(frozen=True, slots=True)
class Pulled:
    """A campaign that took back what was accepted before it was found, and when.

    Parameters
    ----------
    mature
        Whether a snapshot that was cut before may hold it: what would be listed for recall.
    """

    campaign: str
    at_us: int
    mature: bool


class Session:
    """A stream that is judged one contribution after the other, as the guard would judge it live.

    For whoever decides what comes next by what was said before; for a recorded stream, see `replay`.

    Parameters
    ----------
    engine
        Loaded parts; their memory follows the stream.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now_us = 0
        self.pulled: dict[str, Pulled] = {}
        """What was accepted and taken back later, by identifier."""
        self._budgets = MemoryBudgets()
        self._verdicts: dict[str, Verdict] = {}
        self._judged: dict[str, tuple[int, int]] = {}
        self._teachers: dict[str, Teacher] = {}
        self._bank = None if engine.limiter is None else MemoryBank(engine.limiter.terms)

    def judge(self, observation: Observation) -> Verdict:
        """Judge a contribution. A time that lies before an earlier one counts as that earlier one.

        Raises
        ------
        ContributionError
            If its identifier occurred before.
        """
        engine, item = self.engine, observation.contribution
        if item.id in self._verdicts:
            raise ContributionError(f"{item.id!r} occurs twice; every contribution needs an id of its own", field="id")
        now_us = self.now_us = max(self.now_us, item.at_us)
        anonymous = item.contributor == ANONYMOUS
        submission = Submission("", OnHold.PASS, (item,), anonymous=anonymous, conceal=engine.conceals)
        refusal = self._budgets.peek(engine.settler.early(submission), now_us)
        if refusal is not None:
            settled = engine.settler.turn_away(submission, refusal, self._budgets, now_us)
        else:
            settled = self._settle(submission, observation)
        verdict = self._verdicts[item.id] = settled.verdicts[0]
        self._judged[item.id] = now_us, len(self._verdicts)
        self._teachers[item.id] = Teacher(item.contributor, item.groups, anonymous)
        if not settled.turned_away:
            engine.memory.judged(observation, verdict.decision, now_us, verdict.campaign)
        for charge in engine.memory.take_pulled():
            self.pulled[charge.ident] = Pulled(charge.campaign, now_us, self._is_mature(charge.ident))
            engine.memory.withdrawn(charge.ident, now_us)
            if self._bank is not None:
                self._bank.withdraw(charge.ident)
        return verdict

    def _is_mature(self, ident: str) -> bool:
        """Whether a snapshot that is cut now could hold a contribution."""
        at_us, nth = self._judged[ident]
        followers = len(self._verdicts) - nth
        return self.now_us - at_us >= self.engine.mature_after_us and (
            followers >= self.engine.snapshot.mature_after_count
        )

    def _settle(self, submission: Submission, observation: Observation) -> Settled:
        """Charge the budgets for a proposal; with reputation, what it earned by now gives it its weight."""
        engine, proposals = self.engine, [self.engine.assessor.assess(observation)]
        if engine.limiter is None or self._bank is None:
            return engine.settler.settle(submission, proposals, self._budgets, self.now_us)
        for measured in self._bank.audit_due(self.now_us):
            engine.limiter.standing.note(measured.stake.identity, measured.after.balance)
        shaded = engine.limiter.shade(self._bank, submission, proposals)
        settled = engine.settler.settle(submission, shaded, self._budgets, self.now_us)
        readings = {observation.contribution.id: engine.limiter.read(observation)}
        engine.limiter.stake(self._bank, submission, proposals, settled, readings, self.now_us)
        return settled

    def final(self) -> list[Replayed]:
        """What a snapshot would hold of each contribution, in order, without any human decision."""
        return self.cut()[0]

    def cut(self) -> tuple[list[Replayed], Outcome]:
        """`final`, and what the caps of the snapshot did."""
        found = [self._finally(verdict) for verdict in self._verdicts.values()]
        allotment = Allotment.of(self.engine.snapshot)
        taught = [
            (place, self._teachers[item.verdict.id], weight)
            for place, item in enumerate(found)
            if item.final_decision is Decision.ACCEPT and (weight := round(item.final_weight * UNIT)) > 0
        ]
        for _, teacher, weight in taught:
            allotment.add(teacher, weight)
        outcome = allotment.settle()
        for place, teacher, weight in taught:
            given = allotment.give(teacher, weight)
            if given is None or given.weight != weight:
                capped = 0.0 if given is None else given.weight / UNIT
                found[place] = replace(found[place], final_weight=capped)
        return found, outcome

    def _finally(self, verdict: Verdict) -> Replayed:
        pulled, evidence = self.pulled.get(verdict.id), self.engine.memory.evidence
        campaign = pulled.campaign if pulled is not None else verdict.campaign
        if campaign is None and evidence is not None:
            campaign = evidence.campaign_of(verdict.id)
        if pulled is not None and verdict.decision is Decision.ACCEPT:
            return Replayed(verdict, campaign, Decision.QUARANTINE, 0.0)
        if verdict.decision is not Decision.QUARANTINE:
            campaign = None
        weight = verdict.weight if self._bank is None else self._bank.weight_of(verdict.id, verdict.weight)
        return Replayed(verdict, campaign, verdict.decision, weight)


def replay(
    engine: Engine,
    stream: Iterable[Contribution],
    *,
    on_progress: Callable[[int], None] | None = None,
    on_cut: Callable[[Outcome], None] | None = None,
    on_pulled: Callable[[Collection[Pulled]], None] | None = None,
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
    on_cut
        Called at the end with what the caps of the snapshot did.
    on_pulled
        Called at the end with what campaigns that were found later took back.

    Returns
    -------
    list of Replayed
        One for each contribution, in order. What becomes of them in the end is known only at the end.

    Raises
    ------
    ContributionError
        If an identifier occurs twice, or a text is beyond its bounds.
    """
    session = Session(engine)
    for chunk in _chunks(stream, CHUNK):
        for observation in observe_now(engine.batcher, chunk):
            session.judge(observation)
        if on_progress is not None:
            on_progress(len(chunk))
    found, outcome = session.cut()
    if on_cut is not None:
        on_cut(outcome)
    if on_pulled is not None:
        on_pulled(session.pulled.values())
    return found


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
