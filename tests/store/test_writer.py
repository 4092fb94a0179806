"""Group commit: all or the failing one alone, told only after the commit, and never a hang."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pysqlite3
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from feedback_guard.errors import StoreError, TransitionError, UsageError
from feedback_guard.ledger.verify import verify
from feedback_guard.limits.interface import UNIT, Budget, Charge, Measure, Refusal
from feedback_guard.store import tables
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.group import Group
from feedback_guard.store.records import NewSubmission
from tests.patience import PATIENCE_SECONDS
from tests.postgres import server
from tests.store.build import CLOCK, insert, policy, submission

SECOND = 1_000_000


def note(n: int = 0) -> Callable[[Transaction], int]:
    return lambda tx: tx.append("note", f"n{n}", {"n": n}, 0)


def inserting(new: NewSubmission) -> Callable[[Transaction], None]:
    return lambda tx: tx.insert(new)


@contextmanager
def writer_stopped(store: Store) -> Iterator[None]:
    """Keep the writer busy, so that what is submitted meanwhile makes one group."""
    entered, leave = threading.Event(), threading.Event()

    def stop(_: Transaction) -> None:
        entered.set()
        leave.wait(PATIENCE_SECONDS)

    stopping = store.submit(stop)
    entered.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        leave.set()
        stopping.result(PATIENCE_SECONDS)


def sqlite_driver(store: Store) -> Any:
    """The connection that the writer owns."""
    return store.submit(lambda tx: tx.connection.connection.dbapi_connection).result()


def test_what_waits_together_shares_a_commit(store: Store) -> None:
    with writer_stopped(store):
        futures = [store.submit(lambda tx: tx.connection.get_transaction()) for _ in range(10)]
        assert store.queue_depth == 10
    assert len({id(future.result(PATIENCE_SECONDS)) for future in futures}) == 1


def test_a_group_has_a_bound(url: str) -> None:
    with Store.open(policy(url, max_group=3), clock=CLOCK) as store:
        with writer_stopped(store):
            futures = [store.submit(lambda tx: tx.connection.get_transaction()) for _ in range(10)]
        assert len({id(future.result(PATIENCE_SECONDS)) for future in futures}) == 4


def test_nobody_hears_of_success_before_the_commit(store: Store) -> None:
    """While a later job of the same group runs, the earlier one is neither resolved nor visible."""
    seen: list[tuple[bool, int]] = []
    with writer_stopped(store):
        first = store.submit(note(1))
        second = store.submit(lambda _: seen.append((first.done(), len(store.events_after(0, 10)))))
    second.result(PATIENCE_SECONDS)
    assert seen == [(False, 0)]
    assert first.result(PATIENCE_SECONDS) == 1


def test_a_failing_job_is_undone_alone(store: Store) -> None:
    def half(tx: Transaction) -> None:
        tx.insert(submission("half"))
        tx.append("note", "half", {}, 0)
        raise ZeroDivisionError("a bug")

    with writer_stopped(store):
        before, failing, after = store.submit(note(1)), store.submit(half), store.submit(note(2))
    assert (before.result(PATIENCE_SECONDS), after.result(PATIENCE_SECONDS)) == (1, 2)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        failing.result(PATIENCE_SECONDS)
    assert store.submission("half") is None
    assert [event.kind for event in store.events_after(0, 10)] == ["note", "note"]
    assert verify(store).clean


def test_a_job_that_hides_a_failed_statement_does_not_take_the_others_records(store: Store) -> None:
    """On PostgreSQL a failed statement spoils the transaction until it is rolled back; then nobody is told success."""

    def hiding(tx: Transaction) -> str:
        try:
            tx.connection.exec_driver_sql("SELECT * FROM no_such_table")
        except SQLAlchemyError:
            return "all is well"
        return "not reached"

    with writer_stopped(store):
        futures: list[Future[Any]] = [store.submit(note(1)), store.submit(hiding), store.submit(note(2))]
    told = [future.exception(30) is None for future in futures]
    recorded = len(store.events_after(0, 10))
    assert recorded == sum([told[0], told[2]])
    assert store.submit(note(3)).result(PATIENCE_SECONDS) == recorded + 1


def test_a_commit_that_a_hidden_failure_turned_into_a_rollback_is_no_success(store: Store) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK, and no error, when a statement failed before it."""

    def remember(tx: Transaction) -> None:
        tx.connection.exec_driver_sql("INSERT INTO meta VALUES ('key', 'value')")

    def hiding(tx: Transaction) -> None:
        with contextlib.suppress(SQLAlchemyError):
            tx.connection.exec_driver_sql("SELECT * FROM no_such_table")

    with writer_stopped(store):
        futures = [store.submit(remember), store.submit(hiding)]
    told = futures[0].exception(30) is None
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM meta").scalar() == int(told)


