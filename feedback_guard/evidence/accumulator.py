"""The evidence engine: adds up what contributions teach over everything that they share.

It is part of the guard's own state, a fold of the ledger: every judged contribution is a witness, accepted or not. A
facet that many contributions contradict their content with becomes a campaign; its later members are held when they
come, its earlier ones are named, so that they can be pulled back before a model learns from them.

Only the trusted set says what honest means here. What the stream teaches changes evidence and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from feedback_guard.errors import SignalError
from feedback_guard.evidence.book import Book
from feedback_guard.evidence.campaigns import MAX_NAMED, MOST_CONTRARY, OVERLAP, SPARED_BELOW, Campaign
from feedback_guard.evidence.counting import CONTRADICTION
from feedback_guard.evidence.entries import Charge, Entries, Entry
from feedback_guard.evidence.facets import COMMON, Background
from feedback_guard.evidence.kin import Kin
from feedback_guard.evidence.kinds.gather import Kinds
from feedback_guard.evidence.known import Known
from feedback_guard.evidence.parting import Parting
from feedback_guard.evidence.reading import Reading, Readings
from feedback_guard.evidence.tally import RARE, Facet, Tally
from feedback_guard.evidence.teaching import Teaching
from feedback_guard.evidence.telling import SharedFacet, Telling, summarise
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.lesson import CLASSES
from feedback_guard.verdict import Decision

log = logging.getLogger(__name__)

CAPACITY: Final = 1_000_000
"""Most facets that evidence is kept on."""
WINDOW: Final = 50_000
"""Latest contributions that can be pulled back."""
ENDS_BELOW: Final = 1.0
"""A facet is let go when its evidence, as a logarithm, has fallen below this."""
FAMILY: Final = "family-"
"""Beginning of the names of campaigns that are families of near copies, which a signal finds by itself."""
CLOSES_EVERY: Final = 100
"""Contributions between two looks for campaigns that have stopped."""
LEAST_COPIES: Final = 3
"""Held near copies from which earlier ones are pulled back."""
MAX_VAIN: Final = 10_000
"""Most believed facets of which it is remembered that none of their members is indicted: that can change only with a
further member, or because another test speaks against the facet too."""
_PARTED: Final = -2


class Evidence:
    """Follows the stream, finds campaigns, and says which contributions belong to one.

    Parameters
    ----------
    background
        What is known of phrases from the trusted set.
    reader
        Reads what a contribution teaches.
    rate
        Share of false campaigns among those found that is accepted, 0..1.
    kinds
        Further kinds of facets.
    capacity, window
        See `CAPACITY` and `WINDOW`.
    """

    def __init__(
        self,
        background: Background,
        reader: Disagreement,
        rate: float,
        *,
        kinds: Kinds | None = None,
        capacity: int = CAPACITY,
        window: int = WINDOW,
    ) -> None:
        self._background = background
        self._book = Book(capacity, window)
        self._kin = Kin(background.number("kin"))
        self._more = kinds if kinds is not None else Kinds()
        self._readings = Readings(background, self._more, reader)
        self.teaching = Teaching(Parting(rate, max(1.0, COMMON * background.n_trusted)), self._more.learnt)
        """The pair of learners, and where it parts."""
        self._parted: dict[Facet, int] = {}
        self._planted: dict[Facet, float] = {}
        self._entries = Entries(window)
        self._n = 0
        self._flagged = Known[Campaign]()
        by_rarity = self._more.by_rarity
        self._tally = Tally(self._book, rate, self._more.alike, self._flagged, self._told, by_rarity=by_rarity)
        self._tests: dict[Facet, set[int]] = {}
        self._campaigns: dict[str, Campaign] = {}
        self._campaign_of: dict[str, str] = {}
        self._pulled: list[Charge] = []
        self._denied: set[str] = set()
        self._vain = Known[dict[int, int]]()

    @property
    def n_seen(self) -> int:
        """Contributions that were witnessed and can be read."""
        return self._n

    @property
    def campaigns(self) -> list[Campaign]:
        """All campaigns, in the order in which they were found."""
        return list(self._campaigns.values())

    @property
    def members(self) -> Mapping[str, str]:
        """The remembered contributions that belong to a campaign by now, each with its campaign's name."""
        return MappingProxyType(self._campaign_of)

    def campaign_of(self, ident: str) -> str | None:
        """The campaign that a remembered contribution belongs to by now."""
        return self._campaign_of.get(ident)

    def charge(self, observation: Observation) -> Charge | None:
        """Whether a contribution belongs to a campaign that is known. The state stays as it is.

        Raises
        ------
        SignalError
            If it cannot be read.
        """
        if not self._flagged:
            return None
        reading = self._readings.of(observation)
        lesson = reading.lesson
        if lesson is None:
            return None
        for facet in self._flagged.of(reading):
            if self._indictment(facet)(lesson.which, lesson.log_ratio):
                return Charge.of(observation.contribution.id, self._flagged[facet], facet[0])
        return None

    def witness(self, observation: Observation, decision: Decision, at_us: int, campaign: str | None = None) -> None:
        """Take in a contribution that was judged; `campaign` names the one that the verdict gave it to."""
        try:
            reading = self._readings.take(observation)
        except SignalError:
            return
        lesson = reading.lesson
        if lesson is None:
            return
        facets = reading.facets
        self._n += 1
        accepted = decision is Decision.ACCEPT
        entry = Entry.of(self._n, observation.contribution.id, at_us, facets, lesson, accepted=accepted)
        for gone in self._entries.add(entry):
            self._campaign_of.pop(gone, None)
        n_trusted = facets.n_trusted
        kin = self._kin.of(facets.phrases[n_trusted <= max(RARE, COMMON * self._background.n_trusted)], self._n)
        nth = len(kin)
        self._tally.count(self._n, facets, lesson, nth, observation.contribution.kind)
        spared = dict[str, Campaign]()
        for facet in self._flagged.of(reading):
            if self._indictment(facet)(lesson.which, lesson.log_ratio):
                self._join(self._flagged[facet], facet, entry)
            else:
                spared[self._flagged[facet].ident] = self._flagged[facet]
        for other in spared.values():
            if entry.ident not in self._campaign_of:
                other.spared, other.untold = other.spared + 1, True
        self._discover(reading)
        self.teaching.witness(self._n, entry.ident, facets, lesson, nth, learn=entry.accepted)
        self._inquire(lesson.number)
        if campaign is not None and campaign.startswith(FAMILY):
            self._note_family(campaign, entry, kin)
        if self._n % CLOSES_EVERY == 0:
            for each in self._campaigns.values():
                if each.open and each.has_stopped(self._n):
                    each.open, each.untold = False, True

    def approved(self, observation: Observation) -> None:
        """Take in that a moderator let a contribution through: it will be learnt."""
        try:
            reading = self._readings.take(observation)
        except SignalError:
            return
        if reading.lesson is not None:
            self.teaching.learn(observation.contribution.id, reading.facets, reading.lesson)

    def withdrawn(self, ident: str) -> None:
        """Take in that a contribution which was let through is held again, denied or withdrawn: nobody learns it."""
        self.teaching.unlearn(ident)

    def _inquire(self, taught: int) -> None:
        """Ask which phrases a suspected class's campaigns use; let go those that are cleared."""
        due = self.teaching.parting.due(taught)
        for which in self.teaching.parting.take_ended():
            for facet in [facet for facet, of in self._parted.items() if of == which]:
                self._clear(facet)
        for which in due:
            standing = [facet for facet, of in self._parted.items() if of == which]
            believed = self.teaching.parting.inquire(which, self._book, standing)
            for facet in set(standing).difference(believed):
                self._clear(facet)
            for facet, least in believed.items():
                self._parted[facet] = which
                self._planted[facet] = least
                if facet in self._flagged:
                    self._tests[facet].add(_PARTED)
                    self._rejoin(facet)
                else:
                    self._flag(facet, _PARTED)

    def _clear(self, facet: Facet) -> None:
        """An inquiry no longer believes a facet."""
        del self._parted[facet], self._planted[facet]
        if facet in self._flagged:
            self._end(facet, _PARTED)

    def _rejoin(self, facet: Facet) -> None:
        """Members that were let go and are more likely planted by what is known now join."""
        slot, least = self._book.slot(facet[1]), self._planted[facet]
        if slot is None or not math.isfinite(least):
            return
        for number in self._book.members(slot):
            entry = self._entries.get(number)
            if entry is not None and entry.class_number == self._parted[facet] and entry.log_ratio >= least:
                known = self._flagged[facet].n_members
                self._join(self._flagged[facet], facet, entry)
                if self._flagged[facet].n_members > known:
                    self._flagged[facet].spared = max(0, self._flagged[facet].spared - 1)

    def _note_family(self, name: str, entry: Entry, kin: list[int]) -> None:
        """Near copies of a text are held by themselves; those that came before anybody could tell are named here."""
        found = self._campaigns.get(name)
        if found is None:
            found = self._campaigns[name] = Campaign(name, entry.at_us, first=kin[0])
        facet = (FAMILY, kin[0])
        found.share(facet)
        self._join(found, facet, entry)
        if found.n_members >= LEAST_COPIES:
            for number in kin:
                earlier = self._entries.get(number)
                # Whoever wrote a text first cannot help being copied: hers stays, unless it looks false itself.
                copied = number == kin[0] and earlier is not None and earlier.log_ratio < 0.0
                if earlier is not None and earlier.taught == entry.taught and not copied:
                    self._join(found, facet, earlier)

    def rule(self, name: str, *, denied: bool) -> None:
        """Follow that moderators denied a campaign whole, or decided otherwise."""
        (self._denied.add if denied else self._denied.discard)(name)

    def is_denied(self, name: str) -> bool:
        """Whether moderators denied a campaign whole."""
        return name in self._denied

    def take_told(self) -> list[Telling]:
        """What is to be told of the campaigns that changed since the last call."""
        told = []
        for campaign in self._campaigns.values():
            if campaign.untold:
                shared = [self._shared(facet, phrase) for facet, phrase in campaign.named]
                n_seen = self._n - campaign.first + 1
                told.append(summarise(campaign, shared, n_seen=n_seen, n_trusted=self._background.n_trusted))
                campaign.untold, campaign.news = False, []
        return told

    def give_back(self, told: Sequence[Telling]) -> None:
        """Take back what could not be told, so that the next call of `take_told` has it again."""
        for each in told:
            campaign = self._campaigns[each.campaign]
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

    def _told(self, facet: Facet, test: int, log_e: float) -> None:
        """Take in what the evidence on a believed facet is now."""
        self._flagged[facet].log_e = max(self._flagged[facet].log_e, log_e)
        if log_e < ENDS_BELOW:
            self._end(facet, test)

    def _end(self, facet: Facet, test: int) -> None:
        """Let a facet go whose members no longer teach falsehoods; a campaign without facets is over."""
        tests = self._tests[facet]
        tests.discard(test)
        if not tests:
            campaign = self._flagged.pop(facet)
            del self._tests[facet]
            stands = any(self._flagged.get(each) is campaign for each in campaign.facets)
            campaign.open, campaign.untold = campaign.open and stands, True

    def _discover(self, reading: Reading) -> None:
        """Find what has come to be believed now that a contribution came."""
        for facet in self._vain.of(reading):
            for test in self._vain[facet]:
                self._tally.again(facet, test)
        for (kind, key), target in self._tally.news():
            facet = (kind, key)
            if self._book.slot(key) is None:
                continue
            if facet not in self._flagged:
                self._flag(facet, target)
            elif target not in self._tests[facet]:
                self._tests[facet].add(target)
            else:
                continue
            slot = self._book.slot(key)
            if kind != "sender" and target >= 0 and slot is not None and facet in self._flagged:
                member = self._entries.get(self._book.members(slot)[-1])  # all are of one kind
                if member is not None:
                    which = int(self._book.targets[slot, target]) + member.base
                    self.teaching.parting.suspect(which)

    def _flag(self, facet: Facet, test: int) -> None:
        """A facet is believed: find its members, and the campaign that they belong to."""
        kind, key = facet
        book = self._book
        slot = book.slot(key)
        n = 0 if slot is None else int(book.n[slot])
        if slot is None or self._vain.get(facet, {}).get(test) == n:
            return
        self._tests[facet] = {test}
        members, indicts = book.members(slot), self._indictment(facet)
        if not any(indicts(which, log_ratio) for which, log_ratio in self._entries.lessons(members)):
            del self._tests[facet]
            if len(self._vain) >= MAX_VAIN:
                self._vain.clear()
            self._vain.setdefault(facet, {})[test] = n
            return
        entries = [entry for each in members if (entry := self._entries.get(each)) is not None]
        indicted = [e for e in entries if indicts(e.which, e.log_ratio)]
        idents = {e.ident for e in indicted}
        for other in self._vain.pop(facet, ()):
            self._tally.again(facet, other)
        owners = Counter(self._campaign_of[ident] for ident in idents if ident in self._campaign_of)
        owner, shared = owners.most_common(1)[0] if owners else ("", 0)
        if shared >= OVERLAP * len(idents) or owners.total() == len(idents):
            campaign = self._campaigns[owner]
        else:
            name = hashlib.blake2b(f"{kind} {key}".encode(), key=self._background.key, digest_size=6).hexdigest()
            campaign = self._campaigns[f"campaign-{name}"] = Campaign(f"campaign-{name}", entries[0].at_us)
            campaign.first = members[0]
        others = {of for _, of in campaign.facets} - {key}
        # Who shares several of its facets is counted once.
        campaign.spared += sum(
            e.ident not in idents and e.ident not in self._campaign_of and others.isdisjoint(e.phrases.tolist())
            for e in entries
        )
        campaign.share(facet)
        campaign.since_us = min(campaign.since_us, entries[0].at_us)
        evidence = float(book.contradiction_evidence(np.array([slot]))[0])
        campaign.log_e = max(campaign.log_e, evidence)
        phrase = "" if kind == "sender" or kind in self._more.names else entries[-1].phrase(key)
        self._flagged.put(facet, campaign, phrase)
        campaign.untold = campaign.open = True
        if kind in self._more.names:
            if len(campaign.named) < 2 * MAX_NAMED:
                last = entries[-1]
                campaign.named.append((facet, last.shared_words[last.shared.tolist().index(key)]))
        elif kind != "sender" and len(campaign.phrases) < MAX_NAMED:
            campaign.phrases.append(phrase)
            campaign.named.append((facet, phrase))
        elif kind == "sender" and len(campaign.named) < 2 * MAX_NAMED:
            campaign.named.append((facet, ""))
        for entry in indicted:
            self._join(campaign, facet, entry)
        log.info("%s: %s", campaign.ident, campaign.sentence())

    def _join(self, campaign: Campaign, facet: Facet, entry: Entry) -> None:
        if entry.ident in self._campaign_of:
            return
        campaign.join(entry.taught, entry.account)
        campaign.untold = campaign.open = True
        campaign.last = self._n
        campaign.news.append((entry.ident, round(1_000 * entry.log_ratio)))
        campaign.honest += self._honest(facet, entry.log_ratio)
        self._campaign_of[entry.ident] = campaign.ident
        if facet[0] not in ("sender", FAMILY):
            self.teaching.parting.joined(entry.class_number)
        if entry.accepted:
            self.teaching.unlearn(entry.ident)
            self._pulled.append(Charge.of(entry.ident, campaign, facet[0]))

    def _honest(self, facet: Facet, log_ratio: float) -> float:
        """How likely a member of a facet is honest, given how many of them contradict their content."""
        slot = None if facet[0] == FAMILY else self._book.slot(facet[1])
        if slot is None:
            return 0.0
        share = min(MOST_CONTRARY, self._book.contrary_share(slot))
        return 1.0 / (1.0 + share / (1.0 - share) * math.exp(log_ratio))

    def _indictment(self, facet: Facet) -> Callable[[int, float], bool]:
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
        tests = self._tests[facet]
        watched = self._book.targets[slot].tolist()
        targets = {watched[test] for test in tests if test >= 0}
        # The members of a phrase are of one kind of contributions, so a class is known by its number in that kind.
        parted = self._parted.get(facet) if _PARTED in tests else None
        planted, least = (None, 0.0) if parted is None else (parted % CLASSES, self._planted[facet])
        contradicts = CONTRADICTION in tests
        # In everyday use: too many honest ones share it who agree with their content.
        everyday = kind in self._more.by_rarity and self._book.n_trusted[slot] >= COMMON * self._background.n_trusted
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


def _never(_which: int, _log_ratio: float) -> bool:
    return False


def _always(_which: int, _log_ratio: float) -> bool:
    return True
