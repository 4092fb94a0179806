"""What is there when a process is ready is not searched for garbage again."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from feedback_guard import lasting
from feedback_guard.lasting import YOUNG, keep_for_good, keep_for_good_once


@pytest.fixture
def thawed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is frozen, and nothing was frozen in this process before."""
    monkeypatch.setattr(lasting, "_once", threading.Lock())
    gc.unfreeze()
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("thawed")
def test_what_is_there_when_it_is_ready_is_not_looked_through_again() -> None:
    stays: list[object] = [[] for _ in range(1_000)]
    keep_for_good()
    assert gc.get_freeze_count() > 1_000
    assert not any(each is stays for each in gc.get_objects())
    later: list[object] = [stays]
    assert any(each is later for each in gc.get_objects()), "and what comes later is"


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize(
    ("asked", "then"),
    [((700, 10, 10), (YOUNG, 10, 10)), ((YOUNG + 1, 5, 7), (YOUNG + 1, 5, 7)), ((0, 3, 4), (0, 3, 4))],
)
def test_what_is_new_is_searched_less_often_and_never_more(asked: tuple[int, ...], then: tuple[int, ...]) -> None:
    gc.set_threshold(*asked)
    keep_for_good()
    assert gc.get_threshold() == then


@pytest.mark.usefixtures("thawed")
def test_in_a_process_of_somebody_else_it_is_done_once() -> None:
    assert keep_for_good_once()
    later: list[object] = []
    assert not keep_for_good_once()
    assert any(each is later for each in gc.get_objects())


@pytest.mark.usefixtures("thawed")
def test_whoever_has_turned_the_collector_off_is_let_alone() -> None:
    gc.disable()
    try:
        assert not keep_for_good_once()
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()
    assert keep_for_good_once()
