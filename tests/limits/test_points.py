"""Radius budgets against brute force: at each acceptance, over random balls afterwards, and in the store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Connection

from feedback_guard.embedding.interface import Vectors
from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.grouped import GroupBudgets
from feedback_guard.limits.interface import UNIT, Budget, Measure, Spot
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.placing import PointMemory
from feedback_guard.limits.points import LATEST, Placed, Points
from feedback_guard.store.engines import Engines
from tests.limits import openers

K, RADIUS, PERIOD = 4, 0.5, 1_000


def crowd(seed: int, n: int, d: int = 24) -> NDArray[np.float32]:
    """Unit vectors in a few crowds whose width is about the radius, and some strangers."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, d))
    points = centres[rng.integers(5, size=n)] / np.sqrt(d) + rng.normal(size=(n, d)) * rng.choice(
        [0.02, 0.06, 0.4], (n, 1)
    )
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(unit.astype(np.float16), dtype=np.float32)


def budget(period: int | None = PERIOD) -> Budget:
    return Budget("near", "radius", Measure.COUNT, K * UNIT, period, 0)


class Mutant(Points):
    """A `Points` that is wrong in one way."""


class PassesOverNeighbours(Mutant):
    """An approximate search: every third neighbour is not found."""

    def cost_within(self, where: Vectors, radius: float, *, since_us: int) -> int:
        found = super().cost_within(where, radius, since_us=since_us)
        return found - found // (3 * UNIT) * UNIT


class HalfTheRadius(Mutant):
    def cost_within(self, where: Vectors, radius: float, *, since_us: int) -> int:
        return super().cost_within(where, radius / 2, since_us=since_us)


class OneTooMany(Mutant):
    def cost_within(self, where: Vectors, radius: float, *, since_us: int) -> int:
        return max(0, super().cost_within(where, radius, since_us=since_us) - UNIT)


class ForgetsAtTheEdgeOfTheWindow(Mutant):
    def cost_within(self, where: Vectors, radius: float, *, since_us: int) -> int:
        return super().cost_within(where, radius, since_us=since_us + 150)


