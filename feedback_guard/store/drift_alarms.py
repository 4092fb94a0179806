"""The drift alarm in the record: raised, acknowledged by somebody, or ended by a new baseline. The ledger has it all.

All entries have one subject, so the newest of them says how things stand. Every process that shares a store follows
the same ledger and finds the same alarm at the same entry: whoever is first writes it down, the others find it there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, select

from feedback_guard.errors import TransitionError
from feedback_guard.store import tables
from feedback_guard.store.decisions import check_words
from feedback_guard.store.group import Group

SUBJECT: Final = "drift"
RAISED: Final = "drift_raised"
ACKNOWLEDGED: Final = "drift_acknowledged"
ENDED: Final = "drift_ended"
KINDS: Final = (RAISED, ACKNOWLEDGED, ENDED)
"""Kinds of the ledger entries."""
LOOKED_AT: Final = 200
"""Latest entries that are looked at for an alarm that is written down already."""

_L: Final = tables.ledger.c
_LATEST: Final = (
    select(_L.seq, _L.kind, _L.body, _L.at_us)
    .where(_L.subject == SUBJECT, _L.kind.in_(KINDS))
    .order_by(_L.seq.desc())
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """A drift alarm as the detectors found it.

    Parameters
    ----------
    baseline
        Digest of the baseline that the stream has left.
    at_seq
        The ledger entry that raised it.
    n_seen
        Contributions that were seen until then.
    grown
        What had become more frequent, most telling first, in words that repeat nothing that a user wrote.
    """

    baseline: str
    at_seq: int
    n_seen: int
    grown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DriftEntry:
    """What the ledger says of a drift alarm.

    Parameters
    ----------
    seq, at_us
        Which entry, and when it was written.
    kind
        One of `KINDS`.
    alarm
        The alarm that it is about.
    moderator, note
        Who acknowledged it, and why it is no reason to worry; empty for other entries.
    """

    seq: int
    at_us: int
    kind: str
    alarm: DriftAlarm
    moderator: str = ""
    note: str = ""

    @property
    def stands(self) -> bool:
        """Whether the alarm stands."""
        return self.kind == RAISED


def latest(connection: Connection, most: int = 1) -> list[DriftEntry]:
    """The latest entries, newest first."""
    return [_entry(row._mapping) for row in connection.execute(_LATEST, {"most": most})]


def standing(connection: Connection) -> DriftEntry | None:
    """The alarm that stands; None if none does."""
    found = latest(connection)
    return found[0] if found and found[0].stands else None


def raise_alarm(group: Group, alarm: DriftAlarm, *, now_us: int) -> bool:
    """See `Deciding.raise_drift`."""
    of_this = (
        entry
        for entry in latest(group.connection, LOOKED_AT)
        if (entry.alarm.baseline, entry.alarm.at_seq) == (alarm.baseline, alarm.at_seq)
    )
    known = next(of_this, None)
    # One that a new baseline ended stands again where somebody goes back to the baseline before.
    if known is not None and known.kind != ENDED:
        return False
    _write(group, RAISED, alarm, {}, now_us)
    return True


def end(group: Group, baseline: str, *, now_us: int) -> bool:
    """See `Deciding.end_drift`."""
    found = standing(group.connection)
    if found is None or found.alarm.baseline == baseline:
        return False
    _write(group, ENDED, found.alarm, {"by": baseline}, now_us)
    return True


def acknowledge(group: Group, *, moderator: str, note: str, seq: int | None, now_us: int) -> DriftEntry:
    """See `Deciding.acknowledge_drift`."""
    check_words(moderator, note)
    found = standing(group.connection)
    if found is None:
        raise TransitionError("no drift alarm stands")
    if seq is not None and seq != found.seq:
        raise TransitionError(f"the drift alarm that stands is entry {found.seq} by now, not {seq}; look at it again")
    words: dict[str, JsonValue] = {"moderator": moderator, "note": note, "raised": found.seq}
    written = _write(group, ACKNOWLEDGED, found.alarm, words, now_us)
    return DriftEntry(written, now_us, ACKNOWLEDGED, found.alarm, moderator, note)


def _write(group: Group, kind: str, alarm: DriftAlarm, more: Mapping[str, JsonValue], now_us: int) -> int:
    body: dict[str, JsonValue] = {
        "baseline": alarm.baseline,
        "at_seq": alarm.at_seq,
        "n_seen": alarm.n_seen,
        "grown": list(alarm.grown),
        **more,
    }
    return group.append(kind, SUBJECT, body, now_us)


def _entry(row: Mapping[Any, Any]) -> DriftEntry:
    body = json.loads(row["body"])
    alarm = DriftAlarm(body["baseline"], body["at_seq"], body["n_seen"], tuple(body["grown"]))
    return DriftEntry(
        row["seq"], row["at_us"], row["kind"], alarm, str(body.get("moderator", "")), str(body.get("note", ""))
    )
