"""Outcomes that share a transaction are looked up and written together, and end as if each had one of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select, text

from feedback_guard.ledger.verify import verify
from feedback_guard.store import tables
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.group import Group
from feedback_guard.store.outcomes import GroupOutcomes
from feedback_guard.store.statement import Statement
from feedback_guard.store.states import OUTCOMES, Delivery
from tests.store.build import CLOCK, NOW, insert, policy, submission
from tests.store.ready import ready
from tests.store.test_writer import writer_stopped

MINUTE = 60_000_000
_LOOK = text("SELECT delivery, version, detail FROM submission WHERE id = :ident")


class Step(NamedTuple):
    """A job, and the submission that it is announced to record the outcome of."""

    job: Callable[[Transaction], Any]
    outcome_of: str = ""


def ends(ident: str, to: Delivery, **detail: Any) -> Callable[[Transaction], Any]:
    return lambda tx: tx.deliver(ident, to, now_us=NOW, detail=detail)


def failing(first: Callable[[Transaction], Any], *, looks: bool = False) -> Callable[[Transaction], None]:
    def fail(tx: Transaction) -> None:
        if looks:
            tx.connection.execute(text("SELECT 1"))
        first(tx)
        raise ZeroDivisionError

    return fail


def looking(ident: str) -> Callable[[Transaction], Any]:
    return lambda tx: tuple(tx.connection.execute(_LOOK, {"ident": ident}).one())


def inserting(ident: str) -> Callable[[Transaction], None]:
    return lambda tx: tx.insert(submission(ident))


def abandoning(tx: Transaction) -> list[str]:
    return sorted(tx.abandon_lost(NOW + 60 * MINUTE, MINUTE))


def play(store: Store, steps: Sequence[Step]) -> list[object]:
    """Do all in as few transactions as the store's policy allows; what each returned, or raised."""
    with writer_stopped(store):
        futures = [store.submit(step.job, outcome_of=step.outcome_of) for step in steps]
    return [repr(error) if (error := future.exception(30)) else future.result() for future in futures]


def dispatching(store: Store, n: int) -> list[str]:
    idents = [f"s{number}" for number in range(n)]
    insert(store, *(submission(each, delivery=Delivery.DISPATCHING, worker=f"w-{each}") for each in idents))
    return idents


def scenario(rng: random.Random) -> list[Step]:
    """Outcomes, announced or not, some twice, some of jobs that fail; among jobs that see or change the rows."""
    steps: list[Step] = []
    for number in range(30):
        ident = f"s{rng.randrange(12)}"
        end = ends(ident, rng.choice(sorted(OUTCOMES)), status=200 + number)
        other = [
            Step(end),
            Step(failing(end, looks=True), ident),
            Step(looking(ident), ident),
            Step(inserting(f"new{number}")),
            Step(lambda tx: tx.append("note", "n", {}, NOW)),
        ]
        steps.append(rng.choice(other) if rng.random() < 0.5 else Step(end, ident))
    if rng.random() < 0.5:
        steps.insert(rng.randrange(30), Step(abandoning))
    return steps


def ended(store: Store, seed: int) -> tuple[list[object], list[Any], list[Any]]:
    """What becomes of the jobs, of the submissions, and of the ledger."""
    dispatching(store, 12)
    results = play(store, scenario(random.Random(seed)))
    assert verify(store).clean
    with store.reading() as connection:
        rows = connection.execute(select(tables.submission).order_by(tables.submission.c.id)).all()
        entries = connection.execute(select(tables.ledger).order_by(tables.ledger.c.seq)).all()
    return results, [tuple(row) for row in rows], [tuple(entry) for entry in entries]


def test_what_a_failed_job_recorded_is_taken_back(store: Store) -> None:
    first, second = dispatching(store, 2)
    steps = [
        Step(ends(first, Delivery.DELIVERED), first),
        Step(failing(ends(second, Delivery.FAILED)), second),
        Step(ends(second, Delivery.UNKNOWN), second),
    ]
    assert play(store, steps) == [Delivery.DELIVERED, "ZeroDivisionError()", Delivery.UNKNOWN]
    assert verify(store).clean


def differ(store: Store, tmp_path: Path, seed: int) -> bool:
    """Whether it ends otherwise than with a transaction for each job."""
    with Store.open(policy(ready(f"sqlite:///{tmp_path}/alone.db"), max_group=1), clock=CLOCK) as alone:
        return ended(store, seed) != ended(alone, seed)


@pytest.mark.parametrize("seed", range(12))
def test_outcomes_that_share_a_transaction_end_as_alone(store: Store, tmp_path: Path, seed: int) -> None:
    assert not differ(store, tmp_path, seed)


class Bug(NamedTuple):
    owner: type
    name: str
    does: Callable[..., Any]


def _nothing(*_: Any) -> None:
    return


BUGS = {
    "what a statement changed is still believed": Bug(GroupOutcomes, "forget", _nothing),
    "others do not see it": Bug(Group, "last", property(lambda self: self._connection)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_comparison_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    monkeypatch.setattr(*BUGS[bug])

    def noticed(seed: int) -> bool:
        folder = tmp_path / str(seed)
        folder.mkdir()
        with Store.open(policy(ready(f"sqlite:///{folder}/shared.db")), clock=CLOCK) as store:
            try:
                return differ(store, folder, seed)
            except AssertionError:
                return True

    assert any(noticed(seed) for seed in range(12))


def test_many_take_as_many_statements_as_few(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counts(*args: Any) -> Any:
            counted.append(name)
            return real(*args)

        return counts

    for name in ("many", "rows"):
        monkeypatch.setattr(Statement, name, counting(name, getattr(Statement, name)))
    monkeypatch.setattr(Group, "last", property(counting("last", Group.last.fget)))  # type: ignore[attr-defined]
    idents, numbers = iter(dispatching(store, 24)), []
    for n in (3, 21):
        counted.clear()
        steps = [Step(ends(ident, Delivery.DELIVERED), ident) for ident, _ in zip(idents, range(n), strict=False)]
        assert play(store, steps) == [Delivery.DELIVERED] * len(steps)
        numbers.append(list(counted))
    assert numbers[0] == numbers[1]
    assert "last" not in numbers[0]
    assert verify(store).clean
