"""The three JSON texts of a contribution that is about to be recorded: its payload, its verdict, its ledger entry.

They are written once for every verdict, with names that are always the same, so they are put together from their
values: an object for each of them, sorted and written by a library, would take several times as long. What has no
fixed form (groups, metadata, ratings that are no whole numbers) is written by `feedback_guard.ledger.canonical`.

Whoever verifies the ledger does it the other way: `rows.judged_body` makes an object from what stands in the tables.
"""

from __future__ import annotations

import math
from json.encoder import encode_basestring
from typing import Final

from feedback_guard.clock import format_iso8601
from feedback_guard.contribution import Contribution
from feedback_guard.ledger.canonical import MAX_INTEGER, canonical_json, is_unicode
from feedback_guard.store.new_rows import ContributionRow
from feedback_guard.store.rows import Surroundings, sha256_hex
from feedback_guard.verdict import Reason, Verdict

_BILLION: Final = 1_000_000_000
_quote: Final = encode_basestring
"""A text as JSON writes it, with everything but quotes and control characters as it is."""


def payload_text(item: Contribution) -> str:
    """A contribution as canonical JSON (RFC 8785): `canonical_json(item.to_json())`.

    Raises
    ------
    LedgerError
        If it has no canonical form.
    """
    parts = [f'"at":{_quote(format_iso8601(item.at_us))}']
    if item.chosen is not None:
        parts.append(f'"chosen":{_quote(item.chosen)}')
    parts.append(f'"contributor":{_quote(item.contributor)}')
    if item.groups:
        parts.append(f'"groups":{canonical_json(dict(item.groups))}')
    parts.append(f'"id":{_quote(item.id)},"input":{_quote(item.input)}')
    if item.interaction is not None:
        parts.append(f'"interaction":{_quote(item.interaction)}')
    parts.append(f'"kind":"{item.kind.value}"')
    if item.label is not None:
        parts.append(f'"label":{_quote(item.label)}')
    if item.metadata:
        parts.append(f'"metadata":{canonical_json(dict(item.metadata))}')
    if item.model is not None:
        parts.append(f'"model":{_quote(item.model)}')
    if item.output is not None:
        parts.append(f'"output":{_quote(item.output)}')
    if item.rating is not None:
        parts.append(f'"rating":{_rating(item.rating)}')
    if item.rejected is not None:
        parts.append(f'"rejected":{_quote(item.rejected)}')
    text = "{" + ",".join(parts) + "}"
    return text if is_unicode(text) else canonical_json(item.to_json())  # which says what is wrong


def verdict_text(verdict: Verdict) -> str:
    """A verdict as it is stored: the contract's JSON object and what only the guard needs.

    Raises
    ------
    ValueError
        If a number in it is none.
    """
    reasons = ",".join([_reason(reason) for reason in verdict.reasons])
    retry = verdict.retry_after_us
    return (
        f'{{"id":{_quote(verdict.id)},"decision":"{verdict.decision.value}","weight":{_number(verdict.weight)},'
        f'"suspicion":{_number(verdict.suspicion)},"campaign":{_or_null(verdict.campaign)},"reasons":[{reasons}],'
        f'"policy":{_quote(verdict.policy)},"baseline":{_or_null(verdict.baseline)},'
        f'"retry_after_us":{"null" if retry is None else retry},"observed":{_TRUTH[verdict.observed]},'
        f'"unscored":{_TRUTH[verdict.unscored]}}}'
    )


def judged_text(row: ContributionRow, item: Contribution, verdict: Verdict, around: Surroundings) -> str:
    """What the ledger says about a contribution that was judged: `canonical_text(judged_body(…))` of its row.

    Parameters
    ----------
    row
        About to be written.
    item, verdict
        What its `payload` and `verdict` are made of.
    around
        Its submission.
    """
    reasons = ",".join([f'{{"p_ppb":{_ppb(each.p_value)},"signal":{_quote(each.signal)}}}' for each in verdict.reasons])
    application = "" if around.application is None else f'"application":{_quote(around.application)},'
    body = "" if around.body_sha256 is None else f'"body_sha256":{_quote(around.body_sha256)},'
    vectors = f'"{sha256_hex(row.vectors)}"' if row.vectors else "null"
    return (
        f'{{"anonymous":{_TRUTH[around.anonymous]},{application}"baseline":{_or_null(verdict.baseline)},{body}'
        f'"campaign":{_or_null(verdict.campaign)},"contribution_sha256":"{sha256_hex(row.payload)}",'
        f'"contributor_sha256":"{sha256_hex(item.contributor)}","decision":"{row.decision}",'
        f'"delivery":"{around.delivery}","kind":"{item.kind.value}","learning":"{row.learning}",'
        f'"observed":{_TRUTH[verdict.observed]},"policy":{_quote(verdict.policy)},"position":{row.position},'
        f'"reasons":[{reasons}],"received_us":{around.at_us},"request_sha256":{_or_null(around.request_sha256)},'
        f'"route":{_quote(around.route)},"submission":{_quote(around.submission)},'
        f'"suspicion_micro":{row.suspicion_micro},"unscored":{_TRUTH[verdict.unscored]},"vectors_sha256":{vectors},'
        f'"verdict_sha256":"{sha256_hex(row.verdict)}","weight_micro":{row.weight_micro}}}'
    )


_TRUTH: Final = {False: "false", True: "true"}


def _reason(reason: Reason) -> str:
    p_value = "null" if reason.p_value is None else _number(reason.p_value)
    return (
        f'{{"signal":{_quote(reason.signal)},"facet":{_or_null(reason.facet)},"p_value":{p_value},'
        f'"message":{_quote(reason.message)}}}'
    )


def _or_null(text: str | None) -> str:
    return "null" if text is None else _quote(text)


def _ppb(p_value: float | None) -> str:
    return "null" if p_value is None else str(round(p_value * _BILLION))


def _number(value: float) -> str:
    """The shortest text that reads back as the same number; a number of numpy's is written like any other."""
    if not math.isfinite(value):
        raise ValueError(f"a verdict holds {value}, which is no number that JSON has")
    return float.__repr__(float(value))


def _rating(value: float) -> str:
    """A rating as canonical JSON writes it: a whole number without a point."""
    if value.is_integer() and abs(value) <= MAX_INTEGER:
        return str(int(value))
    return canonical_json(value)
