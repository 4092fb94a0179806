"""Redis in front of the budgets: the same answers as without, and nothing more admitted whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from feedback_guard.errors import CredentialError
from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.checks import CHECKS, SECOND, Fresh, Opener, lifetime, rate
from feedback_guard.limits.copies import Copies
from feedback_guard.limits.diagnosis import diagnose_redis
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import UNIT, Charge
from feedback_guard.limits.redis import SharedLevels, place_of
from feedback_guard.limits.redis_thread import MAX_WAITING
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.policy.schema import Policy
from tests.limits import openers
from tests.patience import PATIENCE_SECONDS
from tests.redis import KEY, Server, running, section, shared

NOW = 1_790_000_000 * SECOND
ONCE = lifetime(1, name="once")
CHARGE = Charge(ONCE, "alice@example.com", UNIT)
FULL = {budget_key(ONCE, CHARGE.key): Level(UNIT, 0, 0, NOW)}

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_key")]


def test_a_server_can_be_had(redis_server: Server) -> None:
    with redis_server.client as client:
        assert client.ping()


@pytest.fixture
def front(redis_server: Server) -> Iterator[SharedLevels]:
    opened = shared(redis_server)
    yield opened
    opened.close()


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_sqlite_behind_redis_is_a_budget_store(
    check: Callable[[Fresh], None], redis_server: Server, tmp_path: Path
) -> None:
    fronts: list[SharedLevels] = []
    make = openers.sqlite_files(tmp_path, lambda engines: openers.fronted(fronts[-1])(engines))

    def fresh() -> Opener:
        fronts.append(shared(redis_server, place=str(len(fronts))))
        return make()

    try:
        check(fresh)
    finally:
        for opened in fronts:
            opened.close()


@pytest.mark.postgres
@pytest.mark.parametrize("check", [CHECKS["threads_share_one_budget"], CHECKS["intervals_never_overflow"]])
def test_postgresql_behind_redis_is_a_budget_store(
    check: Callable[[Fresh], None], redis_server: Server, postgres_url: str
) -> None:
    fronts: list[SharedLevels] = []
    make = openers.postgres(postgres_url, lambda engines: openers.fronted(fronts[-1])(engines))

    def fresh() -> Opener:
        fronts.append(shared(redis_server, place=str(len(fronts))))
        return make()

    try:
        check(fresh)
    finally:
        for opened in fronts:
            opened.close()


def test_what_one_process_learns_another_knows(redis_server: Server, front: SharedLevels) -> None:
    other = shared(redis_server)
    try:
        assert other.peek_now([CHARGE], NOW) is None
        front.note(FULL)
        assert front.flush()
        refusal = other.peek_now([CHARGE], NOW)
        assert refusal is not None
        assert (refusal.charge, refusal.retry_after_us, refusal.remaining_micro) == (CHARGE, None, 0)
        assert asyncio.run(other.peek([CHARGE], NOW)) == refusal
    finally:
        other.close()


def test_an_older_level_never_takes_the_place_of_a_later_one(front: SharedLevels) -> None:
    for level in (Level(UNIT, 0, 0, NOW), Level(0, 0, 0, NOW), Level(0, 0, 0, NOW - 1)):
        front.note({next(iter(FULL)): level})
        assert front.flush()
        assert front.peek_now([CHARGE], NOW) is not None


def test_nothing_in_redis_says_whose_it_is_and_everything_there_ends(redis_server: Server, front: SharedLevels) -> None:
    front.note({budget_key(lifetime(1), f"user-{n}@example.com"): Level(n, 0, 0, NOW) for n in range(700)})
    assert front.flush()
    with redis_server.client as client:
        names = client.keys()
        assert isinstance(names, list)
        assert len(names) == 700
        for name in names[:50]:
            remaining, value = client.pttl(name), client.get(name)
            assert isinstance(remaining, int)
            assert 0 < remaining <= 60_000
            assert isinstance(value, bytes)
            for secret in (b"user", b"example", b"lifetime", budget_key(lifetime(1), "user-1@example.com").encode()):
                assert secret not in name + value


def test_two_stores_in_one_redis_do_not_refuse_for_each_other(redis_server: Server, front: SharedLevels) -> None:
    front.note(FULL)
    assert front.flush()
    other = shared(redis_server, place="another store")
    try:
        assert other.peek_now([CHARGE], NOW) is None
    finally:
        other.close()
    places = ["postgresql://a@db:5432/x", "postgresql://a@db:5432/y", "sqlite:///x.db", "sqlite:////x.db"]
    assert len({place_of(place) for place in places}) == 4
    assert place_of("postgresql://b:secret@db:5432/x") == place_of(places[0])


def test_whoever_writes_into_redis_can_refuse_nothing(redis_server: Server, front: SharedLevels) -> None:
    """Made-up levels, another counter's level, another key's level, rubbish: none of it is believed."""
    front.note(FULL | {budget_key(ONCE, "bob"): Level(0, 0, 0, NOW)})
    assert front.flush()
    name = Copies(KEY.encode(), "here").name(budget_key(ONCE, "bob"))
    with redis_server.client as client:
        theirs = client.get(Copies(KEY.encode(), "here").name(next(iter(FULL))))
        assert isinstance(theirs, bytes)
        forged = Copies(b"another key, long enough", "here").write(name, Level(UNIT, 0, 0, NOW))
        altered = theirs[:39] + b"9" + theirs[40:]
        for value in (theirs, forged, altered, b"", b"\xff" * 112, b"9" * 112):
            client.set(name, value)
            assert front.peek_now([Charge(ONCE, "bob", UNIT)], NOW) is None
        client.delete(name)
        client.rpush(name, "a list")
        assert front.peek_now([Charge(ONCE, "bob", UNIT)], NOW) is None


def test_the_time_of_a_copy_is_the_stores(front: SharedLevels) -> None:
    budget = rate(1, 10 * SECOND, 1)
    front.note({budget_key(budget, "k"): Level(UNIT, 0, 10 * SECOND, NOW)})
    assert front.flush()
    charge = Charge(budget, "k", UNIT)
    refusal = front.peek_now([charge], NOW + 4 * SECOND)
    assert refusal is not None
    assert refusal.retry_after_us == 6 * SECOND
    assert front.peek_now([charge], NOW + 10 * SECOND) is None


def test_emptied_or_restarted_it_is_filled_again(redis_server: Server, front: SharedLevels) -> None:
    front.note(FULL)
    assert front.flush()
    with redis_server.client as client:
        client.flushall()
        client.script_flush()
    assert front.peek_now([CHARGE], NOW) is None
    front.note(FULL)
    assert front.flush()
    assert front.peek_now([CHARGE], NOW) is not None


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_redis_that_is_killed_costs_little_and_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    skipped: list[bool] = []
    with running() as server:
        policy = RedisPolicy.model_validate(section(server, pause="100ms"))
        front = SharedLevels(policy, "here", on_skipped=skipped.append)
        try:
            front.note(FULL)
            assert front.flush()
            server.stop()
            answers = [front.peek_now([CHARGE], NOW) for _ in range(5)]
            assert answers == [None] * 5
            assert skipped[:1] == [True]
            server.start()
            until(lambda: not front.skipped)
            assert skipped[-1] is False
            assert front.peek_now([CHARGE], NOW) is None, "it came back empty"
            front.note(FULL)
            assert front.flush()
            assert front.peek_now([CHARGE], NOW) is not None
        finally:
            front.close()
    assert "Redis is skipped" in caplog.text
    assert "Redis answers again" in caplog.text


def test_a_redis_that_hangs_costs_the_timeout_a_few_times_and_then_nothing() -> None:
    outcomes: list[str] = []
    with running() as server:
        policy = RedisPolicy.model_validate(section(server, pause="60s", timeout="500ms"))
        front = SharedLevels(policy, "here", on_outcome=outcomes.append)
        try:
            until(lambda: front.peek_now([CHARGE], NOW) is None and outcomes[-1] == "unknown")
            outcomes.clear()
            server.hang()

            async def storm() -> list[object]:
                return [await front.peek([CHARGE], NOW) for _ in range(50)]

            assert asyncio.run(storm()) == [None] * 50
            assert front.skipped
            # Each failure is seen by who asked, and by the thread; it takes three.
            assert 1 <= outcomes.count("failed") <= 3
            assert outcomes.count("skipped") == 50 - outcomes.count("failed")
            front.note(FULL)  # returns at once, and is dropped
            assert front.flush()
        finally:
            server.go_on()
            front.close()


def test_a_storm_of_lookups_is_bounded(redis_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[str] = []
    policy = RedisPolicy.model_validate(section(redis_server, timeout="1s", failures=100))
    front = SharedLevels(policy, "here", on_outcome=outcomes.append)
    redis_server.hang()
    try:

        async def storm() -> None:
            await asyncio.gather(*(front.peek([CHARGE], NOW) for _ in range(3 * MAX_WAITING)))

        asyncio.run(storm())
        assert outcomes.count("skipped") >= MAX_WAITING
    finally:
        redis_server.go_on()
        front.close()


@pytest.mark.parametrize("secret", ["", "short"])
def test_a_key_that_is_no_secret_is_refused(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FG_TEST_REDIS_KEY", secret)
    policy = RedisPolicy.model_validate({"url": "redis://127.0.0.1:1", "key": {"env": "FG_TEST_REDIS_KEY"}})
    with pytest.raises(CredentialError):
        SharedLevels(policy, "here")


def test_doctor_says_whether_redis_works(redis_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(**options: object) -> list[tuple[str, str]]:
        policy = Policy.model_validate({"redis": section(redis_server, **options)})
        return [(found.health.value, found.message) for found in diagnose_redis(policy)]

    assert [health for health, _ in said()] == ["ok"]
    assert "works; a lookup takes" in said()[0][1]
    assert said(url="redis://127.0.0.1:1")[0][0] == "failure"
    wrong = said(password={"env": "FG_TEST_REDIS_KEY"})
    assert wrong[0][0] == "failure"
    assert KEY not in wrong[0][1]
    monkeypatch.delenv("FG_TEST_REDIS_KEY")
    assert "FG_TEST_REDIS_KEY is not set" in said()[0][1]
    assert list(diagnose_redis(Policy())) == []


@pytest.mark.parametrize(
    "url",
    ["http://h", "redis://", "redis://user:secret@h", "redis://h:0", "redis://h:99999", "redis://h/x", "unix://x"],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        RedisPolicy.model_validate({"url": url, "key": {"env": "K"}})
