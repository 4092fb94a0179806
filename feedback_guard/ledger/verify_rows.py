"""The rows held against the ledger: what was judged, where it stands now, and how it got there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, select

from feedback_guard.errors import TransitionError
from feedback_guard.ledger.report import Fault, Report
from feedback_guard.store import tables
from feedback_guard.store.handover import TELLING
from feedback_guard.store.new_rows import ContributionRow
from feedback_guard.store.reputation import KIND as REPUTATION
from feedback_guard.store.rows import Surroundings, judged_body, objects_of, sha256_hex
from feedback_guard.store.states import RESOLUTIONS, Delivery, Learning, Resolution, check_delivery, check_learning

STREAM: Final = 500
"""Rows fetched at a time."""

_ANSWERS: Final = (Delivery.DELIVERED.value, Delivery.FAILED.value)
_Check = Callable[[str | None, str], None]
_L: Final = tables.ledger.c
_C: Final = tables.contribution.c
_S: Final = tables.submission.c
_R: Final = tables.replay.c
_ENTRY: Final = (_L.seq, _L.kind, _L.body)

_CONTRIBUTIONS: Final = (
    select(
        tables.contribution,
        *_ENTRY,
        _S.route,
        _S.at_us.label("received_us"),
        _S.anonymous,
    )
    .join(tables.submission, _S.id == _C.submission, isouter=True)
    .outerjoin(tables.ledger, (_L.subject == _C.id) & _L.kind.in_((*TELLING, REPUTATION)))
    .order_by(_C.id, _L.seq)
    .execution_options(yield_per=STREAM)
)
_HELD: Final = (
    select(func.count())
    .where(_C.submission == _S.id, _C.learning == Learning.HELD.value)
    .correlate(tables.submission)
    .scalar_subquery()
)
_FIRST: Final = (
    select(_L.body)
    .join(tables.contribution, _C.id == _L.subject)
    .where(_C.submission == _S.id, _L.kind == "judged")
    .order_by(_C.position)
    .limit(1)
    .correlate(tables.submission)
    .scalar_subquery()
)
_SUBMISSIONS: Final = (
    select(
        _S.id,
        _S.delivery,
        _S.n_held,
        _S.waiting,
        _S.detail,
        _S.worker,
        _S.request,
        _R.fence,
        _R.application,
        _HELD.label("held"),
        _FIRST.label("judged"),
        *_ENTRY,
    )
    .outerjoin(tables.replay, _R.submission == _S.id)
    .outerjoin(tables.ledger, (_L.subject == _S.id) & (_L.kind == "delivery"))
    .order_by(_S.id, _L.seq)
    .execution_options(yield_per=STREAM)
)
_GONE: Final = (
    select(_L.seq, _L.subject, _L.kind)
    .outerjoin(tables.contribution, _C.id == _L.subject)
    .where(_L.kind.in_(TELLING), _C.id.is_(None))
    .order_by(_L.seq)
    .execution_options(yield_per=STREAM)
)
_GONE_SUBMISSIONS: Final = (
    select(_L.seq, _L.subject, _L.kind)
    .outerjoin(tables.submission, _S.id == _L.subject)
    .where(_L.kind == "delivery", _S.id.is_(None))
    .order_by(_L.seq)
    .execution_options(yield_per=STREAM)
)


def verify_rows(connection: Connection, report: Report) -> None:
    """Hold every contribution and submission against the ledger; the chain itself was verified before."""
    for ident, rows in _by_id(connection.execute(_CONTRIBUTIONS).mappings()):
        report.contributions += 1
        try:
            _verify_contribution(ident, rows, report)
        except (ValueError, KeyError, TypeError, AttributeError):
            report.found(Fault.ROW_EDITED, "the row, or its ledger entry, cannot be read", subject=ident)
    for ident, rows in _by_id(connection.execute(_SUBMISSIONS).mappings()):
        report.submissions += 1
        try:
            _verify_submission(ident, rows, report)
        except (ValueError, KeyError, TypeError, AttributeError):
            report.found(Fault.ROW_EDITED, "the row, or its ledger entry, cannot be read", subject=ident)
    for query in (_GONE, _GONE_SUBMISSIONS):
        for seq, subject, kind in connection.execute(query):
            report.found(
                Fault.ROW_REMOVED, f"entry {seq} ({kind}) is about a row that is not there", seq=seq, subject=subject
            )


def _verify_contribution(ident: str, rows: list[RowMapping], report: Report) -> None:
    row = rows[0]
    if row["seq"] is None or row["kind"] != "judged":
        report.found(Fault.ROW_UNRECORDED, "the ledger does not say that it was judged", subject=ident)
        return
    body = json.loads(row["body"])
    if row["route"] is None:
        report.found(Fault.ROW_REMOVED, "its submission is not there", subject=ident)
        return
    fields = ContributionRow._make(row[name] for name in ContributionRow._fields)
    objects = objects_of(fields.payload, fields.verdict)
    if objects.payload["id"] != ident:
        report.found(Fault.ROW_EDITED, "its payload names another contribution", seq=row["seq"], subject=ident)
    expected = judged_body(fields, body.get("learning"), _surroundings(row, body), objects)
    differing = sorted(name for name in expected.keys() | body.keys() if expected.get(name) != body.get(name))
    if differing:
        report.found(
            Fault.ROW_EDITED,
            f"the row differs from what was recorded in {', '.join(differing)}",
            seq=row["seq"],
            subject=ident,
        )
    seq, weight = row["seq"], body["weight_micro"]
    state = _legal(_learns, None, body["learning"], seq, ident, report)
    for later in rows[1:]:
        told, seq = json.loads(later["body"]), later["seq"]
        if later["kind"] == "judged":
            report.found(Fault.ILLEGAL, f"entry {seq} judges it a second time", seq=seq, subject=ident)
            continue
        if later["kind"] == REPUTATION:
            weight = _audited(weight, state, told, seq, ident, report)
            continue
        state = _step(_learns, state, told, seq, ident, report)
        weight = told["weight_micro"]
        if later["kind"] != told["to"] or told["submission"] != row["submission"]:
            report.found(Fault.ILLEGAL, f"entry {seq} contradicts itself", seq=seq, subject=ident)
    if row["learning"] != state or row["weight_micro"] != weight:
        report.found(
            Fault.ROW_EDITED,
            f"the row says {row['learning']} with weight {row['weight_micro']}, the ledger {state} with {weight}",
            seq=seq,
            subject=ident,
        )


def _audited(weight: int, state: str | None, told: Mapping[str, Any], seq: int, ident: str, report: Report) -> int:
    """The weight after an entry of reputation: an audit may only lower it, and only where it was accepted."""
    if told["event"] != "audited":
        return weight
    if state != Learning.ACCEPTED.value or not 0 <= told["weight_micro"] <= weight:
        report.found(Fault.ILLEGAL, f"entry {seq} gives a weight that cannot be", seq=seq, subject=ident)
    return int(told["weight_micro"])


def _surroundings(row: RowMapping, body: Mapping[str, Any]) -> Surroundings:
    """What belongs to the submission; its request and its delivery are looked at with the submission's own row."""
    return Surroundings(
        submission=row["submission"],
        route=row["route"],
        at_us=row["received_us"],
        anonymous=bool(row["anonymous"]) if row["anonymous"] in {0, 1} else row["anonymous"],
        request_sha256=body.get("request_sha256"),
        delivery=body["delivery"],
        body_sha256=body.get("body_sha256"),
        application=body.get("application"),
    )


