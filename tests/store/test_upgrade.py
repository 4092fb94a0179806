"""A store of an older guard, with requests in every state, brought forward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.errors import FencedError
from feedback_guard.ledger.verify import verify
from feedback_guard.store.database import Store
from feedback_guard.store.states import Delivery, Resolution
from tests.store.build import CLOCK, NOW, claims, decide, policy
from tests.store.keep import restore

DATA = Path(__file__).parent / "data"
SECOND = 1_000_000


@pytest.fixture
def rows() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads((DATA / "store_0001.json").read_text())
    return found


def test_what_an_older_guard_kept_goes_on(new_url: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    restore(new_url, "0001", rows)
    with Store.open(policy(new_url), clock=CLOCK) as store:
        assert verify(store).findings == []

        def state(ident: str) -> Delivery:
            found = store.submission(ident)
            assert found is not None
            return found.delivery

        # What it had claimed has no lease: there the process must be alive, as it was then.
        assert store.submit(lambda tx: tx.abandon_lost(NOW + 60 * SECOND, 60 * SECOND)).result() == []
        lost = store.submit(lambda tx: tx.abandon_lost(NOW + 61 * SECOND, 60 * SECOND)).result()
        assert sorted(lost) == ["claimed", "lost"]
        # What was approved is claimed, with the first fence.
        assert claims(store) == ["approved"]
        with pytest.raises(FencedError):
            store.submit(lambda tx: tx.deliver("approved", Delivery.DELIVERED, now_us=NOW)).result()
        store.submit(lambda tx: tx.deliver("approved", Delivery.DELIVERED, now_us=NOW, fence=1)).result()
        # And what ended badly has ways on now.
        assert [stored.id for stored in store.stuck(limit=10)] == ["lost", "failed", "unknown", "claimed"]
        for ident, way in (
            ("failed", Resolution.RETRY),
            ("unknown", Resolution.NOT_ARRIVED),
            ("claimed", Resolution.GIVE_UP),
            ("lost", Resolution.ARRIVED),
        ):
            store.submit(
                lambda tx, i=ident, w=way: tx.resolve(i, w, moderator="mo", now_us=NOW)  # type: ignore[misc]
            ).result()
        decide(store, "held", approve=True)
        assert sorted(claims(store)) == ["failed", "held", "unknown"]
        assert state("claimed") is Delivery.GIVEN_UP
        assert state("lost") is Delivery.DELIVERED
        assert verify(store).findings == []
