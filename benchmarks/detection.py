"""Detection beside what one would otherwise use, on the example's stream: real questions, three attacks.

Each rival sees the same vetted set and the same vectors, has its threshold where it holds 1 % of the vetted set (out of
sample), and judges one correction at a time. What counts is what a student learns from whatever was let through::

    python -m benchmarks.detection
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

from attack_demo.report import Exam, grade
from attack_demo.stream import ATTACKERS, Correction, Party, make_probes, make_stream
from bank_assistant.student import Example, Student, read_examples
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.engine import Engine, observe_now, start_batcher
from feedback_guard.evidence.baseline import build_baseline
from feedback_guard.policy.loader import load_policy
from feedback_guard.replay import replay
from feedback_guard.signals.interface import Observation

START_US = 1_770_000_000_000_000
MINUTE_US = 60_000_000
HELD_OF_VETTED = 0.01
Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Judged:
    """What one contestant let through of the stream, as weights in the order of the stream, and what that taught."""

    name: str
    weights: Sequence[float]
    exam: Exam


def as_contributions(stream: Sequence[Correction]) -> list[Contribution]:
    """The stream as contributions that arrive within one minute, as in the demo."""
    return [
        Contribution(f"c{n}", START_US + round(c.due * MINUTE_US), c.account, Kind.LABEL, c.question, c.intent)
        for n, c in enumerate(stream)
    ]


def threshold(scores: Floats) -> float:
    """The score that a share of `HELD_OF_VETTED` of the vetted set passes."""
    return float(np.quantile(scores, 1.0 - HELD_OF_VETTED))


def isolation_forest(vetted: Vectors, stream: Vectors) -> list[float]:
    """scikit-learn's isolation forest on the vectors."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=200, random_state=0)
    half = len(vetted) // 2
    line = threshold(-forest.fit(vetted[::2]).score_samples(vetted[1::2])) if half else 0.0
    return [float(score <= line) for score in -forest.fit(vetted).score_samples(stream)]


def neighbours(vetted: Vectors, stream: Vectors) -> list[float]:
    """Mean cosine distance to the five nearest vetted texts."""

    def distance(rows: Vectors, skip: int) -> Floats:
        return np.asarray(1.0 - np.sort(rows @ vetted.T, axis=1)[:, -5 - skip : -skip or None].mean(axis=1), np.float64)

    line = threshold(distance(vetted, 1))
    return [float(score <= line) for score in distance(stream, 0)]


def label_head(vetted: Vectors, labels: Sequence[str], stream: Vectors, taught: Sequence[str]) -> list[float]:
    """Probability of the taught label by a logistic regression on the vectors, cross-fitted for its threshold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    head = LogisticRegression(C=100.0, max_iter=300)
    classes = {label: place for place, label in enumerate(sorted(set(labels)))}
    held_out = cross_val_predict(head, vetted, list(labels), cv=5, method="predict_proba")
    line = threshold(1.0 - held_out[np.arange(len(labels)), [classes[label] for label in labels]])
    chances = head.fit(vetted, list(labels)).predict_proba(stream)
    return [float(1.0 - row[classes[label]] <= line) for row, label in zip(chances, taught, strict=True)]


def main() -> None:
    """Judge, train, print, and write bench-out/detection.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    stream, vetted, held_out = make_stream(), read_examples("vetted"), read_examples("held_out")
    items = as_contributions(stream)
    trusted = [Contribution(f"v{n}", START_US, "staff", Kind.LABEL, e.question, e.intent) for n, e in enumerate(vetted)]
    policies = ("balanced", "examples/bank_assistant/policy.yaml")
    batcher = start_batcher(load_policy("balanced").policy.embedding)
    try:
        seen = observe_now(batcher, trusted)
        coming = observe_now(batcher, items)
        baseline = build_baseline(seen, fingerprint=batcher.embedder.fingerprint, created_at_us=0)
        known, new = vectors(seen), vectors(coming)
        labels, taught = [e.intent for e in vetted], [c.intent for c in stream]
        weights = {
            "no guard": [1.0] * len(stream),
            "isolation forest": isolation_forest(known, new),
            "5 nearest neighbours": neighbours(known, new),
            "label head": label_head(known, labels, new, taught),
        }
        for name in policies:
            loaded = load_policy(name)
            engine = Engine.assemble(loaded.policy, loaded.digest, batcher, baseline)
            weights[f"feedback_guard, {loaded.policy.name}"] = [r.verdict.weight for r in replay(engine, items)]
        weights["only the honest"] = [float(c.party is Party.HONEST) for c in stream]
    finally:
        batcher.close()
    judged = [Judged(name, kept, examine(vetted, stream, kept, held_out)) for name, kept in weights.items()]
    show(judged, stream)


def vectors(observations: Sequence[Observation]) -> Vectors:
    """First window of each text."""
    return np.stack([each.vectors["input"][0] for each in observations])


def examine(
    vetted: Sequence[Example], stream: Sequence[Correction], weights: Sequence[float], held_out: Sequence[Example]
) -> Exam:
    """Train a student on what was let through, and have it answer."""
    taught = [Example(c.question, c.intent, w) for c, w in zip(stream, weights, strict=True)]
    student, probes = Student([*vetted, *taught]), make_probes()
    answers = [answer.intent for answer in student.answer([e.question for e in held_out])]
    given = [(probe, [answer.intent for answer in student.answer(probe.questions)]) for probe in probes]
    return grade(answers, [e.intent for e in held_out], given)


def show(judged: Sequence[Judged], stream: Sequence[Correction]) -> None:
    """Print the table and write the figures."""
    parties = (Party.HONEST, *ATTACKERS)
    table = Table("", *(f"learnt of {p}" for p in parties), "right", *(f"{p} succeeds" for p in ATTACKERS), box=None)
    rows = []
    for each in judged:
        learnt = {
            p: float(np.mean([w for w, c in zip(each.weights, stream, strict=True) if c.party is p])) for p in parties
        }
        figures = [*learnt.values(), each.exam.accuracy, *(each.exam.success[p] for p in ATTACKERS)]
        table.add_row(each.name, *(f"{100 * figure:.1f} %" for figure in figures))
        rows.append({"name": each.name, "learnt": learnt, "right": each.exam.accuracy, "succeeds": each.exam.success})
    Console(width=160).print(table)
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    (out / "detection.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
