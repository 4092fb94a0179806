"""Cut and verify a snapshot of 100,000 contributions: time, and memory. `python -m benchmarks.snapshots`."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.learning.cut import create
from feedback_guard.learning.snapshot import Snapshot
from feedback_guard.learning.snapshot_verify import verify_snapshot
from feedback_guard.learning.writing import Cut
from feedback_guard.policy.loader import policy_digest
from feedback_guard.policy.schema import Policy
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.records import Judged, NewSubmission
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Decision, Verdict

START_US = 1_770_000_000_000_000
DAY_US = 86_400_000_000
MIB = 1024 * 1024


def fill(store: Store, n: int, people: int, seed: int = 1) -> None:
    """Accepted contributions of some 200 characters, of people of whom some send much more than others."""
    rng = random.Random(seed)
    words = [f"{rng.randrange(36**4):04x}" for _ in range(2_000)]

    def portion(first: int, last: int) -> Callable[[Transaction], None]:
        new = []
        for number in range(first, last):
            who = min(people - 1, int(people * rng.random() ** 3))
            item = Contribution(
                f"c{number:08}", START_US, f"user-{who}", Kind.LABEL, " ".join(rng.choices(words, k=40)),
                label=f"label-{rng.randrange(50)}", groups={"network": f"net-{who % 500}"},
            )  # fmt: skip
            verdict = Verdict(item.id, Decision.ACCEPT, rng.choice([1.0, 1.0, 0.7]), 0.1, (), "sha256:p", "sha256:b")
            judged = (Judged(item, verdict, Learning.ACCEPTED),)
            new.append(NewSubmission(f"s{number:08}", "feedback", START_US, Delivery.NONE, judged))

        def insert(tx: Transaction) -> None:
            for each in new:
                tx.insert(each)

        return insert

    for first in range(0, n, 1_000):
        store.submit(portion(first, min(n, first + 1_000))).result()


class Watch:
    """The resident memory of this process while something runs."""

    def __init__(self) -> None:
        self.before = self.peak = self._now()
        self._ended = threading.Event()

    def _now(self) -> float:
        return psutil.Process(os.getpid()).memory_info().rss / MIB

    def look(self) -> None:
        """Look again and again, until told to end."""
        while not self._ended.wait(0.02):
            self.peak = max(self.peak, self._now())

    def end(self) -> None:
        """End looking."""
        self._ended.set()


@contextmanager
def measured(name: str, results: dict[str, Any]) -> Iterator[None]:
    """Note wall time, CPU time and how much memory grew at most."""
    watch = Watch()
    thread = threading.Thread(target=watch.look)
    thread.start()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        results[name] = {
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
        }
        watch.end()
        thread.join()
        results[name]["grew_mib"] = round(watch.peak - watch.before, 1)
        results[name]["peak_mib"] = round(watch.peak, 1)
        print(f"{name}: {results[name]}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, and write bench-out/snapshots.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contributions", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=10_000)
    args = parser.parse_args()
    results: dict[str, Any] = {"contributions": args.contributions, "people": args.people}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy = Policy.model_validate(
            {
                "store": {"url": f"sqlite:///{folder / 'store.db'}"},
                "snapshot": {
                    "caps": [
                        {"facet": "contributor", "max_share": 0.0005, "max_weight": 25},
                        {"facet": "group:network", "max_share": 0.005},
                    ]
                },
            }
        )
        with Store.open(policy.store, clock=ManualClock(START_US)) as store:
            with measured("fill", results):
                fill(store, args.contributions, args.people)
            how = Cut(policy, policy_digest(policy), None, START_US + 2 * DAY_US)
            with measured("create", results):
                manifest = create(store, how, folder / "snapshot", now_us=START_US + 2 * DAY_US)
            results["rows"] = manifest["contributions"]
            results["files"] = {file["name"]: file["bytes"] for file in manifest["files"]}
            results["store_bytes"] = (folder / "store.db").stat().st_size
        with measured("verify", results):
            report = verify_snapshot(folder / "snapshot")
        results["findings"] = report.n_findings
        with measured("read", results):
            weight = sum(row.weight_micro for row in Snapshot.open(folder / "snapshot"))
        results["whole"] = weight == manifest["weight_micro"]
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    (out / "snapshots.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
