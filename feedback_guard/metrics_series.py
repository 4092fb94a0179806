"""The counters, gauges and histograms of one guard: their names, texts and labels."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from feedback_guard.metrics_words import (
    CAMPAIGN_DECISIONS,
    DECISIONS,
    FACETS,
    KINDS,
    NEWCOMERS,
    OTHER,
    OUTCOMES,
    PARTS,
    UPSTREAM,
)

_STAGE_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SUSPICION_BUCKETS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_M = TypeVar("_M", Counter, Gauge, Histogram)
_of_this_process: dict[str, Counter | Gauge | Histogram] = {}
"""With several workers, every guard of a process must count in the same objects: each of them caches its value."""


class Series:
    """Everything that is counted, with all series that an alert watches.

    Parameters
    ----------
    registry
        Where they are registered; None with several workers, whose files hold the values.
    routes, budgets
        Closed sets of these labels, without `other`.
    """

    def __init__(self, registry: CollectorRegistry | None, routes: frozenset[str], budgets: frozenset[str]) -> None:
        self._registry = registry
        self._routes = routes
        self._budgets = budgets

        self.judged = self._make(
            Counter,
            "feedback_guard_contributions",
            "Contributions judged, by route, kind and decision.",
            ("route", "kind", "decision"),
        )
        self.requests = self._make(
            Counter,
            "feedback_guard_requests",
            "Requests to guarded routes, by how the guard answered.",
            ("route", "outcome"),
        )
        self.deliveries = self._make(
            Counter,
            "feedback_guard_deliveries",
            "Transitions of requests, by the state that they reached.",
            ("state",),
        )
        self.suspicion = self._make(
            Histogram,
            "feedback_guard_suspicion",
            "Suspicion of judged contributions, 0..1, higher is more suspicious.",
            buckets=_SUSPICION_BUCKETS,
        )
        self.audited = self._make(
            Counter,
            "feedback_guard_reputation_audits",
            "Contributions audited when they were mature, by what that did to their contributor's reputation.",
            ("outcome",),
        )
        self.identities = self._make(
            Gauge,
            "feedback_guard_reputation_identities",
            "Identities with an account of reputation, and those that are established, or have full weight.",
            ("standing",),
            multiprocess_mode="livemax",
        )
        self.stages = self._make(
            Histogram,
            "feedback_guard_stage_seconds",
            "Time that a contribution spent in each stage, in seconds.",
            ("stage",),
            buckets=_STAGE_BUCKETS,
        )
        self.batch_size = self._make(
            Histogram,
            "feedback_guard_embedding_batch_size",
            "Texts in one pass through the embedding model.",
            buckets=_BATCH_BUCKETS,
        )
        self.batch_seconds = self._make(
            Histogram,
            "feedback_guard_embedding_batch_seconds",
            "Time of one pass through the embedding model, in seconds.",
            buckets=_STAGE_BUCKETS,
        )
        self.budget_refusals = self._make(
            Counter,
            "feedback_guard_budget_refusals",
            "Contributions refused or held because a budget had no room, by budget.",
            ("budget",),
        )
        self.newcomers = self._make(
            Counter,
            "feedback_guard_newcomers",
            "Contributions by newcomers that the pool they share had room for (taken) or not (waiting).",
            ("outcome",),
        )
        self.receipts = self._make(
            Counter,
            "feedback_guard_receipts",
            "Receipts of feedback, by what was found of them, and of served answers, by whether they got one.",
            ("route", "outcome"),
        )
        self.redis_lookups = self._make(
            Counter,
            "feedback_guard_redis_lookups",
            "Budgets looked up in Redis before anything costly, by what came of it.",
            ("outcome",),
        )
        self.redis_skipped = self._make(
            Gauge,
            "feedback_guard_redis_skipped",
            "1 while Redis does not answer and is left alone; the store decides on budgets all the same.",
            multiprocess_mode="livemax",
        )
        self.campaigns = self._make(
            Gauge,
            "feedback_guard_campaigns",
            "Campaigns that are open: facets that contributions teach falsehoods with, and go on doing so.",
            multiprocess_mode="livemax",
        )
        # The workers share one database, so the latest figure is the right one, whoever read it.
        self.campaigns_waiting = self._make(
            Gauge,
            "feedback_guard_campaigns_waiting",
            "Campaigns that have held members, which a moderator can decide on as one.",
            multiprocess_mode="mostrecent",
        )
        self.campaign_held = self._make(
            Gauge,
            "feedback_guard_campaign_held",
            "Held contributions that belong to a campaign.",
            multiprocess_mode="mostrecent",
        )
        self.campaign_decisions = self._make(
            Counter,
            "feedback_guard_campaign_decisions",
            "Decisions that moderators made on members of a campaign together.",
            ("decision",),
        )
        self.pulled_back = self._make(
            Counter,
            "feedback_guard_pulled_back",
            "Accepted contributions that were held again, because a campaign was found that they belong to.",
        )
        self.failed_open = self._make(
            Counter,
            "feedback_guard_failed_open",
            "Contributions that passed unscored because a part failed and the policy says fail_open.",
            ("part",),
        )
        self.failures = self._make(
            Counter,
            "feedback_guard_failures",
            "Failures inside the guard, by part.",
            ("part",),
        )
        self.upstream = self._make(
            Counter,
            "feedback_guard_upstream_failures",
            "Requests that the application behind the gateway did not answer, by how it failed.",
            ("kind",),
        )
        # One figure for each worker: the sum over those alive is what waits on this host.
        self.queues = self._make(
            Gauge,
            "feedback_guard_queue_depth",
            "Entries waiting in a bounded queue.",
            ("queue",),
            multiprocess_mode="livesum",
        )
        # The workers share one database, so the latest figure is the right one, whoever read it.
        self.held = self._make(
            Gauge,
            "feedback_guard_held_items",
            "Held requests and contributions that wait for a moderator.",
            multiprocess_mode="mostrecent",
        )
        self.held_age = self._make(
            Gauge,
            "feedback_guard_held_oldest_age_seconds",
            "Age of the oldest held item, in seconds; 0 when nothing is held.",
            multiprocess_mode="mostrecent",
        )
        self.undelivered = self._make(
            Gauge,
            "feedback_guard_undelivered_items",
            "Requests that did not plainly arrive at the application and wait for a moderator's word.",
            multiprocess_mode="mostrecent",
        )
        # Every worker folds the same ledger; one that lags behind must not hide an alarm.
        self.drift = self._make(
            Gauge,
            "feedback_guard_drift_statistic",
            "Evidence that the stream has left the trusted set, 0..1; the alarm is raised at 1.",
            multiprocess_mode="livemax",
        )
        self.drift_alarm = self._make(
            Gauge,
            "feedback_guard_drift_alarm",
            "1 from the drift alarm until somebody acknowledges it.",
            multiprocess_mode="livemax",
        )
        self.divergence = self._make(
            Gauge,
            "feedback_guard_teaching_divergence",
            "By how much a learner of the accepted contributions differs from the trusted set on trusted probes, 0..1.",
            multiprocess_mode="livemax",
        )
        self.teaching = self._make(
            Gauge,
            "feedback_guard_teaching_statistic",
            "Evidence of a campaign where the two learners part, 0..1; 1 while one is suspected.",
            multiprocess_mode="livemax",
        )
        self.teaching_facets = self._make(
            Gauge,
            "feedback_guard_teaching_facets",
            "Where the two learners part: facets that the stream teaches to speak for a class, by kind of facet.",
            ("facet",),
            multiprocess_mode="livemax",
        )
        self.loudest = self._make(
            Gauge,
            "feedback_guard_teaching_log_odds",
            "Log-odds by which the loudest such facet speaks for a class beyond the trusted set; 0 without any.",
            multiprocess_mode="livemax",
        )
        self._begin_at_zero()

    def _make(self, of: type[_M], name: str, text: str, labels: tuple[str, ...] = (), **options: Any) -> _M:
        if self._registry is not None:
            return of(name, text, labels, registry=self._registry, **options)
        if name not in _of_this_process:
            _of_this_process[name] = of(name, text, labels, registry=None, **options)
        return cast("_M", _of_this_process[name])

    def _begin_at_zero(self) -> None:
        """Make every series that an alert watches exist: `increase()` cannot see the first step of a new series."""
        for kind in (*UPSTREAM, OTHER):
            self.upstream.labels(kind)
        for part in (*PARTS, OTHER):
            self.failed_open.labels(part)
            self.failures.labels(part)
        for facet in (*FACETS, OTHER):
            self.teaching_facets.labels(facet)
        for decision in CAMPAIGN_DECISIONS:
            self.campaign_decisions.labels(decision)
        for budget in (*sorted(self._budgets), OTHER):
            self.budget_refusals.labels(budget)
        for outcome in NEWCOMERS:
            self.newcomers.labels(outcome)
        for route in (*sorted(self._routes), OTHER):
            for outcome in OUTCOMES:
                self.requests.labels(route, outcome)
            for kind in KINDS:
                for decision in DECISIONS:
                    self.judged.labels(route, kind, decision)
