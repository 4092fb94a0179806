"""`make bench`: speed and memory, beside what a user would have without the guard, in one run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from pathlib import Path
from time import process_time
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import adding, budgets, facets, passing, serving, stages


def main() -> None:
    """Measure, print tables, and write everything to bench-out/results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="time for each figure")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved repetitions; medians are shown")
    parser.add_argument("--memory", type=int, default=100_000, help="contributions for the memory curve")
    parts = ["serving", "passing", "stages", "budgets", "facets"]
    parser.add_argument("--only", choices=parts, help="measure one part")
    parser.add_argument("--requests", type=int, default=4_000, help="requests for each figure of passing")
    parser.add_argument("--backend", choices=serving.ways(), default="", help="for serving; default: all of these")
    args = parser.parse_args()
    results: dict[str, Any] = {"machine": machine()}
    if args.only in (None, "serving"):
        results |= serving.run(seconds=args.seconds, rounds=args.rounds, backend=args.backend)
    if args.only in (None, "passing"):
        results |= asyncio.run(passing.run(n=args.requests, rounds=args.rounds))
        results |= adding.run(n=args.requests, rounds=args.rounds)
    if args.only in (None, "stages"):
        results |= asyncio.run(stages.run(n_stage=2_000, n_memory=args.memory, samples=20))
    if args.only in (None, "budgets"):
        results |= budgets.run(rounds=args.rounds)
    if args.only in (None, "facets"):
        results |= facets.run()
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    show(results, Console())


def machine() -> dict[str, object]:
    """What the figures depend on most: cores, the interpreter, and how fast it is at this moment.

    Whether an interpreter was built with profile-guided optimisation is not written anywhere, so it is timed.
    """
    began = process_time()
    total = 0
    for n in range(1_000_000):
        total += n
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "prefix": sys.base_prefix,
        "million_additions_ms": round(1e3 * (process_time() - began), 1),
    }


def show(results: dict[str, Any], console: Console) -> None:
    """Print what was measured."""
    where = results["machine"]
    console.print(
        f"{where['cores']} cores; Python {where['python']} in {where['prefix']}, "
        f"which takes {where['million_additions_ms']} ms for a million additions"
    )
    if "served" in results:
        serving.show(results, console)
    if "passing" in results:
        passing.show(results, console)
        adding.show(results, console)
    if "stages" in results:
        table = Table("stage", "CPU µs per contribution", box=None)
        for stage in results["stages"]:
            table.add_row(stage["name"], f"{stage['cpu_us']:.0f}")
        console.print(table)
        curve = results["memory"]
        low, high = (f(point["resident_mib"] for point in curve) for f in (min, max))
        console.print(f"resident memory over {curve[-1]['contributions']} contributions: {low:.0f} to {high:.0f} MiB")
        for point in curve:
            console.print(f"  {point['contributions']:>8}  {point['resident_mib']:7.1f} MiB")
    if "budgets" in results:
        budgets.show(results, console)
    if "facets" in results:
        facets.show(results, console)


if __name__ == "__main__":
    main()
