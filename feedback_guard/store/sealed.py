"""Kept credentials as the store has them: which key each needs, and how they come under another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, bindparam, func, select, update

from feedback_guard.errors import CredentialError
from feedback_guard.store import tables
from feedback_guard.store.records import Sealed
from feedback_guard.store.transaction import Transaction

BATCH: Final = 200
"""Most credentials that one transaction encrypts anew."""

_R: Final = tables.replay.c
_COUNT: Final = select(_R.key_id, func.count()).where(_R.key_id.is_not(None)).group_by(_R.key_id).order_by(_R.key_id)
_OTHER: Final = (
    select(_R.submission, _R.key_id, _R.sealed)
    .where(_R.key_id.is_not(None), _R.key_id != bindparam("newest"), _R.submission > bindparam("after"))
    .order_by(_R.submission)
    .limit(BATCH)
)
_UPDATE: Final = (
    update(tables.replay)
    .where(_R.submission == bindparam("which"))
    .values(key_id=bindparam("new_key"), sealed=bindparam("new_data"))
)


def count_by_key(connection: Connection) -> dict[str, int]:
    """How many kept credentials need which key."""
    return {str(row[0]): int(row[1]) for row in connection.execute(_COUNT)}


def reencrypt(
    tx: Transaction, newest: str, again: Callable[[str, Sealed], Sealed], *, after: str, now_us: int
) -> tuple[str | None, int, list[str]]:
    """Bring a batch of credentials under the newest key, with one ledger entry for all of them.

    Parameters
    ----------
    newest
        Identifier of that key; what it sealed already is left alone.
    again
        Decrypts and encrypts the credentials of a submission.
    after
        The last submission of the batch before; empty for the first.

    Returns
    -------
    str or None
        The last submission of this batch; None if there is nothing left.
    int
        How many were brought under the key.
    list of str
        Submissions whose credentials could not be decrypted; they stay as they are.
    """
    rows = tx.connection.execute(_OTHER, {"newest": newest, "after": after}).all()
    unreadable: list[str] = []
    for row in rows:
        try:
            sealed = again(row.submission, Sealed(row.key_id, bytes(row.sealed)))
        except CredentialError:
            unreadable.append(row.submission)
            continue
        tx.connection.execute(_UPDATE, {"which": row.submission, "new_key": sealed.key_id, "new_data": sealed.data})
    done = len(rows) - len(unreadable)
    if done:
        tx.append("reencrypted", "credentials", {"key": newest, "count": done}, now_us)
    return (rows[-1].submission if rows else None), done, unreadable
