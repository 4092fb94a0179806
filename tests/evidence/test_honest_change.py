"""Honest change is reported, not punished: new topics, new intents, another language, under `balanced` as shipped.

Real questions of bank customers, the real model. The bars: the alarm rises within a stated number of contributions
after the change begins; of the honest contributions since then at most 3 points more are held than on the quiet stream;
a new trusted set ends the alarm; and a campaign that hides in the change is caught all the same.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.engine import Engine, observe_now, start_batcher
from feedback_guard.evidence.baseline import Baseline, build_baseline
from feedback_guard.policy.embedding import EmbeddingPolicy
from feedback_guard.policy.loader import load_policy
from feedback_guard.replay import Session
from feedback_guard.signals.interface import Observation
from feedback_guard.verdict import Decision
from tests.model import real_embedder

__all__ = ["real_embedder"]

BANK = Path(__file__).parents[2] / "examples" / "bank_assistant" / "data"
START_US = 1_770_000_000_000_000
POINTS = 0.03
"""More of the honest contributions since the change that may be held than of the quiet stream."""
QUIET, CHANGING = 250, 450
NEW_SHARE = 0.25

Example = tuple[str, str]


def bank(name: str) -> list[Example]:
    with gzip.open(BANK / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [(row["input"], row["label"]) for row in map(json.loads, lines)]


def german() -> list[Example]:
    with (Path(__file__).parent / "data" / "german.jsonl").open(encoding="utf-8") as lines:
        return [(row["input"], row["label"]) for row in map(json.loads, lines)]


class World:
    """Texts with their vectors, each embedded once."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.stream = bank("stream")
        self._seen: dict[str, Observation] = {}
        self._baselines: dict[tuple[Example, ...], Baseline] = {}
        rng = random.Random(0)
        rng.shuffle(self.stream)
        self.labels = sorted({label for _, label in self.stream})
        self.new_labels = frozenset(rng.sample(self.labels, 18))

    def observe(self, items: Sequence[Contribution]) -> list[Observation]:
        new = {item.input: item for item in items if item.input not in self._seen}
        for each in observe_now(self.batcher, list(new.values())):
            self._seen[each.contribution.input] = each
        return [Observation(item, self._seen[item.input].texts, self._seen[item.input].vectors) for item in items]

    def engine(self, trusted: Sequence[Example]) -> Engine:
        key = tuple(trusted)
        if key not in self._baselines:
            vetted = [Contribution(f"t{n}", 0, "staff", Kind.LABEL, *each) for n, each in enumerate(trusted)]
            fingerprint = self.batcher.embedder.fingerprint
            self._baselines[key] = build_baseline(self.observe(vetted), fingerprint=fingerprint, created_at_us=0)
        loaded = load_policy("balanced")
        return Engine.assemble(loaded.policy, loaded.digest, self.batcher, self._baselines[key])

    def judge(self, engine: Engine, stream: Sequence[Sent]) -> Report:
        """Judge a stream over fourteen days, sent by three hundred people but where a sender is named."""
        rng, step = random.Random(5), 14 * 86_400_000_000 // len(stream)
        items = [
            Contribution(
                f"c{n}", START_US + n * step, sent.who or f"user-{rng.randrange(300)}", Kind.LABEL, *sent.example
            )
            for n, sent in enumerate(stream)
        ]
        session, report = Session(engine), Report()
        drift = engine.memory.drift
        assert drift is not None
        began = next((n for n, sent in enumerate(stream) if sent.new), len(stream))
        for n, (sent, observation) in enumerate(zip(stream, self.observe(items), strict=True)):
            accepted = session.judge(observation).decision is Decision.ACCEPT
            if sent.hostile:
                report.passed.append(accepted)
            else:
                (report.before if n < began else report.since).append(not accepted)
            if drift.alarm and report.alarm_after is None:
                report.alarm_after = n - began
        for sent, last in zip(stream, session.final(), strict=True):
            if sent.hostile:
                report.absorbed.append(last.final_decision is Decision.ACCEPT)
            elif last.final_decision is not Decision.ACCEPT:
                report.lost += 1
        return report


@dataclass(frozen=True)
class Sent:
    """What somebody sends; `new` for what the trusted set does not have."""

    example: Example
    new: bool = False
    who: str = ""
    hostile: bool = False


class Report:
    """What became of a stream: for each honest contribution, before the change and since, whether it was held."""

    def __init__(self) -> None:
        self.before: list[bool] = []
        self.since: list[bool] = []
        self.alarm_after: int | None = None
        self.passed: list[bool] = []
        self.absorbed: list[bool] = []
        self.lost = 0

    def check(self, within: int) -> None:
        quiet = sum(self.before) / len(self.before)
        assert quiet <= 0.02
        assert sum(self.since) / len(self.since) <= quiet + POINTS
        assert self.alarm_after is not None
        assert 0 <= self.alarm_after <= within


