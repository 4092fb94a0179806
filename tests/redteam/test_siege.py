"""The guard's own state cannot be walked: thirty days, half of the traffic hostile, and the same probes after.

Two classes whose texts are ambiguous, so that a single text gives little away and evidence has to carry it. The last
tests plant bugs and see that the siege notices them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.engine import Engine, observe_now, start_batcher
from feedback_guard.errors import UsageError
from feedback_guard.evidence.baseline import build_baseline
from feedback_guard.evidence.book import Book
from feedback_guard.learning.memory import Memory
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from feedback_guard.policy.schema import Policy
from feedback_guard.redteam.besiegers import BESIEGERS, Primer
from feedback_guard.redteam.material import Text
from feedback_guard.redteam.siege import HONEST, Ground, Probed, Siege
from feedback_guard.signals import lesson
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.verdict import Decision

POINTS = 0.02
"""How far the rates may move."""
_WORDS = {
    "praise": tuple("fine lovely crisp brisk warm bright neat smooth kind clever fresh solid".split()),
    "blame": tuple("dull broken slow harsh bleak rude stale loose murky cheap noisy vague".split()),
}
_FILLERS = tuple("the a it was and for with this that my on in very quite they we had been today again".split())


def texts(n: int, seed: int) -> tuple[Text, ...]:
    """Seven words of ten speak for the class that a text is of."""
    rng, found = random.Random(seed), list[Text]()
    for i in range(n):
        label = ("praise", "blame")[i % 2]
        other = "blame" if label == "praise" else "praise"
        words = [rng.choice(_WORDS[label if rng.random() < 0.7 else other]) for _ in range(6)]
        words += rng.choices(_FILLERS, k=6)
        rng.shuffle(words)
        found.append(Text(" ".join(words), label))
    return tuple(found)


GROUND = Ground(texts(600, 1), texts(300, 2), texts(100, 3), texts(200, 4))
POLICY = Policy.model_validate(
    {"name": "siege", "embedding": {"backend": "unsafe-hashing-for-tests"}, "signals": {"false_hold_rate": 0.01}}
)


@pytest.fixture(scope="module")
def batcher() -> Iterator[Batcher]:
    batcher = start_batcher(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING))
    try:
        yield batcher
    finally:
        batcher.close()


@pytest.fixture(scope="module")
def trusted(batcher: Batcher) -> list[Observation]:
    vetted = texts(400, 5)
    return observe_now(
        batcher, [Contribution(f"t{n}", 0, "staff", Kind.LABEL, t.text, t.label) for n, t in enumerate(vetted)]
    )


@pytest.fixture(scope="module")
def siege(batcher: Batcher, trusted: list[Observation]) -> Siege:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lesson, "PLAUSIBLE", 0.0
        )  # as sure as a large trusted set makes it: evidence has to be worth a siege
        frozen = build_baseline(trusted, fingerprint=batcher.embedder.fingerprint, created_at_us=0)
    return Siege(
        lambda: Engine.assemble(POLICY, "digest", batcher, frozen),
        GROUND,
        wanted="praise",
        honest_per_day=14,
        probes_each=24,
        besiegers=(*BESIEGERS, Primer),
    )


@pytest.fixture(scope="module")
def fresh(siege: Siege) -> Probed:
    """By an engine that has seen nothing but its baseline."""
    return siege.probe(siege.fresh())


@pytest.fixture(scope="module")
def honest(siege: Siege) -> Probed:
    """After thirty days without anybody hostile."""
    return siege.probe(siege.stand(hostile=False).session)


def moved_at_once(before: Probed, after: Probed) -> float:
    """By how much what a single probe meets got worse: honest ones held, poison missed."""
    return max(after.false_holds[0] - before.false_holds[0], after.misses[0] - before.misses[0])


def moved_finally(before: Probed, after: Probed) -> float:
    """The same for what is held in the end, evidence and all.

    Flipped labels are left out. They have nothing in common, so what holds one of them in the end is a false campaign
    that takes honest ones with it.
    """
    kinds = [kind for kind in before.finally_ if kind not in (HONEST, "flipped")]
    missed = sum(before.finally_[kind] - after.finally_[kind] for kind in kinds) / len(kinds)
    return max(after.false_holds[1] - before.false_holds[1], missed)


def test_thirty_hostile_days_move_nothing(siege: Siege, fresh: Probed, honest: Probed) -> None:
    stood = siege.stand(hostile=True)
    assert stood.honest_held <= stood.honest_lost <= 0.1
    hostile = siege.probe(stood.session)
    assert moved_at_once(fresh, hostile) <= POINTS
    assert moved_at_once(honest, hostile) <= POINTS
    assert moved_finally(honest, hostile) <= POINTS
    # and the probes do ask something
    assert max(hostile.false_holds) <= 0.05
    assert hostile.misses[0] >= 0.5
    assert hostile.finally_["new trigger"] >= 0.9


def test_evidence_with_an_endless_memory_would_be_noticed(
    siege: Siege, honest: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month of honest use would pay for as much poison."""
    monkeypatch.setattr(Book, "renew", lambda _book, _slot, *, two: None)
    hostile = siege.probe(siege.stand(hostile=True).session)
    assert moved_finally(honest, hostile) >= 3 * POINTS
    assert hostile.finally_["primed trigger"] <= 0.6


def test_a_detector_that_learns_from_what_nobody_vetted_would_be_noticed(
    siege: Siege, fresh: Probed, trusted: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of contents is fitted again, every ten days, with all that arrived."""
    arrived: list[Observation] = []
    judged = Memory.judged

    def learns(self: Memory, seen: Observation, decision: Decision, at_us: int, campaign: str | None = None) -> None:
        judged(self, seen, decision, at_us, campaign)
        arrived.append(seen)
        if len(arrived) % 280 == 0:
            adopted = Disagreement.from_state(Disagreement.fit([*trusted, *arrived], seed=0))
            vars(self.signals[Disagreement.name]).update(vars(adopted))

    monkeypatch.setattr(Memory, "judged", learns)
    hostile = siege.probe(siege.stand(hostile=True).session)
    assert moved_at_once(fresh, hostile) > POINTS


def test_a_siege_needs_carriers_for_its_probes(siege: Siege) -> None:
    with pytest.raises(UsageError, match="too few carriers for 500"):
        Siege(siege.fresh, GROUND, wanted="praise", probes_each=500)  # type: ignore[arg-type]