def _verify_submission(ident: str, rows: list[RowMapping], report: Report) -> None:
    row = rows[0]
    if row["judged"] is None:
        report.found(Fault.ROW_UNRECORDED, "no contribution of this submission is recorded", subject=ident)
        return
    first = json.loads(row["judged"])
    state = _legal(_delivers, None, first["delivery"], None, ident, report)
    if (None if row["request"] is None else sha256_hex(bytes(row["request"]))) != first["request_sha256"]:
        report.found(Fault.ROW_EDITED, "the kept request is not the one recorded", subject=ident)
    if row["application"] != first.get("application"):
        report.found(Fault.ROW_EDITED, "the kept request is for another application than recorded", subject=ident)
    digest, seq, fence = None, None, 0
    for later in rows:
        if later["seq"] is None:
            break
        told, seq = json.loads(later["body"]), later["seq"]
        state = _step(_delivers, state, told, seq, ident, report)
        fence = _fence(fence, told, seq, ident, report)
        _ways_on(told, seq, ident, report)
        digest = told["detail_sha256"]
        if told["worker"] != row["worker"] and later is rows[-1]:
            report.found(Fault.ROW_EDITED, "the row names another worker than the ledger", seq=seq, subject=ident)
    if (row["fence"] is None) != (row["request"] is None) or (row["fence"] or 0) != fence:
        report.found(Fault.ROW_EDITED, f"the row says claim {row['fence']}, the ledger {fence}", seq=seq, subject=ident)
    if row["delivery"] != state:
        report.found(Fault.ROW_EDITED, f"the row says {row['delivery']}, the ledger {state}", seq=seq, subject=ident)
    if (None if row["detail"] is None else sha256_hex(row["detail"])) != digest:
        report.found(Fault.ROW_EDITED, "the row's detail is not the one recorded", seq=seq, subject=ident)
    waits = int(row["held"] > 0 or row["delivery"] == Delivery.HELD.value)
    if row["n_held"] != row["held"] or row["waiting"] != waits:
        report.found(
            Fault.ROW_EDITED,
            f"the row counts {row['n_held']} held contributions, there are {row['held']}",
            subject=ident,
        )


