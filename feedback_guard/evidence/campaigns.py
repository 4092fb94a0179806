"""Campaigns: facets whose evidence crossed the line, with what they teach and who brought it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from feedback_guard.evidence.kinds.registry import noun_of

OVERLAP: Final = 0.3
"""Share of a facet's members from which it is part of the campaign that they belong to already."""
SPARED_BELOW: Final = 0.5
"""Odds of being hostile below which a member of a phrase's campaign is let go: below even ones, since missed poison is
worse than a held contribution."""
MOST_CONTRARY: Final = 0.9
"""Share of a phrase's members that is taken to be hostile at most: whoever fits her content well enough is let go."""
MAX_QUOTED: Final = 40
"""Most characters of a phrase that is quoted."""
QUIET: Final = 1_000
"""Contributions without a further member after which a campaign may have stopped."""
MISSED: Final = 10.0
"""Members that would have come meanwhile, at its pace, if it had not: that none comes by chance is rarer than 1e-4."""
MAX_NAMED: Final = 5
"""Most phrases that a campaign is described by."""
MAX_ACCOUNTS: Final = 100_000
"""Most contributors of a campaign that are told apart."""


@dataclass
class Campaign:
    """What many contributions teach together, for a moderator to decide on as one.

    Parameters
    ----------
    ident
        Names it; the same stream gives the same name.
    since_us
        When its first member came, microseconds since the epoch.
    """

    ident: str
    since_us: int
    facets: set[tuple[str, int]] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    """Kinds of its facets."""
    n_members: int = 0
    """Contributions that the evidence indicts."""
    senders: set[int] = field(default_factory=set)
    """Keys of the contributors who brought them, at most `MAX_ACCOUNTS`."""
    spared: int = 0
    """Contributions that share a facet and are not indicted: honest ones, probably."""
    teaches: Counter[str] = field(default_factory=Counter)
    phrases: list[str] = field(default_factory=list)
    named: list[tuple[tuple[str, int], str]] = field(default_factory=list)
    """Facets that it is told by, each with its phrase; a sender has none."""
    log_e: float = 0.0
    open: bool = True
    honest: float = 0.0
    """How many of the members are probably honest all the same."""
    first: int = 0
    """Number of its first member in the stream."""
    last: int = 0
    """How long the stream was when it got its latest member."""
    untold: bool = True
    """Whether something changed since it was last told."""
    news: list[tuple[str, int]] = field(default_factory=list)
    """Members that were not told yet, each with its log-odds, in thousandths, of contradicting its content."""

    def has_stopped(self, n: int) -> bool:
        """Whether its pattern has stopped when n contributions have come.

        Examples
        --------
        >>> slow = Campaign("campaign-1", 0, n_members=20, first=1, last=10_000)
        >>> slow.has_stopped(14_000), slow.has_stopped(15_000)
        (False, True)
        """
        silence = n - self.last
        return silence >= QUIET and silence * self.n_members >= MISSED * (self.last - self.first + 1)

    @property
    def accounts(self) -> int:
        """How many contributors brought it, as far as they are told apart."""
        return len(self.senders)

    def share(self, facet: tuple[str, int]) -> None:
        """Take in that its members share a facet."""
        self.facets.add(facet)
        self.kinds.add(facet[0])

    def join(self, taught: str, sender: int) -> None:
        """Take in a further member, by what it teaches and its contributor's key."""
        self.n_members += 1
        self.teaches[taught] += 1
        if len(self.senders) < MAX_ACCOUNTS:
            self.senders.add(sender)

    def sentence(self, *, quote: bool = False) -> str:
        """What it teaches, in words and numbers.

        Parameters
        ----------
        quote
            Whether the phrases that are shared are quoted, with what is not printable escaped: for a moderator, never
            for a log, because users wrote them.
        """
        what = " or ".join(name for name, _ in self.teaches.most_common(2)) or "something"
        accounts = f"{self.accounts}{' or more' if self.accounts == MAX_ACCOUNTS else ''} accounts"
        nouns = {noun_of(kind) for kind in self.kinds if not kind.startswith("family")}
        if not nouns:
            return f"{self.n_members} contributions of {accounts} are near copies and teach {what}"
        if quote and self.phrases:
            nouns.discard("a phrase")
            nouns.add("the phrase " + " or ".join(repr(each[:MAX_QUOTED]) for each in self.phrases[:3]))
        shared = f"share {' or '.join(sorted(nouns, key=_phrases_first))}"
        return (
            f"{self.n_members} contributions of {accounts} {shared} and teach {what} against what "
            f"their content says; chance would do this once in {_times(self.log_e)}"
        )


def _phrases_first(noun: str) -> tuple[bool, bool, str]:
    return "phrase" not in noun, noun == "a sender", noun


def _times(log_e: float) -> str:
    return f"1e{log_e / 2.302585:.0f}"
