"""The same stream through the real middleware over HTTP and through `feedback-guard replay`: the same verdicts.

Budgets of every kind bite in it: how often, how much, newcomers' pool, rare phrases, targets, a radius, families,
probing, and what the unnamed share. Nothing is replaced but the model.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI, Request

from feedback_guard.cli.main import run
from feedback_guard.clock import ManualClock
from feedback_guard.contribution import ANONYMOUS, Contribution
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.signals import anomaly
from tests.guards import START_US, labelled, make_policy
from tests.serving import Serving

HOUR, DAY = 3_600_000_000, 86_400_000_000
LIMITS: list[dict[str, Any]] = [
    {"name": "often", "facet": "contributor", "measure": "count", "amount": 12, "per": "1h", "burst": 3},
    {"name": "much", "facet": "contributor", "measure": "weight", "amount": 9},
    {"name": "team", "facet": "group:team", "measure": "weight", "amount": 14, "per": "1d"},
    {"name": "unnamed", "facet": "anonymous", "measure": "weight", "amount": 3, "per": "1d"},
    {"name": "word", "facet": "phrase", "measure": "count", "amount": 4},
    {"name": "lesson", "facet": "target", "measure": "weight", "amount": 16, "per": "1d"},
    {"name": "copies", "facet": "family", "measure": "count", "amount": 1, "per": "7d"},
    {"name": "near", "facet": "radius", "measure": "count", "amount": 3, "per": "2d", "radius": 0.9},
]
NEWCOMERS = {"pool": 24, "per": "1h", "tenure": "2h"}
PROBING = {
    "held": {"amount": 4, "per": "1h", "burst": 4},
    "near_copies": {"amount": 4, "per": "1d", "burst": 4},
}
SEARCHING = {"probing-held", "probing-near-copies"}


def stream() -> list[Contribution]:
    """Two days of honest people, one who floods, one who searches, copies, a rare word, a crowd of new names."""
    rng = random.Random(11)
    items: list[Contribution] = []

    def add(some: Sequence[Contribution], begin: int, end: int, **changes: Any) -> None:
        items.extend(replace(each, at_us=START_US + rng.randrange(begin, end), **changes) for each in some)

    for n, each in enumerate(labelled(160, seed=1, prefix="h")):
        add([each], 0, 2 * DAY, groups={"team": f"t{n % 3}"})
    add(list(labelled(40, seed=2, who="flood", prefix="f")), HOUR, 20 * HOUR)
    add(list(labelled(30, seed=3, who="search", flip=True, prefix="s")), 2 * HOUR, 9 * HOUR)
    add(list(labelled(9, seed=8, who="hasty", prefix="b")), 4 * HOUR, 4 * HOUR + HOUR // 6)
    add(list(labelled(12, seed=4, who=ANONYMOUS, prefix="a")), HOUR, 30 * HOUR)
    copied, plain = next(labelled(1, seed=5)), next(labelled(1, seed=12))
    for n in range(9):
        add([replace(copied, id=f"copy-{n}", contributor=f"user-{n}")], 3 * HOUR, 30 * HOUR)
        add([replace(plain, id=f"same-{n}", contributor="user-3")], 20 * HOUR, 40 * HOUR)
        add([replace(copied, id=f"again-{n}", contributor="search")], 12 * HOUR, 14 * HOUR)
    for n, each in enumerate(labelled(14, seed=6, prefix="w")):
        add([replace(each, input=f"{each.input} zyxt", contributor=f"user-{20 + n}")], 5 * HOUR, 40 * HOUR)
    for n, each in enumerate(labelled(50, seed=7, prefix="n")):
        add([replace(each, contributor=f"new-{n}")], 10 * HOUR, 12 * HOUR)
    return sorted(items, key=lambda item: (item.at_us, item.id))


def policy_file(folder: Path, **changes: Any) -> Path:
    make_policy(folder)
    policy = {
        "version": 1,
        "name": "alike",
        "store": {"url": f"sqlite:///{folder}/guard.db"},
        "baseline": {"path": str(folder / "baseline")},
        "embedding": {"backend": "unsafe-hashing-for-tests", "max_wait": "0ms", "deadline": "30s"},
        "signals": {"false_hold_rate": 0.05},
        "limits": LIMITS,
        "newcomers": NEWCOMERS,
        "probing": PROBING,
        "staging": {"mature_after": "30m"},
        "identity": {
            "header": {"header": "X-User", "hops": ["127.0.0.1"]},
            "groups": {"team": {"header": "X-Team", "hops": ["127.0.0.1"]}},
            "network_group": False,
            "missing": "anonymous",
        },
        "routes": [
            {"name": "r", "path": "/feedback", "extract": "{kind: 'label', input: text, label: topic}"},
        ],
        **changes,
    }
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    return folder / "policy.yaml"


class Host:
    """The middleware around a FastAPI application, on a real socket, with a clock that the test moves."""

    def __init__(self, policy: Path) -> None:
        self.clock = ManualClock(START_US)
        self.guard = Guard.from_policy(policy, clock=self.clock, embedder=UnsafeHashingEmbedder())
        self.loop: asyncio.AbstractEventLoop | None = None
        api = FastAPI()

        @api.post("/feedback")
        async def feedback(request: Request) -> dict[str, int]:
            return {"bytes": len(await request.body())}

        api.add_middleware(FeedbackGuardMiddleware, guard=self.guard, poll_seconds=60.0)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.loop = asyncio.get_running_loop()
            await api(scope, receive, send)

        self.serving = Serving(app)

    def send(self, item: Contribution) -> int:
        """Offer a contribution at its time; the status of the answer. The detectors have followed it afterwards."""
        self.clock.us = max(self.clock.us, item.at_us)
        headers = {} if item.contributor == ANONYMOUS else {"X-User": item.contributor}
        if team := item.groups.get("team"):
            headers["X-Team"] = team
        answer = self.serving.post("/feedback", {"text": item.input, "topic": item.label}, headers)
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(self.guard.catch_up(), self.loop).result(20)
        return answer.status

    def judged(self) -> list[tuple[Contribution, dict[str, Any]]]:
        """What is on the record, in its order: contributions, and the verdicts as they were made."""
        events = self.guard.store.events_after(0, 100_000)
        stored = [event.stored for event in events if event.kind == "judged" and event.stored is not None]
        return [(each.contribution, each.verdict.to_json()) for each in stored]


def lived(policy: Path, *parts: Sequence[Contribution]) -> tuple[list[tuple[Contribution, dict[str, Any]]], list[int]]:
    """A stream through the middleware, each part in a process of its own: the record, and how it was answered."""
    statuses: list[int] = []
    recorded: list[tuple[Contribution, dict[str, Any]]] = []
    for items in parts:
        host = Host(policy)
        with host.serving:
            statuses += [host.send(item) for item in items]
            recorded = host.judged()
    return recorded, statuses


def replayed(policy: Path, items: Sequence[Contribution]) -> list[dict[str, Any]]:
    """The same stream through the command."""
    folder = policy.parent
    (folder / "stream.jsonl").write_text("".join(json.dumps(item.to_json()) + "\n" for item in items))
    arguments = [str(folder / "stream.jsonl"), "--policy", str(policy), "--baseline", str(folder / "baseline")]
    assert run(["replay", *arguments, "--out", str(folder / "verdicts.jsonl")]) == 0
    return [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]


def told(verdict: dict[str, Any]) -> tuple[Any, ...]:
    """What must be alike: all that a verdict says. (`replay` names the campaign that it belongs to by the end.)"""
    return (
        verdict["decision"],
        verdict["weight"],
        verdict["suspicion"],
        [(reason["signal"], reason["message"]) for reason in verdict["reasons"]],
    )


def budgets_that_bit(verdicts: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(
        str(reason["signal"]).removeprefix("limit:")
        for verdict in verdicts
        for reason in verdict["reasons"]
        if str(reason["signal"]).startswith("limit:") and verdict["decision"] != "accept"
    )


def differing(recorded: Sequence[tuple[Contribution, dict[str, Any]]], again: Sequence[dict[str, Any]]) -> list[Any]:
    assert len(recorded) == len(again)
    pairs = [(told(one), told(other)) for (_, one), other in zip(recorded, again, strict=True)]
    return [(place, one, other) for place, (one, other) in enumerate(pairs) if one != other]


def test_every_budget_acts_alike(tmp_path: Path) -> None:
    """Also where a process begins anew in the middle: what it remembered of budgets saved work, and decided nothing."""
    policy, items = policy_file(tmp_path), stream()
    recorded, statuses = lived(policy, items[:150], items[150:])
    live = [verdict for _, verdict in recorded]
    bit = budgets_that_bit(live)
    assert set(bit) >= {limit["name"] for limit in LIMITS} | {"newcomers"} | SEARCHING, bit
    assert differing(recorded, replayed(policy, [item for item, _ in recorded])) == []
    assert Counter(statuses) == Counter(
        {"accept": 200, "quarantine": 202, "limit": 429}[verdict["decision"]] for verdict in live
    )
    assert verify(f"sqlite:///{tmp_path}/guard.db").clean


def test_where_refusals_are_concealed_they_count_alike(tmp_path: Path) -> None:
    """On a uniform route an attempt that is refused by a budget of weight costs an attempt, in `replay` as well."""
    uniform = {"acknowledge": "uniform", "held_answer": {"body": "{ok: `true`}"}}
    route = {"name": "r", "path": "/feedback", "extract": "{kind: 'label', input: text, label: topic}"}
    limits = [
        {"name": "much", "facet": "contributor", "measure": "weight", "amount": 2},
        {"name": "often", "facet": "contributor", "measure": "count", "amount": 8, "per": "30d"},
    ]
    policy = policy_file(
        tmp_path,
        routes=[route | uniform | {"uniform": {"floor": "5ms", "jitter": "0ms"}}],
        limits=limits,
        newcomers={},
        probing={},
    )
    items = [replace(each, at_us=START_US + n * HOUR) for n, each in enumerate(labelled(14, seed=2, who="ada"))]
    recorded, statuses = lived(policy, items[:5], items[5:])
    assert budgets_that_bit([verdict for _, verdict in recorded]) == {"much": 6, "often": 6}
    assert Counter(statuses) == {202: 8, 429: 6}
    assert differing(recorded, replayed(policy, [item for item, _ in recorded])) == []


def test_what_became_mature_in_a_silence_is_learnt_when_the_next_was_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detectors learn when something happens, so the first after a silence is judged by what was learnt before it."""
    monkeypatch.setattr(anomaly, "WINDOW", 16)
    monkeypatch.setattr(anomaly, "LEAST_RECENT", 16)
    alone = {name: {"share": 0.0} for name in ("disagreement", "novelty", "near_duplicate", "obfuscation")}
    policy = policy_file(
        tmp_path,
        signals={"false_hold_rate": 0.0001, "anomaly": {"share": 1.0}, **alone},
        limits=[],
        newcomers={},
        probing={},
    )
    short = [replace(each, input=" ".join(str(each.input).split()[:8])) for each in labelled(40, seed=1)]
    before = [replace(each, at_us=START_US + n) for n, each in enumerate(short)]
    after = [replace(each, at_us=START_US + DAY + n) for n, each in enumerate(list(labelled(4, seed=2))[2:])]
    recorded, _ = lived(policy, [*before, *after])
    against = [verdict["reasons"][0]["message"].split(" against ")[1].split(":")[0] for _, verdict in recorded[40:]]
    assert against == ["the trusted set", "recent accepted contributions"]
    assert differing(recorded, replayed(policy, [item for item, _ in recorded])) == []