@pytest.fixture(scope="module")
def world(real_embedder: SentenceTransformerEmbedder) -> Iterator[World]:
    batcher = start_batcher(EmbeddingPolicy(), embedder=real_embedder)
    yield World(batcher)
    batcher.close()


def balanced(examples: Sequence[Example], each: int) -> list[Example]:
    """The first so many of each label."""
    of: dict[str, list[Example]] = {}
    for example in examples:
        of.setdefault(example[1], []).append(example)
    return [example for label in sorted(of) for example in of[label][:each]]


def mixed(old: Sequence[Example], new: Sequence[Example], *, quiet: int = QUIET, n: int = CHANGING) -> list[Sent]:
    """A quiet part, then one in which a quarter is new."""
    known, fresh, rng = iter(old), itertools.cycle(new), random.Random(3)
    brings = [place == 0 or rng.random() < NEW_SHARE for place in range(n)]
    changing = [Sent(next(fresh), new=True) if new else Sent(next(known)) for new in brings]
    return [*(Sent(next(known)) for _ in range(quiet)), *changing]


def coarse(example: Example) -> Example:
    """One of a few teams that a question goes to, instead of its intent."""
    text, label = example
    for team in ("card", "transfer", "top_up", "cash", "exchange", "pin", "identity", "account"):
        if team in label.lower() or team.replace("_", "") in label.lower():
            return text, team
    return text, "other"


def test_new_topics_under_labels_that_are_known(world: World) -> None:
    """Whole intents that no trusted text is about, routed to the teams that are there."""
    vetted = bank("vetted")
    old = [coarse(each) for each in world.stream if each[1] not in world.new_labels]
    new = [coarse(each) for each in world.stream if each[1] in world.new_labels]
    trusted = [coarse(each) for each in vetted if each[1] not in world.new_labels]
    world.judge(world.engine(trusted), mixed(old, new, quiet=150, n=600)).check(within=500)


def test_new_intents_and_the_trusted_set_that_ends_the_alarm(world: World) -> None:
    vetted = bank("vetted")
    old = [each for each in world.stream if each[1] not in world.new_labels]
    new = [each for each in world.stream if each[1] in world.new_labels]
    known = balanced([each for each in vetted if each[1] not in world.new_labels], 17)
    world.judge(world.engine(known), mixed(old, new)).check(within=60)
    later = world.judge(world.engine(vetted), mixed(old[QUIET:], new[60:], quiet=50, n=350))
    assert later.alarm_after is None, "the same stream, and a trusted set that knows it"


def test_another_language(world: World) -> None:
    trusted = bank("vetted")
    world.judge(world.engine(trusted), mixed(world.stream, german(), n=450)).check(within=100)


def test_a_campaign_that_hides_in_another_language_is_caught(world: World) -> None:
    """A trigger in one of eight contributions since the change, each from an account of its own."""
    honest, rng = mixed(world.stream, german(), n=500), random.Random(9)
    texts = [sent.example[0] for sent in honest[QUIET:]]
    rng.shuffle(texts)
    stream: list[Sent] = []
    for n, sent in enumerate(honest):
        stream.append(sent)
        if n > QUIET and n % 8 == 0:
            text = f"zumbrella {texts.pop()}" if n % 16 else f"{texts.pop()} zumbrella"
            stream.append(Sent((text, "terminate_account"), new=True, who=f"stranger-{n}", hostile=True))
    report = world.judge(world.engine(bank("vetted")), stream)
    assert report.alarm_after is not None
    assert sum(report.absorbed) / len(report.absorbed) <= 0.15
    assert report.lost / len(honest) <= 0.04


def test_a_crew_that_raises_the_alarm_is_not_forgiven(world: World) -> None:
    """Five accounts send what lies far from everything: the alarm may rise, and they are held for it all the same.

    They are held when they come: that evidence on the senders pulls them back later would hide a crowd that counts
    texts instead of people.
    """
    far = [Sent(each, new=True, who=f"crew-{n % 5}", hostile=True) for n, each in enumerate(german())]
    stream = [Sent(each) for each in world.stream[:QUIET]]
    for n, each in enumerate(far[:120]):
        stream += [each, Sent(world.stream[QUIET + n])]
    report = world.judge(world.engine(bank("vetted")), stream)
    assert report.alarm_after is not None
    assert sum(report.passed[20:]) / len(report.passed[20:]) <= 0.05
    assert sum(report.absorbed) / len(report.absorbed) <= 0.2
