"""What the guard tells Prometheus.

Every label takes its values from a closed set: routes and budgets that the policy names, and the words listed here.
Anything else is counted as `other`, so no user can add a time series. Nothing here is ever removed or cleared.

With several workers, set `PROMETHEUS_MULTIPROC_DIR` to an empty directory before Python starts
(`metrics_workers.prepare_directory`); each scrape then answers for all workers of the host.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, TypeVar, cast

import anyio.to_thread
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from feedback_guard.contribution import Kind
from feedback_guard.errors import Refused
from feedback_guard.metrics_workers import WorkerFiles, shared_directory
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision

OTHER: Final = "other"
"""Label value of whatever is not in its closed set."""
DIRECT: Final = "direct"
"""Label value of contributions that came through no route."""
STAGES: Final = ("limits", "text", "embedding", "assess", "record", "total")
"""Stages of the way of a contribution, as `feedback_guard_stage_seconds` names them."""
QUEUES: Final = ("embedding", "writer")
OUTCOMES: Final = (
    "accepted",
    "held",
    "limited",
    "refused",
    "repeated",
    "in_flight",
    "bad_input",
    "unavailable",
    "aborted",
    "passed",
)
"""How a request to a guarded route ended."""
RECEIPTS: Final = (
    "valid",
    "replaced",
    *(reason.value for reason in Refused),
    "issued",
    "unnamed",
    "unreadable",
    "too_large",
    "unsigned",
)
"""What became of a receipt that feedback came with, and of one that a served answer was to have."""
REDIS_OUTCOMES: Final = ("refused", "room", "unknown", "failed", "skipped")
"""What comes of a lookup in Redis: a refusal, room, no copies, no answer, not asked."""
PARTS: Final = (
    "limits",
    "text",
    "embedding",
    "disagreement",
    "novelty",
    "anomaly",
    "near_duplicate",
    "obfuscation",
    "signals",
    "drift",
    "scoring",
    "fold",
    "assess",
    "store",
    "learning",
    "identity",
    "extract",
    "answer",
    "delivery",
    "upstream",
    "receipt",
)
"""Parts of the guard that may fail."""

_STAGE_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SUSPICION_BUCKETS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_log = logging.getLogger(__name__)

_M = TypeVar("_M", Counter, Gauge, Histogram)
_of_this_process: dict[str, Counter | Gauge | Histogram] = {}
"""With several workers, every guard of a process must count in the same objects: each of them caches its value."""


class Metrics:
    """Counters, gauges and histograms of one guard. Safe to call from any thread.

    Values that are not finite are left out: one of them would spoil a sum for ever.

    Parameters
    ----------
    routes
        Names of the policy's routes.
    budgets
        Names of the policy's budgets.

    Examples
    --------
    >>> metrics = Metrics(routes=["feedback"])
    >>> metrics.judged("feedback", "label", "accept")
    >>> metrics.judged("/from/an/attacker", "label", "accept")
    >>> page = metrics.render()[0].decode()
    >>> 'contributions_total{decision="accept",kind="label",route="other"} 1.0' in page
    True
    >>> "attacker" in page
    False
    """

    def __init__(self, *, routes: Iterable[str] = (), budgets: Iterable[str] = ()) -> None:
        self._shared = shared_directory()
        self._registry = CollectorRegistry()
        self._routes = frozenset({*routes, DIRECT})
        self._budgets = frozenset(budgets)

        self._judged = self._make(
            Counter,
            "feedback_guard_contributions",
            "Contributions judged, by route, kind and decision.",
            ("route", "kind", "decision"),
        )
        self._requests = self._make(
            Counter,
            "feedback_guard_requests",
            "Requests to guarded routes, by how the guard answered.",
            ("route", "outcome"),
        )
        self._deliveries = self._make(
            Counter,
            "feedback_guard_deliveries",
            "Transitions of requests, by the state that they reached.",
            ("state",),
        )
        self._suspicion = self._make(
            Histogram,
            "feedback_guard_suspicion",
            "Suspicion of judged contributions, 0..1, higher is more suspicious.",
            buckets=_SUSPICION_BUCKETS,
        )
        self._audited = self._make(
            Counter,
            "feedback_guard_reputation_audits",
            "Contributions audited when they were mature, by what that did to their contributor's reputation.",
            ("outcome",),
        )
        self._identities = self._make(
            Gauge,
            "feedback_guard_reputation_identities",
            "Identities with an account of reputation, and those that are established, or have full weight.",
            ("standing",),
            multiprocess_mode="livemax",
        )
        self._stages = self._make(
            Histogram,
            "feedback_guard_stage_seconds",
            "Time that a contribution spent in each stage, in seconds.",
            ("stage",),
            buckets=_STAGE_BUCKETS,
        )
        self._batch_size = self._make(
            Histogram,
            "feedback_guard_embedding_batch_size",
            "Texts in one pass through the embedding model.",
            buckets=_BATCH_BUCKETS,
        )
        self._batch_seconds = self._make(
            Histogram,
            "feedback_guard_embedding_batch_seconds",
            "Time of one pass through the embedding model, in seconds.",
            buckets=_STAGE_BUCKETS,
        )
        self._budget_refusals = self._make(
            Counter,
            "feedback_guard_budget_refusals",
            "Contributions refused or held because a budget had no room, by budget.",
            ("budget",),
        )
        self._newcomers = self._make(
            Counter,
            "feedback_guard_newcomers",
            "Contributions by newcomers that the pool they share had room for (taken) or not (waiting).",
            ("outcome",),
        )
        self._receipts = self._make(
            Counter,
            "feedback_guard_receipts",
            "Receipts of feedback, by what was found of them, and of served answers, by whether they got one.",
            ("route", "outcome"),
        )
        self._redis_lookups = self._make(
            Counter,
            "feedback_guard_redis_lookups",
            "Budgets looked up in Redis before anything costly, by what came of it.",
            ("outcome",),
        )
        self._redis_skipped = self._make(
            Gauge,
            "feedback_guard_redis_skipped",
            "1 while Redis does not answer and is left alone; the store decides on budgets all the same.",
            multiprocess_mode="livemax",
        )
        self._campaigns = self._make(
            Gauge,
            "feedback_guard_campaigns",
            "Campaigns that were found: facets that contributions teach falsehoods with.",
            multiprocess_mode="livemax",
        )
        # The workers share one database, so the latest figure is the right one, whoever read it.
        self._campaigns_waiting = self._make(
            Gauge,
            "feedback_guard_campaigns_waiting",
            "Campaigns that have held members, which a moderator can decide on as one.",
            multiprocess_mode="mostrecent",
        )
        self._campaign_held = self._make(
            Gauge,
            "feedback_guard_campaign_held",
            "Held contributions that belong to a campaign.",
            multiprocess_mode="mostrecent",
        )
        self._campaign_decisions = self._make(
            Counter,
            "feedback_guard_campaign_decisions",
            "Decisions that moderators made on members of a campaign together.",
            ("decision",),
        )
        self._pulled_back = self._make(
            Counter,
            "feedback_guard_pulled_back",
            "Accepted contributions that were held again, because a campaign was found that they belong to.",
        )
        self._failed_open = self._make(
            Counter,
            "feedback_guard_failed_open",
            "Contributions that passed unscored because a part failed and the policy says fail_open.",
            ("part",),
        )
        self._failures = self._make(
            Counter,
            "feedback_guard_failures",
            "Failures inside the guard, by part.",
            ("part",),
        )
        # One figure for each worker: the sum over those alive is what waits on this host.
        self._queues = self._make(
            Gauge,
            "feedback_guard_queue_depth",
            "Entries waiting in a bounded queue.",
            ("queue",),
            multiprocess_mode="livesum",
        )
        # The workers share one database, so the latest figure is the right one, whoever read it.
        self._held = self._make(
            Gauge,
            "feedback_guard_held_items",
            "Held requests and contributions that wait for a moderator.",
            multiprocess_mode="mostrecent",
        )
        self._held_age = self._make(
            Gauge,
            "feedback_guard_held_oldest_age_seconds",
            "Age of the oldest held item, in seconds; 0 when nothing is held.",
            multiprocess_mode="mostrecent",
        )
        self._undelivered = self._make(
            Gauge,
            "feedback_guard_undelivered_items",
            "Requests that did not plainly arrive at the application and wait for a moderator's word.",
            multiprocess_mode="mostrecent",
        )
        # Every worker folds the same ledger; one that lags behind must not hide an alarm.
        self._drift = self._make(
            Gauge,
            "feedback_guard_drift_statistic",
            "Evidence that the stream has left the trusted set, 0..1; the alarm is raised at 1.",
            multiprocess_mode="livemax",
        )
        self._drift_alarm = self._make(
            Gauge,
            "feedback_guard_drift_alarm",
            "1 from the drift alarm until somebody acknowledges it.",
            multiprocess_mode="livemax",
        )
        self._divergence = self._make(
            Gauge,
            "feedback_guard_teaching_divergence",
            "By how much a learner of the accepted contributions differs from the trusted set on trusted probes, 0..1.",
            multiprocess_mode="livemax",
        )
        self._teaching = self._make(
            Gauge,
            "feedback_guard_teaching_statistic",
            "Evidence of a campaign where the two learners part, 0..1; 1 while one is suspected.",
            multiprocess_mode="livemax",
        )
        self._begin_at_zero()
        self._stage_of = {stage: self._stages.labels(stage) for stage in (*STAGES, OTHER)}

    def _make(self, of: type[_M], name: str, text: str, labels: tuple[str, ...] = (), **options: Any) -> _M:
        if self._shared is None:
            return of(name, text, labels, registry=self._registry, **options)
        if name not in _of_this_process:
            _of_this_process[name] = of(name, text, labels, registry=None, **options)
        return cast("_M", _of_this_process[name])

    def _begin_at_zero(self) -> None:
        """Make every series that an alert watches exist: `increase()` cannot see the first step of a new series."""
        for part in (*PARTS, OTHER):
            self._failed_open.labels(part)
            self._failures.labels(part)
        for decision in ("approve", "deny"):
            self._campaign_decisions.labels(decision)
        for budget in (*sorted(self._budgets), OTHER):
            self._budget_refusals.labels(budget)
        for outcome in ("taken", "waiting"):
            self._newcomers.labels(outcome)
        for route in (*sorted(self._routes), OTHER):
            for outcome in OUTCOMES:
                self._requests.labels(route, outcome)
            for kind in Kind:
                for decision in Decision:
                    self._judged.labels(route, kind.value, decision.value)

    def judged(self, route: str, kind: str, decision: str) -> None:
        """Count a judged contribution. An empty route is a direct call."""
        self._judged.labels(self._route(route), _known(kind, _KINDS), _known(decision, _DECISIONS)).inc()

    def suspicion(self, value: float) -> None:
        """Note the suspicion of a contribution, 0..1."""
        if math.isfinite(value):
            self._suspicion.observe(value)

    def stage(self, stage: str, seconds: float) -> None:
        """Note the time that a contribution spent in a stage of `STAGES`."""
        if math.isfinite(seconds):
            self._stage_of[_known(stage, STAGES)].observe(max(seconds, 0.0))

    def queue(self, name: str, depth: int) -> None:
        """Set how many entries wait in a queue: `embedding` or `writer`."""
        self._queues.labels(_known(name, QUEUES)).set(depth)

    def held(self, count: int, oldest_age_seconds: float) -> None:
        """Set how many items are held, and the age of the oldest in seconds."""
        self._held.set(count)
        if math.isfinite(oldest_age_seconds):
            self._held_age.set(max(oldest_age_seconds, 0.0) if count else 0.0)

    def undelivered(self, count: int) -> None:
        """Set how many requests did not plainly arrive and wait for a moderator's word."""
        self._undelivered.set(count)

    def drift(self, statistic: float, alarm: bool) -> None:
        """Set the drift statistic, 0..1, and whether its alarm stands."""
        if math.isfinite(statistic):
            self._drift.set(statistic)
        self._drift_alarm.set(1 if alarm else 0)

    def redis_lookup(self, outcome: str) -> None:
        """Count a lookup of budgets in Redis by what came of it, one of `REDIS_OUTCOMES`."""
        self._redis_lookups.labels(_known(outcome, REDIS_OUTCOMES)).inc()

    def redis_skipped(self, skipped: bool) -> None:
        """Set whether Redis is left alone."""
        self._redis_skipped.set(1 if skipped else 0)

    def teaching(self, divergence: float, statistic: float) -> None:
        """Set how far the stream would take a model from the trusted set, and the evidence of a campaign; 0..1 each."""
        for gauge, value in ((self._divergence, divergence), (self._teaching, statistic)):
            if math.isfinite(value):
                gauge.set(value)

    def campaigns(self, count: int) -> None:
        """Set how many campaigns were found."""
        self._campaigns.set(count)

    def campaigns_waiting(self, count: int, held: int) -> None:
        """Set how many campaigns have held members, and how many members those are."""
        self._campaigns_waiting.set(count)
        self._campaign_held.set(held)

    def campaign_decision(self, decision: str) -> None:
        """Count a decision on a campaign: `approve` or `deny`."""
        self._campaign_decisions.labels(_known(decision, _CAMPAIGN_DECISIONS)).inc()

    def pulled_back(self, count: int) -> None:
        """Count accepted contributions that were held again."""
        self._pulled_back.inc(count)

    def audited(self, credited: int | None) -> None:
        """Count an audited contribution by what it did to reputation; None where there was nothing to measure by."""
        outcome = "unmeasured" if credited is None else "gain" if credited > 0 else "loss" if credited < 0 else "none"
        self._audited.labels(outcome).inc()

    def reputation(self, identities: int, established: int, full: int) -> None:
        """Set how many identities have an account of reputation, are established, and teach with full weight."""
        self._identities.labels("all").set(identities)
        self._identities.labels("established").set(established)
        self._identities.labels("full").set(full)

    def refused_by_budget(self, budget: str) -> None:
        """Count a contribution that a budget had no room for."""
        self._budget_refusals.labels(_known(budget, self._budgets)).inc()

    def newcomers(self, taken: int, waiting: int) -> None:
        """Count contributions by newcomers: those that their pool had room for, and those that it had none for."""
        self._newcomers.labels("taken").inc(taken)
        self._newcomers.labels("waiting").inc(waiting)

    def receipt(self, route: str, outcome: str, count: int = 1) -> None:
        """Count receipts of a route or serving endpoint by their outcome, one of `RECEIPTS`."""
        if count:
            self._receipts.labels(self._route(route), _known(outcome, RECEIPTS)).inc(count)

    def batch(self, size: int, seconds: float) -> None:
        """Note one pass through the embedding model: texts in it, and its time in seconds."""
        self._batch_size.observe(size)
        if math.isfinite(seconds):
            self._batch_seconds.observe(max(seconds, 0.0))

    def failed_open(self, part: str) -> None:
        """Count a contribution that passed unscored because a part of `PARTS` failed."""
        self._failed_open.labels(_known(part, PARTS)).inc()

    def failed(self, part: str) -> None:
        """Count a failure of a part of `PARTS`."""
        self._failures.labels(_known(part, PARTS)).inc()

    def request(self, route: str, outcome: str) -> None:
        """Count a request to a guarded route by its outcome, one of `OUTCOMES`."""
        self._requests.labels(self._route(route), _known(outcome, OUTCOMES)).inc()

    def delivery(self, state: str) -> None:
        """Count that a request reached a state of `store.states.Delivery`."""
        self._deliveries.labels(_known(state, _STATES)).inc()

    def render(self) -> tuple[bytes, str]:
        """The page for a scrape, and its content type."""
        if self._shared is None:
            return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
        registry = CollectorRegistry()
        registry.register(WorkerFiles(self._shared))
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    def _route(self, route: str) -> str:
        return _known(route or DIRECT, self._routes)


