"""What a moderator is told of a campaign: what it teaches, by which phrases, and why that is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from feedback_guard.evidence.campaigns import MAX_NAMED, Campaign
from feedback_guard.evidence.kinds.registry import FORM

MAX_TAUGHT: Final = 3
"""Most lessons that a campaign is told to teach, the commonest ones."""
MAX_PHRASE_CHARS: Final = 200
"""Most characters of a phrase that is told: users wrote it."""


@dataclass(frozen=True, slots=True)
class SharedFacet:
    """A phrase or sender that a campaign's members share, with what is known of all that have it.

    Parameters
    ----------
    kind
        `sender`, `word`, `pair`, `shape` or a family of near copies.
    phrase
        In matching form; empty where there is none.
    n
        Contributions that have it.
    n_trusted
        Trusted contributions that have it.
    contrary
        Likeliest share of contradictions among them, 0..1.
    """

    kind: str
    phrase: str
    n: int
    n_trusted: int
    contrary: float


@dataclass(frozen=True, slots=True)
class Telling:
    """A campaign as the evidence knows it now.

    Parameters
    ----------
    summary
        As JSON; see `summarise`.
    contrary
        Members that were not told before, with their log-odds, in thousandths, of contradicting their content.
    """

    campaign: str
    is_open: bool
    summary: dict[str, JsonValue]
    contrary: tuple[tuple[str, int], ...]


def summarise(campaign: Campaign, shared: Sequence[SharedFacet], *, n_seen: int, n_trusted: int) -> Telling:
    """Put together what is known of a campaign.

    Parameters
    ----------
    shared
        What its members share; at most `MAX_NAMED` are told.
    n_seen
        Contributions since its first member came.
    n_trusted
        Trusted contributions.

    Returns
    -------
    Telling
        With this summary: `teaches`, pairs of a lesson and how many members teach it; `shares`, the facets, those that
        honest contributions have least first, a form before all (how many trusted ones have it changes with what is
        learnt, so it is not told); `log_e`, the logarithm of the evidence; `spared`, contributions that
        share a facet and are not indicted; `honest`, how many members are probably honest all the same;
        `expected`, how many of `seen` contributions would have the first of the phrases if they were like the `trusted`
        ones.

    Examples
    --------
    >>> campaign = Campaign("campaign-1", 0, log_e=12.0)
    >>> told = summarise(campaign, [SharedFacet("word", "zq", 31, 0, 0.9)], n_seen=800, n_trusted=400)
    >>> told.summary["expected"], told.summary["shares"][0]["phrase"]
    (1.0, 'zq')
    """
    # What tells the campaign from honest contributions comes first.
    shared = sorted(shared, key=lambda each: (not each.phrase, each.n_trusted, -each.n))
    leading = shared[0] if shared and shared[0].phrase and shared[0].kind != FORM else None
    # Half a contribution more than were seen: a phrase that stands in none of them is not impossible.
    rate = (leading.n_trusted + 0.5) / (n_trusted + 1) if leading is not None and n_trusted else None
    summary: dict[str, JsonValue] = {
        "teaches": [[name, n] for name, n in campaign.teaches.most_common(MAX_TAUGHT)],
        "shares": [
            {
                "kind": each.kind,
                "phrase": each.phrase[:MAX_PHRASE_CHARS],
                "n": each.n,
                "trusted": None if each.kind == FORM else each.n_trusted,
                "contrary": round(each.contrary, 3),
            }
            for each in shared[:MAX_NAMED]
        ],
        "log_e": round(campaign.log_e, 3),
        "spared": campaign.spared,
        "honest": round(campaign.honest, 1),
        "expected": None if rate is None else round(rate * n_seen, 1),
        "seen": n_seen,
        "trusted": n_trusted,
    }
    return Telling(campaign.ident, campaign.open, summary, tuple(campaign.news))
