"""Requests per second, latency and CPU: the bare application, the guarded one, and the model alone, interleaved."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from benchmarks.load import Measured, measure, request_bytes
from benchmarks.texts import fresh, recombined, rows
from feedback_guard.embedding.digest import builtin_model
from feedback_guard.embedding.factory import make_embedder
from feedback_guard.policy.loader import load_policy

Texts = Sequence[tuple[str, str]]
Encode = Callable[[Sequence[str]], object]
CLIENTS: Final = {1: (1, 8, 32, 128), 4: (32, 128), 8: (32, 128)}
"""By the length of texts, in parts of about 12 words: how many clients there are at once."""
RAW_TEXTS: Final = 512
MOST_PER_SECOND: Final = {"bare": 0, "guarded": 1_000}
"""Texts that are made for each second of load; the bare application is sent the same few again and again."""

POLICY = """\
extends: balanced
name: bench
store: {{url: "sqlite:///{folder}/guard.db", hold_capacity: 1000000}}
baseline: {{path: "{folder}/baseline"}}
embedding: {{backend: {backend}, deadline: 60s, max_wait: 5ms}}
limits: [{{name: rate, facet: contributor, measure: count, amount: 1000000, per: 1s}},
         {{name: weight, facet: contributor, measure: weight, amount: 1000000}}]
routes:
  - {{name: feedback, path: /feedback, on_hold: pass, extract: "{{kind: 'label', input: question, label: intent}}"}}
