"""CPU and memory of judging one contribution, embedding aside, with ever more known facets and past contributions.

Two kinds of contributions arrive. Fillers bring many new words, so that the guard comes to know as many facets as are
asked for; they are not timed. The timed ones are real questions (banking77), recombined: the beginning of one with the
end of another of the same intent. Vectors are those of the hashing embedder. Timed are what happens to a contribution
between its vectors and its verdict (`assess`), and what the guard takes in afterwards (`take in`)::

    python -m benchmarks.facets --facets 10000 100000 1000000 --seconds 120

After each of them a fixed piece of work is timed as well (`yardstick`): where that takes longer, so does the rest.

Then the stream goes on, twice as long each time, with recombined questions of which each has a word that nobody used
before, so that new facets keep coming; one of a hundred carries a trigger by another account and teaches what the
attackers want. For as long a stream as is asked for, however many CPU seconds that takes::

    python -m benchmarks.facets --facets 900000 --contributions 100000
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.texts import recombined, rows
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.engine import Engine, observe_now, start_batcher
from feedback_guard.evidence.baseline import build_baseline
from feedback_guard.evidence.book import Book
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from feedback_guard.policy.loader import load_policy
from feedback_guard.redteam.wordings import Phrase, insert, new_words

FACETS = (10_000, 100_000, 1_000_000)
CHUNK = 250
TIMED = 500
"""Contributions that a figure is the median of."""
FILLER_WORDS = 120
TRIGGERED = 100
"""Contributions of the stream that goes on, of which one is poison."""
FALSE_LABEL = "card_arrival"
SENTENCE = ("where", "is", "the", "card", "that", "you", "sent") * 20
START_US = 1_770_000_000_000_000
SECOND_US = 1_000_000


def contribution(n: int, text: str, label: str) -> Contribution:
    return Contribution(f"c{n}", START_US + n * SECOND_US, f"user-{n % 5_003}", Kind.LABEL, text, label)


def fillers() -> Iterator[tuple[str, str]]:
    """Texts of new words, with the intents in turn."""
    new = new_words(random.Random(1))
    labels = sorted({row["label"] for row in rows("stream.jsonl.gz")})
    for label in itertools.cycle(labels):
        yield " ".join(itertools.islice(new, FILLER_WORDS)), label


def going_on() -> Iterator[tuple[str, str]]:
    """Recombined questions with a new word in each, and one of `TRIGGERED` with a trigger and a false intent."""
    rng, new, trigger = random.Random(2), new_words(random.Random(3)), Phrase()
    for n, (text, label) in enumerate(recombined()):
        if n % TRIGGERED == 0:
            yield trigger.write(rng, text).text, FALSE_LABEL
        else:
            yield insert(rng, text, f"{next(new)}q"), label  # no filler has a word that ends so


def yardstick() -> int:
    """A fixed piece of work: other work on the machine makes it slower as it does what is measured."""
    return len(Counter(f"{word} {n}" for n, word in enumerate(SENTENCE)))


class Bench:
    """An engine on the example's trusted set, and what it was sent."""

    def __init__(self, batcher: Batcher) -> None:
        vetted = [
            Contribution(f"t{n}", 0, "staff", Kind.LABEL, row["input"], row["label"])
            for n, row in enumerate(rows("vetted.jsonl.gz"))
        ]
        frozen = build_baseline(observe_now(batcher, vetted), fingerprint=batcher.embedder.fingerprint, created_at_us=0)
        loaded = load_policy("balanced")
        self.engine = Engine.assemble(loaded.policy, loaded.digest, batcher, frozen)
        self.sent = 0
        self.books = [each for each in vars(self.engine.memory.evidence).values() if isinstance(each, Book)]
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss

    @property
    def facets(self) -> int:
        """Facets that evidence is kept on."""
        return sum(len(book) for book in self.books)

    @property
    def campaigns(self) -> int:
        """Campaigns that were found so far."""
        evidence = self.engine.memory.evidence
        return 0 if evidence is None else len(evidence.campaigns)

    def send(self, texts: Iterator[tuple[str, str]], n: int) -> tuple[list[float], list[float], list[float]]:
        """CPU of each of n contributions, in microseconds: assessed, taken in, and a fixed piece of work after that."""
        assess, take_in, fixed = list[float](), list[float](), list[float]()
        items = [contribution(self.sent + i, *each) for i, each in enumerate(itertools.islice(texts, n))]
        self.sent += len(items)
        for each in observe_now(self.engine.batcher, items):
            start = time.thread_time()
            decision = self.engine.assessor.assess(each).decision
            middle = time.thread_time()
            self.engine.memory.judged(each, decision, each.contribution.at_us)
            assess.append((middle - start) * 1e6)
            end = time.thread_time()
            take_in.append((end - middle) * 1e6)
            yardstick()
            fixed.append((time.thread_time() - end) * 1e6)
        self.engine.memory.take_pulled()
        return assess, take_in, fixed

    def point(self, texts: Iterator[tuple[str, str]]) -> dict[str, Any]:
        """Time the next contributions."""
        assess, take_in, fixed = self.send(texts, TIMED)
        grown = self._process.memory_info().rss - self._before
        return {
            "facets": self.facets,
            "contributions": self.sent,
            "campaigns": self.campaigns,
            "assess_us": statistics.median(assess),
            "assess_p99_us": statistics.quantiles(assess, n=100)[98],
            "take_in_us": statistics.median(take_in),
            "take_in_p99_us": statistics.quantiles(take_in, n=100)[98],
            "yardstick_us": statistics.median(fixed),
            "grown_mib": grown / 2**20,
            "bytes_per_facet": grown / max(1, self.facets),
        }


