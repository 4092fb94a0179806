"""Between records and rows, and from a row to what the ledger says about it.

`judged_body` is what the ledger is verified against; what it covers cannot be edited in a row without being found.
Whoever records writes the same text by itself, in `judged_texts`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import Row, Select, func, select

from feedback_guard.clock import parse_iso8601
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.store import tables
from feedback_guard.store.new_rows import ContributionRow, Objects, micro
from feedback_guard.store.records import StoredContribution, StoredSubmission
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Decision, Reason, Verdict

AnyRow = Row[*tuple[Any, ...]]
"""A row of any columns."""
_R: Final = tables.replay.c
SUBMISSIONS: Final[Select[*tuple[Any, ...]]] = select(
    tables.submission,
    func.coalesce(_R.fence, 0).label("fence"),
    func.coalesce(_R.lease_us, 0).label("lease_us"),
    func.coalesce(_R.due_us, 0).label("due_us"),
    func.coalesce(_R.attempts, 0).label("attempts"),
    func.coalesce(_R.since_us, 0).label("since_us"),
    _R.submission.is_not(None).label("kept"),
    _R.key_id,
    _R.sealed,
    _R.application,
).outerjoin(tables.replay, _R.submission == tables.submission.c.id)
"""Submissions with what `replay` has for them; `kept` is true where there is such a row."""
_BILLION: Final = 1_000_000_000


def sha256_hex(data: bytes | str) -> str:
    """SHA-256 in hexadecimal; of a text, that of its UTF-8."""
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode("utf-8")).hexdigest()


def parse_verdict(text: str) -> Verdict:
    """Read a stored verdict."""
    value = json.loads(text)
    return Verdict(
        id=value["id"],
        decision=Decision(value["decision"]),
        weight=float(value["weight"]),
        suspicion=float(value["suspicion"]),
        reasons=tuple(Reason(r["signal"], r["message"], r["p_value"], r["facet"]) for r in value["reasons"]),
        policy=value["policy"],
        baseline=value["baseline"],
        campaign=value["campaign"],
        retry_after_us=value["retry_after_us"],
        observed=value["observed"],
        unscored=value["unscored"],
    )


def parse_payload(text: str) -> Contribution:
    """Read a contribution's canonical JSON. It was checked at the border; here it is only taken apart."""
    value = json.loads(text)
    value["at_us"] = parse_iso8601(value.pop("at"))
    value["kind"] = Kind(value["kind"])
    if "rating" in value:
        value["rating"] = float(value["rating"])
    return Contribution(**value)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the ledger entry of a contribution says about its submission.

    Parameters
    ----------
    submission, route, at_us, anonymous
        As in the submission's row.
    request_sha256
        Digest of the kept request; None if none was kept.
    delivery
        The state the submission entered.
    body_sha256
        Digest of the body that the application is to get; None where there is none. Entries of earlier versions have
        no such member.
    application
        Which application a kept request is for; None if none was kept. Entries of earlier versions have no such member.
    """

    submission: str
    route: str
    at_us: int
    anonymous: bool
    request_sha256: str | None
    delivery: str
    body_sha256: str | None = None
    application: str | None = None


def objects_of(payload: str, verdict: str) -> Objects:
    """Read the JSON of a row."""
    return Objects(json.loads(payload), json.loads(verdict))


def judged_body(row: ContributionRow, learning: str, around: Surroundings, objects: Objects) -> dict[str, JsonValue]:
    """What the ledger says about a contribution that was judged, from its row.

    Parameters
    ----------
    row
        As it stands in the table.
    learning
        The state it entered; the row's own may have changed since.
    around
        Its submission.
    objects
        What the row's `payload` and `verdict` say.
    """
    payload, verdict = objects
    vectors: bytes = row.vectors
    return {
        "contribution_sha256": sha256_hex(row.payload),
        "contributor_sha256": sha256_hex(payload["contributor"]),
        "kind": payload["kind"],
        "submission": around.submission,
        "position": row.position,
        "route": around.route,
        "received_us": around.at_us,
        "anonymous": around.anonymous,
        "request_sha256": around.request_sha256,
        **({} if around.body_sha256 is None else {"body_sha256": around.body_sha256}),
        **({} if around.application is None else {"application": around.application}),
        "delivery": around.delivery,
        "decision": row.decision,
        "learning": learning,
        "weight_micro": micro(verdict["weight"]),
        "suspicion_micro": row.suspicion_micro,
        "policy": verdict["policy"],
        "baseline": verdict["baseline"],
        "campaign": verdict["campaign"],
        "reasons": [
            {
                "signal": reason["signal"],
                "p_ppb": None if reason["p_value"] is None else round(reason["p_value"] * _BILLION),
            }
            for reason in verdict["reasons"]
        ],
        "observed": verdict["observed"],
        "unscored": verdict["unscored"],
        "verdict_sha256": sha256_hex(row.verdict),
        "vectors_sha256": sha256_hex(vectors) if vectors else None,
    }


def stored_contribution(row: AnyRow | Mapping[str, Any]) -> StoredContribution:
    """A contribution from its row, which has the columns of the table by name."""
    values = row._mapping if isinstance(row, Row) else row
    return StoredContribution(
        contribution=parse_payload(values["payload"]),
        submission=values["submission"],
        verdict=parse_verdict(values["verdict"]),
        learning=Learning(values["learning"]),
        vectors=bytes(values["vectors"]),
        weight_micro=values["weight_micro"],
    )


def stored_submission(row: AnyRow, contributions: Sequence[AnyRow]) -> StoredSubmission:
    """A submission from its row, one of `SUBMISSIONS`, and those of its contributions, in order."""
    values = row._mapping
    return StoredSubmission(
        id=values["id"],
        route=values["route"],
        at_us=values["at_us"],
        delivery=Delivery(values["delivery"]),
        version=values["version"],
        contributions=tuple(stored_contribution(item) for item in contributions),
        request=None if values["request"] is None else bytes(values["request"]),
        detail=json.loads(values["detail"]) if values["detail"] else {},
        anonymous=bool(values["anonymous"]),
        fence=values["fence"],
        attempts=values["attempts"],
        due_us=values["due_us"],
        has_credentials=values["key_id"] is not None,
        application=values["application"],
    )
