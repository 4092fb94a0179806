"""A process of its own that casts votes; its arguments are URL MODE NAME. It waits for a line first.

It goes through the same outputs as all others, again and again, and says each vote that was acknowledged.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from feedback_guard.clock import SystemClock
from feedback_guard.errors import ReceiptError
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store import votes
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.states import Delivery
from feedback_guard.store.votes import Vote, vote_key
from tests.store.build import NOW, held, submission

OUTPUTS = 20
ROUNDS = 3


def cast(store: Store, ident: str, output: int, *, replaces: bool) -> bool:
    """Record a submission that is a vote; whether it was taken."""
    new = held(ident) if output % 2 else submission(ident, delivery=Delivery.NONE)
    vote = Vote(vote_key("default", f"output-{output}", "ada"), replaces, NOW)

    def record(tx: Transaction) -> None:
        tx.insert(new)
        votes.cast(tx, vote, new.judged[0].contribution.id, now_us=NOW)

    try:
        store.submit(record).result(60)
    except ReceiptError:
        return False
    return True


def main(arguments: Sequence[str]) -> None:
    url, mode, name = arguments
    sys.stdin.readline()
    with Store.open(
        StorePolicy(url=url, busy_timeout=30_000_000, hold_capacity=100_000, max_group=4), clock=SystemClock()
    ) as opened:
        for number in range(ROUNDS):
            for which in range(OUTPUTS):
                ident = f"{name}-{number}-{which}"
                if cast(opened, ident, which, replaces=mode == "replace"):
                    print(ident, flush=True)
