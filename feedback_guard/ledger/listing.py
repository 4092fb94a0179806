"""Entries of the ledger for people: which there are about a contributor, of a kind, of some days.

Nothing is verified here; `feedback_guard.ledger.verify` says whether the record is what was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import rfc8785
from sqlalchemy import Connection, Select, or_, select

from feedback_guard.store import tables

STREAM: Final = 1_000
"""Rows fetched at a time."""
_L: Final = tables.ledger.c
_C: Final = tables.contribution.c


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are asked for; all that are named have to hold.

    Parameters
    ----------
    subject
        A contribution, a submission, or a snapshot; of a submission those about its contributions are meant too.
    contributor
        Her name, byte for byte. Only entries about a contribution have one.
    kinds
        Such as `judged`, `held`, `approved`.
    decision
        What the verdict of a judged contribution says.
    unscored
        True asks for verdicts of which a part failed.
    mature
        True asks for what a campaign took back when a model may have learnt it already.
    since_us, until_us
        Time of the entry, microseconds since the epoch; the first is included, the second is not.
    after
        Only entries behind this one.
    """

    subject: str | None = None
    contributor: str | None = None
    kinds: tuple[str, ...] = ()
    decision: str | None = None
    unscored: bool = False
    mature: bool = False
    since_us: int | None = None
    until_us: int | None = None
    after: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry, and whose contribution it is about."""

    seq: int
    at_us: int
    kind: str
    subject: str
    body: dict[str, Any]
    hash: str
    contributor: str | None
    learning: str | None
    """What may be learnt of the contribution now; None for other entries."""


def entries(connection: Connection, wanted: Wanted) -> Iterator[Listed]:
    """List entries, oldest first; streamed.

    Parameters
    ----------
    connection
        To a store.
    wanted
        Which.
    """
    for row in connection.execute(_query(wanted).execution_options(yield_per=STREAM)):
        body = json.loads(row.body)
        contributor = None if row.payload is None else json.loads(row.payload)["contributor"]
        if wanted.contributor not in (None, contributor) or not _fits(body, wanted):
            continue
        yield Listed(row.seq, row.at_us, row.kind, row.subject, body, row.hash, contributor, row.learning)


def _query(wanted: Wanted) -> Select[Any]:
    query = (
        select(tables.ledger, _C.payload, _C.learning)
        .outerjoin(tables.contribution, _C.id == _L.subject)
        .where(_L.seq > wanted.after)
        .order_by(_L.seq)
    )
    if wanted.subject is not None:
        query = query.where(or_(_L.subject == wanted.subject, _C.submission == wanted.subject))
    if wanted.contributor is not None:
        # Canonical JSON writes a name in one way; what else holds these letters is sorted out afterwards.
        named = '"contributor":' + rfc8785.dumps(wanted.contributor).decode("utf-8")
        query = query.where(_C.payload.contains(named, autoescape=True))
    if wanted.kinds:
        query = query.where(_L.kind.in_(wanted.kinds))
    if wanted.since_us is not None:
        query = query.where(_L.at_us >= wanted.since_us)
    if wanted.until_us is not None:
        query = query.where(_L.at_us < wanted.until_us)
    return query


def _fits(body: dict[str, Any], wanted: Wanted) -> bool:
    return (
        (wanted.decision is None or body.get("decision") == wanted.decision)
        and (not wanted.unscored or bool(body.get("unscored")))
        and (not wanted.mature or bool(body.get("mature")))
    )
