"""How fast the model is, and how much of that many callers at once get through the batcher.

In each round every figure is measured once, so that a busy machine slows all of them alike; medians are shown::

    python -m benchmarks.embedding --seconds 3 --rounds 3 --backend torch
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from feedback_guard.embedding.available import available_threads
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.embedding.factory import make_embedder
from feedback_guard.embedding.interface import Embedder
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy

TOKENS = (16, 48, 128)
CALLERS = (1, 8, 32, 128)
BATCH = 16
N_TEXTS = 256
_VOCABULARY = (
    "card bank payment transfer arrive money account please help charge fee abroad cash pin top limit refund my the "
    "when why is not has been yet and with for still wrong new old two days ago week today rate exchange"
)

Rates = dict[str, list[float]]


def texts_of(tokens: int, n: int, *, seed: int = 0) -> list[str]:
    """Texts of so many tokens: each word is one, and the model adds two of its own."""
    rng, words = random.Random(seed), _VOCABULARY.split()
    return [" ".join(rng.choice(words) for _ in range(tokens - 2)) for _ in range(n)]


def rate_of(step: Callable[[], int], seconds: float) -> float:
    """Texts per second of a step that returns how many it did."""
    step()
    done, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds:
        done += step()
    return done / taken


def encode_rate(embedder: Embedder, texts: Sequence[str], *, batch: int, seconds: float) -> float:
    """Texts per second through the model itself, in batches of so many."""
    batches = itertools.cycle([texts[at : at + batch] for at in range(0, len(texts), batch)])
    return rate_of(lambda: len(embedder.encode(next(batches))), seconds)


async def shared_rate(batcher: Batcher, texts: Sequence[str], *, callers: int, seconds: float) -> tuple[float, float]:
    """Texts per second through the batcher, and the median wait in milliseconds, with so many callers at once."""
    supply = itertools.cycle(texts)
    waits: list[float] = []
    end = time.perf_counter() + seconds

    async def call() -> None:
        while (began := time.perf_counter()) < end:
            await batcher.embed([next(supply)], deadline_us=60_000_000)
            waits.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return len(waits) / (time.perf_counter() - began), 1_000 * statistics.median(waits)


def measure(policy: EmbeddingPolicy, *, seconds: float, rounds: int) -> Rates:
    """Measure every figure once per round."""
    batcher = Batcher(
        make_embedder(policy),
        max_batch=policy.max_batch,
        max_wait_us=policy.max_wait,
        queue_size=policy.queue_size,
    )
    began = time.perf_counter()
    batcher.start()
    rates: Rates = defaultdict(list)
    rates["load_seconds"].append(time.perf_counter() - began)
    model = make_embedder(policy)  # its own copy: the batcher's belongs to the batcher's thread
    for _ in range(rounds):
        for tokens in TOKENS:
            texts = texts_of(tokens, N_TEXTS)
            rates[f"raw/{tokens}"].append(encode_rate(model, texts, batch=BATCH, seconds=seconds))
            rates[f"one by one/{tokens}"].append(encode_rate(model, texts, batch=1, seconds=seconds))
            for callers in CALLERS:
                rate, wait = asyncio.run(shared_rate(batcher, texts, callers=callers, seconds=seconds))
                rates[f"{callers} callers/{tokens}"].append(rate)
                rates[f"{callers} callers, wait ms/{tokens}"].append(wait)
    batcher.close()
    return rates


def show(rates: Rates, console: Console) -> None:
    """Print medians, each with its share of the raw rate of the same length."""
    median = {name: statistics.median(values) for name, values in rates.items()}
    table = Table("texts/s (share of raw)", *(f"{tokens} tokens" for tokens in TOKENS), box=None)
    for name in ("raw", "one by one", *(f"{callers} callers" for callers in CALLERS)):
        cells = []
        for tokens in TOKENS:
            rate = median[f"{name}/{tokens}"]
            wait = median.get(f"{name}, wait ms/{tokens}")
            waited = "" if wait is None else f", {wait:.0f} ms"
            cells.append(f"{rate:.0f} ({rate / median[f'raw/{tokens}']:.2f}{waited})")
        table.add_row(name, *cells)
    console.print(table)
    console.print(f"loaded in {median['load_seconds']:.1f} s")


def main() -> None:
    """Measure, print a table, and write everything to bench-out/embedding-BACKEND.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each figure")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved repetitions; medians are shown")
    parser.add_argument("--backend", choices=[b.value for b in Backend], default=Backend.TORCH.value)
    parser.add_argument("--threads", type=int, default=None, help="threads of the model; default: one per core")
    args = parser.parse_args()
    policy = EmbeddingPolicy(backend=Backend(args.backend), threads=args.threads)
    rates = measure(policy, seconds=args.seconds, rounds=args.rounds)
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    found = {"backend": args.backend, "threads": args.threads or available_threads(), "figures": rates}
    (out / f"embedding-{args.backend}.json").write_text(json.dumps(found, indent=1) + "\n")
    show(rates, Console())


if __name__ == "__main__":
    main()