class FixedWindow(Mutant):
    def cost_within(self, where: Vectors, radius: float, *, since_us: int) -> int:
        return super().cost_within(where, radius, since_us=(since_us + PERIOD) // PERIOD * PERIOD)


def run(points: Points, seed: int, n: int = 700) -> str | None:
    """Admit a crowd, and look for a ball or a moment that holds too much."""
    rng = np.random.default_rng(seed)
    admitted: list[tuple[int, NDArray[np.float32]]] = []
    now = 0
    for where in crowd(seed, n):
        now += int(rng.choice([0, 2, 6]))
        near = [at for at, other in admitted if at >= now - PERIOD and np.linalg.norm(other - where) <= RADIUS - 1e-3]
        if points.cost_within(where, RADIUS, since_us=now - PERIOD) + UNIT > K * UNIT:
            continue
        if len(near) >= K:
            return f"{len(near)} within the radius at {now}, and one more was admitted"
        points.add(Placed(now, UNIT, where))
        admitted.append((now, where))
    if not admitted:
        return "nothing was admitted at all"
    places = np.array([where for _, where in admitted])
    times = np.array([at for at, _ in admitted])
    for centre, begin in zip(places[rng.integers(len(places), size=60)], rng.integers(now, size=60), strict=True):
        moved = centre + rng.normal(size=centre.shape).astype(np.float32) * 0.02
        inside = np.linalg.norm(places - moved, axis=1) <= RADIUS / 2 - 1e-3
        held = int((inside & (times >= begin) & (times <= begin + PERIOD)).sum())
        if held > K:
            return f"a ball of half the radius holds {held} in one period"
    return None


@pytest.mark.parametrize("seed", range(4))
def test_no_acceptance_and_no_ball_of_half_the_radius_holds_too_much(seed: int) -> None:
    assert run(Points(), seed) is None


@pytest.mark.parametrize("mutant", Mutant.__subclasses__())
def test_the_oracle_finds(mutant: type[Mutant]) -> None:
    assert any(run(mutant(), seed) for seed in range(4))


def test_the_short_cut_passes_nobody_over() -> None:
    places = crowd(9, 3_000)
    points = Points()
    for at, where in enumerate(places):
        points.add(Placed(at, 1, where))
    assert points._basis is not None
    for where, since in itertools.product(places[::250], (0, 1_500)):
        near = np.linalg.norm(places.astype(np.float64) - where, axis=1) <= RADIUS
        assert points.cost_within(where, RADIUS, since_us=since) >= int(near[since:].sum())
        wide = np.linalg.norm(places.astype(np.float64) - where, axis=1) <= RADIUS + 1e-3
        assert points.cost_within(where, RADIUS, since_us=since) <= int(wide[since:].sum())


def looked_at(points: Points, looked: Points, seed: int) -> str | None:
    """Place a crowd in both, in groups of which one compares all beforehand; take some back, as a failed job does."""
    rng = np.random.default_rng(seed)
    for at, rows in enumerate(np.split(crowd(seed, 1_600), 100)):
        places = list(rows)
        looked.look(places, RADIUS)
        for where in places:
            since = at - 40
            one, other = (each.cost_within(where, RADIUS, since_us=since) for each in (points, looked))
            if one != other:
                return f"by itself it finds {one} around, and {other} after looking at all"
            for each in (points, looked):
                each.add(Placed(at, 1, where))
            if rng.random() < 0.2:
                for each in (points, looked):
                    each.drop(1)
        if at % 10 == 0:  # a transaction that failed
            for each in (points, looked):
                each.drop(8)
    return None


@pytest.mark.parametrize("latest", [30, 300, LATEST])
@pytest.mark.parametrize("seed", range(3))
def test_comparing_several_at_once_changes_nothing(seed: int, latest: int) -> None:
    assert looked_at(Points(latest=latest), Points(latest=latest), seed) is None


class LooksOnlyBeforehand(Points):
    """What came since it looked at all is passed over."""

    def cost_within(self, where: Vectors, radius: float, *, since_us: int) -> int:
        n = self.n
        self.n = min((each.end for each in self._looked.values() if each.where is where), default=n)
        found = super().cost_within(where, radius, since_us=since_us)
        self.n = n
        return found


class KeepsWhatLeft(Points):
    """What was near counts even when it is among the latest no longer."""

    def cost_within(self, where: Vectors, radius: float, *, since_us: int) -> int:
        latest, self.latest = self.latest, LATEST
        found = super().cost_within(where, radius, since_us=since_us)
        self.latest = latest
        return found


@pytest.mark.parametrize("wrong", [LooksOnlyBeforehand, KeepsWhatLeft])
def test_a_comparison_that_is_out_of_date_is_noticed(wrong: type[Points]) -> None:
    assert looked_at(Points(latest=300), wrong(latest=300), 0) is not None


def test_a_comparison_outlives_the_choice_of_directions() -> None:
    places = list(crowd(5, 700))
    points, looked = Points(), Points()
    for each in (points, looked):
        for where in places[:500]:
            each.add(Placed(0, 1, where))
    looked.look(places[500:], RADIUS)
    for where in places[500:]:
        one, other = (each.cost_within(where, RADIUS, since_us=-1) for each in (points, looked))
        assert one == other
        for each in (points, looked):
            each.add(Placed(0, 1, where))
    assert looked._basis is not None


def test_what_was_looked_for_is_known_by_itself_alone() -> None:
    points, one = Points(), np.array([1.0, 0.0], dtype=np.float32)
    points.add(Placed(0, 1, one))
    points.look([one], 0.1)
    assert points.cost_within(np.array([0.0, 1.0], dtype=np.float32), 0.1, since_us=-1) == 0
    assert points.cost_within(one, 1.5, since_us=-1) == 1
    points.look([np.ones(3, dtype=np.float32)], 0.1)  # made with another model
    assert points.cost_within(one, 0.1, since_us=-1) == 1


def test_what_was_found_is_forgotten_with_the_points() -> None:
    one, far = np.array([1.0, 0.0], dtype=np.float32), np.array([0.0, 1.0], dtype=np.float32)
    points = Points()
    for _ in range(5):
        points.add(Placed(0, 1, one))
    points.look([one], 0.1)
    points.drop(3)  # they were taken back
    assert points.cost_within(one, 0.1, since_us=-1) == 2
    points = Points()
    points.add(Placed(0, 1, far))
    points.look([one], 0.1)
    for other in (np.array([1.0, 0.0, 0.0], dtype=np.float32), one):  # another model, and the first one again
        points.add(Placed(0, 1, other))
    assert points.cost_within(one, 0.1, since_us=-1) == 1


def test_the_latest_are_remembered_whatever_came_before() -> None:
    points, one = Points(latest=50), np.array([1.0, 0.0], dtype=np.float32)
    for at in range(1_000):
        points.add(Placed(at, 1, one))
    assert points.cost_within(one, 0.1, since_us=-1) == 50
    assert len(points._rows) <= 200
    assert LATEST >= 10_000


def test_whatever_is_taken_back_the_latest_count() -> None:
    points, one = Points(latest=50), np.array([1.0, 0.0], dtype=np.float32)
    for at in range(400):
        for _ in range(3):
            points.add(Placed(at, 1, one))
        points.drop(2)
        assert points.cost_within(one, 0.1, since_us=-1) == min(at + 1, 50)


def test_what_was_taken_back_was_never_there() -> None:
    budgets, one = MemoryBudgets(), np.array([1.0, 0.0], dtype=np.float32)
    for _ in range(3):
        mark = budgets.placed()
        assert all(budgets.place(budget(), RADIUS, one, UNIT, 0) for _ in range(K))
        assert not budgets.place(budget(), RADIUS, one, UNIT, 0)
        budgets.take_back(mark)


@contextmanager
def group(engines: Engines, memory: PointMemory, *, commit: bool = True) -> Iterator[GroupBudgets]:
    with engines.writer.connect() as connection:
        engines.begin(connection)
        budgets = GroupBudgets(connection, memory)
        yield budgets
        budgets.flush()
        if commit:
            connection.commit()
            budgets.committed()
        else:
            connection.rollback()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engines]:
    server = request.param == "postgresql"
    made = openers.prepared(request.getfixturevalue("postgres_store_url") if server else f"sqlite:///{tmp_path}/a.db")
    yield made
    made.dispose()