_KINDS = frozenset(kind.value for kind in Kind)
_DECISIONS = frozenset(decision.value for decision in Decision)
_CAMPAIGN_DECISIONS = frozenset({"approve", "deny"})
_STATES = frozenset(state.value for state in Delivery)


def _known(value: str, allowed: Iterable[str]) -> str:
    return str(value) if value in allowed else OTHER


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def metrics_app(metrics: Metrics) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An ASGI application that answers every GET with the metrics.

    Mount it where only Prometheus comes: the figures tell an attacker how many of his contributions were held.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1003})
        elif scope["method"] in {"GET", "HEAD"}:
            status, body, content_type = await anyio.to_thread.run_sync(_page, metrics)
            headers = [
                (b"content-type", content_type.encode("ascii")),
                (b"content-length", str(len(body)).encode("ascii")),
                (b"cache-control", b"no-store"),
            ]
            await _answer(send, status, headers, b"" if scope["method"] == "HEAD" else body)
        else:
            await _answer(send, 405, [(b"allow", b"GET, HEAD"), (b"content-length", b"0")], b"")

    return app


def _page(metrics: Metrics) -> tuple[int, bytes, str]:
    try:
        return 200, *metrics.render()
    except Exception:  # noqa: BLE001 - a scrape that fails must say so to Prometheus and to the log, whatever failed
        _log.exception("the metrics cannot be rendered")
        return 500, b"the metrics cannot be rendered; the log says why\n", "text/plain; charset=utf-8"


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
