"""The evidence engine: adds up what contributions teach over everything that they share.

It is part of the guard's own state, a fold of the ledger: every judged contribution is a witness, accepted or not. A
facet that many contributions contradict their content with becomes a campaign; its later members are held when they
come, its earlier ones are named, so that they can be pulled back before a model learns from them.

Only the trusted set says what honest means here. What the stream teaches changes evidence and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from feedback_guard.errors import SignalError
from feedback_guard.evidence.book import Book
from feedback_guard.evidence.campaigns import Campaign
from feedback_guard.evidence.entries import Charge, Entries, Entry
from feedback_guard.evidence.facets import COMMON, Background
from feedback_guard.evidence.following import FAMILY, PARTED, Following
from feedback_guard.evidence.forms import Form, Forms, with_forms
from feedback_guard.evidence.kin import Kin
from feedback_guard.evidence.kinds.gather import Kinds
from feedback_guard.evidence.kinds.registry import FORM
from feedback_guard.evidence.parting import Parting
from feedback_guard.evidence.reading import Reading, Readings
from feedback_guard.evidence.tally import RARE, Facet, Tally
from feedback_guard.evidence.teaching import Teaching
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.verdict import Decision

CAPACITY: Final = 1_000_000
"""Most facets that evidence is kept on."""
WINDOW: Final = 50_000
"""Latest contributions that can be pulled back."""
CLOSES_EVERY: Final = 100
"""Contributions between two looks for campaigns that have stopped."""


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
        kinds = kinds if kinds is not None else Kinds()
        self._background = background
        self._book = Book(capacity, window)
        self._entries = Entries(window)
        self._kin = Kin(background.number("kin"))
        self._readings = Readings(background, kinds, reader)
        self.teaching = Teaching(Parting(rate, max(1.0, COMMON * background.n_trusted)), kinds.learnt)
        """The pair of learners, and where it parts."""
        self._forms = Forms(background.number, rate)
        self.following = Following(background, kinds, self._book, self._entries, self.teaching, self._forms.describe)
        """The campaigns that were found."""
        self._formed = False
        """Whether a form is believed."""
        believed, told = self.following.flagged, self.following.told
        self._tally = Tally(self._book, rate, kinds.alike, believed, told, by_rarity=kinds.by_rarity)

    @property
    def n_seen(self) -> int:
        """Contributions that were witnessed and can be read."""
        return self._entries.newest

    @property
    def campaigns(self) -> list[Campaign]:
        """All campaigns, in the order in which they were found."""
        return list(self.following.campaigns.values())

    @property
    def members(self) -> Mapping[str, str]:
        """The remembered contributions that belong to a campaign by now, each with its campaign's name."""
        return MappingProxyType(self.following.campaign_of)

    def campaign_of(self, ident: str) -> str | None:
        """The campaign that a remembered contribution belongs to by now."""
        return self.following.campaign_of.get(ident)

    def charge(self, observation: Observation) -> Charge | None:
        """Whether a contribution belongs to a campaign that is known. The state stays as it is.

        Raises
        ------
        SignalError
            If it cannot be read.
        """
        if not self.following.flagged:
            return None
        reading = self._readings.of(observation)
        lesson = reading.lesson
        if lesson is None:
            return None
        form = self._forms.read(reading.clauses, lesson) if self._formed else None
        for facet in [*self.following.flagged.of(reading), *self._known(form)]:
            if self.following.indictment(facet)(lesson.which, lesson.log_ratio):
                return Charge.of(observation.contribution.id, self.following.flagged[facet], facet[0])
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
        form = self._forms.read(reading.clauses, lesson)
        facets = with_forms(reading.facets, form)
        number = self._entries.newest + 1
        accepted = decision is Decision.ACCEPT
        entry = Entry.of(number, observation.contribution.id, at_us, facets, lesson, accepted=accepted)
        self.following.forget(self._entries.add(entry))
        n_trusted = facets.n_trusted
        kin = self._kin.of(facets.phrases[n_trusted <= max(RARE, COMMON * self._background.n_trusted)], number)
        nth = len(kin)
        self._tally.count(number, facets, lesson, nth, observation.contribution.kind)
        self.following.accuse([*self.following.flagged.of(reading), *self._known(form)], entry)
        self._discover(reading)
        self.teaching.witness(number, entry.ident, facets, lesson, nth, learn=entry.accepted)
        if form is not None:
            self._forms.witness(number, form, lesson, nth)
            for which in self._forms.suspected():
                self.teaching.parting.suspect(which)
        self._inquire(lesson.number)
        if campaign is not None and campaign.startswith(FAMILY):
            self.following.note_family(campaign, entry, kin)
        if number % CLOSES_EVERY == 0:
            self.following.close_quiet()

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
        ended = self.teaching.parting.take_ended()
        for which in ended:
            self._forms.renew(which)
            for facet in [facet for facet, of in self.following.parted.items() if of == which]:
                self._clear(facet)
        for which in due:
            standing = [facet for facet, of in self.following.parted.items() if of == which]
            forms = self._forms.believed(which, self.teaching.probes)
            phrases = [facet for facet in standing if facet[0] != FORM]
            believed = self.teaching.parting.inquire(which, self._book, phrases, forms)
            for facet in set(standing).difference(believed):
                self._clear(facet)
            for facet, least in believed.items():
                self.following.parted[facet] = which
                self.following.planted[facet] = least
                if facet in self.following.flagged:
                    self.following.tests[facet].add(PARTED)
                    self.following.rejoin(facet)
                else:
                    self._flag(facet, PARTED)
                slot = self._book.slot(facet[1])
                if facet[0] == FORM and slot is not None and self._forms.has_grown(facet, int(self._book.n[slot])):
                    self.following.gather(facet, self._forms.earlier(facet))
        if due or ended:
            self._formed = any(kind == FORM for kind, _ in self.following.parted)

    def _known(self, form: Form | None) -> list[Facet]:
        """The facets of a form that are believed."""
        return [] if form is None else [facet for facet in form.facets if facet in self.following.flagged]

    def _flag(self, facet: Facet, test: int) -> None:
        """A test believes a facet."""
        for other in self.following.flag(facet, test):
            self._tally.again(facet, other)

    def _clear(self, facet: Facet) -> None:
        """An inquiry no longer believes a facet."""
        del self.following.parted[facet], self.following.planted[facet]
        if facet in self.following.flagged:
            self.following.end(facet, PARTED)

    def _discover(self, reading: Reading) -> None:
        """Find what has come to be believed now that a contribution came."""
        for facet in self.following.vain.of(reading):
            for test in self.following.vain[facet]:
                self._tally.again(facet, test)
        for (kind, key), target in self._tally.news():
            facet = (kind, key)
            if self._book.slot(key) is None:
                continue
            if facet not in self.following.flagged:
                self._flag(facet, target)
            elif target not in self.following.tests[facet]:
                self.following.tests[facet].add(target)
            else:
                continue
            slot = self._book.slot(key)
            if kind != "sender" and target >= 0 and slot is not None and facet in self.following.flagged:
                member = self._entries.get(self._book.members(slot)[-1])  # all are of one kind
                if member is not None:
                    which = int(self._book.targets[slot, target]) + member.base
                    self.teaching.parting.suspect(which)