def test_a_job_that_hides_a_full_disk_loses_nothing_acknowledged(sqlite_store: Store) -> None:
    """SQLite may roll the whole transaction back by itself; what follows must not look like a success."""
    driver = sqlite_driver(sqlite_store)
    pages = driver.execute("PRAGMA page_count").fetchone()[0]
    driver.execute("PRAGMA cache_size = 1")
    driver.execute(f"PRAGMA max_page_count = {pages + 8}")

    def hiding(tx: Transaction) -> None:
        with contextlib.suppress(SQLAlchemyError):
            for number in range(100):
                tx.connection.exec_driver_sql("INSERT INTO meta VALUES (?, ?)", (f"k{number}", "x" * 3_000))

    jobs: list[Callable[[Transaction], Any]] = [note(1), hiding, note(2)]
    with writer_stopped(sqlite_store):
        futures = [sqlite_store.submit(job) for job in jobs]
    told = [future.exception(30) is None for future in futures]
    driver.execute("PRAGMA max_page_count = 1073741823")
    assert len(sqlite_store.events_after(0, 10)) == sum([told[0], told[2]])
    assert verify(sqlite_store).clean


def test_the_same_identifier_twice_fails_the_second_alone(store: Store) -> None:
    with writer_stopped(store):
        first, second = (store.submit(lambda tx: tx.insert(submission("s1"))) for _ in range(2))
    first.result(PATIENCE_SECONDS)
    with pytest.raises(StoreError, match="already recorded"):
        second.result(PATIENCE_SECONDS)
    assert verify(store).head.seq == 1


def test_what_the_commit_refuses_fails_alone(sqlite_store: Store) -> None:
    def orphan(tx: Transaction) -> None:
        tx.connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        tx.connection.exec_driver_sql(
            "INSERT INTO contribution VALUES ('o', 'no such submission', 0, '{}', '{}', '', '', 0, 0, 0, x'')"
        )

    with writer_stopped(sqlite_store):
        jobs: list[Callable[[Transaction], Any]] = [note(1), orphan, note(2)]
        futures = [sqlite_store.submit(job) for job in jobs]
    with pytest.raises(StoreError, match="nothing was recorded"):
        futures[1].result(PATIENCE_SECONDS)
    assert [futures[0].result(PATIENCE_SECONDS), futures[2].result(PATIENCE_SECONDS)] == [1, 2]
    assert verify(sqlite_store).clean


