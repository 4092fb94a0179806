"""Texts to measure with: real questions of bank customers, and as many further ones of any length as are asked for."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).parent.parent / "examples" / "bank_assistant" / "data"


def rows(name: str) -> list[dict[str, str]]:
    """Rows of the example's data, shuffled: questions of bank customers with their intents."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    random.Random(0).shuffle(found)
    return found


def recombined(*, parts: int = 1) -> Iterator[tuple[str, str]]:
    """Texts without end, with their intents, from a fixed seed.

    Each part is the beginning of one question with the end of another of the same intent, so texts seldom come twice
    and say what their label says. A part has about 12 words.
    """
    rng = random.Random(0)
    by_label: dict[str, list[list[str]]] = {}
    for row in rows("stream.jsonl.gz"):
        by_label.setdefault(row["label"], []).append(row["input"].split())
    labels = sorted(by_label)
    while True:
        label = rng.choice(labels)
        words = list[str]()
        for _ in range(parts):
            one, other = rng.choice(by_label[label]), rng.choice(by_label[label])
            words += [*one[: len(one) // 2 + 1], *other[len(other) // 2 :]]
        yield " ".join(words), label


def fresh(*, parts: int = 1) -> Iterator[tuple[str, str]]:
    """Texts without end that are not in the trusted set: 4,667 real questions, and then recombined ones.

    Texts of more parts are all recombined.
    """
    real = [row for name in ("stream", "spare", "held_out") for row in rows(f"{name}.jsonl.gz")] if parts == 1 else []
    return itertools.chain(((row["input"], row["label"]) for row in real), recombined(parts=parts))
