"""A process of its own that uses a store; its arguments are URL MODE NAME. It waits for a line first.

`race` charges one budget with others and says how often it had room. `write` records submissions from several threads
until it is killed, and says each one's name once it was acknowledged.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Sequence

from feedback_guard.clock import SystemClock
from feedback_guard.limits.interface import UNIT, Budget, Charge, Measure
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.states import Delivery
from tests.store.build import NOW, held, submission

ATTEMPTS = 60
LIFETIME = Budget("lifetime", "contributor", Measure.WEIGHT, 70 * UNIT, None, 0)
RATE = Budget("rate", "contributor", Measure.COUNT, UNIT, 10**12, 50 * UNIT)


def race(store: Store, name: str) -> None:
    def attempt(tx: Transaction, budget: Budget, number: int) -> bool:
        if tx.budgets.charge([Charge(budget, "everybody", UNIT)], NOW) is not None:
            return False
        tx.append("admitted", f"{budget.name}-{name}-{number}", {}, NOW)
        return True

    futures = [
        store.submit(lambda tx, b=budget, n=number: attempt(tx, b, n))  # type: ignore[misc]
        for number in range(ATTEMPTS)
        for budget in (LIFETIME, RATE)
    ]
    won = [future.result() for future in futures]
    print(sum(won[0::2]), sum(won[1::2]), flush=True)


def write(store: Store, name: str) -> None:
    numbers, speaking = itertools.count(), threading.Lock()

    def go_on() -> None:
        while True:
            number = next(numbers)
            ident = f"{name}-{number}"
            new = held(ident) if number % 3 else submission(ident, delivery=Delivery.DISPATCHING, worker=name)
            store.submit(lambda tx, new=new: tx.insert(new)).result()  # type: ignore[misc]
            with speaking:
                print(ident, flush=True)

    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(arguments: Sequence[str]) -> None:
    url, mode, who = arguments
    sys.stdin.readline()
    with Store.open(
        StorePolicy(url=url, busy_timeout=30_000_000, hold_capacity=100_000, max_group=4), clock=SystemClock()
    ) as opened:
        {"race": race, "write": write}[mode](opened, who)
