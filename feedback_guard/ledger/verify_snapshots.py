"""Snapshots held against the ledger: which there are, what each says of itself, and what it holds with what weight.

A snapshot's entry names the digest of its members, so one that was added, removed or weighed anew is noticed, though a
digest does not tell which. What cannot be a member at all is named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, select

from feedback_guard.ledger.report import Fault, Report
from feedback_guard.store import tables
from feedback_guard.store.rows import sha256_hex
from feedback_guard.store.snapshots import KIND

STREAM: Final = 1_000
"""Rows fetched at a time."""
MAX_NAMED: Final = 20
"""Most members of one snapshot that are named."""
ACCEPTING: Final = ("judged", "approved")
"""Kinds of the entries that a member stands for."""

_L: Final = tables.ledger.c
_N: Final = tables.snapshot.c
_M: Final = tables.snapshot_member.c
_ENTRIES: Final = select(_L.seq, _L.at_us, _L.subject, _L.body).where(_L.kind == KIND).order_by(_L.seq)
_SNAPSHOTS: Final = select(tables.snapshot).order_by(_N.number).execution_options(yield_per=STREAM)
_MEMBERS: Final = (
    select(_M.snapshot, _M.seq, _M.weight_micro).order_by(_M.snapshot, _M.seq).execution_options(yield_per=STREAM)
)
_STANDING_FOR: Final = (
    select(_M.seq, _M.weight_micro, _L.kind, _L.body)
    .outerjoin(tables.ledger, _L.seq == _M.seq)
    .where(_M.snapshot == bindparam("number"))
    .order_by(_M.seq)
    .execution_options(yield_per=STREAM)
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the ledger says of a snapshot: its members and manifest by their digests, and what its row holds."""

    ident: str
    seq: int
    members_sha256: str
    manifest_sha256: str
    row: Mapping[str, int]


@dataclass(slots=True)
class _Held:
    """What the members of one snapshot add up to."""

    contributions: int = 0
    weight_micro: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)


def verify_snapshots(connection: Connection, report: Report) -> None:
    """Hold every snapshot and its members against the ledger; the chain itself was verified before."""
    recorded = _recorded(connection, report)
    known, expected = set[int](), dict[int, _Entry]()
    for row in connection.execute(_SNAPSHOTS).mappings():
        known.add(row["number"])
        entry = recorded.pop(row["id"], None)
        if entry is not None:
            report.snapshots += 1
            expected[row["number"]] = entry
            _verify_snapshot(row, entry, report)
        elif row["complete"] != 0:  # one that is being cut, or was given up, is nobody's yet
            report.found(Fault.ROW_UNRECORDED, "the ledger does not know this snapshot", subject=row["id"])
    for entry in recorded.values():
        said = f"entry {entry.seq} recorded a snapshot that is not there"
        report.found(Fault.ROW_REMOVED, said, seq=entry.seq, subject=entry.ident)
    for number, held in _members(connection):
        if number not in known:
            said = f"{held.contributions} members belong to snapshot {number}, and there is none"
            report.found(Fault.ROW_UNRECORDED, said)
        elif number in expected:
            _verify_members(connection, number, held, expected.pop(number), report)
    for number, entry in expected.items():  # no member was left
        _verify_members(connection, number, _Held(), entry, report)


def _recorded(connection: Connection, report: Report) -> dict[str, _Entry]:
    found: dict[str, _Entry] = {}
    for seq, at_us, ident, body in connection.execute(_ENTRIES):
        try:
            told = json.loads(body)
            entry = _Entry(
                ident,
                seq,
                told["members_sha256"],
                told["manifest_sha256"],
                {
                    "created_us": at_us,
                    "as_of_us": told["as_of_us"],
                    "head_seq": told["ledger"]["seq"],
                    "contributions": told["contributions"],
                    "weight_micro": told["weight_micro"],
                    "complete": 1,
                },
            )
        except (ValueError, KeyError, TypeError):
            report.found(Fault.ILLEGAL, f"entry {seq} records no snapshot that can be read", seq=seq, subject=ident)
            continue
        if ident in found:
            report.found(Fault.ILLEGAL, f"entry {seq} records a snapshot a second time", seq=seq, subject=ident)
        found[ident] = entry
    return found


def _verify_snapshot(row: RowMapping, entry: _Entry, report: Report) -> None:
    differing = [name for name, value in entry.row.items() if row[name] != value]
    if sha256_hex(row["manifest"]) != entry.manifest_sha256:
        differing.append("manifest")
    if differing:
        said = f"the snapshot's row differs from what was recorded in {', '.join(sorted(differing))}"
        report.found(Fault.ROW_EDITED, said, seq=entry.seq, subject=entry.ident)


def _verify_members(connection: Connection, number: int, held: _Held, entry: _Entry, report: Report) -> None:
    if held.digest.hexdigest() == entry.members_sha256:
        return
    report.found(
        Fault.ROW_EDITED,
        f"the store lists {held.contributions} members with {held.weight_micro} micro-units of weight, and they are not"
        f" the {entry.row['contributions']} with {entry.row['weight_micro']} that were recorded",
        seq=entry.seq,
        subject=entry.ident,
    )
    named = 0
    for seq, weight, kind, told in connection.execute(_STANDING_FOR, {"number": number}):
        wrong = _impossible(weight, kind, told)
        if wrong is not None and named < MAX_NAMED:
            named += 1
            report.found(Fault.ROW_EDITED, f"its member at entry {seq} {wrong}", seq=seq, subject=entry.ident)


def _impossible(weight: int, kind: str | None, told: str | None) -> str | None:
    """Why a member cannot be one, whatever was recorded; None if it can."""
    if kind not in ACCEPTING or told is None:
        return "stands for nothing that was accepted there"
    try:
        accepted = json.loads(told)["weight_micro"]
    except (ValueError, KeyError, TypeError):
        return "stands for an entry that cannot be read"
    return None if 0 < weight <= accepted else "has a weight that was never given to it"


def _members(connection: Connection) -> Iterator[tuple[int, _Held]]:
    """What the members of each snapshot add up to, by its number; streamed."""
    for number, rows in groupby(connection.execute(_MEMBERS), key=lambda row: row[0]):
        held = _Held()
        for _, seq, weight in rows:
            held.contributions += 1
            held.weight_micro += weight
            held.digest.update(b"%d %d\n" % (seq, weight))
        yield number, held
