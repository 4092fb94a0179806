"""Makes submissions for tests, and plays them through a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store.database import Store
from feedback_guard.store.records import Judged, NewSubmission, StoredSubmission
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Decision, Reason, Verdict

NOW = 1_790_000_000_000_000
CLOCK = ManualClock(NOW)

DECISIONS = {
    Learning.ACCEPTED: Decision.ACCEPT,
    Learning.HELD: Decision.QUARANTINE,
    Learning.LIMITED: Decision.LIMIT,
    Learning.REJECTED: Decision.REJECT,
}


def policy(url: str, **options: Any) -> StorePolicy:
    return StorePolicy(url=url, **options)


def judged(ident: str, learning: Learning = Learning.ACCEPTED, *, contributor: str = "alice", **verdict: Any) -> Judged:
    decision = DECISIONS[learning]
    contribution = Contribution(
        ident,
        NOW,
        contributor,
        Kind.LABEL,
        "wo bleibt meine Karte? \u202e\x00'; DROP TABLE ledger; --\U0001f600",
        label="card_arrival",
        groups={"network": "10.0.0.0/24"},
        metadata={"ratio": 0.5, "nested": [1, None, True, "\ufeff"]},
    )
    values: dict[str, Any] = {
        "weight": 0.75 if decision is Decision.ACCEPT else 0.0,
        "suspicion": 0.3,
        "reasons": (Reason("novelty", "it is far from what is known", 0.012_345_678_9), Reason("guard", "a sentence")),
        "policy": "sha256:" + "1" * 64,
        "baseline": "2" * 64,
    }
    return Judged(
        contribution,
        Verdict(ident, decision, **(values | verdict)),
        learning,
        b"vectors of " + ident.encode(errors="replace"),
    )


def submission(
    ident: str,
    *learning: Learning,
    delivery: Delivery = Delivery.NONE,
    request: bytes | None = None,
    at_us: int = NOW,
    route: str = "feedback",
    worker: str = "",
    anonymous: bool = False,
) -> NewSubmission:
    items = tuple(judged(f"{ident}.{n}", state) for n, state in enumerate(learning or (Learning.ACCEPTED,)))
    return NewSubmission(ident, route, at_us, delivery, items, request, worker, anonymous)


def held(ident: str, *, at_us: int = NOW, request: bytes = b"POST /feedback\x00\xff", n: int = 1) -> NewSubmission:
    return submission(ident, *[Learning.HELD] * n, delivery=Delivery.HELD, request=request, at_us=at_us)


def insert(store: Store, *new: NewSubmission) -> None:
    futures = [store.submit(lambda tx, item=item: tx.insert(item)) for item in new]  # type: ignore[misc]
    for future in futures:
        future.result()


def decide(store: Store, ident: str, approve: bool, **options: Any) -> StoredSubmission:
    options = {"moderator": "mo", "note": "", "version": None, "now_us": NOW} | options
    return store.submit(lambda tx: tx.decide(ident, approve=approve, **options)).result()


def deliver(store: Store, ident: str, to: Delivery, **detail: Any) -> None:
    """Record an outcome as whoever has the latest claim."""
    found = store.submission(ident)
    fence = found.fence if found is not None else 0
    store.submit(
        lambda tx: tx.deliver(ident, to, now_us=NOW, detail=detail, fence=fence), outcome_of="" if fence else ident
    ).result()


def claims(store: Store, worker: str = "w1", *, limit: int = 10, routes: Sequence[str] = ("feedback",)) -> list[str]:
    taken = store.submit(
        lambda tx: tx.claim_approved(worker, now_us=NOW, limit=limit, application="a", routes=routes)
    ).result()
    return [claim.submission for claim in taken]
