"""What is handed over in the process is what the database would have told: on real traffic, among other processes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.evidence.drift import Seen
from feedback_guard.guard import Guard
from feedback_guard.learning.follower import AT_ONCE, TURNS, Follower
from feedback_guard.learning.memory import Memory
from feedback_guard.ledger.chain import Entry
from feedback_guard.metrics import Metrics
from feedback_guard.policy.schema import Policy
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.handover import MOST, Handover
from feedback_guard.store.records import Event, StoredContribution
from tests.guards import START_US, labelled, make_guard, submit
from tests.store.build import held, insert, submission


class Source:
    """A store that counts how often it is read."""

    def __init__(self, store: Store) -> None:
        self.store, self.reads, self.n_read = store, 0, 0

    def events_after(self, seq: int, limit: int) -> list[Event]:
        self.reads += 1
        found = self.store.events_after(seq, limit)
        self.n_read += len(found)
        return found


class Following(Follower):
    """A follower that notes what it folds."""

    def __init__(self, source: Source, handover: Handover | None) -> None:
        self.folded: list[Event] = []
        self.memory = Memory(Policy.model_validate({"name": "test"}), None)
        super().__init__(source, self.memory, Metrics(), handover=handover)

    def fold(self, event: Event, seen: Seen | None = None) -> None:
        self.folded.append(event)
        super().fold(event, seen)


def lasting(event: Event) -> Event:
    """An event without what may change of its contribution later."""
    if event.stored is None:
        return event
    return replace(event, stored=replace(event.stored, learning=None, weight_micro=0))  # type: ignore[arg-type]


def mixed(n: int, seed: int) -> list[Contribution]:
    """Contributions of every kind, with what JSON could alter on its way: floats, groups, odd signs, empty texts."""
    rng = random.Random(seed)
    made = []
    for i, each in enumerate(labelled(n, seed=seed)):
        odd = each.input + rng.choice(["", " é\u2028", " \U0001f600", ' "\\/', " \x7f"])
        kind = rng.choice([Kind.LABEL, Kind.RATING, Kind.CORRECTION, Kind.PREFERENCE])
        taught: dict[Kind, dict[str, Any]] = {
            Kind.LABEL: {"label": each.label, "groups": {"network": "10.0.0.0/24"}},
            Kind.RATING: {"output": "yes", "rating": rng.choice([1.0, 0.0, 0.25])},
            Kind.CORRECTION: {"output": "so", "rejected": ""},
            Kind.PREFERENCE: {"chosen": "this", "rejected": "that", "metadata": {"ratio": 1.0, "n": [1, 2.5, None]}},
        }
        at_us, who = START_US + i * 1_000_001, rng.choice(["ada", "bob", "käthe"])
        made.append(Contribution(f"{seed}-{i}", at_us, who, kind, odd, **taught[kind]))
    return made


async def traffic(guard: Guard, other: Guard, turns: Sequence[int]) -> None:
    """Two processes judge, several at a time, and a moderator decides in either."""
    for turn in turns:
        batch = mixed(4, seed=turn)
        await asyncio.gather(*((other if i == turn % 5 else guard).judge(submit(item)) for i, item in enumerate(batch)))
        for decider, waits in ((guard, guard.store.held(limit=1)), (other, other.store.held(limit=2)[1:])):
            for each in waits:
                await decider.decide(each.id, approve=bool(turn % 2), moderator="mo", version=each.version)


def follow(tmp_path: Path, handover: Callable[[], Handover]) -> tuple[list[Event], list[Event], Source]:
    """What a follower folds that is handed all that is at hand, and what the database holds."""

    async def main() -> tuple[list[Event], list[Event], Source]:
        guard, other = (make_guard(tmp_path, ManualClock(START_US), evidence={"enabled": False}) for _ in range(2))
        await guard.start()
        await other.start()
        guard.store.handover = handover()
        source = Source(guard.store)
        following = Following(source, guard.store.handover)
        for begin in range(0, 18, 3):
            await traffic(guard, other, range(begin, begin + 3))
            await following.catch_up(look=False)
        await following.catch_up()
        told = guard.store.events_after(0, 100_000)
        await guard.stop()
        await other.stop()
        return following.folded, told, source

    return asyncio.run(main())


def test_what_is_handed_over_is_what_the_database_tells(tmp_path: Path) -> None:
    folded, told, source = follow(tmp_path, Handover)
    assert [lasting(event) for event in folded] == [lasting(event) for event in told]
    assert {event.kind for event in told} >= {"judged", "approved", "denied", "delivery"}
    assert {event.stored.contribution.kind for event in told if event.stored} >= {Kind.LABEL, Kind.RATING}
    assert 0 < source.n_read < len(told) / 2


class PassesOverGaps(Handover):
    """Takes the next that it knows for the next that there is."""

    def take(self, after: int, limit: int) -> tuple[list[Event], int | None]:
        if self._waiting:
            after = max(after, self._waiting[0][0] - 1)
        return super().take(after, limit)


class OfAnother(Handover):
    """Gives each entry the contribution of the one before."""

    def note(self, entries: Iterable[tuple[Entry, StoredContribution | None]]) -> None:
        given = list(entries)
        judged = [stored for _, stored in given if stored is not None]
        before = iter(judged[-1:] + judged[:-1])
        super().note([(entry, stored and next(before)) for entry, stored in given])


class SaysNothingOfDecisions(Handover):
    """Hands over a decision on a contribution as if it were about none."""

    def note(self, entries: Iterable[tuple[Entry, StoredContribution | None]]) -> None:
        super().note([(entry._replace(kind="noted") if stored is None else entry, stored) for entry, stored in entries])


@pytest.mark.parametrize("wrong", [PassesOverGaps, OfAnother, SaysNothingOfDecisions])
def test_a_handover_that_is_wrong_is_noticed(tmp_path: Path, wrong: type[Handover]) -> None:
    folded, told, _ = follow(tmp_path, wrong)
    assert [lasting(event) for event in folded] != [lasting(event) for event in told]


def test_a_process_alone_reads_nothing_back(store: Store) -> None:
    source = Source(store)
    following = Following(source, store.handover)
    insert(store, *(submission(f"s{n}") for n in range(100)))
    asyncio.run(following.catch_up(look=False))
    assert [event.seq for event in following.folded] == list(range(1, 101))
    assert source.reads == 0
    asyncio.run(following.catch_up())
    assert (source.reads, source.n_read) == (1, 0)


def test_what_was_undone_is_not_handed_over(store: Store) -> None:
    following = Following(Source(store), store.handover)

    def fails(tx: Transaction) -> None:
        tx.insert(submission("undone"))
        raise ZeroDivisionError

    bad = [store.submit(fails), store.submit(lambda tx: tx.insert(submission("first")))]
    assert isinstance(bad[0].exception(), ZeroDivisionError)
    assert bad[1].exception() is None
    twice = store.submit(lambda tx: tx.insert(submission("first")))
    assert twice.exception() is not None, "the identifier is taken, and the commit failed"
    insert(store, held("last"))
    asyncio.run(following.catch_up(look=False))
    assert [event.subject for event in following.folded] == ["first.0", "last.0"]
    assert following.folded == store.events_after(0, 10)


def test_what_nobody_took_for_long_is_read(sqlite_store: Store) -> None:
    source = Source(sqlite_store)
    following = Following(source, sqlite_store.handover)
    for start in range(0, MOST + 300, 100):
        insert(sqlite_store, *(submission(f"s{n}") for n in range(start, start + 100)))
    assert len(sqlite_store.handover._waiting) == MOST
    asyncio.run(following.catch_up(look=False))
    assert [event.seq for event in following.folded] == list(range(1, MOST + 301 + (-(MOST + 300)) % 100))
    assert 0 < source.n_read < 400 + 256


def turns_between(following: Following) -> list[int]:
    """Catch up; how many events were folded between each two turns of somebody else in the same event loop."""
    seen = [0]

    async def main() -> None:
        catching_up = asyncio.create_task(following.catch_up(look=False))
        while not catching_up.done():
            seen.append(len(following.folded))
            await asyncio.sleep(0)
        await catching_up

    asyncio.run(main())
    return [after - before for before, after in pairwise(seen)]


def test_requests_go_on_after_a_few_folds(store: Store) -> None:
    following = Following(Source(store), store.handover)
    insert(store, *(submission(f"s{n}") for n in range(TURNS // 2)))
    assert max(turns_between(following)) == AT_ONCE
    assert len(following.folded) == TURNS // 2


def test_the_more_waits_the_more_is_folded_in_a_turn(sqlite_store: Store) -> None:
    """So it catches up, however many requests there are: what waits is halved in so many turns."""
    following = Following(Source(sqlite_store), sqlite_store.handover)
    n = 20 * TURNS
    for start in range(0, n, TURNS):
        insert(sqlite_store, *(submission(f"s{place}") for place in range(start, start + TURNS)))
    folded = turns_between(following)
    assert len(following.folded) == n
    assert max(folded) <= n // TURNS + 1
    assert len(folded) < 5 * TURNS
