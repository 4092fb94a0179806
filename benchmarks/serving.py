"""Requests per second, latency and CPU: the bare application, guarded ones, and the model alone, interleaved.

The guard runs with every backend and precision that this machine has. Beside each stands sentence-transformers' own
`encode` of the same texts on the same cores, as a user would call it: in float32, in full batches of one length.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import math
import random
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from feedback_guard.embedding.isolated import IsolatedEmbedder
from feedback_guard.embedding.loading import computes_bfloat16
from feedback_guard.embedding.several import SeveralProcesses, make_live_embedder
from feedback_guard.policy.loader import load_policy

Texts = Sequence[tuple[str, str]]
Encode = Callable[[Sequence[Sequence[str]]], object]
"""Reads some batches."""
CLIENTS: Final = {1: (1, 32, 128), 4: (32, 128), 12: (32,)}
"""By the length of texts, in parts of about 12 words: how many clients there are at once. Corrections and
demonstrations have some 150 words."""
PLAIN: Final = "sentence-transformers"
RAW_TEXTS: Final = 512
BATCH: Final = 32
"""Texts in a batch of the model alone; sentence-transformers takes so many unless it is told otherwise."""
MOST_PER_SECOND: Final = {"bare": 0, "guarded": 1_000}
"""Texts that are made for each second of load; the bare application is sent the same few again and again."""

POLICY = """\
extends: balanced
name: bench
store: {{url: "sqlite:///{folder}/guard.db", hold_capacity: 1000000}}
baseline: {{path: "{folder}/baseline"}}
embedding: {{backend: {backend}, precision: {precision}, deadline: 60s, max_wait: 5ms}}
limits: [{{name: rate, facet: contributor, measure: count, amount: 1000000, per: 1s}},
         {{name: weight, facet: contributor, measure: weight, amount: 1000000}}]
routes:
  - {{name: feedback, path: /feedback, on_hold: pass, extract: "{{kind: 'label', input: question, label: intent}}"}}
"""


def ways() -> list[str]:
    """What can run the model here, each as BACKEND or BACKEND/PRECISION."""
    found = ["torch"]
    for backend, package in (("onnx", "onnxruntime"), ("openvino", "openvino")):
        if importlib.util.find_spec(package) is not None and importlib.util.find_spec("onnx") is not None:
            found.append(backend)
    if computes_bfloat16():
        found += [f"{backend}/bfloat16" for backend in found if backend != "onnx"]
    return found


def prepare(folder: Path, way: str) -> Path:
    """Write a policy and build its baseline from the vetted set of the example."""
    folder.mkdir(exist_ok=True)
    policy = folder / "policy.yaml"
    backend, _, precision = way.partition("/")
    policy.write_text(POLICY.format(folder=folder, backend=backend, precision=precision or "full"))
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
    """CPU of the model's processes, in milliseconds a request."""


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
    encode: Encode, processes: Sequence[psutil.Process], texts: Sequence[str], *, batch: int, seconds: float
) -> tuple[float, float]:
    """Texts per second through the model alone, and the milliseconds of CPU that its processes used for one.

    In full batches of texts of one length, in any order of the lengths, as many at once as there are processes.
    """
    ordered = sorted(texts, key=len)
    batches = [ordered[first : first + batch] for first in range(0, len(ordered) - batch + 1, batch)]
    random.Random(0).shuffle(batches)
    n, endless = len(processes), itertools.cycle(batches)
    encode(list(itertools.islice(endless, n)))  # the first takes longer
    done, start, before = 0, perf_counter(), sum(map(_used_ms, processes))
    while (took := perf_counter() - start) < seconds:
        encode(list(itertools.islice(endless, n)))
        done += n * batch
    return done / took, (sum(map(_used_ms, processes)) - before) / done


def serve(port: int, app: psutil.Process, texts: Texts, *, clients: int, seconds: float) -> Served:
    """Load the application, and read what its processes used meanwhile."""
    requests = [request_bytes(port, f"user-{n % 400}", text, label) for n, (text, label) in enumerate(texts)]
    before = _cpu_ms(app)
    measured = asyncio.run(measure(port, requests, clients=clients, seconds=seconds))
    own, model = ((b - a) / max(1, measured.requests) for a, b in zip(before, _cpu_ms(app), strict=True))
    return Served(measured, own, model)


def _cpu_ms(app: psutil.Process) -> tuple[float, float]:
    return _used_ms(app), sum(map(_used_ms, app.children()))


def _used_ms(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system) * 1e3