def run(
    *,
    facets: Sequence[int] = FACETS,
    seconds: float = 120.0,
    contributions: int | None = None,
    on_point: Callable[[Mapping[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Measure with each number of facets, then with ever more contributions.

    Parameters
    ----------
    seconds
        CPU seconds for filling and for the contributions after it, each.
    contributions
        How many there are in the end; None sends as many as there are seconds for.
    on_point
        Called with each point of the curves as soon as it was measured: a long stream takes a while.
    """

    def measure(texts: Iterator[tuple[str, str]]) -> dict[str, Any]:
        found = bench.point(texts)
        if on_point is not None:
            on_point(found)
        return found

    batcher = start_batcher(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING))
    try:
        bench, texts, filling = Bench(batcher), recombined(), fillers()
        by_facets, by_contributions = [measure(texts)], list[dict[str, Any]]()
        most, until = sum(book.capacity for book in bench.books), time.process_time() + seconds
        for wanted in sorted(facets):
            while bench.facets < wanted and time.process_time() < until:
                before = bench.facets
                bench.send(filling, CHUNK)
                if bench.facets <= before:
                    break  # new ones push out old ones
            by_facets.append(measure(texts))
            if bench.facets < wanted:
                break
        texts, until, wanted = going_on(), time.process_time() + seconds, bench.sent * 2
        while bench.sent < contributions - TIMED if contributions is not None else time.process_time() < until:
            bench.send(texts, CHUNK)
            if bench.sent >= wanted:
                by_contributions.append(measure(texts))
                wanted = bench.sent * 2
        by_contributions.append(measure(texts))
        return {"facets": {"most": most, "by_facets": by_facets, "by_contributions": by_contributions}}
    finally:
        batcher.close()


def show(results: dict[str, Any], console: Console) -> None:
    """Print both curves."""
    found = results["facets"]
    columns = ["facets", "contributions", "campaigns", "assess µs", "p99", "take in µs", "p99", "yardstick µs"]
    columns += ["grown by MiB", "bytes a facet"]
    table = Table(*columns, title="CPU of one contribution, embedding aside", box=None)
    for point in (*found["by_facets"], *found["by_contributions"]):
        table.add_row(*(f"{value:,.0f}" for value in point.values()))
    console.print(table)
    console.print(f"places for facets: {found['most']:,}")


def main() -> None:
    """Measure, print, and write bench-out/facets.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facets", type=int, nargs="+", default=list(FACETS))
    parser.add_argument(
        "--seconds", type=float, default=120.0, help="CPU seconds for filling, and for contributions after it"
    )
    parser.add_argument(
        "--contributions", type=int, help="how many to go on to; as many as there are seconds for, if not given"
    )
    args = parser.parse_args()
    console = Console(width=160)

    def tell(point: Mapping[str, Any]) -> None:
        console.print(", ".join(f"{name} {value:,.0f}" for name, value in point.items()))

    results = run(facets=args.facets, seconds=args.seconds, contributions=args.contributions, on_point=tell)
    show(results, console)
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    (out / "facets.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
