"""What the guard tells Prometheus.

Every label takes its values from a closed set: routes and budgets that the policy names, and `metrics_words`.
Anything else is counted as `other`, so no user can add a time series. Nothing here is ever removed or cleared.

With several workers, set `PROMETHEUS_MULTIPROC_DIR` to an empty directory before Python starts
(`metrics_workers.prepare_directory`); each scrape then answers for all workers of the host.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from feedback_guard.metrics_series import Series
from feedback_guard.metrics_words import (
    CAMPAIGN_DECISIONS,
    DECISIONS,
    DELIVERIES,
    DIRECT,
    FACETS,
    KINDS,
    OTHER,
    OUTCOMES,
    PARTS,
    QUEUES,
    RECEIPTS,
    REDIS_OUTCOMES,
    STAGES,
    UPSTREAM,
    known,
)
from feedback_guard.metrics_workers import WorkerFiles, shared_directory

FROM_STORE: Final = (
    "feedback_guard_held_items",
    "feedback_guard_held_oldest_age_seconds",
    "feedback_guard_undelivered_items",
    "feedback_guard_campaigns_waiting",
    "feedback_guard_campaign_held",
    "feedback_guard_campaign_decisions_total",
)
"""What a process knows that serves moderators and judges nothing."""


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
        self._series = Series(None if self._shared else self._registry, self._routes, self._budgets)
        self._counted: dict[tuple[str, str], Counter] = {}
        self._judged: dict[tuple[str, str, str], Counter] = {}
        self._stage_of = {stage: self._series.stages.labels(stage) for stage in (*STAGES, OTHER)}

    def judged(self, route: str, kind: str, decision: str) -> None:
        """Count a judged contribution. An empty route is a direct call."""
        counter = self._judged.get((route, kind, decision))
        if counter is None:
            labels = self._route(route), known(kind, KINDS), known(decision, DECISIONS)
            counter = self._series.judged.labels(*labels)
            if labels == (route, kind, decision):
                self._judged[labels] = counter  # as many as there are series
        counter.inc()

    def suspicion(self, value: float) -> None:
        """Note the suspicion of a contribution, 0..1."""
        if math.isfinite(value):
            self._series.suspicion.observe(value)

    def stage(self, stage: str, seconds: float) -> None:
        """Note the time that a contribution spent in a stage of `STAGES`."""
        if math.isfinite(seconds):
            self._stage_of[known(stage, STAGES)].observe(max(seconds, 0.0))

    def queue(self, name: str, depth: int) -> None:
        """Set how many entries wait in a queue: `embedding` or `writer`."""
        self._series.queues.labels(known(name, QUEUES)).set(depth)

    def held(self, count: int, oldest_age_seconds: float) -> None:
        """Set how many items are held, and the age of the oldest in seconds."""
        self._series.held.set(count)
        if math.isfinite(oldest_age_seconds):
            self._series.held_age.set(max(oldest_age_seconds, 0.0) if count else 0.0)

    def undelivered(self, count: int) -> None:
        """Set how many requests did not plainly arrive and wait for a moderator's word."""
        self._series.undelivered.set(count)

    def drift(self, statistic: float, alarm: bool) -> None:
        """Set the drift statistic, 0..1, and whether its alarm stands."""
        if math.isfinite(statistic):
            self._series.drift.set(statistic)
        self._series.drift_alarm.set(1 if alarm else 0)

    def redis_lookup(self, outcome: str) -> None:
        """Count a lookup of budgets in Redis by what came of it, one of `REDIS_OUTCOMES`."""
        self._series.redis_lookups.labels(known(outcome, REDIS_OUTCOMES)).inc()

    def redis_skipped(self, skipped: bool) -> None:
        """Set whether Redis is left alone."""
        self._series.redis_skipped.set(1 if skipped else 0)

    def teaching(self, divergence: float, statistic: float, loudest: float, named: Mapping[str, int]) -> None:
        """Set how far the stream would take a model from the trusted set, and where.

        Parameters
        ----------
        divergence, statistic
            On trusted probes, and the evidence of a campaign; 0..1 each.
        loudest
            Log-odds by which the loudest facet speaks for a class beyond what the trusted set says.
        named
            How many facets do, by kind of facet.
        """
        counts = dict.fromkeys((*FACETS, OTHER), 0)
        for facet, count in named.items():
            counts[known(facet, FACETS)] += count
        for facet, count in counts.items():
            self._series.teaching_facets.labels(facet).set(count)
        series = self._series
        for gauge, value in ((series.divergence, divergence), (series.teaching, statistic), (series.loudest, loudest)):
            if math.isfinite(value):
                gauge.set(value)

    def campaigns(self, count: int) -> None:
        """Set how many campaigns are open."""
        self._series.campaigns.set(count)

    def campaigns_waiting(self, count: int, held: int) -> None:
        """Set how many campaigns have held members, and how many members those are."""
        self._series.campaigns_waiting.set(count)
        self._series.campaign_held.set(held)

    def campaign_decision(self, decision: str) -> None:
        """Count a decision on a campaign: `approve` or `deny`."""
        self._series.campaign_decisions.labels(known(decision, CAMPAIGN_DECISIONS)).inc()

    def pulled_back(self, count: int) -> None:
        """Count accepted contributions that were held again."""
        self._series.pulled_back.inc(count)

    def audited(self, credited: int | None) -> None:
        """Count an audited contribution by what it did to reputation; None where there was nothing to measure by."""
        outcome = "unmeasured" if credited is None else "gain" if credited > 0 else "loss" if credited < 0 else "none"
        self._series.audited.labels(outcome).inc()

    def reputation(self, identities: int, established: int, full: int) -> None:
        """Set how many identities have an account of reputation, are established, and teach with full weight."""
        self._series.identities.labels("all").set(identities)
        self._series.identities.labels("established").set(established)
        self._series.identities.labels("full").set(full)

    def refused_by_budget(self, budget: str) -> None:
        """Count a contribution that a budget had no room for."""
        self._series.budget_refusals.labels(known(budget, self._budgets)).inc()

    def newcomers(self, taken: int, waiting: int) -> None:
        """Count contributions by newcomers: those that their pool had room for, and those that it had none for."""
        if taken:
            self._series.newcomers.labels("taken").inc(taken)
        if waiting:
            self._series.newcomers.labels("waiting").inc(waiting)

    def receipt(self, route: str, outcome: str, count: int = 1) -> None:
        """Count receipts of a route or serving endpoint by their outcome, one of `RECEIPTS`."""
        if count:
            self._series.receipts.labels(self._route(route), known(outcome, RECEIPTS)).inc(count)

    def batch(self, size: int, seconds: float) -> None:
        """Note one pass through the embedding model: texts in it, and its time in seconds."""
        self._series.batch_size.observe(size)
        if math.isfinite(seconds):
            self._series.batch_seconds.observe(max(seconds, 0.0))

    def failed_open(self, part: str) -> None:
        """Count a contribution that passed unscored because a part of `PARTS` failed."""
        self._series.failed_open.labels(known(part, PARTS)).inc()

    def failed(self, part: str) -> None:
        """Count a failure of a part of `PARTS`."""
        self._series.failures.labels(known(part, PARTS)).inc()

    def upstream_failed(self, kind: str) -> None:
        """Count a failure of the application behind a gateway, one of `UPSTREAM`."""
        self._series.upstream.labels(known(kind, UPSTREAM)).inc()

    def request(self, route: str, outcome: str) -> None:
        """Count a request to a guarded route by its outcome, one of `OUTCOMES`."""
        counter = self._counted.get((route, outcome))
        if counter is None:
            labels = self._route(route), known(outcome, OUTCOMES)
            counter = self._series.requests.labels(*labels)
            if labels == (route, outcome):
                self._counted[labels] = counter  # as many as there are routes and outcomes
        counter.inc()

    def delivery(self, state: str) -> None:
        """Count that a request reached a state of `store.states.Delivery`."""
        self._series.deliveries.labels(known(state, DELIVERIES)).inc()

    @property
    def shared(self) -> bool:
        """Whether all processes that share `PROMETHEUS_MULTIPROC_DIR` are added up."""
        return self._shared is not None

    def render(self, *, judging: bool = True) -> tuple[bytes, str]:
        """The page for a scrape, and its content type.

        Parameters
        ----------
        judging
            Whether this process judges. One that does not, and is not added up with those that do, shows only what it
            finds in the store: its zeros for everything else would keep every alert quiet.
        """
        if self._shared is None:
            registry: Any = self._registry if judging else self._registry.restricted_registry(FROM_STORE)
            return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
        registry = CollectorRegistry()
        registry.register(WorkerFiles(self._shared))
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    def _route(self, route: str) -> str:
        return known(route or DIRECT, self._routes)