def admitted(budgets: GroupBudgets, places: Sequence[Vectors], now_us: int = 0) -> int:
    return sum(budgets.place(budget(), RADIUS, where, UNIT, now_us) for where in places)


def test_a_transaction_that_knows_what_it_will_place_places_the_same(engines: Engines) -> None:
    alone, together = PointMemory(), PointMemory()
    for rows in np.split(crowd(3, 400), 10):
        places = list(rows)
        with group(engines, alone, commit=False) as budgets:
            one = [budgets.place(budget(), RADIUS, where, UNIT, 0) for where in places]
        with group(engines, together) as budgets:
            budgets.prefetch([], [Spot(budget_key(budget(), ""), RADIUS, where) for where in places])
            assert [budgets.place(budget(), RADIUS, where, UNIT, 0) for where in places] == one
        assert sum(one) > 0


def test_processes_that_share_a_store_share_the_balls(engines: Engines) -> None:
    one = np.array([1.0, 0.0], dtype=np.float32)
    processes = [PointMemory() for _ in range(3)]
    got = []
    for turn in range(6):
        with group(engines, processes[turn % 3]) as budgets:
            got.append(admitted(budgets, [one]))
    assert got == [1, 1, 1, 1, 0, 0]
    with group(engines, PointMemory()) as budgets:  # one that starts anew
        assert admitted(budgets, [one]) == 0
        assert admitted(budgets, [one], now_us=PERIOD + 1) == 1


class ReadsOnce(PointMemory):
    """Reads, then writes: what others placed since it last looked is not read again."""

    def current(self, connection: Connection, name: str) -> Points:
        if name not in self._points:
            return super().current(connection, name)
        return self._points[name]


def test_a_process_that_does_not_read_again_is_noticed(engines: Engines) -> None:
    one = np.array([1.0, 0.0], dtype=np.float32)
    processes = [ReadsOnce() for _ in range(3)]
    got = 0
    for turn in range(12):
        with group(engines, processes[turn % 3]) as budgets:
            got += admitted(budgets, [one])
    assert got > K


def test_a_transaction_that_fails_leaves_nothing_and_hides_nothing(engines: Engines) -> None:
    one, memory, other = np.array([1.0, 0.0], dtype=np.float32), PointMemory(), PointMemory()
    with group(engines, memory, commit=False) as budgets:
        assert admitted(budgets, [one] * 9) == K
    with group(engines, other) as budgets:
        assert admitted(budgets, [one] * 2) == 2
    with group(engines, memory) as budgets:
        assert admitted(budgets, [one] * 9) == K - 2


def test_a_job_that_fails_takes_its_points_with_it(engines: Engines) -> None:
    one = np.array([1.0, 0.0], dtype=np.float32)
    with group(engines, PointMemory()) as budgets:
        assert admitted(budgets, [one]) == 1
        mark = budgets.mark()
        assert admitted(budgets, [one] * 9) == K - 1
        budgets.reset(mark)
        assert admitted(budgets, [one] * 9) == K - 1
