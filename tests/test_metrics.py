"""The metrics page: closed labels, and one truth for several workers even when one of them is killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import string
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from feedback_guard.errors import UsageError
from feedback_guard.evidence.kinds.registry import BUILT_IN
from feedback_guard.evidence.phrases import PHRASES
from feedback_guard.metrics import Metrics
from feedback_guard.metrics_page import metrics_app
from feedback_guard.metrics_words import FACETS, OUTCOMES, PARTS
from feedback_guard.metrics_workers import VARIABLE, WorkerFiles, mark_worker_dead, prepare_directory, set_too_late

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

WORKER = """
import sys
from pathlib import Path
from feedback_guard.metrics import Metrics
from feedback_guard.metrics_workers import mark_worker_dead
metrics = Metrics(routes=["feedback"], budgets=["hourly"])
second = Metrics(routes=["feedback"], budgets=["hourly"])  # another guard in the same process
print("ready", flush=True)
for line in sys.stdin:
    verb, _, argument = line.strip().partition(" ")
    if verb == "judge":
        for i in range(int(argument)):
            (metrics, second)[i % 2].judged("feedback", "label", "accept")
    elif verb == "queue":
        metrics.queue("writer", int(argument))
    elif verb == "held":
        metrics.held(int(argument), 60.0)
    elif verb == "drift":
        metrics.drift(float(argument), float(argument) >= 1)
    elif verb == "dead":
        mark_worker_dead(int(argument))
    elif verb == "page":
        Path(argument).write_bytes(metrics.render()[0])
    print("done", flush=True)
