"""Half of the traffic hostile for thirty simulated days: does it move what the guard holds and what it misses?

Real questions (banking77) and the real model, 80 honest and 80 hostile contributions a day. Twice: with the 77 intents,
and with two classes made of them, where a single text gives little away and evidence has to carry it::

    python -m benchmarks.hostile_days
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bank_assistant.student import Example, read_examples
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.engine import Engine, observe_now, start_batcher
from feedback_guard.evidence.baseline import build_baseline
from feedback_guard.policy.loader import load_policy
from feedback_guard.redteam.material import Text
from feedback_guard.redteam.siege import Ground, Probed, Siege

CARDS = ("card", "pin", "atm", "cash", "contactless", "passcode", "apple_pay")
N_PROBES = 500


def coarse(intent: str) -> str:
    """Two classes: what concerns a card or cash, and the rest."""
    return "card" if any(word in intent.lower() for word in CARDS) else "account"


def texts(examples: Sequence[Example], *, two: bool) -> tuple[Text, ...]:
    return tuple(Text(each.question, coarse(each.intent) if two else each.intent) for each in examples)


def grounds(*, two: bool) -> tuple[Ground, tuple[Text, ...]]:
    """Everybody's texts, and the trusted ones."""
    rng = random.Random(5)
    stream, spare, held_out = (read_examples(name) for name in ("stream", "spare", "held_out"))
    for pool in (stream, spare, held_out):
        rng.shuffle(pool)
    probes, carriers = held_out[:N_PROBES], held_out[N_PROBES:]
    ground = Ground(*(texts(pool, two=two) for pool in (stream, spare, probes, carriers)))
    return ground, texts(read_examples("vetted"), two=two)


@dataclass(frozen=True)
class Size:
    """How much is sent.

    Parameters
    ----------
    days, per_day
        Days, and honest contributions on each.
    probes_each
        Poisoned probes of each kind.
    seeds
        How often all of it is done, each time with other accounts, moments and carriers.
    """

    days: int
    per_day: int
    probes_each: int
    seeds: int


def mean(found: Sequence[Probed]) -> Probed:
    """The mean of what became of as many probes each time."""

    def over(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {kind: sum(each[kind] for each in shares) / len(shares) for kind in shares[0]}

    return Probed(over([each.at_once for each in found]), over([each.finally_ for each in found]))


def measure(*, two: bool, size: Size, console: Console) -> dict[str, Probed]:
    """Probe a fresh engine, one after honest days, and one after hostile days."""
    ground, vetted = grounds(two=two)
    loaded = load_policy("balanced")
    batcher = start_batcher(loaded.policy.embedding)
    try:
        trusted = [Contribution(f"t{n}", 0, "staff", Kind.LABEL, t.text, t.label) for n, t in enumerate(vetted)]
        frozen = build_baseline(
            observe_now(batcher, trusted), fingerprint=batcher.embedder.fingerprint, created_at_us=0
        )
        found: dict[str, list[Probed]] = {}
        for seed in range(size.seeds):
            siege = Siege(
                lambda: Engine.assemble(loaded.policy, loaded.digest, batcher, frozen),
                ground,
                wanted="account" if two else "terminate_account",
                days=size.days,
                honest_per_day=size.per_day,
                probes_each=size.probes_each,
                seed=seed,
            )
            found.setdefault("baseline alone", []).append(siege.probe(siege.fresh()))
            for name, hostile in (("after honest days", False), ("after hostile days", True)):
                began = time.perf_counter()
                stood = siege.stand(hostile=hostile)
                found.setdefault(name, []).append(siege.probe(stood.session))
                console.print(
                    f"{name}: of the honest contributions of these days {stood.honest_held:.1%} held and "
                    f"{stood.honest_lost:.1%} of their weight lost; {time.perf_counter() - began:.0f} s"
                )
        return {name: mean(each) for name, each in found.items()}
    finally:
        batcher.close()


def show(title: str, found: dict[str, Probed], console: Console) -> None:
    kinds = list(found["baseline alone"].at_once)
    table = Table(title, *(f"{kind}, at once / finally" for kind in kinds), "false holds", "misses", box=None)
    for name, probed in found.items():
        cells = [f"{100 * probed.at_once[kind]:.1f} / {100 * probed.finally_[kind]:.1f}" for kind in kinds]
        rates = [f"{100 * now:.1f} / {100 * end:.1f}" for now, end in (probed.false_holds, probed.misses)]
        table.add_row(name, *cells, *rates)
    console.print(table)


def main() -> None:
    """Measure, print, and write bench-out/hostile_days.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--per-day", type=int, default=80, help="honest contributions a day; as many are hostile")
    parser.add_argument("--probes-each", type=int, default=30, help="poisoned probes of each of five kinds, beside 500")
    parser.add_argument("--seeds", type=int, default=1, help="how often, with other accounts and carriers each time")
    parser.add_argument("--only", choices=["two", "many"], help="with two classes, or with 77, alone")
    args = parser.parse_args()
    size = Size(args.days, args.per_day, args.probes_each, args.seeds)
    console, results = Console(width=200), {}
    for name, two in (("two", True), ("many", False)):
        if args.only in (None, name):
            found = measure(two=two, size=size, console=console)
            show("two classes" if two else "77 classes", found, console)
            results[name] = {
                when: {"at_once": dict(probed.at_once), "finally": dict(probed.finally_)}
                for when, probed in found.items()
            }
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    (out / "hostile_days.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
