"""Whether a history can be: what clients were told, what the application did, and what the record says.

The invariants are those of a set in Jepsen's sense. Each request carries an identifier in its body; the application
writes it down, to the disk, with the digest of the body that it got, and with what the ledger knew of that body then.
"""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from feedback_guard.ledger.verify import verify
from feedback_guard.store.engines import open_engines
from feedback_guard.store.states import Delivery
from tests.guards import store_url

LIMITED = 429
"""By which the guard says that a budget has no room: each such answer is a record of its own."""
UNSCORABLE = "unscorable"
"""In the name and in the text of a request: the model fails on it."""
NOT_DONE = frozenset({409, 503})
"""Statuses by which the guard says that nothing came of it, or not yet."""
HAPPENED = {Delivery.DELIVERED.value}
NEVER = {Delivery.HELD.value, Delivery.REFUSED.value, Delivery.DENIED.value, Delivery.APPROVED.value}


@dataclass
class Told:
    """What the client of one request sent and was told, in order; only answers that it read to their end."""

    body: bytes
    answers: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass
class History:
    """Everything that is known afterwards."""

    folder: Path
    told: dict[str, Told]
    kills: int = 0
    cap: int | None = None
    """How many of the requests the policy lets through; None for all."""
    fails_open: bool = False
    """Whether the policy lets through what cannot be scored."""

    def states(self) -> dict[str, list[str]]:
        """The states of each request's submissions."""
        recorded = self.recorded()
        return {name: [state for _, state in recorded[told.digest]] for name, told in self.told.items()}

    def effects(self) -> dict[str, list[dict[str, str | int]]]:
        found = collections.defaultdict(list)
        file = self.folder / "effects"
        for line in file.read_text().splitlines() if file.exists() else ():
            effect = json.loads(line)
            found[effect["request"]].append(effect)
        return found

    def recorded(self) -> Mapping[str, list[tuple[dict[str, Any], str]]]:
        """What the ledger says of each judged request, by the digest of its body, and where it stands."""
        found = collections.defaultdict(list)
        for body, state in read(
            self.folder,
            "SELECT l.body, s.delivery FROM ledger l JOIN contribution c ON c.id = l.subject"
            " JOIN submission s ON s.id = c.submission WHERE l.kind = 'judged' ORDER BY l.seq",
        ):
            judged = json.loads(body)
            found[judged["body_sha256"]].append((judged, state))
        return found

    def broken(self) -> list[str]:
        """Say which invariants do not hold; empty for a history that can be."""
        found, states, effects = [], self.states(), self.effects()
        for name, told in self.told.items():
            done = effects.get(name, [])
            (states_of,) = (states[name],)
            limited = sum(status == LIMITED for status, _ in told.answers)
            if any(status not in NOT_DONE for status, _ in told.answers) and (
                len(states_of) < limited if limited else len(states_of) != 1
            ):
                found.append(f"I1: {name} was answered {told.answers}, and has {len(states_of)} records")
            if any(effect["body_sha256"] != told.digest for effect in done):
                found.append(f"I4: {name}: the application got another body than the client sent")
            if any(not effect["recorded"] for effect in done):
                found.append(f"I2: {name}: the application was called with a body that was not recorded before")
            if len(done) > 1:
                found.append(f"I3: {name} took effect {len(done)} times")
            if not done and HAPPENED & set(states_of):
                found.append(f"I3: {name} is {states_of}, and never took effect")
            if done and NEVER & set(states_of) and not limited:
                found.append(f"I3: {name} is {states_of}, and took effect")
            if Delivery.DISPATCHING.value in states_of:
                found.append(f"I9: {name} is open for ever")
            found += self._unscored(name, told, bool(done))
            answers = {answer for answer in told.answers if answer[0] not in {*NOT_DONE, LIMITED}}
            if len(answers) > 1:
                found.append(f"F12: {name} was answered in different ways: {answers}")
        found += [f"I2: {name} took effect, and nobody asked for it" for name in effects.keys() - self.told.keys()]
        admitted = sum(bool(effects.get(name)) for name in self.told)
        if self.cap is not None and admitted > self.cap:
            found.append(f"I5: {admitted} requests were let through, and the budget is {self.cap}")
        unknown = sum(states_of.count(Delivery.UNKNOWN.value) for states_of in states.values())
        if unknown > self.kills:
            found.append(f"I10: {unknown} outcomes are unknown after {self.kills} kills")
        found += [f"I6: {finding}" for finding in verify(store_url(self.folder)).findings]
        return found

    def _unscored(self, name: str, told: Told, happened: bool) -> list[str]:
        """What could not be scored passes only where the policy says so, and then the record says it, too."""
        found = []
        for judged, _ in self.recorded()[told.digest]:
            passes = judged["delivery"] == Delivery.DISPATCHING.value
            scored = UNSCORABLE not in name
            if passes and not scored and not self.fails_open:
                found.append(f"I7: {name} passed, and could not be scored; it took effect: {happened}")
            if judged["decision"] != "limit" and judged["unscored"] is scored:
                found.append(f"I7: {name} is recorded as {'un' if scored else ''}scored")
            if passes and judged["decision"] != "accept":
                found.append(f"I7: {name} passed, and was judged {judged['decision']}")
        return found


def read(folder: Path, query: str, **values: str) -> list[Any]:
    """Read the record of a folder's guards, past the guard.

    With the guard's own library: a second SQLite in a process would take away the locks of the first.
    """
    engines = open_engines(store_url(folder), 10_000_000)
    try:
        with engines.reading() as connection:
            return list(connection.execute(text(query), values))
    finally:
        engines.dispose()
