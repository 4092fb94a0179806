from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback_guard.store.database import Store
from tests.postgres import postgres_store_url as postgres_store_url
from tests.postgres import postgres_url as postgres_url
from tests.store.build import CLOCK, policy
from tests.store.ready import ready

both = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(params=both)
def url(request: pytest.FixtureRequest) -> str:
    """A fresh database of either kind, with its schema."""
    return ready(_named(request, "sqlite_url" if request.param == "sqlite" else "postgres_store_url"))


@pytest.fixture(params=both)
def new_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of either kind that has no schema yet."""
    return _named(request, "sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(policy(url), clock=CLOCK) as opened:
        yield opened


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    with Store.open(policy(ready(sqlite_url)), clock=CLOCK) as opened:
        yield opened


def _named(request: pytest.FixtureRequest, fixture: str) -> str:
    found: str = request.getfixturevalue(fixture)
    return found