"""


def prepare(folder: Path, backend: str) -> Path:
    """Write a policy and build its baseline from the vetted set of the example."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY.format(folder=folder, backend=backend))
    trusted = folder / "trusted.jsonl"
    with trusted.open("w") as out:
        for n, row in enumerate(rows("vetted.jsonl.gz")):
            line = {"id": f"t{n}", "at": "2026-01-01T00:00:00Z", "contributor": f"staff-{n % 7}", "kind": "label"}
            out.write(json.dumps({**line, "input": row["input"], "label": row["label"]}) + "\n")
    subprocess.run(
        [sys.executable, "-m", "feedback_guard", "baseline", "build", str(trusted),
         "--policy", str(policy), "--out", str(folder / "baseline")],
        check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return policy


@dataclass(frozen=True)
class Served:
    """What clients saw, and what it cost."""

    measured: Measured
    app_cpu_ms: float
    """CPU of the application's process, guard included, for each request, in milliseconds."""
    model_cpu_ms: float
    """CPU of the model's process, in milliseconds a request."""


@contextlib.contextmanager
def serving(*args: str) -> Iterator[tuple[int, psutil.Process]]:
    """Start the application on a free loopback port; it is ended with the block."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    with listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.app", "--fd", str(listener.fileno()), *args],
            stdout=subprocess.PIPE, pass_fds=[listener.fileno()], text=True,
        )  # fmt: skip
        try:
            if process.stdout is None or process.stdout.readline().strip() != "ready":
                raise SystemExit("the application did not start")
            yield listener.getsockname()[1], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)


def encode_rate(
    encode: Callable[[Sequence[str]], object], texts: Sequence[str], *, batch: int, seconds: float
) -> float:
    """Texts per second through the model alone, in full batches sorted by length."""
    until, done, start = perf_counter() + seconds, 0, perf_counter()
    ordered = sorted(texts, key=len)
    while perf_counter() < until:
        for first in range(0, len(ordered) - batch, batch):
            encode(ordered[first : first + batch])
            done += batch
            if perf_counter() >= until:
                break
    return done / (perf_counter() - start)


def serve(port: int, app: psutil.Process, texts: Texts, *, clients: int, seconds: float) -> Served:
    """Load the application, and read what its processes used meanwhile."""
    requests = [request_bytes(port, f"user-{n % 400}", text, label) for n, (text, label) in enumerate(texts)]
    before = _cpu_ms(app)
    measured = asyncio.run(measure(port, requests, clients=clients, seconds=seconds))
    own, model = ((b - a) / max(1, measured.requests) for a, b in zip(before, _cpu_ms(app), strict=True))
    return Served(measured, own, model)


def _cpu_ms(app: psutil.Process) -> tuple[float, float]:
    own, *children = (process.cpu_times() for process in (app, *app.children()))
    return (own.user + own.system) * 1e3, sum(times.user + times.system for times in children) * 1e3


def run(*, seconds: float, rounds: int, backend: str = "torch") -> dict[str, object]:
    """Measure everything, interleaved, `rounds` times; medians are reported.

    The model alone is measured as a user would run it, by sentence-transformers on torch, and by the engine that the
    guard uses. Every request brings a text that was not sent before.
    """
    served: dict[str, list[dict[str, float]]] = {}
    raw: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        policy = prepare(Path(name), backend)
        loaded = load_policy(policy).policy.embedding
        plain = SentenceTransformer(str(builtin_model()), device="cpu")
        alone: dict[str, Encode] = {
            "sentence-transformers": lambda batch: plain.encode(list(batch), batch_size=len(batch)),
            f"the guard's engine, {backend}": make_embedder(loaded).encode,
        }
        for encode in alone.values():
            encode(["the first batch takes longer"] * loaded.max_batch)
        for _ in range(rounds):
            for parts, widths in CLIENTS.items():
                supply = fresh(parts=parts)
                texts = list(itertools.islice(recombined(parts=parts), RAW_TEXTS))
                for engine, encode in alone.items():
                    rate = encode_rate(encode, [text for text, _ in texts], batch=loaded.max_batch, seconds=seconds)
                    raw.setdefault(f"{parts}/{engine}", []).append(rate)
                for kind, args in (("bare", ()), ("guarded", ("--policy", str(policy)))):
                    with serving(*args) as (port, app):
                        serve(port, app, list(itertools.islice(supply, RAW_TEXTS)), clients=8, seconds=1.0)
                        for clients in widths:
                            sent = list(
                                itertools.islice(supply, max(RAW_TEXTS, MOST_PER_SECOND[kind] * math.ceil(seconds)))
                            )
                            got = serve(port, app, sent, clients=clients, seconds=seconds)
                            row = {**vars(got.measured), "app_cpu_ms": got.app_cpu_ms, "model_cpu_ms": got.model_cpu_ms}
                            served.setdefault(f"{parts}/{kind}/{clients}", []).append(row)
    return {"raw_encode_per_second": raw, "served": served}


def show(results: dict[str, Any], console: Console) -> None:
    """Print a table for each length of texts."""
    for parts in CLIENTS:
        alone = _medians(results["raw_encode_per_second"], parts)
        columns = ("", "clients", "requests/s", "of the model", "p50 ms", "p99 ms", "CPU ms app", "model", "errors")
        table = Table(*columns, title=f"texts of about {12 * parts} words", box=None)
        for engine, rate in alone.items():
            table.add_row(f"model alone, {engine}", "", f"{rate:.0f}", "", "", "", "", "", "")
        for key, rounds in results["served"].items():
            length, kind, clients = key.split("/")
            if length != str(parts):
                continue
            figures = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
            shares = " / ".join(f"{figures['per_second'] / rate:.2f}" for rate in alone.values())
            table.add_row(
                kind,
                clients,
                f"{figures['per_second']:.0f}",
                shares if kind == "guarded" else "",
                f"{figures['p50_ms']:.1f}",
                f"{figures['p99_ms']:.1f}",
                f"{figures['app_cpu_ms']:.2f}",
                f"{figures['model_cpu_ms']:.2f}",
                f"{sum(row['errors'] for row in rounds):.0f}",
            )
        console.print(table)


def _medians(raw: dict[str, list[float]], parts: int) -> dict[str, float]:
    split = ((key.split("/", 1), rates) for key, rates in raw.items())
    return {engine: statistics.median(rates) for (length, engine), rates in split if length == str(parts)}
