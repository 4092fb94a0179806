"""Requests that come again: which one has the right to be judged, and what the first one was answered.

A request that may come again is known by a digest of whose it is and of its key. The first to write that digest holds
it. Its claim is bound to the submission in the transaction that records it; from then on the row says no less and no
more than the submission does. A claim that was never bound ends with its lease, so a process that died before it
recorded anything blocks nobody for long; whoever takes over changes the holder, and the old one can bind no more.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from feedback_guard.errors import ClaimLostError
from feedback_guard.store import tables
from feedback_guard.store.rows import AnyRow
from feedback_guard.store.states import Delivery

PURGED_AT_ONCE: Final = 1_000
"""Most expired rows that one transaction takes away."""

_R: Final = tables.repeat.c
_S: Final = tables.submission.c
_FIND: Final = (
    select(
        _R.fingerprint_sha256,
        _R.holder,
        _R.lease_us,
        _R.created_us,
        _R.expires_us,
        _R.submission,
        _R.status,
        _R.headers,
        _R.body,
        _S.delivery,
    )
    .outerjoin(tables.submission, _S.id == _R.submission)
    .where(_R.scope_sha256 == bindparam("scope"))
)
_CLAIM: Final = insert(tables.repeat)
_FORGET_SCOPE: Final = delete(tables.repeat).where(_R.scope_sha256 == bindparam("scope"))
_OWN: Final = and_(_R.scope_sha256 == bindparam("scope"), _R.holder == bindparam("by"), _R.submission.is_(None))
_BIND: Final = update(tables.repeat).where(_OWN).values(submission=bindparam("bound"))
_RELEASE: Final = delete(tables.repeat).where(_OWN)
_KEEP: Final = (
    update(tables.repeat)
    .where(_R.submission == bindparam("bound"), _R.status.is_(None))
    .values(status=bindparam("code"), headers=bindparam("fields"), body=bindparam("content"))
)
_FORGET: Final = delete(tables.repeat).where(_R.submission == bindparam("bound"))
# What is dispatched now stays, however long it takes: its repetition would be a second effect.
_EXPIRED: Final = (
    select(_R.scope_sha256)
    .outerjoin(tables.submission, _S.id == _R.submission)
    .where(_R.expires_us <= bindparam("now"))
    .where(
        or_(
            and_(_R.submission.is_(None), _R.lease_us <= bindparam("now")),
            _R.status.is_not(None),
            _S.delivery != Delivery.DISPATCHING.value,
        )
    )
    .order_by(_R.expires_us)
    .limit(bindparam("most"))
)
_PURGE: Final = delete(tables.repeat).where(_R.scope_sha256.in_(bindparam("scopes", expanding=True)))


@dataclass(frozen=True, slots=True)
class RepeatKey:
    """What a request is recognised by when it comes again. Everything in it is hashed.

    Parameters
    ----------
    scope_sha256
        Digest of contributor, route and key. Two requests with the same one are the same, or one is a mistake.
    fingerprint_sha256
        Digest of what must not differ: method, path, query and body.
    route
        Name of the policy's route.
    retain_us
        How long it is remembered, in microseconds from the first request on.
    """

    scope_sha256: str
    fingerprint_sha256: str
    route: str
    retain_us: int


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to have a request judged. `holder` is a random text; it changes when somebody else takes over."""

    scope_sha256: str
    holder: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as it was given, for whoever asks again."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Seen(StrEnum):
    """What is known of a key."""

    NEW = "new"
    """Nothing; whoever asked to claim it now holds it."""
    IN_FLIGHT = "in_flight"
    """The first request is not done yet."""
    OTHER = "other"
    """It belongs to a request that was not the same."""
    ANSWERED = "answered"
    """The first request's answer is kept."""
    SETTLED = "settled"
    """The first request has an outcome, and its answer is not kept."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a key, with the claim, the answer or the submission that goes with it."""

    seen: Seen
    claim: Claim | None = None
    answer: KeptAnswer | None = None
    submission: str = ""
    delivery: Delivery | None = None


