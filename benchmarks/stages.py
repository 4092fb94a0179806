"""CPU of each stage of one contribution, everything but the model, and resident memory over many contributions.

The vectors come from the hashing embedder, which costs next to nothing, so what is measured is the guard itself: the
pipeline with a real SQLite file, signals at the size of the example's trusted set, and the ledger.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.texts import fresh, rows
from feedback_guard import Guard
from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.pack import pack
from feedback_guard.engine import observe_now, start_batcher
from feedback_guard.evidence.baseline import build_baseline, load, save
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.lasting import keep_for_good
from feedback_guard.learning.memory import Memory
from feedback_guard.middleware.strict_json import parse_strictly
from feedback_guard.policy.loader import load_policy
from feedback_guard.policy.routes import OnHold
from feedback_guard.signals.interface import Observation
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision

POLICY = """\
extends: balanced
name: bench
store: {{url: "sqlite:///{folder}/guard.db", hold_capacity: 10000000}}
baseline: {{path: "{folder}/baseline"}}
embedding: {{backend: unsafe-hashing-for-tests, deadline: 60s, max_wait: 0ms}}
"""
START_US = 1_770_000_000_000_000


@dataclass(frozen=True)
class Stage:
    """CPU of one part, in microseconds per contribution."""

    name: str
    cpu_us: float


def contributions(texts: Iterable[tuple[str, str]]) -> Iterator[Contribution]:
    """One contribution a second, by a thousand people in turn."""
    for n, (text, label) in enumerate(texts):
        yield Contribution(f"c{n}", START_US + n * 1_000_000, f"user-{n % 997}", Kind.LABEL, text, label)


def build(folder: Path) -> Path:
    """Write a policy and its baseline."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY.format(folder=folder))
    batcher = start_batcher(load_policy(policy).policy.embedding)
    trusted = list(contributions((row["input"], row["label"]) for row in rows("vetted.jsonl.gz")))
    baseline = build_baseline(observe_now(batcher, trusted), fingerprint=batcher.embedder.fingerprint, created_at_us=0)
    save(baseline, folder / "baseline")
    batcher.close()
    return policy


def cpu_us(work: Callable[[int], object], n: int) -> float:
    """CPU of this process per call, in microseconds."""
    start = time.process_time()
    for i in range(n):
        work(i)
    return (time.process_time() - start) / n * 1e6


def add_up(policy: Path, observed: Sequence[Observation]) -> float:
    """CPU of taking contributions in as evidence, in microseconds each, on a memory of its own."""
    loaded = load_policy(policy).policy
    memory = Memory(loaded, load(Path(str(loaded.baseline.path)), fingerprint=None, digest=None))
    if memory.evidence is None:
        return 0.0
    evidence = memory.evidence
    return cpu_us(lambda i: evidence.witness(observed[i], Decision.ACCEPT, START_US), len(observed))


async def pipeline(guard: Guard, items: Iterator[Contribution], clock: ManualClock, n: int, width: int) -> float:
    """Judge n contributions, `width` at a time, and return CPU in microseconds per contribution."""

    async def one(item: Contribution) -> None:
        await guard.judge(Submission("feedback", OnHold.PASS, (item,)))

    start = time.process_time()
    for _ in range(n // width):
        batch = list(itertools.islice(items, width))
        clock.us = max(clock.us, batch[-1].at_us)
        await asyncio.gather(*(one(item) for item in batch))
    await guard.catch_up()
    return (time.process_time() - start) / (n // width * width) * 1e6


async def run(*, n_stage: int, n_memory: int, samples: int) -> dict[str, object]:
    """Measure stages, the whole pipeline, and the memory curve."""
    with tempfile.TemporaryDirectory() as name:
        policy = build(Path(name))
        clock = ManualClock(START_US)
        guard = Guard.from_policy(policy, clock=clock)
        await guard.start()
        keep_for_good()  # as the middleware and the gateway do
        engine, items = guard.engine, contributions(fresh())
        observed = observe_now(engine.batcher, list(itertools.islice(contributions(fresh()), n_stage)))
        body = b'{"question": "where is my card, it should have been here by now?", "intent": "card_arrival"}'
        stages = [
            Stage("parse JSON strictly", cpu_us(lambda _: parse_strictly(body), n_stage)),
            Stage("canonical text", cpu_us(lambda i: canonical_texts(observed[i].contribution), n_stage)),
            *(
                Stage(f"signal {label}", cpu_us(lambda i, s=signal: s.score(observed[i]), n_stage))  # type: ignore[misc]
                for label, signal in engine.memory.signals.items()
            ),
            Stage("assess, all signals", cpu_us(lambda i: engine.assessor.assess(observed[i]), n_stage)),
            Stage("evidence, adding up", add_up(policy, observed)),
            Stage("pack vectors", cpu_us(lambda i: pack(observed[i].vectors), n_stage)),
        ]
        embed = cpu_us(lambda i: engine.batcher.embed_now([observed[i].contribution.input]), n_stage)
        whole = {width: await pipeline(guard, items, clock, n_stage, width) for width in (1, 32)}
        stages += [Stage(f"whole pipeline, {w} at a time, hashing embedder", cpu) for w, cpu in whole.items()]
        stages.append(Stage("of which the hashing embedder", embed))
        process, curve, done = psutil.Process(), [], n_stage * 2
        for _ in range(samples):
            await pipeline(guard, items, clock, n_memory // samples, 32)
            done += n_memory // samples
            curve.append({"contributions": done, "resident_mib": process.memory_info().rss / 2**20})
        await guard.stop()
    return {"stages": [vars(stage) for stage in stages], "memory": curve}
