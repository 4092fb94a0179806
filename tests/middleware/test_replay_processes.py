"""Workers in real processes on one database: killed at every step, stopped and overtaken, racing. One effect each.

The workers of a middleware, and those of a gateway whose upstream goes on when they are killed.

What did not plainly arrive is settled as a moderator would: she looks into the application, and says what she found.
"""

from __future__ import annotations

import contextlib
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import update

from feedback_guard.clock import SystemClock
from feedback_guard.ledger.verify import verify
from feedback_guard.middleware.envelope import Envelope
from feedback_guard.retrying import retries_of
from feedback_guard.store import tables
from feedback_guard.store.database import Store
from feedback_guard.store.states import Delivery, Resolution
from tests.forks import Forked, start
from tests.gateway.upstreams import OK, Seen, Upstream
from tests.middleware.direct import make_scope
from tests.middleware.replayer import POINTS, ROUTES, effect, policy
from tests.patience import PATIENCE_SECONDS
from tests.postgres import postgres_store_url as postgres_store_url
from tests.store.build import decide, held, insert

LATE_US = 3_600 * 1_000_000
DOORS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres), "gateway"]
"""A middleware's workers on both databases, and a gateway's on SQLite: the door knows nothing of the database."""
EVERY = [*DOORS, pytest.param("gateway-postgresql", marks=pytest.mark.postgres)]
"""A gateway's on PostgreSQL too: where a process is killed inside a transaction, the database is what ends it."""


@dataclass
class Scene:
    """A store, the file of the application's effects, and what a moderator does."""

    url: str
    effects: Path
    store: Store
    door: str = "middleware"
    marks: tuple[str, ...] = ()
    finish: Callable[[], None] = lambda: None
    """Wait until the upstream has done what workers asked of it that are no more."""

    @property
    def after_the_effect(self) -> str:
        """Where a worker stops that has had the effect, and has not said so."""
        return "stop after the effect" if self.door == "middleware" else "stop in the answer"

    def approve(self, *idents: str, route: str = ROUTES[0]) -> None:
        for ident in idents:
            request = Envelope.of(make_scope(), [(b"content-length", b"%d" % len(ident))], ident.encode()).to_bytes()
            insert(self.store, replace(held(ident, request=request), route=route))
            decide(self.store, ident, approve=True)

    def worker(self, ending: str = "none", *marks: str) -> Forked:
        return start("tests.middleware.replayer", self.url, self.effects, ending, *self.marks, *marks)

    def run(self, ending: str = "none", *marks: str) -> int:
        with self.worker(ending, *marks) as worker:
            return worker.wait(PATIENCE_SECONDS)

    def expire(self) -> None:
        """Let the time of all leases be over, and the housekeeping of any process see it."""
        over = update(tables.replay).where(tables.replay.c.lease_us > 0).values(lease_us=1)
        self.store.submit(lambda tx: tx.connection.execute(over).rowcount).result()
        retries = retries_of(policy(self.url, idempotent="idempotent" in self.marks), lambda: 0.0)
        self.store.submit(lambda tx: tx.abandon_lost(tx.now_us(), LATE_US, retries)).result()

    def resolve(self, ident: str) -> None:
        """Say of an unknown request what a look into the application says."""
        way = Resolution.ARRIVED if self.had(ident) else Resolution.NOT_ARRIVED
        self.store.submit(lambda tx: tx.resolve(ident, way, moderator="mo", now_us=tx.now_us())).result()

    def state(self, ident: str) -> Delivery:
        found = self.store.submission(ident)
        assert found is not None
        return found.delivery

    def had(self, ident: str) -> int:
        """How often an effect happened."""
        lines = self.effects.read_text().splitlines() if self.effects.exists() else []
        return Counter(line.split()[0] for line in lines)[ident]


@pytest.fixture(params=DOORS)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """One of `EVERY`."""
    on_server = request.param.endswith("postgresql")
    url = request.getfixturevalue("postgres_store_url") if on_server else f"sqlite:///{tmp_path}/guard.db"
    door = "gateway" if request.param.startswith("gateway") else "middleware"
    with Store.open(policy(url, idempotent=False).store, clock=SystemClock()) as store:
        scene = Scene(url, tmp_path / "effects", store, door)
        if scene.door == "middleware":
            yield scene
            return

        def answer(seen: Seen) -> bytes:
            (key,) = seen.values(b"idempotency-key") or [b""]
            # The mark of an idempotent application: the guard's own key, which a client's would not look like.
            effect(scene.effects, seen.body.decode(), key.decode(), idempotent=bool(key))
            return OK

        with Upstream(answer) as upstream:
            yield replace(scene, marks=(upstream.url,), finish=upstream.finish)


NOTHING_HAPPENED = {"before the claim", "in the claim"}
RECORDED = {"after the record"}
LATER = {"after the body"}
"""The upstream has the whole request, and may not have done yet what it asks."""


def items_of(scene: Scene) -> dict[str, str]:
    """For each point an item of its own, on a route of its own, so that all can be tried at once."""
    return dict(zip(POINTS[scene.door], ROUTES, strict=False))


def kill_at_every_point(scene: Scene) -> dict[str, str]:
    items = items_of(scene)
    for route in items.values():
        scene.approve(route, route=route)
    with contextlib.ExitStack() as ending:
        workers = [ending.enter_context(scene.worker(point, route)) for point, route in items.items()]
        assert [worker.wait(PATIENCE_SECONDS) for worker in workers] == [-signal.SIGKILL] * len(workers)
    scene.finish()
    assert all(scene.had(item) for point, item in items.items() if point in LATER), "the upstream goes on by itself"
    return items


