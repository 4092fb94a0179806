"""What a moderator decides: compare-and-swap on the version she saw, and influence charged by force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, select, update

from feedback_guard.errors import TransitionError, UsageError
from feedback_guard.limits.interface import UNIT, BudgetStore
from feedback_guard.limits.plan import charges_for
from feedback_guard.limits.reputation import Ruling, Terms
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.store import tables
from feedback_guard.store.deliveries import move
from feedback_guard.store.group import Group
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.reputation import campaign_of, rule_on
from feedback_guard.store.rows import SUBMISSIONS, AnyRow, parse_payload, stored_submission
from feedback_guard.store.states import LEARNING, Delivery, Learning, check_learning

MAX_NOTE_CHARS: Final = 4_096
"""Longest note of a moderator, in code points."""

_S: Final = tables.submission.c
_C: Final = tables.contribution.c
_SUBMISSION: Final = SUBMISSIONS.where(_S.id == bindparam("which"))
_CONTRIBUTIONS: Final = select(tables.contribution).where(_C.submission == bindparam("which")).order_by(_C.position)
_LEARN: Final = (
    update(tables.contribution)
    .where(_C.id == bindparam("which"))
    .values(learning=bindparam("to"), weight_micro=bindparam("weight"), charged_micro=bindparam("charged"))
)
_TOUCH: Final = (
    update(tables.submission)
    .where(_S.id == bindparam("which"), _S.version == bindparam("seen"))
    .values(version=_S.version + 1, n_held=bindparam("held"), waiting=bindparam("waits"))
)
WAITING: Final = frozenset({Delivery.HELD, Delivery.APPROVED, Delivery.DENIED})
"""Deliveries that a decision can still change."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision: which way, by whom, why, on what version, when; and the campaign whose members it is about.

    With the constants of reputation, where it is on.
    """

    approve: bool
    moderator: str
    note: str
    version: int | None
    now_us: int
    campaign: str | None = None
    reputation: Terms | None = None

    @property
    def to(self) -> Learning:
        """The state that it leads to."""
        return Learning.APPROVED if self.approve else Learning.DENIED


def check_words(moderator: str, note: str) -> None:
    """Refuse a decision that nobody made, or whose note is too long.

    Raises
    ------
    UsageError
        Saying which.
    """
    if not moderator:
        raise UsageError("a decision names the moderator who made it")
    if len(note) > MAX_NOTE_CHARS:
        raise UsageError(f"a note has at most {MAX_NOTE_CHARS} characters, not {len(note)}")


def rows_of(connection: Connection, submission_id: str) -> tuple[AnyRow, Sequence[AnyRow]] | None:
    """The row of a submission, one of `rows.SUBMISSIONS`, and those of its contributions; None if there is none."""
    row = connection.execute(_SUBMISSION, {"which": submission_id}).one_or_none()
    return None if row is None else (row, connection.execute(_CONTRIBUTIONS, {"which": submission_id}).all())


def read_submission(connection: Connection, submission_id: str) -> StoredSubmission | None:
    """A submission with its contributions; None if there is none of that name."""
    row = connection.execute(_SUBMISSION, {"which": submission_id}).one_or_none()
    if row is None:
        return None
    return stored_submission(row, connection.execute(_CONTRIBUTIONS, {"which": submission_id}).all())


def decide(
    group: Group, budgets: BudgetStore, submission_id: str, decided: Decided, limits: Sequence[LimitPolicy]
) -> StoredSubmission:
    """See `Transaction.decide`."""
    check_words(decided.moderator, decided.note)
    found = rows_of(group.connection, submission_id)
    if found is None:
        raise TransitionError(f"there is no submission {submission_id!r}")
    row, contributions = found
    if decided.version is not None and decided.version != row.version:
        raise TransitionError(
            f"submission {submission_id} is at version {row.version} by now, not {decided.version}; look at it again"
        )
    if not apply(group, budgets, row, contributions, decided, limits):
        check_learning(Learning(contributions[0].learning), decided.to)
    group.recount()
    stored = read_submission(group.connection, submission_id)
    if stored is None:
        raise TransitionError(f"there is no submission {submission_id!r}")
    return stored


def apply(
    group: Group,
    budgets: BudgetStore,
    row: AnyRow,
    contributions: Sequence[AnyRow],
    decided: Decided,
    limits: Sequence[LimitPolicy],
    *,
    only: frozenset[str] | None = None,
) -> bool:
    """Move a submission's contributions, and its request, as far as a decision can.

    Parameters
    ----------
    row, contributions
        As they stand in this transaction; see `rows_of`.
    only
        Which contributions; None for all. A request that waits goes with them, whole.

    Returns
    -------
    bool
        Whether anything moved. The caller has the group count anew what is held.
    """
    to = decided.to
    moving = {
        item.id
        for item in contributions
        if to in LEARNING[Learning(item.learning)] and (only is None or item.id in only)
    }
    for item in contributions:
        if item.id in moving:
            _learn(group, budgets, item, to, decided, limits, anonymous=bool(row.anonymous))
    n_held = sum(item.learning == Learning.HELD.value and item.id not in moving for item in contributions)
    delivery, goal = Delivery(row.delivery), Delivery.APPROVED if decided.approve else Delivery.DENIED
    if delivery in WAITING and delivery is not goal:
        by: dict[str, JsonValue] = {"moderator": decided.moderator}
        if decided.campaign is not None:
            by["campaign"] = decided.campaign
        move(group, row, goal, now_us=decided.now_us, detail=by, n_held=n_held, told=by)
    elif moving:
        touch(group.connection, row, n_held, which=row.id)
    else:
        return False
    return True


def _learn(
    group: Group,
    budgets: BudgetStore,
    item: AnyRow,
    to: Learning,
    decided: Decided,
    limits: Sequence[LimitPolicy],
    *,
    anonymous: bool,
) -> None:
    weight = UNIT if to is Learning.APPROVED else 0
    uncharged = max(0, weight - item.charged_micro)
    contribution = parse_payload(item.payload)
    budgets.force(
        charges_for(limits, contribution, anonymous=anonymous, attempts=0, weight_micro=uncharged), decided.now_us
    )
    group.connection.execute(
        _LEARN, {"which": item.id, "to": to.value, "weight": weight, "charged": item.charged_micro + uncharged}
    )
    group.append(
        to.value,
        item.id,
        {
            "submission": item.submission,
            "from": item.learning,
            "to": to.value,
            "moderator": decided.moderator,
            "note": decided.note,
            "weight_micro": weight,
            **({} if decided.campaign is None else {"campaign": decided.campaign}),
        },
        decided.now_us,
    )
    if decided.reputation is not None:
        ruling: Ruling = "approved" if to is Learning.APPROVED else "denied"
        # Its own campaign: what only came in one request with a member is a question by itself.
        campaign = campaign_of(group, item.id)
        rule_on(group, item.id, ruling, campaign, decided.reputation, now_us=decided.now_us)


def touch(connection: Connection, row: AnyRow, n_held: int, *, which: str) -> None:
    """Count the held contributions of a submission anew, if nobody changed it since the row was read.

    Raises
    ------
    TransitionError
        If somebody did.
    """
    waits = n_held > 0 or row.delivery == Delivery.HELD.value
    touched = connection.execute(_TOUCH, {"which": which, "seen": row.version, "held": n_held, "waits": int(waits)})
    if touched.rowcount != 1:
        raise TransitionError(f"submission {which} was changed by somebody else; look at it again")
