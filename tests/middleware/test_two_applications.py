"""Two guards with one store, around two applications with routes of the same name: nothing goes to the other one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam

from feedback_guard.clock import SystemClock
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store import leases, tables
from feedback_guard.store.database import Store
from feedback_guard.store.records import Claim
from feedback_guard.store.rows import SUBMISSIONS
from feedback_guard.store.states import Delivery
from feedback_guard.stranded import stranded_requests
from tests.guards import labelled, make_policy
from tests.middleware.counting import IDENTITY, KEY, ROUTE, SIGNALS
from tests.middleware.direct import Recorder
from tests.patience import wait_until
from tests.postgres import postgres_store_url as postgres_store_url
from tests.serving import Serving

_S = tables.submission.c
both = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


class Watched(Guard):
    """Counts how often it was asked for approved requests."""

    asked = 0

    async def claim_approved(self, routes: Sequence[str], limit: int = 10, *, lease_us: int = 0) -> list[Claim]:
        claims = await super().claim_approved(routes, limit, lease_us=lease_us)
        self.asked += 1
        return claims


class Place:
    """One store, and applications behind guards of their own."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self.store = Store.open(StorePolicy(url=url), clock=SystemClock())

    @contextlib.contextmanager
    def application(self, **names: str) -> Iterator[tuple[Recorder, Serving, Watched]]:
        parts: dict[str, Any] = {"routes": [ROUTE], "identity": IDENTITY, "signals": SIGNALS}
        policy = make_policy(self._folder, store={"url": self._url}, **parts, **names)
        guard = Watched.from_policy(policy, clock=SystemClock(), embedder=UnsafeHashingEmbedder())
        app = Recorder()
        with Serving(FeedbackGuardMiddleware(app, guard=guard, poll_seconds=0.02), lifespan="on") as serving:
            yield app, serving, guard

    def hold(self, serving: Serving) -> tuple[str, bytes]:
        """Send what is wrong until something of it is held."""
        for item in labelled(60, seed=3, flip=True):
            body = json.dumps({"text": item.input, "topic": item.label}).encode()
            answer = serving.post("/feedback", body, {"X-User": f"liar-{item.id}"})
            if answer.status == 202:
                return str(answer.json["id"]), body
        raise AssertionError("nothing was held")

    def approve(self, ident: str) -> None:
        """As any moderator of the store does, whatever application she thinks of."""
        self.store.submit(lambda tx: tx.decide(ident, approve=True, moderator="mo", now_us=tx.now_us())).result()

    def state(self, ident: str) -> Delivery:
        stored = self.store.submission(ident)
        assert stored is not None
        return stored.delivery


@pytest.fixture(params=both)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/guard.db" if sqlite else request.getfixturevalue("postgres_store_url")
    there = Place(tmp_path, url)
    with there.store:
        yield there
        assert verify(there.store).findings == []


def goes_to_no_other(place: Place, first: dict[str, str], second: dict[str, str]) -> None:
    """What is held for the first application, which is down when it is approved, is not given to the second."""
    with place.application(**second) as (other, _, idle):
        with place.application(**first) as (_, serving, _):
            ident, body = place.hold(serving)
        place.approve(ident)
        looked = idle.asked
        wait_until(lambda: idle.asked > looked + 2, "the second guard does not look for what is approved")
        assert (place.state(ident), other.bodies) == (Delivery.APPROVED, [])
        (waiting,) = stranded_requests(place.store.kept_requests(), idle.policy)
        assert waiting.message.startswith("1 approved request waits for the application 'first', and this is 'second'")
        with place.application(**first) as (app, _, _):
            wait_until(lambda: place.state(ident) is Delivery.DELIVERED, "it is not delivered")
            assert app.bodies == [body]
        assert other.bodies == []


@pytest.mark.parametrize("key", ["application", "name"])
def test_what_is_held_for_one_goes_to_no_other(place: Place, key: str) -> None:
    goes_to_no_other(place, {key: "first"}, {key: "second"})


def test_a_claim_by_the_name_of_the_route_alone_is_noticed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    alike = (_S.delivery == Delivery.APPROVED.value) & _S.route.in_(bindparam("routes", expanding=True))
    monkeypatch.setattr(leases, "_APPROVED", SUBMISSIONS.where(alike))
    with pytest.raises(AssertionError, match=r"DELIVERED|DISPATCHING"):
        goes_to_no_other(place, {"application": "first"}, {"application": "second"})


def test_the_same_request_to_two_applications_is_two_requests(place: Place) -> None:
    (item,) = labelled(1, seed=1)
    body = {"text": item.input, "topic": item.label}
    headers = {"X-User": "ada", "Idempotency-Key": KEY}
    with (
        place.application(application="first") as (first, serving, _),
        place.application(application="second") as (second, also, _),
    ):
        for port in (serving, also, serving, also):
            assert port.post("/feedback", body, headers).status == 200
        assert (len(first.bodies), len(second.bodies)) == (1, 1)


def test_two_guards_that_would_claim_the_same_do_not_start_in_one_process(place: Place) -> None:
    with place.application(application="first"):
        with pytest.raises(RuntimeError, match="did not start"), place.application(application="first"):
            pass
        with place.application(application="second"):
            pass
