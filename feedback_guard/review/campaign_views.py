"""A campaign in words and in JSON: what it teaches, what its members share, and why that is believed.

Phrases and texts were contributed: every one goes through `display` on its way to a page or a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from feedback_guard.clock import format_iso8601
from feedback_guard.evidence.kinds.registry import noun_of
from feedback_guard.evidence.phrases import PHRASES
from feedback_guard.review import words
from feedback_guard.review.display import Shown, excerpt, show
from feedback_guard.review.words import counted
from feedback_guard.store.campaign_decisions import CampaignDecision
from feedback_guard.store.campaign_reads import Member, StoredCampaign
from feedback_guard.store.states import Learning

FAMILY: Final = "family-"
"""Beginning of the names of campaigns that are near copies of one text."""
_FRAME: Final = {"_": "…", "^": "(begins)", "$": "(ends)"}
"""How what stands for other words, and for the ends of a text, reads in a sentence shape."""


@dataclass(frozen=True, slots=True)
class SharedPhrase:
    """What members share: what kind of thing, the words, and how they stand among trusted and other contributions."""

    kind: str
    phrase: Shown | None
    raw: str
    facts: str


@dataclass(frozen=True, slots=True)
class CampaignView:
    """A campaign ready for a page."""

    campaign: StoredCampaign
    title: str
    teaches: tuple[tuple[Shown, int], ...]
    shares: tuple[SharedPhrase, ...]
    why: tuple[str, ...]
    accounts: Markup


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A member in the list."""

    number: int
    submission: str
    at_us: int
    learning: str
    mature: bool
    contrary: str
    excerpt: Shown
    target: Shown | None
    contributor: Shown


@dataclass(frozen=True, slots=True)
class CampaignDecisionRow:
    """A decision on members of a campaign, with how far it got."""

    id: int
    at_us: int
    decision: str
    moderator: Shown
    note: Shown | None
    which: str
    running: bool
    progress: str
    n_total: int
    reached: int
    undoable: bool


def view(campaign: StoredCampaign) -> CampaignView:
    """A campaign ready for a page."""
    shares = tuple(_phrases(campaign))
    return CampaignView(
        campaign=campaign,
        title=_title(campaign, shares),
        teaches=tuple((show(str(name), max_chars=200), int(n)) for name, n in _list(campaign.summary, "teaches")),
        shares=shares,
        why=tuple(_why(campaign)),
        accounts=Markup(", ").join(map(Markup, accounts(campaign, shown=_shown_name))),
    )


def accounts(campaign: StoredCampaign, *, shown: Callable[[str], str]) -> list[str]:
    """From how many accounts and groups it came.

    Parameters
    ----------
    shown
        Makes the name of a group fit for where it is shown.
    """
    parts = [counted(campaign.senders.get("contributor", 0), "account")]
    for kind, n in campaign.senders.items():
        if kind.startswith("group:"):
            parts.append(f"{n:,} {shown(kind.removeprefix('group:'))}{'' if n == 1 else ' groups'}")
    return parts


def _shown_name(name: str) -> Markup:
    return Markup("<bdi>{}</bdi>").format(show(name, identifier=True).html)


def _title(campaign: StoredCampaign, shares: Sequence[SharedPhrase]) -> str:
    if campaign.id.startswith(FAMILY):
        return "Near copies of one text"
    if not shares:
        return "Campaign"
    return "One sender" if shares[0].phrase is None else shares[0].kind.capitalize()


def _phrases(campaign: StoredCampaign) -> Iterator[SharedPhrase]:
    trusted = campaign.summary.get("trusted")
    for each in _list(campaign.summary, "shares"):
        kind, phrase = str(each["kind"]), str(each["phrase"])
        facts = f"in {each['n']:,} contributions since it was first seen"
        if phrase and isinstance(trusted, int) and each["trusted"] is not None:
            facts += f", and in {each['trusted']:,} of {trusted:,} trusted ones"
        if not phrase:
            if kind == "sender":
                yield SharedPhrase("one sender", None, "", facts.replace("in ", "sent ", 1))
            else:
                yield SharedPhrase(noun_of(kind), None, "", facts)
            continue
        name, text = phrase_words(kind, phrase)
        yield SharedPhrase(name, show(text, max_chars=200), text, facts)


def phrase_words(kind: str, phrase: str) -> tuple[str, str]:
    """What a phrase is, and how it reads.

    Examples
    --------
    >>> phrase_words("word", "zq"), phrase_words("pair", "^ please"), phrase_words("shape", "~ when it _")
    (('the word', 'zq'), ('the first word', 'please'), ('the sentence shape', 'when it …'))
    """
    if kind not in PHRASES:
        return noun_of(kind), phrase
    if kind == "word":
        return "the word", phrase
    if kind == "pair":
        first, _, second = phrase.partition(" ")
        return ("the first word", second) if first == "^" else ("the words", phrase)
    return "the sentence shape", " ".join(_FRAME.get(each, each) for each in phrase.split(" ")[1:])


