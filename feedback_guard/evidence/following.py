"""Campaigns that were found: which facets show each, who belongs to it, and what is to be told of it.

A facet that is believed gathers its members: those that the evidence on it indicts join a campaign, the one that they
belong to already or a new one; the others are let go. Later members are asked one by one, and as evidence changes a
facet is let go, or asks again those that it let go. Families of near copies, which a signal finds by itself, are
campaigns as well.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from feedback_guard.evidence.book import Book
from feedback_guard.evidence.campaigns import MAX_NAMED, MOST_CONTRARY, OVERLAP, SPARED_BELOW, Campaign
from feedback_guard.evidence.counting import CONTRADICTION
from feedback_guard.evidence.entries import Charge, Entries, Entry
from feedback_guard.evidence.facets import COMMON, Background
from feedback_guard.evidence.kinds.gather import Kinds
from feedback_guard.evidence.kinds.registry import FORM
from feedback_guard.evidence.known import Known
from feedback_guard.evidence.phrases import PHRASES
from feedback_guard.evidence.tally import Facet
from feedback_guard.evidence.teaching import Teaching
from feedback_guard.evidence.telling import SharedFacet, Telling, summarise
from feedback_guard.signals.lesson import CLASSES

log = logging.getLogger(__name__)

ENDS_BELOW: Final = 1.0
"""A facet is let go when its evidence, as a logarithm, has fallen below this."""
FAMILY: Final = "family-"
"""Beginning of the names of campaigns that are families of near copies, which a signal finds by itself."""
LEAST_COPIES: Final = 3
"""Held near copies from which earlier ones are pulled back."""
MAX_VAIN: Final = 10_000
"""Most believed facets of which it is remembered that none of their members is indicted: that can change only with a
further member, or because another test speaks against the facet too."""
PARTED: Final = -2
"""The inquiry into where the pair of learners parts, where tests are numbered."""


class Following:
    """Follows the campaigns of a stream.

    Parameters
    ----------
    background
        What is known of phrases from the trusted set.
    kinds
        Further kinds of facets.
    book, entries
        What is known of facets, and the latest contributions.
    teaching
        Told of members, and of what is not learnt any more.
    describe
        Says what a form is like.
    """

    def __init__(
        self,
        background: Background,
        kinds: Kinds,
        book: Book,
        entries: Entries,
        teaching: Teaching,
        describe: Callable[[Facet], str],
    ) -> None:
        self._background, self._kinds, self._book = background, kinds, book
        self._entries, self._teaching, self._describe = entries, teaching, describe
        self.flagged = Known[Campaign]()
        """The facets that are believed, each with its campaign."""
        self.tests: dict[Facet, set[int]] = {}
        """Which tests believe each of them."""
        self.parted: dict[Facet, int] = {}
        """Phrases that an inquiry believes, each with the class that it is used for."""
        self.planted: dict[Facet, float] = {}
        """Of each of those, the least log-ratio from which a member is more likely planted than honest."""
        self.vain = Known[dict[int, int]]()
        """Facets of which no member is indicted: by test, how many members they had when it was looked."""
        self.campaigns: dict[str, Campaign] = {}
        """All, by name, in the order in which they were found."""
        self.campaign_of: dict[str, str] = {}
        """The remembered contributions that belong to a campaign by now."""
        self._pulled: list[Charge] = []
        self._denied: set[str] = set()

    def forget(self, idents: Sequence[str]) -> None:
        """Contributions left the window."""
        for gone in idents:
            self.campaign_of.pop(gone, None)

    def close_quiet(self) -> None:
        """Close the campaigns whose pattern has stopped."""
        for each in self.campaigns.values():
            if each.open and each.has_stopped(self._entries.newest):
                each.open, each.untold = False, True

    def accuse(self, facets: Iterable[Facet], entry: Entry) -> None:
        """A further contribution came: it joins the campaigns whose facets indict it, and the others let it go."""
        spared = dict[str, Campaign]()
        for facet in facets:
            if self.indictment(facet)(entry.which, entry.log_ratio):
                self.join(self.flagged[facet], facet, entry)
            else:
                spared[self.flagged[facet].ident] = self.flagged[facet]
        for other in spared.values():
            if entry.ident not in self.campaign_of:
                other.spared, other.untold = other.spared + 1, True

    def rejoin(self, facet: Facet) -> None:
        """Members that were let go and are more likely planted by what is known now join."""
        slot, least = self._book.slot(facet[1]), self.planted[facet]
        if slot is None or not math.isfinite(least):
            return
        for number in self._book.members(slot):
            entry = self._entries.get(number)
            if entry is not None and entry.class_number == self.parted[facet] and entry.log_ratio >= least:
                known = self.flagged[facet].n_members
                self.join(self.flagged[facet], facet, entry)
                if self.flagged[facet].n_members > known:
                    self.flagged[facet].spared = max(0, self.flagged[facet].spared - 1)

    def gather(self, facet: Facet, numbers: Iterable[int]) -> None:
        """Earlier contributions that turn out to have a believed facet join, if it indicts them."""
        if facet not in self.flagged:
            return
        indicts = self.indictment(facet)
        for number in numbers:
            entry = self._entries.get(number)
            if entry is not None and indicts(entry.which, entry.log_ratio):
                self.join(self.flagged[facet], facet, entry)

    def note_family(self, name: str, entry: Entry, kin: list[int]) -> None:
        """Near copies of a text are held by themselves; those that came before anybody could tell are named here."""
        found = self.campaigns.get(name)
        if found is None:
            found = self.campaigns[name] = Campaign(name, entry.at_us, first=kin[0])
        facet = (FAMILY, kin[0])
        found.share(facet)
        self.join(found, facet, entry)
        if found.n_members >= LEAST_COPIES:
            for number in kin:
                earlier = self._entries.get(number)
                # Whoever wrote a text first cannot help being copied: hers stays, unless it looks false itself.
                copied = number == kin[0] and earlier is not None and earlier.log_ratio < 0.0
                if earlier is not None and earlier.taught == entry.taught and not copied:
                    self.join(found, facet, earlier)

    def flag(self, facet: Facet, test: int) -> list[int]:
        """A facet is believed: find its members, and the campaign that they belong to.

        Returns
        -------
        list of int
            Tests that believed it in vain before, because none of its members was indicted: they are to say so again.
        """
        kind, key = facet
        book = self._book
        slot = book.slot(key)
        n = 0 if slot is None else int(book.n[slot])
        if slot is None or self.vain.get(facet, {}).get(test) == n:
            return []
        self.tests[facet] = {test}
        members, indicts = book.members(slot), self.indictment(facet)
        if not any(indicts(which, log_ratio) for which, log_ratio in self._entries.lessons(members)):
            del self.tests[facet]
            if len(self.vain) >= MAX_VAIN:
                self.vain.clear()
            self.vain.setdefault(facet, {})[test] = n
            return []
        entries = [entry for each in members if (entry := self._entries.get(each)) is not None]
        indicted = [e for e in entries if indicts(e.which, e.log_ratio)]
        idents = {e.ident for e in indicted}
        again = list(self.vain.pop(facet, ()))
        owners = Counter(self.campaign_of[ident] for ident in idents if ident in self.campaign_of)
        owner, shared = owners.most_common(1)[0] if owners else ("", 0)
        if shared >= OVERLAP * len(idents) or owners.total() == len(idents):
            campaign = self.campaigns[owner]
        else:
            name = hashlib.blake2b(f"{kind} {key}".encode(), key=self._background.key, digest_size=6).hexdigest()
            campaign = self.campaigns[f"campaign-{name}"] = Campaign(f"campaign-{name}", entries[0].at_us)
            campaign.first = members[0]
        others = {of for _, of in campaign.facets} - {key}
        # Who shares several of its facets is counted once.
        campaign.spared += sum(
            e.ident not in idents and e.ident not in self.campaign_of and others.isdisjoint(e.phrases.tolist())
            for e in entries
        )
        campaign.share(facet)
        campaign.since_us = min(campaign.since_us, entries[0].at_us)
        evidence = float(book.contradiction_evidence(np.array([slot]))[0])
        campaign.log_e = max(campaign.log_e, evidence)
        phrase = entries[-1].phrase(key) if kind in PHRASES else ""
        self.flagged.put(facet, campaign, phrase)
        campaign.untold = campaign.open = True
        if kind in self._kinds.names:
            if len(campaign.named) < 2 * MAX_NAMED:
                last = entries[-1]
                campaign.named.append((facet, last.shared_words[last.shared.tolist().index(key)]))
        elif kind == FORM:
            if all(named[0] != FORM for named, _ in campaign.named):  # its levels read alike
                campaign.named.append((facet, self._describe(facet)))
        elif kind != "sender" and len(campaign.phrases) < MAX_NAMED:
            campaign.phrases.append(phrase)
            campaign.named.append((facet, phrase))
        elif kind == "sender" and len(campaign.named) < 2 * MAX_NAMED:
            campaign.named.append((facet, ""))
        for entry in indicted:
            self.join(campaign, facet, entry)
        log.info("%s: %s", campaign.ident, campaign.sentence())
        return again

    def join(self, campaign: Campaign, facet: Facet, entry: Entry) -> None:
        """A contribution belongs to a campaign, by a facet; nothing happens if it belongs to one already."""
        if entry.ident in self.campaign_of:
            return
        campaign.join(entry.taught, entry.account)
        campaign.untold = campaign.open = True
        campaign.last = self._entries.newest
        campaign.news.append((entry.ident, round(1_000 * entry.log_ratio)))
        campaign.honest += self._honest(facet, entry.log_ratio)
        self.campaign_of[entry.ident] = campaign.ident
        if facet[0] not in ("sender", FAMILY):
            self._teaching.parting.joined(entry.class_number)
        if entry.accepted:
            self._teaching.unlearn(entry.ident)
            self._pulled.append(Charge.of(entry.ident, campaign, facet[0]))

    def _honest(self, facet: Facet, log_ratio: float) -> float:
        """How likely a member of a facet is honest, given how many of them contradict their content."""
        slot = None if facet[0] == FAMILY else self._book.slot(facet[1])
        if slot is None:
            return 0.0
        share = min(MOST_CONTRARY, self._book.contrary_share(slot))
        return 1.0 / (1.0 + share / (1.0 - share) * math.exp(log_ratio))

    def indictment(self, facet: Facet) -> Callable[[int, float], bool]:
        """What says whether the evidence on a facet, as it is now, speaks against a member.

        It is asked with what the member teaches: `Lesson.which` and `Lesson.log_ratio`. What is the same for all
        members is found out once: there may be thousands.
        """
        kind, key = facet
        slot = self._book.slot(key)
        if slot is None:
            return _never
        if kind == "sender":
            return _always  # nobody else can put words in an authenticated sender's mouth
        tests = self.tests[facet]
        watched = self._book.targets[slot].tolist()
        targets = {watched[test] for test in tests if test >= 0}
        # The members of a phrase are of one kind of contributions, so a class is known by its number in that kind.
        parted = self.parted.get(facet) if PARTED in tests else None
        planted, least = (None, 0.0) if parted is None else (parted % CLASSES, self.planted[facet])
        contradicts = CONTRADICTION in tests
        # In everyday use: too many honest ones share it who agree with their content.
        everyday = kind in self._kinds.by_rarity and self._book.n_trusted[slot] >= COMMON * self._background.n_trusted
        share = min(MOST_CONTRARY, self._book.contrary_share(slot))
        odds = share / (1.0 - share)

        def indicts(which: int, log_ratio: float) -> bool:
            if which == planted:
                if log_ratio >= least:
                    return True
            elif not (contradicts or which in targets):
                return False
            return log_ratio > 0.0 if everyday else odds * math.exp(log_ratio) >= SPARED_BELOW

        return indicts

    def told(self, facet: Facet, test: int, log_e: float) -> None:
        """Take in what the evidence on a believed facet is now."""
        self.flagged[facet].log_e = max(self.flagged[facet].log_e, log_e)
        if log_e < ENDS_BELOW:
            self.end(facet, test)

    def end(self, facet: Facet, test: int) -> None:
        """Let a facet go whose members no longer teach falsehoods; a campaign without facets is over."""
        tests = self.tests[facet]
        tests.discard(test)
        if not tests:
            campaign = self.flagged.pop(facet)
            del self.tests[facet]
            stands = any(self.flagged.get(each) is campaign for each in campaign.facets)
            campaign.open, campaign.untold = campaign.open and stands, True

    def rule(self, name: str, *, denied: bool) -> None:
        """Follow that moderators denied a campaign whole, or decided otherwise."""
        (self._denied.add if denied else self._denied.discard)(name)

    def is_denied(self, name: str) -> bool:
        """Whether moderators denied a campaign whole."""
        return name in self._denied

    def take_told(self) -> list[Telling]:
        """What is to be told of the campaigns that changed since the last call."""
        told = []
        for campaign in self.campaigns.values():
            if campaign.untold:
                shared = [self._shared(facet, phrase) for facet, phrase in campaign.named]
                n_seen = self._entries.newest - campaign.first + 1
                told.append(summarise(campaign, shared, n_seen=n_seen, n_trusted=self._background.n_trusted))
                campaign.untold, campaign.news = False, []
        return told

    def give_back(self, told: Sequence[Telling]) -> None:
        """Take back what could not be told, so that the next call of `take_told` has it again."""
        for each in told:
            campaign = self.campaigns[each.campaign]
            campaign.untold, campaign.news = True, [*each.contrary, *campaign.news]

    def _shared(self, facet: Facet, phrase: str) -> SharedFacet:
        book, slot = self._book, self._book.slot(facet[1])
        if slot is None:
            return SharedFacet(facet[0], phrase, 0, 0, 0.0)
        n, n_trusted = int(book.n[slot]), int(book.n_trusted[slot])
        return SharedFacet(facet[0], phrase, n, n_trusted, book.contrary_share(slot))

    def take_pulled(self) -> list[Charge]:
        """Accepted contributions that turned out to belong to a campaign since the last call."""
        pulled, self._pulled = self._pulled, []
        return pulled


def _never(_which: int, _log_ratio: float) -> bool:
    return False


def _always(_which: int, _log_ratio: float) -> bool:
    return True
