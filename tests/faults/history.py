"""Whether a history can be: what clients were told, what the application did, and what the record says.

The invariants are those of a set in Jepsen's sense. Each request carries an identifier in its body; the application
writes it down, to the disk, with the digest of the body that it got, and with what the ledger knew of that body then.
"""

from __future__ import annotations

import collections
import hashlib
import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from feedback_guard.ledger.verify import verify
from feedback_guard.store.states import Delivery

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

    def states(self) -> dict[str, list[str]]:
        """The states of each request's submissions."""
        return {name: [state for digest, state in self._submissions() if digest == told.digest] for name, told in
                self.told.items()}  # fmt: skip

    def effects(self) -> dict[str, list[dict[str, str | int]]]:
        found = collections.defaultdict(list)
        file = self.folder / "effects"
        for line in file.read_text().splitlines() if file.exists() else ():
            effect = json.loads(line)
            found[effect["request"]].append(effect)
        return found

    def _submissions(self) -> list[tuple[str, str]]:
        with sqlite3.connect(f"file:{self.folder}/guard.db?mode=ro", uri=True, timeout=10) as database:
            rows = database.execute(
                "SELECT json_extract(l.body, '$.body_sha256'), s.delivery FROM ledger l"
                " JOIN submission s ON s.id = json_extract(l.body, '$.submission') WHERE l.kind = 'judged'"
            ).fetchall()
        database.close()
        return rows

    def broken(self) -> list[str]:
        """Say which invariants do not hold; empty for a history that can be."""
        found, states, effects = [], self.states(), self.effects()
        for name, told in self.told.items():
            done = effects.get(name, [])
            (states_of,) = (states[name],)
            if any(status not in NOT_DONE for status, _ in told.answers) and len(states_of) != 1:
                found.append(f"I1: {name} was answered {told.answers}, and has {len(states_of)} records")
            if any(effect["body_sha256"] != told.digest for effect in done):
                found.append(f"I4: {name}: the application got another body than the client sent")
            if any(not effect["recorded"] for effect in done):
                found.append(f"I2: {name}: the application was called with a body that was not recorded before")
            if len(done) > 1:
                found.append(f"I3: {name} took effect {len(done)} times")
            if not done and HAPPENED & set(states_of):
                found.append(f"I3: {name} is {states_of}, and never took effect")
            if done and NEVER & set(states_of):
                found.append(f"I3: {name} is {states_of}, and took effect")
            if Delivery.DISPATCHING.value in states_of:
                found.append(f"I9: {name} is open for ever")
            answers = {answer for answer in told.answers if answer[0] not in NOT_DONE}
            if len(answers) > 1:
                found.append(f"F12: {name} was answered in different ways: {answers}")
        found += [f"I2: {name} took effect, and nobody asked for it" for name in effects.keys() - self.told.keys()]
        unknown = sum(states_of.count(Delivery.UNKNOWN.value) for states_of in states.values())
        if unknown > self.kills:
            found.append(f"I10: {unknown} outcomes are unknown after {self.kills} kills")
        found += [f"I6: {finding}" for finding in verify(f"sqlite:///{self.folder}/guard.db").findings]
        return found
