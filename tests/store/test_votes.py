"""One live vote for each served output: in one process and in several, with processes that are killed in between."""

from __future__ import annotations

import itertools
import json
from contextlib import ExitStack

import pytest
from sqlalchemy import select

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import ReceiptError, TransitionError
from feedback_guard.ledger.verify import verify
from feedback_guard.receipts.form import text_digest
from feedback_guard.store import tables, votes
from feedback_guard.store.database import Store
from feedback_guard.store.states import Delivery, Learning, Resolution
from feedback_guard.store.votes import Vote, vote_key
from tests.forks import start
from tests.patience import PATIENCE_SECONDS
from tests.store.build import CLOCK, NOW, held, insert, policy, submission
from tests.store.voter import OUTPUTS, ROUNDS, cast

LIVE = {Learning.ACCEPTED.value, Learning.HELD.value, Learning.APPROVED.value}


def states(store: Store) -> dict[str, str]:
    with store.reading() as connection:
        rows = connection.execute(select(tables.contribution.c.submission, tables.contribution.c.learning)).all()
    return {row[0]: row[1] for row in rows}


def withdraw(store: Store, ident: str) -> bool:
    return store.submit(lambda tx: tx.withdraw(ident, by="later", now_us=NOW)).result(30)


@pytest.mark.parametrize("mode", ["refuse", "replace"])
def test_processes_that_race_and_die_leave_one_live_vote_for_each_output(new_url: str, mode: str) -> None:
    acknowledged: list[str] = []
    with ExitStack() as ending:
        workers = [ending.enter_context(start("tests.store.voter", new_url, mode, f"w{n}")) for n in range(4)]
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for place, worker in enumerate(workers):
            if place < 2:  # killed in the middle of whatever they do
                acknowledged += itertools.islice(worker.stdout, 3)
                worker.kill()
            acknowledged += worker.stdout
            worker.wait(PATIENCE_SECONDS)
    said = {line.strip() for line in acknowledged if line.endswith("\n")}
    with Store.open(policy(new_url), clock=CLOCK) as store:
        assert verify(store, store.checkpoint()).findings == []
        found = states(store)
        live = [ident for ident, state in found.items() if state in LIVE]
        assert sorted(int(ident.rsplit("-", 1)[1]) for ident in live) == list(range(OUTPUTS))
        assert said <= found.keys()
        with store.reading() as connection:
            cast_now = set(connection.execute(select(tables.vote.c.contribution)).scalars())
        assert {name.rsplit(".", 1)[0] for name in cast_now} == set(live)
        if mode == "refuse":
            assert len(found) == OUTPUTS
        else:
            assert len(found) >= 2 * ROUNDS * OUTPUTS
            assert set(found.values()) == {"accepted", "held", "withdrawn"}
        assert store.held_summary().count == sum(state == "held" for state in found.values())


def test_what_is_refused_leaves_nothing_behind(store: Store) -> None:
    assert cast(store, "first", 0, replaces=False)
    before = store.checkpoint().seq
    assert not cast(store, "second", 0, replaces=False)
    assert states(store) == {"first": "accepted"}
    assert store.checkpoint().seq == before
    assert cast(store, "other", 2, replaces=False)


def test_the_ledger_says_what_took_its_place(store: Store) -> None:
    cast(store, "first", 1, replaces=True)
    cast(store, "second", 1, replaces=True)
    entry = store.history("first.0")[-1]
    body = json.loads(entry.body)
    assert (entry.kind, body["from"], body["to"], body["replaced_by"]) == ("withdrawn", "held", "withdrawn", "second.0")
    found = store.submission("first")
    assert found is not None
    assert (found.delivery, found.held, found.contributions[0].weight_micro) == (Delivery.WITHDRAWN, False, 0)
    assert verify(store).clean


def test_a_request_with_another_contribution_in_it_stays_held(store: Store) -> None:
    insert(store, submission("s", Learning.HELD, Learning.HELD, delivery=Delivery.HELD, request=b"raw"))
    assert withdraw(store, "s.0")
    found = store.submission("s")
    assert found is not None
    assert (found.delivery, found.held) == (Delivery.HELD, True)
    decided = store.submit(lambda tx: tx.decide("s", approve=True, moderator="m", now_us=NOW)).result(30)
    assert [item.learning for item in decided.contributions] == [Learning.WITHDRAWN, Learning.APPROVED]
    assert withdraw(store, "s.1")
    left = store.submission("s")
    assert left is not None
    assert left.delivery is Delivery.WITHDRAWN
    assert verify(store).clean


def test_what_is_withdrawn_comes_back_by_no_way(store: Store) -> None:
    insert(store, held("s"))
    assert [withdraw(store, "s.0"), withdraw(store, "s.0"), withdraw(store, "nobody")] == [True, False, False]
    for approve in (True, False):
        with pytest.raises(TransitionError, match="withdrawn"):
            store.submit(lambda tx, a=approve: tx.decide("s", approve=a, moderator="m", now_us=NOW)).result(30)  # type: ignore[misc]
    assert (
        store.submit(lambda tx: tx.claim_approved("w", now_us=NOW, limit=9, application="a", routes=["r"])).result(30)
        == []
    )
    with pytest.raises(TransitionError):
        store.submit(lambda tx: tx.resolve("s", Resolution.RETRY, moderator="m", now_us=NOW)).result(30)
    assert verify(store).clean


@pytest.mark.parametrize("state", [Learning.LIMITED, Learning.REJECTED])
def test_what_teaches_nothing_is_left_as_it_is(store: Store, state: Learning) -> None:
    insert(store, submission("s", state, delivery=Delivery.REFUSED))
    assert not withdraw(store, "s.0")
    assert states(store) == {"s": state.value}


def test_a_streamed_text_is_looked_up(store: Store) -> None:
    key = vote_key("default", "i", "ada")
    good, bad = text_digest("a card"), text_digest("a pin")

    def look(*said: bytes) -> str:
        try:
            with store.reading() as connection:
                votes.look(connection, [Vote(key, True, NOW, key, said)])
        except ReceiptError as error:
            return error.reason.value
        return "good"

    assert look(good) == "other_output"
    for text in (bad, good):
        store.submit(lambda tx, t=text: votes.serve(tx.connection, key, t, NOW + MICROSECONDS)).result(30)  # type: ignore[misc]
    assert (look(good), look(bad), look(bad, good)) == ("good", "other_output", "good")
    assert store.submit(lambda tx: votes.purge(tx.connection, NOW)).result(30) == 0
    assert store.submit(lambda tx: votes.purge(tx.connection, NOW + MICROSECONDS)).result(30) == 1
    assert look(good) == "other_output"
