"""One live vote for each served output and contributor, and digests of what was streamed.

The key of a vote is unique in the database, and it is looked up and written in the transaction that records the
contribution, so that of any number of requests that race with one receipt exactly one is taken, in any process.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Insert, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from feedback_guard.errors import ReceiptError, Refused
from feedback_guard.store import tables
from feedback_guard.store.transaction import Transaction

PURGED_AT_ONCE: Final = 1_000
"""Most expired rows that one transaction takes away."""

_V: Final = tables.vote.c
_D: Final = tables.served.c
_VOTE: Final = select(_V.contribution).where(_V.key_sha256 == bindparam("key"))
_SERVED: Final = select(_D.output_sha256).where(_D.key_sha256 == bindparam("key"))
_LATEST: Final = select(func.max(_V.issued_us))
_EXPIRED: Final = (
    select(_D.key_sha256).where(_D.expires_us <= bindparam("now")).order_by(_D.expires_us).limit(PURGED_AT_ONCE)
)
_PURGE: Final = delete(tables.served).where(_D.key_sha256.in_(bindparam("keys", expanding=True)))


def _upsert(insert: sqlite.Insert | postgresql.Insert, *changing: str) -> Insert:
    return insert.on_conflict_do_update(
        index_elements=["key_sha256"], set_={name: insert.excluded[name] for name in changing}
    )


_CAST: Final[dict[str, sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert(tables.vote),
    "postgresql": postgresql.insert(tables.vote),
}
_RECAST: Final = {name: _upsert(insert, "contribution", "issued_us", "at_us") for name, insert in _CAST.items()}
_SERVING: Final[dict[str, sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert(tables.served),
    "postgresql": postgresql.insert(tables.served),
}
_SERVE: Final = {name: _upsert(insert, "output_sha256", "expires_us") for name, insert in _SERVING.items()}


@dataclass(frozen=True, slots=True)
class Vote:
    """The vote that a contribution is, by the receipt that it came with.

    Parameters
    ----------
    key_sha256
        Whose vote for which output; see `vote_key`.
    replaces
        Whether it takes the place of an earlier one; otherwise it is refused if there is one.
    issued_us
        When the receipt was signed.
    served_sha256
        Where the digest of the served text stands in the store; empty if the receipt has it, or says nothing.
    said
        Digests of the texts of which one must be the served one, if it stands in the store.
    """

    key_sha256: str
    replaces: bool
    issued_us: int
    served_sha256: str = ""
    said: tuple[bytes, ...] = ()


def vote_key(*parts: str) -> str:
    """A digest of audience, interaction, contributor, and the kind where each has a vote of its own.

    Every part stands behind its length, so that no two lists of parts have the same.

    Examples
    --------
    >>> vote_key("ab", "c") == vote_key("a", "bc")
    False
    """
    digest = hashlib.sha256(b"feedback_guard/vote/1\0")
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()


def look(connection: Connection, votes: Sequence[Vote]) -> None:
    """See that votes can be taken, as far as is known now; a read-only connection will do.

    Raises
    ------
    ReceiptError
        `USED` if there is a vote that may not be replaced; `OTHER_OUTPUT` if another text was served, or none is
        known to have been.
    """
    for vote in votes:
        if vote.served_sha256 and vote.said:
            found = connection.execute(_SERVED, {"key": vote.served_sha256}).scalar_one_or_none()
            if found is None or not _is_one_of(vote.said, bytes.fromhex(found)):
                raise ReceiptError(Refused.OTHER_OUTPUT)
        if not vote.replaces and connection.execute(_VOTE, {"key": vote.key_sha256}).first() is not None:
            raise ReceiptError(Refused.USED)


def cast(tx: Transaction, vote: Vote, contribution: str, *, now_us: int) -> bool:
    """Make a contribution the live vote, in the transaction that records it.

    Returns
    -------
    bool
        Whether an earlier one was withdrawn.

    Raises
    ------
    ReceiptError
        `USED` if there is one that may not be replaced; nothing may be recorded then.
    """
    before = tx.connection.execute(_VOTE, {"key": vote.key_sha256}).scalar_one_or_none()
    if before is not None and not vote.replaces:
        raise ReceiptError(Refused.USED)
    dialect = tx.connection.dialect.name
    tx.connection.execute(
        (_RECAST if vote.replaces else _CAST)[dialect],
        {"key_sha256": vote.key_sha256, "contribution": contribution, "issued_us": vote.issued_us, "at_us": now_us},
    )
    return before is not None and tx.withdraw(before, by=contribution, now_us=now_us)


def serve(connection: Connection, key_sha256: str, output: bytes, expires_us: int) -> None:
    """Keep the digest of a streamed answer; a later one of the same interaction takes its place."""
    connection.execute(
        _SERVE[connection.dialect.name],
        {"key_sha256": key_sha256, "output_sha256": output.hex(), "expires_us": expires_us},
    )


def purge(connection: Connection, now_us: int) -> int:
    """Take away digests whose receipts are over, at most `PURGED_AT_ONCE`; returns how many. Votes stay."""
    keys = connection.execute(_EXPIRED, {"now": now_us}).scalars().all()
    if keys:
        connection.execute(_PURGE, {"keys": keys})
    return len(keys)


def latest_issued(connection: Connection) -> int | None:
    """When the newest receipt that was used was signed, by the clock of whoever signed it; None if none was."""
    found = connection.execute(_LATEST).scalar_one_or_none()
    return None if found is None else int(found)


def _is_one_of(said: tuple[bytes, ...], served: bytes) -> bool:
    return bool(sum(hmac.compare_digest(digest, served) for digest in said))