def _why(campaign: StoredCampaign) -> Iterator[str]:
    summary = campaign.summary
    if campaign.id.startswith(FAMILY):
        yield "More accounts than chance sent almost the same text."
        return
    if not summary:
        yield "The guard has not said yet what its members share; a guard that runs does so within seconds."
        return
    log_e = summary.get("log_e")
    if isinstance(log_e, (int, float)):
        yield (
            "Its members contradict their content, or all teach one thing whatever they say. Chance, honest errors and "
            f"new words included, does that {words.chance(float(log_e))}."
        )
    leading = _list(summary, "shares")
    if leading and leading[0]["contrary"]:
        yield (
            f"Of all that share the first of these, about {float(leading[0]['contrary']):.0%} contradict what their "
            "content says, as the trusted set reads it."
        ).replace("%", " %")
    expected, seen = summary.get("expected"), summary.get("seen")
    if isinstance(expected, (int, float)) and isinstance(seen, int):
        about = "fewer than 1" if expected < 1 else f"about {expected:,.0f}"
        yield (
            f"Of the {counted(seen, 'contribution')} since its first member, {about} would share the first of these "
            "if they were like the trusted set."
        )
    honest, spared = summary.get("honest"), summary.get("spared")
    if isinstance(honest, (int, float)):
        about = "fewer than 1" if honest < 1 else f"about {honest:,.0f}"
        yield f"Probably honest all the same, among its members: {about}."
    if isinstance(spared, int) and spared:
        yield f"{counted(spared, 'contribution')} that share something with it fit their content, and were let go."


def member_row(member: Member) -> MemberRow:
    """The line of a member."""
    contribution = member.stored.contribution
    text = contribution.input
    target = contribution.target
    return MemberRow(
        number=member.number,
        submission=member.submission,
        at_us=member.at_us,
        learning=member.stored.learning.value,
        mature=member.mature,
        contrary=words.contrary(member.contrary_milli),
        excerpt=excerpt(text),
        target=show(target, identifier=True) if target is not None else None,
        contributor=show(contribution.contributor, identifier=True),
    )


def which_words(made: CampaignDecision) -> str:
    """Which members a decision is about."""
    selection = made.selection
    if selection.undoes is not None:
        return f"what decision {selection.undoes} {'denied' if made.approve else 'approved'}"
    if selection.numbers is not None:
        return "members that were chosen one by one"
    if selection.most_milli is not None and selection.least_milli is None:
        return (
            "those that fit their content" if selection.most_milli < 0 else "those that hardly contradict their content"
        )
    if selection.least_milli is not None:
        return "those that contradict their content" if selection.most_milli is None else "those within bounds of odds"
    return "all that were held"


def progress(made: CampaignDecision) -> str:
    """What became of a decision on a campaign."""
    verb = "approved" if made.approve else "denied"
    left = []
    if made.n_own:
        left.append(f"{made.n_own:,} came from the moderator's own name: somebody else has to decide on them")
    if made.n_mixed:
        left.append(f"{made.n_mixed:,} came in requests that hold something else too: open them one by one")
    tail = f" {'; '.join(left)}." if left else ""
    if made.running:
        return f"{made.n_moved:,} of {made.n_total:,} {verb} so far.{tail}"
    return f"{counted(made.n_moved, 'contribution')} {verb}.{tail}"


def decision_row(made: CampaignDecision) -> CampaignDecisionRow:
    """The line of a decision."""
    return CampaignDecisionRow(
        id=made.id,
        at_us=made.at_us,
        decision="approved" if made.approve else "denied",
        moderator=show(made.moderator, identifier=True),
        note=excerpt(made.note) if made.note else None,
        which=which_words(made),
        running=made.running,
        progress=progress(made),
        n_total=made.n_total,
        reached=min(made.n_total, made.n_moved + made.n_own + made.n_mixed),
        undoable=not made.running and made.n_moved > 0,
    )


def campaign_document(campaign: StoredCampaign) -> dict[str, Any]:
    """A campaign as JSON."""
    return {
        "id": campaign.id,
        "since": format_iso8601(campaign.since_us),
        "until": format_iso8601(campaign.until_us),
        "open": campaign.is_open,
        "ruled": None if campaign.ruled is None else campaign.ruled.value,
        "version": campaign.version,
        "fence": campaign.fence,
        "members": {state.value: campaign.counts[state] for state in Learning if state in campaign.counts},
        "mature": campaign.n_mature,
        "senders": dict(campaign.senders),
        "summary": dict(campaign.summary),
    }


def member_document(member: Member) -> dict[str, Any]:
    """A member as JSON."""
    return {
        "number": member.number,
        "item": member.submission,
        "at": format_iso8601(member.at_us),
        "learning": member.stored.learning.value,
        "mature": member.mature,
        "contrary_log_odds": None if member.contrary_milli is None else member.contrary_milli / 1_000,
        "contribution": member.stored.contribution.to_json(),
    }


def decision_document(made: CampaignDecision, *, later: int | None = None) -> dict[str, Any]:
    """A decision on a campaign as JSON; `later` counts held members that joined after what it is about."""
    return {
        "id": made.id,
        "campaign": made.campaign,
        "decision": "approve" if made.approve else "deny",
        "moderator": made.moderator,
        "note": made.note,
        "at": format_iso8601(made.at_us),
        "running": made.running,
        "members": made.n_total,
        "moved": made.n_moved,
        "own": made.n_own,
        "mixed": made.n_mixed,
        **({} if later is None else {"later": later}),
    }


def _list(summary: Mapping[str, Any], name: str) -> list[Any]:
    found = summary.get(name)
    return found if isinstance(found, list) else []