_NEW: Final = Found(Seen.NEW)


def look(connection: Connection, key: RepeatKey, now_us: int) -> Found:
    """What is known of a key, without claiming it; a read-only connection will do."""
    row = connection.execute(_FIND, {"scope": key.scope_sha256}).one_or_none()
    if row is None:
        return _NEW
    answered = row.status is not None
    if row.submission is None:
        # A lease that begins in the future was written before the clock was set back; it must not last for longer.
        running = row.created_us <= now_us < row.lease_us
    else:
        running = not answered and row.delivery == Delivery.DISPATCHING.value
    if not running and (row.submission is None or row.expires_us <= now_us):
        return _NEW
    if row.fingerprint_sha256 != key.fingerprint_sha256:
        return Found(Seen.OTHER, submission=row.submission or "")
    if running:
        return Found(Seen.IN_FLIGHT, submission=row.submission or "")
    return Found(
        Seen.ANSWERED if answered else Seen.SETTLED,
        answer=_answer(row) if answered else None,
        submission=row.submission,
        delivery=Delivery(row.delivery),
    )


def claim(connection: Connection, key: RepeatKey, *, now_us: int, lease_us: int) -> Found:
    """Take a key if nobody has it, or say what is known of it.

    Parameters
    ----------
    connection
        In a transaction that holds the writer's lock.
    lease_us
        How long the claim lasts unless it is bound, in microseconds.
    """
    found = look(connection, key, now_us)
    if found.seen is not Seen.NEW:
        return found
    taken = Claim(key.scope_sha256, secrets.token_hex(8))
    connection.execute(_FORGET_SCOPE, {"scope": key.scope_sha256})
    connection.execute(
        _CLAIM,
        {
            "scope_sha256": key.scope_sha256,
            "fingerprint_sha256": key.fingerprint_sha256,
            "route": key.route,
            "holder": taken.holder,
            "lease_us": now_us + lease_us,
            "created_us": now_us,
            "expires_us": now_us + key.retain_us,
            "submission": None,
            "status": None,
            "headers": None,
            "body": None,
        },
    )
    return Found(Seen.NEW, claim=taken)


def bind(connection: Connection, held: Claim, submission: str) -> None:
    """Tie a claim to the submission that this transaction records.

    Raises
    ------
    ClaimLostError
        If the lease ran out and somebody else took the key, so that nothing may be recorded for it.
    """
    done = connection.execute(_BIND, {"scope": held.scope_sha256, "by": held.holder, "bound": submission})
    if done.rowcount != 1:
        raise ClaimLostError("another delivery of the same request took over; nothing was recorded for this one")


def release(connection: Connection, held: Claim) -> None:
    """Give a claim back that came to nothing; whoever comes next begins anew."""
    connection.execute(_RELEASE, {"scope": held.scope_sha256, "by": held.holder})


def keep(connection: Connection, submission: str, answer: KeptAnswer) -> None:
    """Keep what a submission's request is answered. The first answer stays; one without a key is not kept."""
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.headers]
    connection.execute(
        _KEEP,
        {"bound": submission, "code": answer.status, "fields": json.dumps(fields), "content": answer.body},
    )


def forget(connection: Connection, submission: str) -> None:
    """Forget the key of a submission that came to nothing: the same request may be judged again."""
    connection.execute(_FORGET, {"bound": submission})


def purge(connection: Connection, now_us: int) -> int:
    """Take away keys whose time is over, at most `PURGED_AT_ONCE`; returns how many."""
    scopes = connection.execute(_EXPIRED, {"now": now_us, "most": PURGED_AT_ONCE}).scalars().all()
    if scopes:
        connection.execute(_PURGE, {"scopes": scopes})
    return len(scopes)


def _answer(row: AnyRow) -> KeptAnswer:
    fields = json.loads(row.headers)
    return KeptAnswer(
        row.status,
        tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in fields),
        bytes(row.body),
    )
