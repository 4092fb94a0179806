"""`feedback-guard review approve|deny`: decide on one item, or on the held members of a campaign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from feedback_guard.cli.review_jobs import at_store, moderator_named, print_json
from feedback_guard.cli.review_options import (
    AsJson,
    Campaign,
    Fitting,
    Moderator,
    Note,
    OddsBelow,
    OddsFrom,
    OneIdent,
    Policy,
    Undo,
    Version,
)

if TYPE_CHECKING:
    from feedback_guard.guard import Guard
    from feedback_guard.store.campaign_decisions import CampaignDecision, Selection

APPROVE = """Approve an item, or the held members of a campaign: the model may learn them.

Kept requests are given to the application.
"""
DENY = """Deny an item, or the held members of a campaign: the model does not learn them.

Kept requests are never given to the application.
"""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The options that choose members of a campaign."""

    campaign: str | None
    fitting: bool
    odds_from: float | None
    odds_below: float | None
    undo: int | None


def ruling(*, approve: bool) -> Callable[..., None]:
    """The command that approves, or that denies."""

    def command(
        policy: Policy,
        ident: OneIdent = None,
        campaign: Campaign = None,
        fitting: Fitting = False,
        odds_from: OddsFrom = None,
        odds_below: OddsBelow = None,
        undo: Undo = None,
        note: Note = "",
        moderator: Moderator = None,
        version: Version = None,
        as_json: AsJson = False,
    ) -> None:
        chosen = _Chosen(campaign, fitting, odds_from, odds_below, undo)
        _rule(ident, chosen, policy, note, moderator, version, as_json=as_json, yes=approve)

    return command


def _rule(
    ident: str | None,
    chosen: _Chosen,
    policy: str,
    note: str,
    moderator: str | None,
    version: int | None,
    *,
    as_json: bool,
    yes: bool,
) -> None:
    from feedback_guard.errors import UsageError
    from feedback_guard.review.documents import item_document
    from feedback_guard.review.printed import delivery
    from feedback_guard.review.rulings import rule

    if (ident is None) is (chosen.campaign is None):
        raise UsageError("name either one item, or a campaign with --campaign")
    who = moderator_named(moderator)
    if ident is None:
        _on_campaign(chosen, policy, note, who, version, as_json=as_json, yes=yes)
        return
    if chosen != _Chosen(None, False, None, None, None):
        raise UsageError("--fitting, --odds-from, --odds-below and --undo go with --campaign")
    stored = at_store(
        policy, lambda guard: rule(guard, ident, approve=yes, moderator=who, note=note.strip(), version=version)
    )
    if as_json:
        print_json(item_document(stored))
    else:
        typer.echo(f"{stored.id} {'approved' if yes else 'denied'} by {who}; the request: {delivery(stored)}")


def _on_campaign(
    chosen: _Chosen, policy: str, note: str, who: str, version: int | None, *, as_json: bool, yes: bool
) -> None:
    from feedback_guard.review.campaign_views import decision_document, progress

    name = chosen.campaign or ""
    selection = _selection_of(
        odds_from=chosen.odds_from, odds_below=chosen.odds_below, fitting=chosen.fitting, undo=chosen.undo
    )
    made = at_store(
        policy,
        lambda guard: _carried_out(
            guard, name, selection, approve=yes, moderator=who, note=note.strip(), version=version
        ),
    )
    if as_json:
        print_json(decision_document(made))
    else:
        typer.echo(f"{name}, decision {made.id} by {who}: {progress(made)}")


def _selection_of(*, odds_from: float | None, odds_below: float | None, fitting: bool, undo: int | None) -> Selection:
    """What the options of a decision select.

    Raises
    ------
    UsageError
        If they contradict each other.
    """
    from feedback_guard.errors import UsageError
    from feedback_guard.review.campaigns import below_odds, from_odds
    from feedback_guard.store.campaign_decisions import Selection

    if fitting and odds_below is not None:
        raise UsageError("--fitting is --odds-below 1; give one of them")
    if undo is not None and (fitting or odds_from is not None or odds_below is not None):
        raise UsageError("--undo takes a whole decision back; give no odds")
    below = 1.0 if fitting else odds_below
    return Selection(
        least_milli=None if odds_from is None else from_odds(odds_from).least_milli,
        most_milli=None if below is None else below_odds(below).most_milli,
        undoes=undo,
    )


async def _carried_out(
    guard: Guard,
    name: str,
    selection: Selection,
    *,
    approve: bool,
    moderator: str,
    note: str,
    version: int | None,
) -> CampaignDecision:
    """Make a decision on a campaign and carry it out to its end, with a count on stderr."""
    from feedback_guard.review.campaigns import carry_out, rule_campaign

    made = await rule_campaign(guard, name, selection, approve=approve, moderator=moderator, note=note, version=version)
    while made.running:
        made = await carry_out(guard, made, seconds=1.0)
        typer.echo(f"{made.n_moved} of {made.n_total}", err=True)
    return made
