"""A Redis that fails over to a replica which never saw the latest writes: nothing more is admitted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.relay import Relay
from feedback_guard.limits.checks import lifetime, rate
from feedback_guard.limits.interface import UNIT, Budget, Charge, Refusal
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.policy.redis import RedisPolicy
from tests.limits import openers
from tests.limits.openers import Fronted
from tests.patience import PATIENCE_SECONDS
from tests.redis import Server, running, section

NOW = 1_790_000_000_000_000
AMOUNT = 24
BUDGETS = (lifetime(AMOUNT, name="ever"), rate(1, 10**12, AMOUNT, name="often"))

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_key")]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def offset(server: Server) -> int:
    with server.client as client:
        found: Any = client.info("replication")
        return int(found.get("slave_repl_offset", found["master_repl_offset"]))


@contextmanager
def pair() -> Iterator[tuple[Server, Server, Relay]]:
    """A server, its replica, and the address that leads to whichever is the first."""
    with (
        running("--repl-diskless-sync-delay", "0") as first,
        running() as second,
        Relay("127.0.0.1", first.port) as address,
    ):
        with second.client as client:
            client.replicaof("127.0.0.1", str(first.port))
            until(lambda: client.info("replication")["master_link_status"] == "up")
        yield first, second, address


class Believing(Fronted):
    """Wrong: what Redis has room for is admitted, and the store only told."""

    def charge(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        refusal = self._front.peek_now(charges, now_us)
        if refusal is None:
            self._behind.force(charges, now_us)
        return refusal


def attempts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, budget: Budget, kind: type[Fronted], *, promote: bool
) -> tuple[int, list[bool]]:
    """Attempts before, without and after a failover: how many were admitted, and when Redis was skipped."""
    monkeypatch.setattr(openers, "Fronted", kind)
    skipped: list[bool] = []
    with pair() as (first, second, address):
        options = {"url": f"redis://127.0.0.1:{address.port}/0", "pause": "100ms"}
        policy = RedisPolicy.model_validate(section(first, **options))
        front = SharedLevels(policy, "here", on_skipped=skipped.append)
        try:
            opener = openers.sqlite_files(folder, openers.fronted(front))()

            def attempt(n: int) -> int:
                granted = 0
                for _ in range(n):
                    with opener() as budgets:
                        granted += budgets.charge([Charge(budget, "k", UNIT)], NOW) is None
                return granted

            admitted = attempt(AMOUNT // 4)
            until(lambda: offset(first) == offset(second))
            # From here on the replica hears nothing more; what is written is acknowledged all the same.
            with second.client as client:
                client.replicaof("NO", "ONE")
                if not promote:
                    client.config_set("min-replicas-to-write", "1")  # refuses writes, as a replica would
            admitted += attempt(AMOUNT)
            first.stop()
            address.lead_to("127.0.0.1", second.port)
            # The replica remembers a quarter, and would have room for three more.
            admitted += attempt(AMOUNT)
            until(lambda: not front.skipped)
            return admitted + attempt(AMOUNT), skipped
        finally:
            front.close()


@pytest.mark.parametrize("promote", [True, False], ids=["promoted", "read-only"])
@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.name)
def test_a_failover_that_loses_writes_admits_nothing_extra(
    budget: Budget, promote: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admitted, skipped = attempts(tmp_path, monkeypatch, budget, Fronted, promote=promote)
    assert admitted == AMOUNT
    assert skipped.count(True) >= skipped.count(False)


def test_the_test_notices_a_redis_that_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted, _ = attempts(tmp_path, monkeypatch, BUDGETS[0], Believing, promote=True)
    assert admitted > AMOUNT
