"""Record a submission: its row, its contributions, what is kept of its request, and a ledger entry for each."""

from __future__ import annotations

from typing import Any

from feedback_guard.errors import UsageError
from feedback_guard.store.campaigns import member_of
from feedback_guard.store.group import Group
from feedback_guard.store.judged_texts import judged_text, payload_text, verdict_text
from feedback_guard.store.new_rows import ContributionRow, SubmissionRow, micro
from feedback_guard.store.records import Judged, NewSubmission, StoredContribution
from feedback_guard.store.rows import Surroundings, sha256_hex
from feedback_guard.store.states import Delivery, Learning, check_delivery, check_learning


def insert(group: Group, submission: NewSubmission) -> None:
    """See `Transaction.insert`."""
    if not submission.judged:
        raise UsageError("a submission holds at least one contribution")
    check_delivery(None, submission.delivery)
    for judged in submission.judged:
        check_learning(None, judged.learning)
    rows = [_new_row(item, submission.id, place) for place, item in enumerate(submission.judged)]
    n_held = sum(judged.learning is Learning.HELD for judged in submission.judged)
    waiting = n_held > 0 or submission.delivery is Delivery.HELD
    if waiting:
        group.hold(n_held)
    request = submission.request if waiting else None
    group.insert(
        SubmissionRow(
            id=submission.id,
            route=submission.route,
            at_us=submission.at_us,
            anonymous=int(submission.anonymous),
            delivery=submission.delivery.value,
            version=1,
            n_held=n_held,
            waiting=int(waiting),
            request=request,
            worker=submission.worker,
            moved_us=submission.at_us,
            detail=None,
        ),
        rows,
        None if request is None else _replay_row(submission),
        [
            member_of(item.contribution, item.verdict.campaign, submission.at_us)
            for item in submission.judged
            if item.verdict.campaign is not None
        ],
    )
    around = Surroundings(
        submission=submission.id,
        route=submission.route,
        at_us=submission.at_us,
        anonymous=submission.anonymous,
        request_sha256=None if request is None else sha256_hex(request),
        delivery=submission.delivery.value,
        body_sha256=submission.body_sha256,
        application=None if request is None else submission.application,
    )
    for judged, row in zip(submission.judged, rows, strict=True):
        group.append_judged(
            row.id,
            judged_text(row, judged.contribution, judged.verdict, around),
            submission.at_us,
            StoredContribution(
                judged.contribution, submission.id, judged.verdict, judged.learning, judged.vectors, row.weight_micro
            ),
        )


def _new_row(judged: Judged, submission: str, position: int) -> ContributionRow:
    contribution, verdict = judged.contribution, judged.verdict
    weight = micro(verdict.weight)
    return ContributionRow(
        contribution.id,
        submission,
        position,
        payload_text(contribution),
        verdict_text(verdict),
        verdict.decision.value,
        judged.learning.value,
        weight,
        micro(verdict.suspicion),
        weight,
        judged.vectors,
    )


def _replay_row(submission: NewSubmission) -> dict[str, Any]:
    sealed = submission.sealed
    return {
        "submission": submission.id,
        "fence": 0,
        "lease_us": 0,
        "due_us": 0,
        "attempts": 0,
        "since_us": 0,
        "key_id": None if sealed is None else sealed.key_id,
        "sealed": None if sealed is None else sealed.data,
        "application": submission.application,
    }
