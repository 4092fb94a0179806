"""The whole engine on honest streams: a campaign is found on no more of them than the policy states.

Real questions of bank customers with all that makes honest streams awkward (`benchmarks/honest.py`): mistakes, new
words, enthusiasm, long-tailed accounts, habits of typing. Every stream has a trusted set of its own. They are short and
few, and the embedding model is the hashing one; `docs/explanation/detection.md` has longer ones, where some have more.
The last test plants a bug and sees that the same streams show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from scipy.stats import binom

from benchmarks import honest
from benchmarks.clean_streams import Observer, declared
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.engine import Engine, start_batcher
from feedback_guard.evidence import tally
from feedback_guard.evidence.baseline import Baseline, build_baseline
from feedback_guard.evidence.discoveries import Discoveries
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from feedback_guard.policy.loader import load_policy
from feedback_guard.policy.schema import Policy
from feedback_guard.replay import Session
from feedback_guard.signals.interface import Observation

STREAMS = 5
TRUSTED, SENT = 300, 300
BY_CHANCE = 0.001
"""How rarely as many streams with a campaign may come by chance, if the policy's rate holds."""
LESSONS = ("votes", "2 labels")
POLICY = Policy.model_validate(
    {**load_policy("balanced").policy.model_dump(mode="json", exclude={"embedding"}), "name": "clean"}
)

Drawn = dict[str, list[tuple[Baseline, list[Observation]]]]


@pytest.fixture(scope="module")
def drawn() -> Iterator[tuple[Observer, Drawn]]:
    """For each lesson the streams, with the baselines of their trusted sets."""
    batcher = start_batcher(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING), embedder=UnsafeHashingEmbedder())
    observer, pool, found = Observer(batcher), honest.everything(), Drawn()
    fingerprint = batcher.embedder.fingerprint
    for lesson in LESSONS:
        streams = [honest.clean(pool, lesson, trusted=TRUSTED, sent=SENT, seed=seed) for seed in range(STREAMS)]
        found[lesson] = [
            (
                build_baseline(observer.observe(each.trusted), fingerprint=fingerprint, created_at_us=0),
                observer.observe(each.items),
            )
            for each in streams
        ]
    yield observer, found
    batcher.close()


def surprising(drawn: tuple[Observer, Drawn], lesson: str) -> set[str]:
    """The kinds of facets of which more streams have a campaign than the policy's rate explains."""
    observer, streams = drawn
    counts = Counter[str]()
    for frozen, items in streams[lesson]:
        session = Session(Engine.assemble(POLICY, "digest", observer.batcher, frozen))
        for each in items:
            session.judge(each)
        counts.update(declared(session.engine.memory.evidence))
    rate = POLICY.evidence.false_campaign_rate
    return {kind for kind, n in counts.items() if binom.sf(n - 1, STREAMS, rate) < BY_CHANCE}


@pytest.mark.parametrize("lesson", LESSONS)
def test_campaigns_on_honest_streams_are_no_more_than_stated(drawn: tuple[Observer, Drawn], lesson: str) -> None:
    assert surprising(drawn, lesson) == set()


def test_without_the_correction_for_the_number_of_facets_it_would_be_noticed(
    drawn: tuple[Observer, Drawn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Discoveries, "look", lambda self, weights=1.0, n=1: setattr(self, "_total_weight", 1.0))
    monkeypatch.setattr(tally, "LOOKED_AT", 1)
    assert surprising(drawn, "2 labels")
