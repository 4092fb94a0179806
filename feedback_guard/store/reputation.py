"""Accounts, stakes and audited predictions in the store's database, changed with the ledger in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, select, update

from feedback_guard.limits.bankroll import Account
from feedback_guard.limits.reputation import Bank, Measured, Probe, Ruling, Stake, Terms, audit, rule
from feedback_guard.store import tables
from feedback_guard.store.campaign_tables import member
from feedback_guard.store.group import Group
from feedback_guard.store.rows import AnyRow
from feedback_guard.store.states import Learning

KIND: Final = "reputation"
"""Kind of the ledger entries; the subject is the contribution."""

_R: Final = tables.reputation.c
_K: Final = tables.stake.c
_A: Final = tables.audited_item.c
_C: Final = tables.contribution.c
_ACCOUNT: Final = select(tables.reputation).where(_R.identity == bindparam("who"))
_NEXT: Final = select(func.coalesce(func.max(_R.number) + 1, 0))
_OPEN: Final = insert(tables.reputation)
_PUT: Final = (
    update(tables.reputation)
    .where(_R.identity == bindparam("who"))
    .values({name: bindparam(f"new_{name}") for name in ("balance", "gained", "lost", "forfeited", "n_measured")})
)
_ADD: Final = insert(tables.stake)
_CHANGE: Final = (
    update(tables.stake)
    .where(_K.contribution == bindparam("which"))
    .values({name: bindparam(f"new_{name}") for name in ("audited", "ruling", "credited", "counted")})
)
_STAKE: Final = select(tables.stake).where(_K.contribution == bindparam("which"))
_BELIEF: Final = select(_A.belief).where(_A.item == bindparam("which"))
_BELIEVE: Final = update(tables.audited_item).where(_A.item == bindparam("which")).values(belief=bindparam("new"))
_COUNTED: Final = (
    select(func.count())
    .select_from(tables.stake)
    .where(_K.identity == bindparam("who"), _K.counted == bindparam("campaign"), _K.ruling == bindparam("way"))
)
_DUE: Final = (
    select(tables.stake, _C.weight_micro)
    .join(tables.contribution, _C.id == _K.contribution)
    .where(
        _K.audited == 0,
        _K.base_micro > 0,
        _K.mature_us <= bindparam("now"),
        _C.learning == Learning.ACCEPTED.value,
    )
    .order_by(_K.mature_us, _K.contribution)
    .limit(bindparam("most"))
)
_CAMPAIGN: Final = select(member.c.campaign).where(member.c.contribution == bindparam("which"))
_WEIGH: Final = update(tables.contribution).where(_C.id == bindparam("which")).values(weight_micro=bindparam("weight"))


class SqlBank(Bank):
    """A `Bank` on the writer's transaction: nobody else changes anything until it ends.

    Parameters
    ----------
    group
        The transaction.
    terms
        The operator's constants.
    """

    def __init__(self, group: Group, terms: Terms) -> None:
        self._group = group
        self._terms = terms

    def account(self, identity: str) -> Account:
        """An identity's account; the one that it would get if it has none yet."""
        row = self._group.connection.execute(_ACCOUNT, {"who": identity}).one_or_none()
        if row is not None:
            return account_of(row._mapping)
        number = int(self._group.connection.execute(_NEXT).scalar_one())
        return Account.opened(number, identities=self._terms.identities, damage=self._terms.damage)

    def open(self, identity: str, contribution: str, now_us: int) -> Account:
        """An identity's account, which is made if there is none; the ledger says so."""
        connection = self._group.connection
        row = connection.execute(_ACCOUNT, {"who": identity}).one_or_none()
        if row is not None:
            return account_of(row._mapping)
        account = self.account(identity)
        connection.execute(_OPEN, account_row(identity, account))
        self._group.append(
            KIND,
            contribution,
            {
                "event": "opened",
                "identity": identity,
                "number": account.number,
                "endowment_pico": account.endowment,
                "balance_pico": account.balance,
            },
            now_us,
        )
        return account

    def put(self, identity: str, account: Account) -> None:
        """Keep a changed account."""
        row = account_row(identity, account)
        self._group.connection.execute(
            _PUT,
            {
                "who": identity,
                **{f"new_{name}": row[name] for name in ("balance", "gained", "lost", "forfeited", "n_measured")},
            },
        )

    def add(self, stake: Stake) -> None:
        """Keep a new stake."""
        probe = stake.probe
        self._group.connection.execute(
            _ADD,
            {
                "contribution": stake.contribution,
                "identity": stake.identity,
                "base_micro": stake.base_micro,
                "influence": stake.influence,
                "mature_us": stake.mature_us,
                "belief": stake.belief,
                "item": probe.item if probe is not None else None,
                "prior": probe.prior if probe is not None else None,
                "ratio_micro": probe.ratio_micro if probe is not None else None,
                "audited": int(stake.audited),
                "ruling": stake.ruling,
                "credited": stake.credited,
                "counted": stake.counted,
            },
        )

    def update(self, stake: Stake) -> None:
        """Keep a changed stake."""
        self._group.connection.execute(
            _CHANGE,
            {
                "which": stake.contribution,
                "new_audited": int(stake.audited),
                "new_ruling": stake.ruling,
                "new_credited": stake.credited,
                "new_counted": stake.counted,
            },
        )

    def belief(self, probe: Probe) -> int:
        """What is predicted of an audit item now."""
        found = self._group.connection.execute(_BELIEF, {"which": probe.item}).scalar_one_or_none()
        return probe.prior if found is None else int(found)

    def believe(self, item: str, belief: int) -> None:
        """Keep what is predicted of an audit item from now on."""
        connection = self._group.connection
        if connection.execute(_BELIEVE, {"which": item, "new": belief}).rowcount == 0:
            connection.execute(insert(tables.audited_item), {"item": item, "belief": belief})

    def counted(self, identity: str, campaign: str, ruling: Ruling) -> bool:
        """Whether a ruling of this direction on the campaign has moved the account already."""
        values = {"who": identity, "campaign": campaign, "way": ruling}
        return bool(self._group.connection.execute(_COUNTED, values).scalar_one())