def run(*, seconds: float, rounds: int, backend: str = "") -> dict[str, object]:
    """Measure everything, interleaved, `rounds` times; medians are reported.

    Every request brings a text that was not sent before.

    Parameters
    ----------
    backend
        One of `ways`; empty for all of them.
    """
    served: dict[str, list[dict[str, float]]] = {}
    raw: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        chosen = [backend] if backend else ways()
        policies = {way: prepare(Path(name) / way.replace("/", "-"), way) for way in chosen}
        for _ in range(rounds):
            for parts, widths in CLIENTS.items():
                texts = [text for text, _ in itertools.islice(recombined(parts=parts), RAW_TEXTS)]
                for engine, encode, processes in _alone(policies):
                    found = encode_rate(encode, processes, texts, batch=BATCH, seconds=seconds)
                    raw.setdefault(f"{parts}:{engine}", []).append(found)
                supply = fresh(parts=parts)
                for kind, policy in {"": None, **policies}.items():
                    args = ("--policy", str(policy)) if policy is not None else ()
                    with serving(*args) as (port, app):
                        serve(port, app, list(itertools.islice(supply, RAW_TEXTS)), clients=8, seconds=1.0)
                        for clients in widths:
                            most = MOST_PER_SECOND["guarded" if kind else "bare"] * math.ceil(seconds)
                            sent = list(itertools.islice(supply, max(RAW_TEXTS, most)))
                            got = serve(port, app, sent, clients=clients, seconds=seconds)
                            row = {**vars(got.measured), "app_cpu_ms": got.app_cpu_ms, "model_cpu_ms": got.model_cpu_ms}
                            served.setdefault(f"{parts}:{kind}:{clients}", []).append(row)
    return {"raw_encode": raw, "served": served}


def _alone(policies: Mapping[str, Path]) -> Iterator[tuple[str, Encode, list[psutil.Process]]]:
    """The model without a guard, one way after the other, with the processes that it runs in.

    sentence-transformers runs in this one; the guard's engines run apart, in as many processes as beside a guard.
    """
    yield PLAIN, _plain(), [psutil.Process()]
    for way, policy in policies.items():
        embedder = make_live_embedder(load_policy(policy).policy.embedding)
        models = embedder.models if isinstance(embedder, SeveralProcesses) else (embedder,)
        apart = [model for model in models if isinstance(model, IsolatedEmbedder)]
        try:
            for model in apart:
                model.load()
            yield way, _engine(apart), [psutil.Process(model.pid) for model in apart]
        finally:
            for model in apart:
                model.close()


def _plain() -> Encode:
    model = SentenceTransformer(str(builtin_model()), device="cpu")

    def encode(batches: Sequence[Sequence[str]]) -> None:
        for batch in batches:
            model.encode(list(batch), batch_size=len(batch), show_progress_bar=False)

    return encode


def _engine(models: Sequence[IsolatedEmbedder]) -> Encode:
    def encode(batches: Sequence[Sequence[str]]) -> None:
        for model, batch in zip(models, batches, strict=True):
            model.begin([piece for text in batch for piece in model.split(text)])
        for model in models:
            model.finish()

    return encode


def show(results: dict[str, Any], console: Console) -> None:
    """Print a table for each length of texts."""
    for parts in CLIENTS:
        alone = _medians(results["raw_encode"], parts)
        rate, cpu_ms = alone[PLAIN]
        columns = ("clients", "requests/s", "of plain", "p50 ms", "p99 ms", "app ms", "model ms", "errors")
        table = Table("", "model alone", *columns, title=f"texts of about {12 * parts} words", box=None)
        table.add_row(f"{PLAIN} alone", f"{rate:.0f}/s", *[""] * 6, f"{cpu_ms:.2f}")
        for key, rounds in results["served"].items():
            length, kind, clients = key.split(":")
            if length != str(parts):
                continue
            figures = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
            table.add_row(
                f"guarded, {kind}" if kind else "bare application",
                f"{alone[kind][0]:.0f}/s" if kind else "",
                clients,
                f"{figures['per_second']:.0f}",
                f"{figures['per_second'] / rate:.2f}" if kind else "",
                f"{figures['p50_ms']:.0f}",
                f"{figures['p99_ms']:.0f}",
                f"{figures['app_cpu_ms']:.2f}",
                f"{figures['model_cpu_ms']:.2f}",
                f"{sum(row['errors'] for row in rounds):.0f}",
            )
        console.print(table)
    console.print(
        "of plain: requests/s of what sentence-transformers encodes alone. app, model: CPU ms a request. Threads of "
        "sentence-transformers spin while they wait, so on a machine with other work it loses most."
    )


def _medians(raw: dict[str, list[tuple[float, float]]], parts: int) -> dict[str, tuple[float, float]]:
    split = ((key.split(":", 1), figures) for key, figures in raw.items())
    return {
        engine: (statistics.median(rate for rate, _ in figures), statistics.median(cpu for _, cpu in figures))
        for (length, engine), figures in split
        if length == str(parts)
    }
