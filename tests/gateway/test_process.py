"""One process of a gateway by itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from feedback_guard.gateway.process import keep_for_good


@pytest.fixture
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_is_there_when_it_is_ready_is_not_looked_through_again() -> None:
    stays: list[object] = [[] for _ in range(1_000)]
    keep_for_good()
    assert gc.get_freeze_count() > 1_000
    assert not any(each is stays for each in gc.get_objects())
    later: list[object] = [stays]
    assert any(each is later for each in gc.get_objects()), "and what comes later is"