def audit_due(group: Group, terms: Terms, *, now_us: int, limit: int) -> list[Measured]:
    """Audit accepted contributions that are mature, in the order of maturity, at most `limit`.

    Each gets its final weight, never more than it had. The ledger tells what moved an account or a weight.
    """
    bank, done = SqlBank(group, terms), []
    for row in group.connection.execute(_DUE, {"now": now_us, "most": limit}).all():
        measured = audit(bank, stake_of(row._mapping), terms)
        weight = min(row.weight_micro, measured.weight_micro or 0)
        if measured.stake.probe is not None or weight != row.weight_micro:
            group.connection.execute(_WEIGH, {"which": row.contribution, "weight": weight})
            group.append(KIND, row.contribution, {**measured.body(), "weight_micro": weight}, now_us)
        done.append(measured)
    return done


def rule_on(
    group: Group, contribution: str, ruling: Ruling, campaign: str | None, terms: Terms, *, now_us: int
) -> Measured | None:
    """Let a moderator's decision move the account of who contributed; None where nothing was at stake."""
    row = group.connection.execute(_STAKE, {"which": contribution}).one_or_none()
    if row is None:
        return None
    bank, stake = SqlBank(group, terms), stake_of(row._mapping)
    bank.open(stake.identity, contribution, now_us)
    measured = rule(bank, stake, ruling, campaign, terms)
    if measured is not None:
        group.append(KIND, contribution, measured.body(), now_us)
    return measured


def campaign_of(group: Group, contribution: str) -> str | None:
    """The campaign that a contribution belongs to; None if it belongs to none."""
    found: str | None = group.connection.execute(_CAMPAIGN, {"which": contribution}).scalar_one_or_none()
    return found


def account_of(row: Mapping[str, Any] | RowMapping) -> Account:
    """An account from its row.

    Raises
    ------
    LimitError
        If its sums do not fit together: the row was edited.
    """
    return Account(**{name: row[name] for name in Account.__dataclass_fields__})


def account_row(identity: str, account: Account) -> dict[str, Any]:
    """The row of an account."""
    return {"identity": identity, **{name: getattr(account, name) for name in Account.__dataclass_fields__}}


def stake_of(row: Mapping[str, Any] | RowMapping) -> Stake:
    """A stake from its row."""
    probe = None if row["item"] is None else Probe(row["item"], row["prior"], row["ratio_micro"])
    return Stake(
        contribution=row["contribution"],
        identity=row["identity"],
        base_micro=row["base_micro"],
        influence=row["influence"],
        mature_us=row["mature_us"],
        belief=row["belief"],
        probe=probe,
        audited=bool(row["audited"]),
        ruling=row["ruling"],
        credited=row["credited"],
        counted=row["counted"],
    )


def find_account(connection: Connection, identity: str) -> Account | None:
    """An identity's account; None if it has none."""
    row: AnyRow | None = connection.execute(_ACCOUNT, {"who": identity}).one_or_none()
    return None if row is None else account_of(row._mapping)