@pytest.mark.parametrize("scene", EVERY, indirect=True)
def test_killed_at_any_step_there_is_one_effect(scene: Scene) -> None:
    items = kill_at_every_point(scene)
    unsure = []
    for point, item in items.items():
        assert scene.had(item) <= 1, point
        if point in NOTHING_HAPPENED:
            assert (scene.state(item), scene.had(item)) == (Delivery.APPROVED, 0), point
        elif point in RECORDED:
            assert (scene.state(item), scene.had(item)) == (Delivery.DELIVERED, 1), point
        else:
            assert scene.state(item) is Delivery.DISPATCHING, point
            unsure.append(item)
    assert {scene.had(item) for item in unsure} == {0, 1}, "both happen, and nobody can tell which"
    assert scene.run() == 0
    assert {scene.state(item) for item in unsure} == {Delivery.DISPATCHING}, "nobody has them while the leases last"
    scene.expire()
    assert scene.run() == 0
    assert {scene.state(item) for item in unsure} == {Delivery.UNKNOWN}, "nor afterwards, until somebody has looked"
    for item in unsure:
        scene.resolve(item)
    assert scene.run() == 0
    assert {(scene.state(item), scene.had(item)) for item in items.values()} == {(Delivery.DELIVERED, 1)}
    assert verify(scene.store).findings == []


def test_an_idempotent_application_needs_nobody_to_look(scene: Scene) -> None:
    scene = replace(scene, marks=(*scene.marks, "idempotent"))
    items = kill_at_every_point(scene)
    scene.expire()
    assert scene.run() == 0
    assert {(scene.state(item), scene.had(item)) for item in items.values()} == {(Delivery.DELIVERED, 1)}
    assert verify(scene.store).findings == []


@contextlib.contextmanager
def stopped(scene: Scene, ending: str, *marks: str) -> Iterator[Forked]:
    """A worker that has stopped itself, as a machine under pressure does to a process; it goes on at the end."""
    with scene.worker(ending, *marks) as worker:
        assert worker.stdout.readline() == "stopped\n"
        worker.wait_until_stopped()
        yield worker
        worker.send_signal(signal.SIGCONT)
        worker.wait(PATIENCE_SECONDS)


def test_a_worker_that_was_overtaken_before_the_call_does_not_call(scene: Scene) -> None:
    scene.approve("s1")
    with stopped(scene, "stop before the call", "short") as worker:
        scene.expire()
        scene.resolve("s1")
        assert scene.run() == 0
        assert scene.had("s1") == 1
    assert worker.returncode == 0
    assert (scene.state("s1"), scene.had("s1")) == (Delivery.DELIVERED, 1)
    assert verify(scene.store).findings == []


def test_a_worker_that_was_slow_gives_its_claim_back(scene: Scene) -> None:
    scene.approve("s1")
    with stopped(scene, "stop before the call", "short") as worker:
        pass
    assert worker.returncode == 0
    assert (scene.state("s1"), scene.had("s1")) == (Delivery.DELIVERED, 1)
    found = scene.store.submission("s1")
    assert found is not None
    assert found.fence == 2, "it was claimed anew"


def test_the_outcome_of_an_old_claim_does_not_end_a_new_one(scene: Scene) -> None:
    """An idempotent application: a second worker has the request already when the first one comes back and reports."""
    scene = replace(scene, marks=(*scene.marks, "idempotent"))
    scene.approve("s1")
    with contextlib.ExitStack() as first:
        first.enter_context(stopped(scene, scene.after_the_effect))
        scene.expire()
        with stopped(scene, "stop before the call"):
            first.close()
            assert scene.state("s1") is Delivery.DISPATCHING, "the second claim goes on"
    assert (scene.state("s1"), scene.had("s1")) == (Delivery.DELIVERED, 1)
    found = scene.store.submission("s1")
    assert found is not None
    assert found.fence == 2
    assert verify(scene.store).findings == []


def test_what_an_overtaken_worker_has_to_tell_is_refused(scene: Scene) -> None:
    scene.approve("s1")
    with stopped(scene, scene.after_the_effect):
        scene.expire()
        assert scene.state("s1") is Delivery.UNKNOWN
        scene.resolve("s1")
        before = scene.store.submission("s1")
    assert scene.store.submission("s1") == before
    assert scene.had("s1") == 1
    assert verify(scene.store).findings == []


def test_workers_that_race_and_are_killed_have_one_effect_for_each(scene: Scene) -> None:
    random_ = random.Random(13)
    idents = [f"s{number:02}" for number in range(16)]
    scene.approve(*idents)
    endings = [random_.choice(POINTS[scene.door][2:]) for _ in range(3)]
    with contextlib.ExitStack() as ending:
        workers = [ending.enter_context(scene.worker(each)) for each in (*endings, "none")]
        codes = [worker.wait(PATIENCE_SECONDS) for worker in workers]
    assert codes[3:] == [0]
    assert set(codes[:3]) <= {0, -signal.SIGKILL}
    scene.finish()
    assert max(map(scene.had, idents)) <= 1
    scene.expire()
    for ident in idents:
        if scene.state(ident) is Delivery.UNKNOWN:
            scene.resolve(ident)
    assert scene.run() == 0
    assert {scene.state(ident) for ident in idents} == {Delivery.DELIVERED}
    assert [scene.had(ident) for ident in idents] == [1] * len(idents)
    assert verify(scene.store).findings == []
