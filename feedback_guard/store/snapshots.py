"""Snapshots as the store has them: what may go into one, and which of them held what.

A snapshot's members are written in portions, so that the guard's own writes wait for none of them long; it counts only
when the last transaction has marked it as complete, with its entry in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import rfc8785
from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, func, insert, or_, select, update

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import SnapshotError
from feedback_guard.store import tables
from feedback_guard.store.rows import parse_payload
from feedback_guard.store.states import Learning

if TYPE_CHECKING:
    from feedback_guard.store.transaction import Transaction

STREAM: Final = 1_000
"""Rows fetched at a time."""
PORTION: Final = 5_000
"""Members that one transaction writes."""
ABANDONED_US: Final = 6 * 3_600 * MICROSECONDS
"""A snapshot that was begun so long ago, and is not complete, is given up."""
KIND: Final = "snapshot"
"""Kind of its ledger entry."""

_C: Final = tables.contribution.c
_S: Final = tables.submission.c
_L: Final = tables.ledger.c
_N: Final = tables.snapshot.c
_M: Final = tables.snapshot_member.c
_LATER: Final = tables.ledger.alias("later")

_ACCEPTED: Final = (
    select(
        _L.seq,
        _L.at_us.label("accepted_us"),
        _C.payload,
        _C.verdict,
        _C.weight_micro,
        _S.route,
        _S.anonymous,
        _S.delivery,
    )
    .select_from(tables.ledger)
    .join(tables.contribution, _C.id == _L.subject)
    .join(tables.submission, _S.id == _C.submission)
    .where(
        _L.seq <= bindparam("head"),
        or_(
            and_(_L.kind == "judged", _C.learning == Learning.ACCEPTED.value),
            and_(
                _L.kind == "approved",
                _C.learning == Learning.APPROVED.value,
                ~select(_LATER.c.seq)
                .where(_LATER.c.subject == _L.subject, _LATER.c.kind == "approved", _LATER.c.seq > _L.seq)
                .exists(),
            ),
        ),
    )
    .order_by(_L.seq)
    .execution_options(yield_per=STREAM)
)
_BY_LEARNING: Final = select(_C.learning, func.count()).group_by(_C.learning)
_NTH_LAST: Final = (
    select(_L.seq)
    .where(_L.kind == "judged", _L.at_us <= bindparam("as_of"))
    .order_by(_L.seq.desc())
    .limit(1)
    .offset(bindparam("skip"))
)
_HOLDING: Final = (
    select(_N.id, _N.created_us, _M.weight_micro)
    .select_from(tables.ledger)
    .join(tables.snapshot_member, _M.seq == _L.seq)
    .join(tables.snapshot, _N.number == _M.snapshot)
    .where(_L.subject == bindparam("which"), _N.complete == 1)
    .order_by(_N.number)
)
_HOLDING_OF: Final = (
    select(_N.id, _M.weight_micro, _C.payload)
    .select_from(tables.snapshot)
    .join(tables.snapshot_member, _M.snapshot == _N.number)
    .join(tables.ledger, _L.seq == _M.seq)
    .join(tables.contribution, _C.id == _L.subject)
    .where(_N.complete == 1)
    .order_by(_N.number)
)
_TAKEN: Final = select(_L.subject).where(_L.seq > bindparam("head"), _L.kind.in_(("held", "denied"))).distinct()
_AMONG: Final = (
    select(_L.subject)
    .select_from(tables.ledger)
    .join(tables.snapshot_member, _M.seq == _L.seq)
    .where(_L.subject.in_(bindparam("which", expanding=True)), _M.snapshot == bindparam("number"))
    .limit(1)
)


class Accepted(NamedTuple):
    """A contribution that may be learnt, in the order in which they were accepted.

    Parameters
    ----------
    seq, accepted_us
        Position and time of the ledger entry that accepted it: its judgement, or a moderator's last approval.
    payload, verdict
        As they are stored, JSON.
    weight_micro
        What may be learnt from it, before any cap of a snapshot.
    route, anonymous, delivery
        Of the request that brought it.
    """

    seq: int
    accepted_us: int
    payload: str
    verdict: str
    weight_micro: int
    route: str
    anonymous: int
    delivery: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A snapshot as the store knows it.

    Parameters
    ----------
    id
        Its name.
    created_us, as_of_us
        When it was recorded, and the time by which its contributions were mature.
    contributions, weight_micro
        How much it holds.
    manifest
        The text of its manifest.
    """

    id: str
    created_us: int
    as_of_us: int
    contributions: int
    weight_micro: int
    manifest: str


@dataclass(frozen=True, slots=True)
class Holding:
    """A snapshot that holds a contribution, and with what weight."""

    snapshot: str
    created_us: int
    weight_micro: int


@dataclass(frozen=True, slots=True)
class HoldingOf:
    """A snapshot that holds contributions of a contributor."""

    snapshot: str
    contributions: int
    weight_micro: int


class TakenBackError(SnapshotError):
    """A member was taken back while the snapshot was being cut."""


def accepted(connection: Connection, head: int) -> Iterator[Accepted]:
    """What may be learnt by the ledger's entry `head`, oldest acceptance first; streamed."""
    for part in connection.execute(_ACCEPTED, {"head": head}).partitions():
        for row in part:
            yield Accepted(*row)


def count_by_learning(connection: Connection) -> dict[Learning, int]:
    """How many contributions are in which state."""
    return {Learning(row[0]): int(row[1]) for row in connection.execute(_BY_LEARNING)}