def _fence(fence: int, told: Mapping[str, Any], seq: int, ident: str, report: Report) -> int:
    """Follow the number of claims. Entries of a guard that did not number them have none."""
    if "fence" not in told:
        return fence
    expected = fence + 1 if told["to"] == Delivery.DISPATCHING.value else fence
    if told["fence"] != expected:
        report.found(
            Fault.ILLEGAL, f"entry {seq} is of claim {told['fence']}, it was {expected}", seq=seq, subject=ident
        )
    return int(told["fence"])


def _ways_on(told: Mapping[str, Any], seq: int, ident: str, report: Report) -> None:
    """A request leaves a bad end by a moderator's word, a numbered retry, or the late answer to an unclaimed call."""
    before, after = told["from"], told["to"]
    if before == Delivery.DISPATCHING.value and after == Delivery.APPROVED.value and told.get("released") is not True:
        report.found(Fault.ILLEGAL, f"entry {seq} gives a claim back and does not say so", seq=seq, subject=ident)
    ways = RESOLUTIONS.get(Delivery(before))
    if ways is None:
        return
    if "resolution" in told:
        legal = bool(told.get("moderator")) and ways.get(Resolution(told["resolution"])) == after
    elif told.get("late") is True:
        legal = before == Delivery.UNKNOWN.value and after in _ANSWERS and told.get("fence") == 0
    else:
        retried = before in {Delivery.FAILED.value, Delivery.UNKNOWN.value} and after == Delivery.APPROVED.value
        legal = retried and isinstance(told.get("retry"), int)
    if not legal:
        report.found(Fault.ILLEGAL, f"entry {seq} goes on from {before} and nobody said so", seq=seq, subject=ident)


def _learns(before: str | None, after: str) -> None:
    check_learning(None if before is None else Learning(before), Learning(after))


def _delivers(before: str | None, after: str) -> None:
    check_delivery(None if before is None else Delivery(before), Delivery(after))


def _step(check: _Check, before: str, told: Mapping[str, Any], seq: int, ident: str, report: Report) -> str:
    """Follow one recorded transition, and say so if it does not begin where the one before it ended."""
    if told["from"] != before:
        report.found(Fault.ILLEGAL, f"entry {seq} says it was {told['from']}, it was {before}", seq=seq, subject=ident)
    return _legal(check, told["from"], told["to"], seq, ident, report)


def _legal(check: _Check, before: str | None, after: str, seq: int | None, ident: str, report: Report) -> str:
    try:
        check(before, after)
    except TransitionError as error:
        report.found(Fault.ILLEGAL, str(error), seq=seq, subject=ident)
    return after


def _by_id(rows: Iterable[RowMapping]) -> Iterator[tuple[str, list[RowMapping]]]:
    for ident, group in groupby(rows, key=lambda row: row["id"]):
        yield ident, list(group)