"""


def samples(page: bytes) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(page: bytes, name: str, **labels: str) -> float:
    return samples(page)[name, frozenset(labels.items())]


def judged(page: bytes) -> float:
    return value(page, "feedback_guard_contributions_total", route="feedback", kind="label", decision="accept")


@dataclass
class Worker:
    process: subprocess.Popen[str]
    page: Path

    def do(self, command: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def scrape(self) -> bytes:
        self.do(f"page {self.page}")
        return self.page.read_bytes()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "metrics [of] workers"
    prepare_directory(path)
    return path


@pytest.fixture
def workers(directory: Path, tmp_path: Path) -> Iterator[list[Worker]]:
    started = []
    for number in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, VARIABLE: str(directory)},
            cwd=Path(__file__).parents[1],
        )
        started.append(Worker(process, tmp_path / f"page-{number}"))
    for worker in started:
        assert worker.process.stdout is not None
        assert worker.process.stdout.readline() == "ready\n"
    yield started
    for worker in started:
        with worker.process:
            worker.process.kill()


def test_each_method_reaches_the_page() -> None:
    metrics = Metrics(routes=["feedback"], budgets=["hourly"])
    metrics.judged("feedback", "label", "quarantine")
    metrics.suspicion(0.97)
    metrics.stage("embedding", 0.004)
    metrics.queue("embedding", 3)
    metrics.held(2, 60.5)
    metrics.undelivered(3)
    metrics.drift(0.25, alarm=True)
    metrics.teaching(0.1, 1.0, 2.5, {"word": 3, "region": 1, "of-a-package": 2})
    metrics.refused_by_budget("hourly")
    metrics.batch(8, 0.02)
    metrics.failed_open("embedding")
    metrics.failed("store")
    metrics.request("feedback", "held")
    metrics.delivery("dispatching")
    page, content_type = metrics.render()
    assert content_type == CONTENT_TYPE_PLAIN_0_0_4
    contributions = "feedback_guard_contributions_total"
    assert value(page, contributions, route="feedback", kind="label", decision="quarantine") == 1
    assert value(page, "feedback_guard_suspicion_bucket", le="0.95") == 0
    assert value(page, "feedback_guard_suspicion_bucket", le="0.98") == 1
    assert value(page, "feedback_guard_stage_seconds_sum", stage="embedding") == 0.004
    assert value(page, "feedback_guard_queue_depth", queue="embedding") == 3
    assert value(page, "feedback_guard_held_items") == 2
    assert value(page, "feedback_guard_held_oldest_age_seconds") == 60.5
    assert value(page, "feedback_guard_undelivered_items") == 3
    assert value(page, "feedback_guard_drift_statistic") == 0.25
    assert value(page, "feedback_guard_drift_alarm") == 1
    assert value(page, "feedback_guard_teaching_divergence") == 0.1
    assert value(page, "feedback_guard_teaching_statistic") == 1
    assert value(page, "feedback_guard_teaching_log_odds") == 2.5
    facets = {facet: value(page, "feedback_guard_teaching_facets", facet=facet) for facet in (*FACETS, "other")}
    assert facets == {"word": 3, "pair": 0, "shape": 0, "habit": 0, "region": 1, "radius": 0, "served": 0, "other": 2}
    assert value(page, "feedback_guard_budget_refusals_total", budget="hourly") == 1
    assert value(page, "feedback_guard_embedding_batch_size_sum") == 8
    assert value(page, "feedback_guard_embedding_batch_seconds_count") == 1
    assert value(page, "feedback_guard_failed_open_total", part="embedding") == 1
    assert value(page, "feedback_guard_failures_total", part="store") == 1
    assert value(page, "feedback_guard_requests_total", route="feedback", outcome="held") == 1
    assert value(page, "feedback_guard_deliveries_total", state="dispatching") == 1


def test_every_kind_of_facet_that_comes_with_the_guard_has_a_label() -> None:
    assert set(FACETS) == {*PHRASES, *BUILT_IN}


def test_series_that_alerts_watch_begin_at_zero() -> None:
    page = Metrics(routes=["feedback"], budgets=["hourly"]).render()[0]
    for part in PARTS:
        assert value(page, "feedback_guard_failed_open_total", part=part) == 0
    for outcome in OUTCOMES:
        assert value(page, "feedback_guard_requests_total", route="feedback", outcome=outcome) == 0
    assert value(page, "feedback_guard_budget_refusals_total", budget="hourly") == 0


def test_hostile_label_values_add_no_series() -> None:
    metrics = Metrics(routes=["feedback"], budgets=["hourly"])
    metrics.delivery("held")
    metrics.delivery("?")
    metrics.stage("total", 0.0)
    metrics.stage("?", 0.0)
    metrics.queue("?", 0)
    metrics.judged("?", "?", "?")
    before = len(samples(metrics.render()[0]))
    rng = random.Random(7)
    for _ in range(3_000):
        text = "".join(rng.choices(string.printable + "\u202e\U000e0041é", k=rng.randrange(1, 30)))
        metrics.judged(text, text, text)
        metrics.stage(text, 0.1)
        metrics.queue(text, 1)
        metrics.refused_by_budget(text)
        metrics.failed(text)
        metrics.failed_open(text)
        metrics.request(text, text)
        metrics.delivery(text)
        metrics.teaching(0.1, 0.1, 0.1, {text: 1})
    page = metrics.render()[0]
    # the pairs (other route, other outcome) and the like appear once, however many texts come
    assert len(samples(page)) <= before + 2
    assert value(page, "feedback_guard_contributions_total", route="other", kind="other", decision="other") == 3_001


def test_series_that_are_remembered_are_the_known_ones() -> None:
    metrics = Metrics(routes=["feedback"])
    for n in range(50):
        metrics.judged(f"/{n}", "label", "accept")
        metrics.judged("feedback", f"kind {n}", "accept")
        metrics.judged("feedback", "label", f"decision {n}")
        metrics.request(f"/{n}", "accepted")
    assert (metrics._judged, metrics._counted) == ({}, {})
    metrics.judged("feedback", "label", "accept")
    metrics.judged("feedback", "label", "accept")
    assert list(metrics._judged) == [("feedback", "label", "accept")]
    assert judged(metrics.render()[0]) == 2


def test_a_direct_call_has_a_name() -> None:
    metrics = Metrics()
    metrics.judged("", "label", "accept")
    page = metrics.render()[0]
    assert value(page, "feedback_guard_contributions_total", route="direct", kind="label", decision="accept") == 1


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_one_odd_number_does_not_spoil_a_sum(odd: float) -> None:
    metrics = Metrics()
    for number in (odd, 0.5):
        metrics.suspicion(number)
        metrics.stage("total", number)
        metrics.batch(1, number)
        metrics.drift(number, alarm=False)
        metrics.teaching(number, number, number, {})
        metrics.held(1, number)
    page = metrics.render()[0]
    assert value(page, "feedback_guard_suspicion_sum") == 0.5
    assert value(page, "feedback_guard_stage_seconds_sum", stage="total") == 0.5
    assert value(page, "feedback_guard_embedding_batch_seconds_sum") == 0.5
    assert value(page, "feedback_guard_drift_statistic") == 0.5
    assert value(page, "feedback_guard_held_oldest_age_seconds") == 0.5
    for what in ("divergence", "statistic", "log_odds"):
        assert value(page, f"feedback_guard_teaching_{what}") == 0.5


def test_nothing_held_has_no_age() -> None:
    metrics = Metrics()
    metrics.held(3, 7200.0)
    metrics.held(0, 7200.0)
    assert value(metrics.render()[0], "feedback_guard_held_oldest_age_seconds") == 0


def test_workers_answer_together_and_a_killed_one_is_forgotten(workers: list[Worker], directory: Path) -> None:
    first, second, third = workers
    for number, worker in enumerate(workers, start=1):
        worker.do(f"judge {10 * number}")
        worker.do(f"queue {number}")
    first.do("drift 0.25")
    second.do("drift 1.0")
    third.do("held 5")
    first.do("held 4")
    for worker in workers:  # whoever is asked says the same
        page = worker.scrape()
        assert judged(page) == 60
        assert value(page, "feedback_guard_queue_depth", queue="writer") == 6
        assert value(page, "feedback_guard_drift_statistic") == 1
        assert value(page, "feedback_guard_drift_alarm") == 1
        assert value(page, "feedback_guard_held_items") == 4
    assert b"pid=" not in page

    second.kill()
    (directory / f"histogram_{second.process.pid}.db").write_bytes(b"")
    page = first.scrape()
    assert judged(page) == 60, "what a dead worker counted still happened"
    assert value(page, "feedback_guard_queue_depth", queue="writer") == 4, "what it had queued is gone with it"
    assert value(page, "feedback_guard_drift_alarm") == 0
    first.do("judge 1")
    assert judged(third.scrape()) == 61


def test_a_worker_whose_end_is_reported_leaves_the_gauges(workers: list[Worker]) -> None:
    first, second, third = workers
    first.do("queue 1")
    second.do("queue 10")
    third.do(f"dead {second.process.pid}")
    assert value(first.scrape(), "feedback_guard_queue_depth", queue="writer") == 1


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x01", b"\xff\xff\xff\x7f" + b"\xff" * 60],
    ids=["0 bytes", "cut off", "nonsense"],
)
def test_a_damaged_file_costs_itself_alone(
    workers: list[Worker], directory: Path, tmp_path: Path, damage: bytes
) -> None:
    workers[0].do("judge 5")
    alive = workers[1].process.pid
    (directory / f"counter_{alive}.db").write_bytes(damage)
    with pytest.raises((RuntimeError, ValueError, struct.error)):  # what the library's own collector makes of it
        generate_latest(_library(directory, tmp_path / "plain"))
    assert judged(workers[0].scrape()) == 5
    assert (directory / f"counter_{alive}.db").exists(), "a living worker may be about to size it"


def _library(directory: Path, plain: Path) -> CollectorRegistry:
    plain.symlink_to(directory)  # the library would see nothing in a directory with brackets in its name
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(plain))  # type: ignore[no-untyped-call]
    return registry


def test_an_empty_file_of_a_dead_process_is_deleted(directory: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    (directory / f"counter_{process.pid}.db").write_bytes(b"")
    assert WorkerFiles(directory).collect() == []
    assert list(directory.iterdir()) == []


def test_a_start_script_empties_what_an_earlier_run_left(directory: Path) -> None:
    (directory / "counter_1.db").write_bytes(b"old")
    (directory / "keep.txt").write_text("not ours")
    prepare_directory(directory)
    assert [file.name for file in directory.iterdir()] == ["keep.txt"]


def test_a_directory_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from feedback_guard.metrics import Metrics; Metrics()"],
        env={**os.environ, VARIABLE: str(tmp_path / "absent")},
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert run.returncode == 1
    assert UsageError.__name__ in run.stderr
    assert "create it, empty, before the server starts" in run.stderr


def test_a_variable_set_after_the_import_is_noticed(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not set_too_late()
    monkeypatch.setenv(VARIABLE, str(directory))
    assert set_too_late()
    mark_worker_dead(1)  # nothing is shared, so there is nothing to do
    assert judged_alone() == 1


def judged_alone() -> float:
    metrics = Metrics(routes=["feedback"])
    metrics.judged("feedback", "label", "accept")
    return judged(metrics.render()[0])


def call(scope: dict[str, Any], metrics: Metrics, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def answer() -> None:
        await metrics_app(metrics)(scope, receive, send)

    asyncio.run(answer())
    return sent


def test_the_application_answers_a_scrape() -> None:
    start, body = call({"type": "http", "method": "GET", "path": "/metrics"}, Metrics())
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"].startswith(b"text/plain; version=0.0.4")
    assert int(headers[b"content-length"]) == len(body["body"])
    assert value(body["body"], "feedback_guard_held_items") == 0


def test_the_application_answers_head_without_a_body() -> None:
    start, body = call({"type": "http", "method": "HEAD", "path": "/metrics"}, Metrics())
    assert start["status"] == 200
    assert body["body"] == b""


def test_the_application_refuses_other_methods() -> None:
    start, _ = call({"type": "http", "method": "POST", "path": "/metrics"}, Metrics())
    assert start["status"] == 405
    assert (b"allow", b"GET, HEAD") in start["headers"]


def test_the_application_lives_and_ends_with_its_server() -> None:
    sent = call({"type": "lifespan"}, Metrics(), {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_page_that_cannot_be_rendered_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    monkeypatch.setattr(metrics, "render", lambda: 1 / 0)
    start, body = call({"type": "http", "method": "GET", "path": "/metrics"}, metrics)
    assert start["status"] == 500
    assert b"cannot be rendered" in body["body"]