def followed_by(connection: Connection, count: int, as_of_us: int) -> int | None:
    """The position in the ledger before which an entry has `count` judgements after it; None if there is none.

    Judgements that were made later than `as_of_us` do not count.
    """
    if count == 0:
        return 2**62
    row = connection.execute(_NTH_LAST, {"as_of": as_of_us, "skip": count - 1}).one_or_none()
    return None if row is None else int(row[0])


def begin(tx: Transaction, recorded: Recorded, head: int, now_us: int) -> int:
    """Make room for a snapshot; returns the number that its members go under. Forgets what was abandoned."""
    connection = tx.connection
    lost = select(_N.number).where(_N.complete == 0, _N.created_us < now_us - ABANDONED_US)
    for number in connection.execute(lost).scalars().all():
        forget(tx, number)
    if connection.execute(select(_N.number).where(_N.id == recorded.id)).first() is not None:
        raise SnapshotError(f"the snapshot {recorded.id} is recorded already, or another process is cutting it now")
    number = int(connection.execute(select(func.coalesce(func.max(_N.number), 0))).scalar_one()) + 1
    connection.execute(
        insert(tables.snapshot),
        {
            "number": number,
            "id": recorded.id,
            "created_us": recorded.created_us,
            "as_of_us": recorded.as_of_us,
            "head_seq": head,
            "contributions": recorded.contributions,
            "weight_micro": recorded.weight_micro,
            "manifest": recorded.manifest,
            "complete": 0,
        },
    )
    return number


def add_members(tx: Transaction, number: int, members: Sequence[tuple[int, int]]) -> None:
    """Write a portion of members, as pairs of position in the ledger and weight."""
    tx.connection.execute(
        insert(tables.snapshot_member),
        [{"snapshot": number, "seq": seq, "weight_micro": weight} for seq, weight in members],
    )


def complete(tx: Transaction, number: int, head: int, body: Mapping[str, Any], now_us: int) -> None:
    """Record it: from now on it counts.

    Raises
    ------
    TakenBackError
        If a member was held again or denied since the entry `head`.
    SnapshotError
        If it was given up meanwhile.
    """
    connection = tx.connection
    row = connection.execute(select(_N.id, _N.contributions).where(_N.number == number)).one_or_none()
    if row is None:
        raise SnapshotError("the snapshot took so long that another one gave it up; cut it again")
    # From the few that were taken back to the members, not the other way: guards wait while this transaction lasts.
    taken = connection.execute(_TAKEN, {"head": head}).scalars().all()
    for start in range(0, len(taken), STREAM):
        which = taken[start : start + STREAM]
        if connection.execute(_AMONG, {"which": which, "number": number}).first() is not None:
            raise TakenBackError("contributions were taken back while the snapshot was being cut; cut it again")
    connection.execute(update(tables.snapshot).where(_N.number == number).values(complete=1))
    tx.append(KIND, row.id, body, now_us)


def forget(tx: Transaction, number: int) -> None:
    """Remove a snapshot that is not complete."""
    which = select(_N.number).where(_N.number == number, _N.complete == 0)
    tx.connection.execute(delete(tables.snapshot_member).where(_M.snapshot.in_(which)))
    tx.connection.execute(delete(tables.snapshot).where(_N.number.in_(which)))


def listed(connection: Connection, limit: int) -> list[Recorded]:
    """The newest snapshots, newest first."""
    query = select(tables.snapshot).where(_N.complete == 1).order_by(_N.number.desc()).limit(limit)
    return [_recorded(row._mapping) for row in connection.execute(query)]


def find(connection: Connection, ident: str) -> Recorded | None:
    """A snapshot by its name; None if there is none."""
    row = connection.execute(select(tables.snapshot).where(_N.id == ident, _N.complete == 1)).one_or_none()
    return None if row is None else _recorded(row._mapping)


def members(connection: Connection, ident: str) -> Iterator[tuple[str, int, int]]:
    """What a snapshot holds: contribution, position in the ledger, weight in micro-units; streamed."""
    query = (
        select(_L.subject, _M.seq, _M.weight_micro)
        .select_from(tables.snapshot_member)
        .join(tables.snapshot, _N.number == _M.snapshot)
        .join(tables.ledger, _L.seq == _M.seq)
        .where(_N.id == ident, _N.complete == 1)
        .order_by(_M.seq)
        .execution_options(yield_per=STREAM)
    )
    for part in connection.execute(query).partitions():
        for row in part:
            yield row[0], row[1], row[2]


def holding(connection: Connection, contribution: str) -> list[Holding]:
    """The snapshots that hold a contribution, oldest first: what a recall has to look at."""
    return [Holding(*row) for row in connection.execute(_HOLDING, {"which": contribution})]


def holding_of(connection: Connection, contributor: str) -> list[HoldingOf]:
    """The snapshots that hold contributions of a contributor, oldest first, with how many and how much weight."""
    found: dict[str, list[int]] = {}
    # Canonical JSON writes a name in one way; what else holds these letters is sorted out afterwards.
    named = '"contributor":' + rfc8785.dumps(contributor).decode("utf-8")
    for row in connection.execute(_HOLDING_OF.where(_C.payload.contains(named, autoescape=True))):
        if parse_payload(row.payload).contributor == contributor:
            found.setdefault(row.id, []).append(row.weight_micro)
    return [HoldingOf(snapshot, len(weights), sum(weights)) for snapshot, weights in found.items()]


def named(connection: Connection, ident: str) -> list[str]:
    """The contribution of that name, or those of a submission of that name; none if there is neither."""
    query = select(_C.id).where((_C.id == ident) | (_C.submission == ident)).order_by(_C.position)
    return list(connection.scalars(query))


def _recorded(row: RowMapping) -> Recorded:
    return Recorded(
        row["id"], row["created_us"], row["as_of_us"], row["contributions"], row["weight_micro"], row["manifest"]
    )
