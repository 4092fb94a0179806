"""Requests per second and latency: the bare application, the guarded one, and the model alone, interleaved."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.load import Measured, measure, request_bytes
from feedback_guard.embedding.factory import make_embedder
from feedback_guard.embedding.interface import Embedder
from feedback_guard.policy.embedding import Backend
from feedback_guard.policy.loader import load_policy

DATA = Path(__file__).parent.parent / "examples" / "bank_assistant" / "data"
CLIENTS = (1, 8, 32, 128)

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


def rows(name: str) -> list[dict[str, str]]:
    """Rows of the example's data, shuffled: questions of bank customers with their intents."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    random.Random(0).shuffle(found)
    return found


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


@contextlib.contextmanager
def serving(*args: str) -> Iterator[int]:
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
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.wait(30)


def encode_rate(embedder: Embedder, texts: Sequence[str], *, batch: int, seconds: float) -> float:
    """Texts per second through the model alone, in full batches sorted by length."""
    until, done, start = time.perf_counter() + seconds, 0, time.perf_counter()
    ordered = sorted(texts, key=len)
    while time.perf_counter() < until:
        for first in range(0, len(ordered) - batch, batch):
            embedder.encode(ordered[first : first + batch])
            done += batch
            if time.perf_counter() >= until:
                break
    return done / (time.perf_counter() - start)


def run(*, seconds: float, rounds: int, backend: str = "torch") -> dict[str, object]:
    """Measure everything, interleaved, `rounds` times; medians are reported.

    The model alone is measured as a user would run it, by torch, and by the engine that the guard uses.
    """
    texts = [row["input"] for row in rows("stream.jsonl.gz")]
    labels = [row["label"] for row in rows("stream.jsonl.gz")]
    results: dict[str, list[Measured]] = {}
    raw: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        policy = prepare(Path(name), backend)
        loaded = load_policy(policy).policy.embedding
        engines = [Backend.TORCH, *({loaded.backend} - {Backend.TORCH})]
        alone = {engine.value: make_embedder(loaded.model_copy(update={"backend": engine})) for engine in engines}
        for embedder in alone.values():
            embedder.encode(texts[: loaded.max_batch])
        for _ in range(rounds):
            for engine, embedder in alone.items():
                rate = encode_rate(embedder, texts, batch=loaded.max_batch, seconds=seconds)
                raw.setdefault(engine, []).append(rate)
            for kind, args in (("bare", ()), ("guarded", ("--policy", str(policy)))):
                with serving(*args) as port:
                    requests = [
                        request_bytes(port, f"user-{n % 400}", text, label)
                        for n, (text, label) in enumerate(zip(texts, labels, strict=True))
                    ]
                    asyncio.run(measure(port, requests, clients=8, seconds=1.0))
                    for clients in CLIENTS:
                        got = asyncio.run(measure(port, requests, clients=clients, seconds=seconds))
                        results.setdefault(f"{kind}/{clients}", []).append(got)
    return {"raw_encode_per_second": raw, "served": {key: [vars(m) for m in value] for key, value in results.items()}}