def test_when_the_database_is_gone_everybody_is_told(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(_: Group) -> None:
        raise OperationalError("COMMIT", {}, Exception("the disk is gone"))

    with monkeypatch.context() as broken:
        broken.setattr(Group, "flush", vanish)
        for future in [sqlite_store.submit(note(n)) for n in (1, 2, 3)]:
            with pytest.raises(StoreError, match="nothing was recorded"):
                future.result(PATIENCE_SECONDS)
    assert sqlite_store.events_after(0, 10) == []
    assert sqlite_store.submit(note(3)).result(PATIENCE_SECONDS) == 1


def test_a_failed_job_leaves_no_charge_and_no_row(store: Store) -> None:
    """Charges and rows are kept back until the commit, so undoing one job must take back its own, and only those."""
    budget = Budget("b", "contributor", Measure.COUNT, 3 * UNIT, None, 0)

    def charge(tx: Transaction) -> Refusal | None:
        return tx.budgets.charge([Charge(budget, "k", UNIT)], 0)

    def fail(tx: Transaction, *, look: bool) -> None:
        if look:
            tx.connection.execute(select(tables.meta)).all()
        charge(tx)
        tx.insert(submission("undone"))
        if look:
            assert tx.connection.execute(select(tables.submission).where(tables.submission.c.id == "undone")).one()
        raise UsageError("no")

    with writer_stopped(store):
        first: list[Future[Any]] = [store.submit(charge), store.submit(inserting(submission("before")))]
        failing = [store.submit(partial(fail, look=look)) for look in (False, True, False, True)]
        last: list[Future[Any]] = [
            store.submit(charge),
            store.submit(charge),
            store.submit(inserting(submission("after"))),
        ]
    for future in failing:
        with pytest.raises(UsageError):
            future.result(PATIENCE_SECONDS)
    assert [future.result(PATIENCE_SECONDS) for future in (*first, *last)] == [None] * 5
    assert store.submit(charge).result(PATIENCE_SECONDS) is not None  # exactly the three that succeeded were charged
    assert [store.submission(name) is not None for name in ("before", "undone", "after")] == [True, False, True]
    assert verify(store).clean


def test_a_full_disk_is_told_and_healed_without_a_restart(sqlite_store: Store) -> None:
    insert(sqlite_store, submission("before"))
    driver = sqlite_driver(sqlite_store)
    pages = driver.execute("PRAGMA page_count").fetchone()[0]
    driver.execute(f"PRAGMA max_page_count = {pages + 2}")
    acknowledged, refused = [], 0
    for start in range(0, 40, 8):
        with writer_stopped(sqlite_store):
            futures = {n: sqlite_store.submit(inserting(submission(f"s{n}"))) for n in range(start, start + 8)}
        for n, future in futures.items():
            error = future.exception(30)
            if error is None:
                acknowledged.append(n)
            else:
                assert isinstance(error, StoreError)
                assert "disk is full" in str(error)
                refused += 1
    assert refused
    assert {n for n in range(40) if sqlite_store.submission(f"s{n}")} == set(acknowledged)
    driver.execute("PRAGMA max_page_count = 1073741823")
    insert(sqlite_store, submission("after"))
    assert verify(sqlite_store).clean


def test_a_connection_that_was_closed_is_replaced(sqlite_store: Store) -> None:
    insert(sqlite_store, submission("s1"))
    sqlite_driver(sqlite_store).close()
    with pytest.raises(StoreError, match="nothing was recorded"):
        sqlite_store.submit(note()).result(PATIENCE_SECONDS)
    assert sqlite_store.submit(note()).result(PATIENCE_SECONDS) == 2


def test_a_full_queue_refuses_at_once(url: str) -> None:
    with Store.open(policy(url, queue_size=2), clock=CLOCK) as store:
        with writer_stopped(store):
            kept = [store.submit(note(n)) for n in range(2)]
            with pytest.raises(StoreError, match="queue_size"):
                store.submit(note(3))
        assert [future.result(PATIENCE_SECONDS) for future in kept] == [1, 2]


def test_a_lock_held_too_long_is_an_error_and_not_a_hang(sqlite_url: str, tmp_path: Path) -> None:
    with Store.open(policy(sqlite_url, busy_timeout=50_000), clock=CLOCK) as store:
        other = pysqlite3.connect(str(tmp_path / "store.db"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="held the write lock for too long"):
            store.submit(note()).result(PATIENCE_SECONDS)
        assert store.events_after(0, 10) == []
        other.execute("ROLLBACK")
        assert store.submit(note()).result(PATIENCE_SECONDS) == 1
        other.close()


def test_opening_waits_longer_than_writing(sqlite_url: str, tmp_path: Path) -> None:
    """Processes that start together wait for the one that brings the schema forward, however short their patience."""
    Store.open(policy(sqlite_url), clock=CLOCK).close()
    other = pysqlite3.connect(str(tmp_path / "store.db"), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.5, other.execute, ["ROLLBACK"])
    ends.start()
    with Store.open(policy(sqlite_url, busy_timeout=50_000), clock=CLOCK) as store:
        ends.join()
        assert store.submit(note()).result(PATIENCE_SECONDS) == 1
    other.close()


@pytest.mark.postgres
def test_opening_waits_longer_than_writing_on_a_server_too(postgres_url: str) -> None:
    with Store.open(policy(postgres_url), clock=CLOCK) as other, ThreadPoolExecutor(1) as pool:
        with writer_stopped(other):
            opening = pool.submit(Store.open, policy(postgres_url, busy_timeout=50_000), clock=CLOCK)
            with pytest.raises(TimeoutError):
                opening.result(0.5)
        opening.result(PATIENCE_SECONDS).close()


@pytest.mark.postgres
def test_a_lock_held_too_long_on_a_server_too(postgres_url: str) -> None:
    with Store.open(policy(postgres_url, busy_timeout=50_000), clock=CLOCK) as store:
        with (
            Store.open(policy(postgres_url), clock=CLOCK) as other,
            writer_stopped(other),
            pytest.raises(StoreError, match="held the write lock for too long"),
        ):
            store.submit(note()).result(PATIENCE_SECONDS)
        assert store.submit(note()).result(PATIENCE_SECONDS) == 1


@pytest.mark.postgres
def test_a_server_that_crashed_is_told_and_found_again(postgres_url: str) -> None:
    running = server()
    with Store.open(policy(postgres_url), clock=CLOCK) as store:
        insert(store, *[submission(f"s{n}") for n in range(20)])
        running.stop("immediate")
        with pytest.raises(StoreError):
            store.submit(note()).result(PATIENCE_SECONDS)
        with pytest.raises(StoreError):
            store.events_after(0, 1)
        running.start()
        assert store.submit(note()).result(PATIENCE_SECONDS) == 21
        assert verify(store).clean
        assert store.submission("s19") is not None


def test_closing_does_what_is_queued_first(url: str) -> None:
    store = Store.open(policy(url), clock=CLOCK)
    with writer_stopped(store):
        futures = [store.submit(note(n)) for n in range(20)]
        closing = threading.Thread(target=store.close)
        closing.start()
    closing.join(PATIENCE_SECONDS)
    assert [future.result(0) for future in futures] == list(range(1, 21))
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.submit(note())


def test_an_error_that_is_no_exception_is_survived(store: Store) -> None:
    def interrupted(_: Transaction) -> None:
        raise KeyboardInterrupt

    with pytest.raises(StoreError, match="KeyboardInterrupt"):
        store.submit(interrupted).result(PATIENCE_SECONDS)
    assert store.submit(note()).result(PATIENCE_SECONDS) == 1


def test_a_future_cannot_be_cancelled(store: Store) -> None:
    with writer_stopped(store):
        future = store.submit(note())
        assert not future.cancel()
    assert future.result(PATIENCE_SECONDS) == 1


def test_a_caller_that_is_cancelled_leaves_the_job_be(store: Store) -> None:
    async def main() -> None:
        with writer_stopped(store):
            task = asyncio.create_task(store.run(note()))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await store.run(note()) == 2

    asyncio.run(main())
    assert verify(store).head.seq == 2


def test_a_cancelled_caller_is_not_haunted_by_the_jobs_error(store: Store) -> None:
    complaints: list[dict[str, Any]] = []

    def failing(_: Transaction) -> None:
        raise TransitionError("no")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        with writer_stopped(store):
            task = asyncio.create_task(store.run(failing))
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(TransitionError):
            await store.run(failing)

    asyncio.run(main())
    assert complaints == []


def test_a_loop_that_ends_first_does_not_disturb_the_writer(store: Store) -> None:
    async def leave() -> None:
        asyncio.get_running_loop().create_task(store.run(note()))
        await asyncio.sleep(0)

    with writer_stopped(store):
        asyncio.run(leave())
    assert store.submit(note()).result(PATIENCE_SECONDS) == 2


def test_run_tells_result_and_error(store: Store) -> None:
    def failing(_: Transaction) -> None:
        raise TransitionError("no")

    async def main() -> None:
        assert await asyncio.gather(*(store.run(note(n)) for n in range(30))) == list(range(1, 31))
        with pytest.raises(TransitionError):
            await store.run(failing)

    asyncio.run(main())


def _in_child(store: Store, told: Any) -> None:
    try:
        store.submit(note())
    except StoreError as error:
        told.send(str(error))
    store.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_is_refused(sqlite_store: Store) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_in_child, args=(sqlite_store, there))
    child.start()
    child.join(PATIENCE_SECONDS)
    assert here.poll(PATIENCE_SECONDS)
    assert "forked" in here.recv()
    assert sqlite_store.submit(note()).result(PATIENCE_SECONDS) == 1
