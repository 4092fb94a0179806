"""One decision on many members of a campaign: made once, then carried out in bounded batches.

A decision is about the members that were there when it was made, up to a number: whoever joins later is not decided
silently. Each batch is a transaction that begins where the last one ended, so it does not matter which process does
it, how many try at once, or where one of them dies. A member that somebody decided by herself meanwhile stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select, update

from feedback_guard.errors import TransitionError, UsageError
from feedback_guard.limits.interface import BudgetStore
from feedback_guard.limits.reputation import Terms
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.store import tables
from feedback_guard.store.campaign_tables import DONE, RUNNING, UNKNOWN, campaign, decision, member
from feedback_guard.store.decisions import WAITING, Decided, apply, check_words, rows_of
from feedback_guard.store.group import Group
from feedback_guard.store.rows import AnyRow, parse_payload
from feedback_guard.store.states import Delivery, Learning

BATCH: Final = 50
"""Most members that are decided in one transaction: others wait for its end."""
MAX_CHOSEN: Final = 200
"""Most members that are chosen one by one."""
RULINGS: Final = {True: "campaign_approved", False: "campaign_denied"}
"""Kinds of the ledger entry that a decision begins with."""

_C: Final = tables.contribution.c
_M: Final = member.c
_MARK: Final = update(member).where(_M.contribution == bindparam("which")).values(decision=bindparam("by"))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which members of a campaign a decision is about; by default all that are held.

    Parameters
    ----------
    least_milli, most_milli
        Log-odds, in thousandths, that a member contradicts its content: from and up to which. A member of which they
        are not known is in neither.
    numbers
        Members that were chosen one by one, at most `MAX_CHOSEN`.
    undoes
        A decision that is taken back: the members that it moved, and nobody moved since.
    """

    least_milli: int | None = None
    most_milli: int | None = None
    numbers: tuple[int, ...] | None = None
    undoes: int | None = None

    def __post_init__(self) -> None:
        if self.numbers is not None and not 1 <= len(self.numbers) <= MAX_CHOSEN:
            raise UsageError(f"choose 1 to {MAX_CHOSEN} members, not {len(self.numbers)}")

    @property
    def whole(self) -> bool:
        """Whether it leaves nobody out."""
        return self == Selection()

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps({each.name: getattr(self, each.name) for each in fields(self)}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Selection:
        """Read what `to_text` wrote."""
        value = json.loads(text)
        numbers = value.pop("numbers")
        return cls(**value, numbers=None if numbers is None else tuple(numbers))


@dataclass(frozen=True, slots=True)
class CampaignDecision:
    """A decision on a campaign, and how far it got.

    Parameters
    ----------
    fence
        Number of the last member that it is about.
    n_total
        Members that it was about when it was made.
    n_moved
        Contributions that it moved so far; of a kept request, all that it brought.
    n_own, n_mixed
        Members that it left alone: those from the moderator's own name, and those whose kept request holds something
        else too, so that it cannot be approved with them.
    """

    id: int
    campaign: str
    approve: bool
    moderator: str
    note: str
    at_us: int
    fence: int
    selection: Selection
    running: bool
    reached: int
    moved_us: int
    n_total: int
    n_moved: int
    n_own: int
    n_mixed: int


def read_decision(connection: Connection, ident: int) -> CampaignDecision | None:
    """A decision; None if there is none of that number."""
    row = connection.execute(select(decision).where(decision.c.id == ident)).one_or_none()
    return None if row is None else stored_decision(row)


def stored_decision(row: AnyRow) -> CampaignDecision:
    """A decision from its row."""
    values = dict(row._mapping)
    return CampaignDecision(
        **values
        | {
            "approve": bool(values["approve"]),
            "selection": Selection.from_text(values["selection"]),
            "running": values.pop("state") == RUNNING,
        }
    )


def selected(name: str, selection: Selection, *, approve: bool) -> list[ColumnElement[bool]]:
    """Conditions on `campaign_member` and `contribution` for the members that a decision is about."""
    found: list[ColumnElement[bool]] = [_M.campaign == name]
    if selection.undoes is None:
        found.append(_C.learning == Learning.HELD.value)
    else:
        before = Learning.DENIED if approve else Learning.APPROVED
        found += [_M.decision == selection.undoes, _C.learning == before.value]
    if selection.least_milli is not None:
        found += [_M.contrary_milli >= selection.least_milli, _M.contrary_milli < UNKNOWN]
    if selection.most_milli is not None:
        found.append(_M.contrary_milli <= selection.most_milli)
    if selection.numbers is not None:
        found.append(_M.number.in_(selection.numbers))
    return found


def count_selected(connection: Connection, name: str, selection: Selection, *, approve: bool, fence: int) -> int:
    """How many members a decision would be about."""
    query = (
        select(func.count())
        .select_from(member)
        .join(tables.contribution, _C.id == _M.contribution)
        .where(*selected(name, selection, approve=approve), _M.number <= fence)
    )
    return int(connection.execute(query).scalar_one())


def begin(
    group: Group,
    name: str,
    selection: Selection,
    *,
    approve: bool,
    moderator: str,
    note: str,
    version: int | None,
    fence: int | None,
    now_us: int,
) -> CampaignDecision:
    """See `Transaction.decide_campaign`."""
    check_words(moderator, note)
    connection = group.connection
    row = connection.execute(select(campaign).where(campaign.c.id == name)).one_or_none()
    if row is None:
        raise TransitionError(f"there is no campaign {name!r}")
    if version is not None and version != row.version:
        raise TransitionError(f"campaign {name} is at version {row.version} by now, not {version}; look at it again")
    running = connection.execute(
        select(decision.c.id).where(decision.c.campaign == name, decision.c.state == RUNNING).limit(1)
    ).first()
    if running is not None:
        raise TransitionError(f"a decision on campaign {name} is still being carried out; wait for its end")
    ruled = row.ruled
    if selection.undoes is not None:
        before = read_decision(connection, selection.undoes)
        if before is None or before.campaign != name or before.approve is approve:
            raise TransitionError(f"campaign {name} has no decision {selection.undoes} that this would take back")
        ruled = _ruled(approve=approve) if before.selection.whole else ruled
    last = int(connection.execute(select(func.coalesce(func.max(_M.number), 0))).scalar_one())
    fence = last if fence is None else min(fence, last)
    total = count_selected(connection, name, selection, approve=approve, fence=fence)
    if not total:
        raise TransitionError(f"campaign {name} has no members for that decision; look at it again")
    if selection.whole:
        ruled = _ruled(approve=approve)
    ident = 1 + int(connection.execute(select(func.coalesce(func.max(decision.c.id), 0))).scalar_one())
    made = CampaignDecision(
        ident, name, approve, moderator, note, now_us, fence, selection, True, 0, now_us, total, 0, 0, 0
    )
    connection.execute(
        decision.insert(),
        {each.name: getattr(made, each.name) for each in fields(made) if each.name != "running"}
        | {"approve": int(approve), "selection": selection.to_text(), "state": RUNNING},
    )
    connection.execute(
        update(campaign).where(campaign.c.id == name).values(version=campaign.c.version + 1, ruled=ruled)
    )
    group.append(
        RULINGS[approve],
        name,
        {
            "decision": ident,
            "moderator": moderator,
            "note": note,
            "fence": fence,
            "selection": selection.to_text(),
            "ruled": ruled,
            "members": total,
        },
        now_us,
    )
    return made


def carry_on(
    group: Group,
    budgets: BudgetStore,
    ident: int,
    limits: Sequence[LimitPolicy],
    *,
    same_person: Callable[[str, str], bool],
    now_us: int,
    most: int = BATCH,
    reputation: Terms | None = None,
) -> CampaignDecision:
    """See `Transaction.carry_on_campaign`."""
    connection = group.connection
    made = read_decision(connection, ident)
    if made is None:
        raise TransitionError(f"there is no decision {ident} on a campaign")
    if not made.running:
        return made
    rows = connection.execute(_next(made).limit(most)).all()
    decided = Decided(made.approve, made.moderator, made.note, None, now_us, made.campaign, reputation)
    n_moved = n_own = n_mixed = 0
    done = set[str]()
    for row in rows:
        if row.contribution in done:
            continue
        whole, contributions = _found(connection, row.submission)
        mine = {each.id for each in connection.execute(_chosen(made, [item.id for item in contributions]))}
        if any(same_person(parse_payload(item.payload).contributor, made.moderator) for item in contributions):
            n_own += 1
            continue
        waits = Delivery(whole.delivery) in WAITING
        others = [item for item in contributions if item.id not in mine]
        if waits and made.approve and any(item.learning in _UNTAUGHT for item in others):
            n_mixed += 1
            continue
        done |= mine
        # A request cannot be denied in part: what else it brought goes with it, as by a decision on it alone.
        only = None if waits and not made.approve else frozenset(mine)
        before = {item.id: item.learning for item in contributions}
        apply(group, budgets, whole, contributions, decided, limits, only=only)
        _, after = _found(connection, row.submission)
        n_moved += sum(before[item.id] != item.learning for item in after)
        connection.execute(_MARK, [{"which": each, "by": ident} for each in sorted(mine)])
    group.recount()
    values: dict[str, Any] = {
        "reached": rows[-1].number if rows else made.reached,
        "moved_us": now_us,
        "state": RUNNING if len(rows) == most else DONE,
        "n_moved": made.n_moved + n_moved,
        "n_own": made.n_own + n_own,
        "n_mixed": made.n_mixed + n_mixed,
    }
    connection.execute(update(decision).where(decision.c.id == ident).values(**values))
    return _read(connection, ident)


_UNTAUGHT: Final = (Learning.HELD.value, Learning.DENIED.value)


def _next(made: CampaignDecision) -> Select[Any]:
    return (
        select(_M.contribution, _M.number, _C.submission)
        .join(tables.contribution, _C.id == _M.contribution)
        .where(
            *selected(made.campaign, made.selection, approve=made.approve),
            _M.number > made.reached,
            _M.number <= made.fence,
        )
        .order_by(_M.number)
    )


def _chosen(made: CampaignDecision, idents: Sequence[str]) -> Select[Any]:
    """Those of a request's contributions that the decision is about."""
    return (
        select(_M.contribution.label("id"))
        .join(tables.contribution, _C.id == _M.contribution)
        .where(
            *selected(made.campaign, made.selection, approve=made.approve),
            _M.number <= made.fence,
            _M.contribution.in_(idents),
        )
    )


def _found(connection: Connection, submission: str) -> tuple[AnyRow, Sequence[AnyRow]]:
    found = rows_of(connection, submission)
    if found is None:
        raise TransitionError(f"there is no submission {submission!r}")
    return found


def _read(connection: Connection, ident: int) -> CampaignDecision:
    made = read_decision(connection, ident)
    if made is None:
        raise TransitionError(f"there is no decision {ident} on a campaign")
    return made


def _ruled(*, approve: bool) -> str:
    return Learning.APPROVED.value if approve else Learning.DENIED.value
