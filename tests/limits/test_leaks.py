"""Whoever holds a reservation is killed, or stops: others have it back at once, or within a minute, and only if nothing
was recorded for it. The clock stands still meanwhile, so that no budget refills by waiting.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import UNIT
from feedback_guard.limits.latest import REMEMBER_SECONDS
from feedback_guard.store.database import Store
from tests.forks import start
from tests.limits.holder import ALL, EVER, HOURLY, NOW, POINTS, opened, spend
from tests.redis import Server, shared

MINUTE = 60.0


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


class Holder:
    """A process that has charged everything and stands at a point."""

    def __init__(self, url: str, point: str, idle: str, redis_port: str) -> None:
        self._process = start("tests.limits.holder", url, point, idle, redis_port)
        self.said: list[str] = []
        self.hear(point)

    def hear(self, *words: str) -> str:
        """Read until it says one of the words."""
        for line in self._process.stdout:
            self.said.append(line.strip())
            if self.said[-1] in words:
                return self.said[-1]
        raise AssertionError(f"it ended, and said {self.said}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def go_on(self) -> None:
        """Let it do the rest."""
        self.signal(signal.SIGCONT)
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.close()


@contextlib.contextmanager
def holding(url: str, point: str, *, idle: str = "as it is", redis_port: str = "none") -> Iterator[Holder]:
    holder = Holder(url, point, idle, redis_port)
    try:
        yield holder
    finally:
        holder.end()


def recorded(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM ledger WHERE kind = 'spent'")).scalar_one())


def used(store: Store) -> list[int]:
    return [10 - store.balance(budget, "alice", NOW).remaining_micro // UNIT for budget in (EVER, HOURLY)]


@pytest.mark.parametrize("point", POINTS)
def test_what_a_killed_process_held_is_there_again_at_once(url: str, point: str) -> None:
    with opened(url) as store:
        with holding(url, point) as holder:
            holder.signal(signal.SIGKILL)
        began = time.monotonic()
        kept = point == "committed"
        assert recorded(store) == kept
        assert used(store) == [10 * kept] * 2, "what is charged is what is recorded, no more and no less"
        assert store.submit(spend).result(MINUTE) is not kept
        assert time.monotonic() - began < MINUTE / 4
        assert recorded(store) == 1
        assert used(store) == [10, 10]


def test_a_reservation_beside_the_record_would_be_noticed(url: str) -> None:
    """The planted bug: room is taken in a transaction of its own, before the one that records."""
    with opened(url) as store:
        with holding(url, "reserved") as holder:
            holder.signal(signal.SIGKILL)
        assert (recorded(store), used(store)) == (0, [10, 10])
        assert not store.submit(spend).result(MINUTE)


@pytest.mark.postgres
@pytest.mark.parametrize("point", ["charged", "written"])
def test_one_that_stops_while_it_holds_is_cut_off(postgres_url: str, point: str) -> None:
    """Half a minute, as it is set; a tenth of a second here."""
    with opened(postgres_url) as store:
        with holding(postgres_url, point) as holder:
            assert holder.said[0] == "idle 30s"
        with holding(postgres_url, point, idle="100") as holder:
            holder.signal(signal.SIGSTOP)
            assert store.submit(spend).result(MINUTE)
            holder.go_on()
            assert holder.hear("lost", "spent True", "spent False") in {"lost", "spent False"}
        assert (recorded(store), used(store)) == (1, [10, 10]), "it came back, and its charge did not"


@pytest.mark.redis
@pytest.mark.usefixtures("redis_key")
@pytest.mark.parametrize("point", POINTS)
def test_with_redis_in_front_it_is_the_same(url: str, point: str, redis_server: Server) -> None:
    front = shared(redis_server)
    try:
        with opened(url) as store:
            store.tell_levels(front.note)
            with holding(url, point, redis_port=str(redis_server.port)) as holder:
                holder.signal(signal.SIGKILL)
            kept = point == "committed"
            assert front.peek_now(ALL, NOW) is None, "nobody was told, so Redis refuses nothing"
            assert store.submit(spend).result(MINUTE) is not kept, "and the store decides"
            assert front.flush()
            assert front.peek_now(ALL, NOW) is not None
            assert (recorded(store), used(store)) == (1, [10, 10])
    finally:
        front.close()


@pytest.mark.redis
@pytest.mark.usefixtures("redis_key")
def test_a_copy_of_what_the_store_no_longer_knows_is_gone_within_a_minute(tmp_path: Path, redis_server: Server) -> None:
    """The store was restored from a backup, and Redis still says what came after it."""
    front = shared(redis_server)
    full = {budget_key(charge.budget, charge.key): Level(10 * UNIT, 0, 0, NOW) for charge in ALL[:1]}
    try:
        with opened(f"sqlite:///{tmp_path}/restored.db") as store, redis_server.client as client:
            store.submit(lambda tx: tx.budgets.charge([ALL[0]._replace(cost_micro=UNIT)], NOW)).result(30)
            store.tell_levels(front.note)
            front.note(full)
            assert front.flush()
            assert front.peek_now(ALL, NOW) is not None
            (name,) = client.keys()
            left = client.pttl(name)
            assert isinstance(left, int)
            assert 0 < left <= MINUTE * 1_000
            client.pexpire(name, 20_000)  # as time does
            for _ in range(3):  # others ask about the counter meanwhile, and make it last no longer
                store.submit(lambda tx: tx.budgets.peek(ALL, NOW)).result(30)
                assert front.flush()
            left = client.pttl(name)
            assert isinstance(left, int)
            assert 0 < left <= 20_000
            client.pexpire(name, 0)
            rest = [ALL[0]._replace(cost_micro=9 * UNIT)]
            assert front.peek_now(rest, NOW) is None
            assert store.submit(lambda tx: tx.budgets.charge(rest, NOW)).result(30) is None
    finally:
        front.close()


def test_what_a_process_remembers_of_a_full_budget_lasts_a_minute(tmp_path: Path) -> None:
    """Somebody puts a counter back in the database; a process that knew it as full finds out."""
    assert REMEMBER_SECONDS <= MINUTE
    with opened(f"sqlite:///{tmp_path}/store.db") as store:
        clock = store._clock
        assert store.submit(spend).result(30)
        assert store.latest.peek(ALL[:1], NOW) is not None
        store.submit(lambda tx: tx.connection.execute(text("DELETE FROM budget")).rowcount).result(30)
        clock.advance(REMEMBER_SECONDS - 1)  # type: ignore[attr-defined]
        assert store.latest.peek(ALL[:1], NOW) is not None
        clock.advance(1)  # type: ignore[attr-defined]
        assert store.latest.peek(ALL[:1], NOW) is None
        assert store.submit(spend).result(30)
