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
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.errors import SignalError
from feedback_guard.evidence.book import LEAST_MEMBERS, Book, Slots
from feedback_guard.evidence.campaigns import MAX_NAMED, MOST_CONTRARY, OVERLAP, SPARED_BELOW, Campaign
from feedback_guard.evidence.discoveries import IN_VIEW, Discoveries
from feedback_guard.evidence.entries import Charge, Entry
from feedback_guard.evidence.facets import COMMON, PHRASES, SALTS, Background, Facets, of_kind
from feedback_guard.evidence.kin import Kin
from feedback_guard.evidence.kinds.gather import Gathered, Kinds
from feedback_guard.evidence.martingales import contradiction_step, shift_steps
from feedback_guard.evidence.parting import Parting
from feedback_guard.evidence.teaching import Teaching
from feedback_guard.evidence.telling import SharedFacet, Telling, summarise
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.lesson import CLASSES, NUMBERED, Lesson
from feedback_guard.verdict import Decision

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Facet = tuple[str, int]
"""Kind and key."""
KINDS: Final = ("sender", *PHRASES)
"""Kinds of facets besides those of `evidence.kinds`. Each has its own rate of false campaigns: words would drown among
the many more pairs of words."""
CAPACITY: Final = 1_000_000
"""Most facets that evidence is kept on."""
WINDOW: Final = 50_000
"""Latest contributions that can be pulled back."""
ENDS_BELOW: Final = 1.0
"""A facet is let go when its evidence, as a logarithm, has fallen below this."""
FORGOTTEN_BELOW: Final = -3.0
"""Evidence, as a logarithm, below which the past of a facet that the trusted set does not know is forgotten: it begins
anew, as one more hypothesis. Otherwise whoever uses a phrase honestly for a month could then poison with it for as long
without being noticed."""
REMEMBERED_EACH: Final = 1.0
"""By how much each trusted contribution with the phrase lowers that: about what one honest member adds, so that the
stream's honest past never says more for a phrase than the trusted set does."""
RARE: Final = 2
"""Trusted contributions up to which a phrase is rare, and is asked about by the contradiction test: of a common one the
trusted set knows more than any prior says."""
_BY_RARITY: Final = ("word", "pair")
"""Kinds that are the likelier to be planted the rarer they are in the trusted set."""
FAMILY: Final = "family-"
"""Beginning of the names of campaigns that are families of near copies, which a signal finds by itself."""
LEAST_COPIES: Final = 3
"""Held near copies from which earlier ones are pulled back."""
MAX_VAIN: Final = 10_000
"""Most believed facets of which it is remembered that none of their members is indicted: that can change only with a
further member, and they are not looked through again before."""
LOOKED_AT: Final = 100
"""Facets that of a further kind count as looked at beforehand: one of few is not believed at 10 to 1."""
_CONTRADICTION: Final = -1
_PARTED: Final = -2
_RECENT: Final = 2_048


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
        self._reader = reader
        self._book = Book(capacity)
        self._kin = Kin(background.number("kin"))
        self._more = kinds if kinds is not None else Kinds()
        self._kinds = (*KINDS, *self._more.names)
        self._number = {kind: number for number, kind in enumerate(self._kinds)}
        self._by_rarity = np.array([kind in _BY_RARITY for kind in self._kinds])
        self._alike = np.array([self._more.alike.get(kind, 0.0) for kind in self._kinds])
        self._found = {kind: Discoveries[tuple[int, int]](rate) for kind in self._kinds}
        for kind in self._more.names:
            self._found[kind].look(LOOKED_AT, LOOKED_AT)
        self.teaching = Teaching(Parting(rate, max(1.0, COMMON * background.n_trusted)), self._more.learnt)
        """The pair of learners, and where it parts."""
        self._parted: dict[Facet, int] = {}
        self._planted: dict[Facet, float] = {}
        self._window = window
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        self._n = 0
        self._read: OrderedDict[str, tuple[Facets, Lesson | None]] = OrderedDict()
        self._flagged: dict[Facet, Campaign] = {}
        self._tests: dict[Facet, set[int]] = {}
        self._campaigns: dict[str, Campaign] = {}
        self._campaign_of: dict[str, str] = {}
        self._pulled: list[Charge] = []
        self._denied: set[str] = set()
        self._vain: dict[tuple[Facet, int], int] = {}

    @property
    def n_seen(self) -> int:
        """Contributions that were witnessed and can be read."""
        return self._n

    @property
    def campaigns(self) -> list[Campaign]:
        """All campaigns, in the order in which they were found."""
        return list(self._campaigns.values())

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
        facets, lesson = self._reading(observation)
        if lesson is None:
            return None
        for facet in self._facets_in(facets):
            campaign = self._flagged[facet]
            if self._indicts(facet, lesson.which, lesson.log_ratio):
                return Charge.of(observation.contribution.id, campaign, facet[0])
        return None

    def witness(self, observation: Observation, decision: Decision, at_us: int, campaign: str | None = None) -> None:
        """Take in a contribution that was judged; `campaign` names the one that the verdict gave it to."""
        try:
            facets, lesson = self._reading(observation)
        except SignalError:
            return
        self._read.pop(observation.contribution.id, None)
        if lesson is None:
            return
        self._n += 1
        accepted = decision is Decision.ACCEPT
        entry = Entry.of(self._n, observation.contribution.id, at_us, facets, lesson, accepted=accepted)
        self._entries[self._n] = entry
        while len(self._entries) > self._window:
            _, gone = self._entries.popitem(last=False)
            self._campaign_of.pop(gone.ident, None)
        n_trusted = facets.n_trusted
        kin = self._kin.of(facets.phrases[n_trusted <= max(RARE, COMMON * self._background.n_trusted)], self._n)
        nth = len(kin)
        two = lesson.shares is not None and len(lesson.shares) == 2
        keys = of_kind(np.array([key for key, _ in facets.senders], dtype=np.uint64), observation.contribution.kind)
        kinds = np.zeros(len(keys), dtype=np.int64)
        contradict = np.ones(len(keys), dtype=np.bool_)
        trusted = np.zeros(len(keys), dtype=np.int64)
        if lesson.comparable:
            keys = np.concatenate([keys, facets.phrases])
            kinds = np.concatenate([kinds, [self._number[kind] for kind in facets.kinds]])
            trusted = np.concatenate([trusted, n_trusted])
            # Where classes are chosen, whoever plants a phrase chooses one: the shift test alone asks about it.
            asked = (n_trusted <= RARE) & (lesson.shares is None)
            contradict = np.concatenate([contradict, asked])
        if len(keys):
            slots = self._book.place(keys, trusted, two_classes=two)
            self._count(kinds, slots, lesson, nth, contradict)
        if lesson.comparable and len(facets.shared.keys):
            self._count_shared(facets.shared, lesson, nth)
        spared = dict[str, Campaign]()
        for facet in self._facets_in(facets):
            if self._indicts(facet, lesson.which, lesson.log_ratio):
                self._join(self._flagged[facet], facet, entry)
            else:
                spared[self._flagged[facet].ident] = self._flagged[facet]
        for other in spared.values():
            if entry.ident not in self._campaign_of:
                other.spared, other.untold = other.spared + 1, True
        self._discover()
        self.teaching.witness(self._n, facets, lesson, nth, learn=entry.accepted)
        self._inquire(lesson.number)
        if campaign is not None and campaign.startswith(FAMILY):
            self._note_family(campaign, entry, kin)

    def approved(self, observation: Observation) -> None:
        """Take in that a moderator let a contribution through: it will be learnt."""
        try:
            facets, lesson = self._reading(observation)
        except SignalError:
            return
        self._read.pop(observation.contribution.id, None)
        if lesson is not None:
            self.teaching.learn(facets, lesson)

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
                self._join(self._flagged[facet], facet, entry)

    def _note_family(self, name: str, entry: Entry, kin: list[int]) -> None:
        """Near copies of a text are held by themselves; those that came before anybody could tell are named here."""
        found = self._campaigns.get(name)
        if found is None:
            found = self._campaigns[name] = Campaign(name, entry.at_us)
        facet = (FAMILY, kin[0])
        found.facets.add(facet)
        self._join(found, facet, entry)
        if len(found.members) >= LEAST_COPIES:
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

    def _reading(self, observation: Observation) -> tuple[Facets, Lesson | None]:
        ident = observation.contribution.id
        known = self._read.get(ident)
        if known is None:
            known = self._facets_of(observation), self._reader.lesson(observation)
            self._read[ident] = known
            while len(self._read) > _RECENT:
                self._read.popitem(last=False)
        return known

    def _facets_of(self, observation: Observation) -> Facets:
        facets, kind = self._background.of(observation), observation.contribution.kind
        shared = self._more.of(observation, self._background.named)
        return replace(
            facets,
            phrases=of_kind(facets.phrases, kind),
            n_trusted=self._background.count(facets.phrases),
            shared=replace(shared, keys=of_kind(shared.keys, kind)),
        )

    def _facets_in(self, facets: Facets) -> list[Facet]:
        """The facets of a contribution that are flagged."""
        if not self._flagged:
            return []
        # A sender that was found lying in one kind of contributions is held in all of them.
        own = [("sender", key ^ salt) for key, _ in facets.senders for salt in SALTS.values()]
        own += zip(facets.kinds, facets.phrases.tolist(), strict=True)
        own += zip(facets.shared.kinds, facets.shared.keys.tolist(), strict=True)
        return [facet for facet in own if facet in self._flagged]

    def _count_shared(self, shared: Gathered, lesson: Lesson, nth: int) -> None:
        """Add a member to its facets of further kinds, which the contradiction test alone is for."""
        book = self._book
        kinds = np.array([self._number[kind] for kind in shared.kinds], dtype=np.int64)
        slots = book.place(shared.keys, shared.n_trusted, two_classes=False)
        share = np.minimum(1.0 / nth, (1.0 + self._alike[kinds] * book.n[slots]) ** -2.0)
        book.add(slots, self._n, contradiction_step(lesson.log_ratio) * share[:, None])
        n = book.n[slots]
        for kind in kinds[n == LEAST_MEMBERS].tolist():
            self._found[self._kinds[kind]].look()
        ready = np.flatnonzero(n >= LEAST_MEMBERS)
        if len(ready):
            kinds, slots = kinds[ready], slots[ready]
            evidence = book.contradiction_evidence(slots)
            self._tell(kinds, slots, np.full(len(ready), _CONTRADICTION), evidence, np.ones(len(ready)))
            self._forget(kinds, slots, evidence, FORGOTTEN_BELOW, two_classes=False)

    def _count(
        self,
        kinds: NDArray[np.int64],
        slots: Slots,
        lesson: Lesson,
        nth: int,
        contradict: NDArray[np.bool_],
    ) -> None:
        """Add a member to facets, and say what the evidence on each is now.

        Parameters
        ----------
        kinds
            The kind of each facet, as its place in `KINDS`.
        contradict
            Which facets the contradiction test is for.
        """
        book = self._book
        book.add(slots, self._n, contradiction_step(lesson.log_ratio) / nth)
        rows = targets = np.zeros(0, dtype=np.int64)
        if lesson.shares is not None:
            watched = book.targets[slots]
            rows, targets = np.nonzero(watched >= 0)
            # The step depends on the class alone, and a contribution's facets are watched for few of them.
            classes, which = np.unique(watched[rows, targets].astype(np.int64), return_inverse=True)
            steps = shift_steps(lesson.shares[classes], classes == lesson.which) / nth
            book.add_shift(slots[rows], targets, steps[which])
            book.watch(slots, lesson.which)
        n = book.n[slots]
        ready = n >= LEAST_MEMBERS
        if not ready.any():
            return
        weights = np.where(self._by_rarity[kinds], 1.0 / (1.0 + book.n_trusted[slots]), 1.0)
        new = n == LEAST_MEMBERS
        if new.any():
            looks = np.where(new, contradict + (book.targets[slots] >= 0).sum(axis=1), 0)
            for kind in set(kinds[new].tolist()):
                own = kinds == kind
                self._found[self._kinds[kind]].look(float((looks * weights)[own].sum()), int(looks[own].sum()))
        most = np.full(len(slots), -np.inf)
        asked = np.flatnonzero(ready & contradict)
        if len(asked):
            evidence = most[asked] = book.contradiction_evidence(slots[asked])
            self._tell(kinds[asked], slots[asked], np.full(len(asked), _CONTRADICTION), evidence, weights[asked])
        old = ready[rows]
        if old.any():
            rows, targets = rows[old], targets[old]
            evidence = book.shift_evidence(slots[rows], targets)
            np.maximum.at(most, rows, evidence)
            self._tell(kinds[rows], slots[rows], targets, evidence, weights[rows])
        line = FORGOTTEN_BELOW - REMEMBERED_EACH * book.n_trusted[slots].astype(np.float64)
        self._forget(kinds, slots, most, line, two_classes=lesson.shares is not None and len(lesson.shares) == 2)

    def _forget(
        self, kinds: NDArray[np.int64], slots: Slots, most: Floats, line: Floats | float, *, two_classes: bool
    ) -> None:
        """Begin anew with facets that nothing speaks against: `most` is the evidence of whichever test says most."""
        honest = np.flatnonzero(np.isfinite(most) & (most < line))
        if not len(honest):
            return
        facets = zip(kinds[honest].tolist(), self._book.keys[slots[honest]].tolist(), strict=True)
        past = [
            at for at, (kind, key) in zip(honest, facets, strict=True) if (self._kinds[kind], key) not in self._flagged
        ]
        if past:
            self._book.renew(slots[past], two_classes=two_classes)

    def _tell(
        self, kinds: NDArray[np.int64], slots: Slots, tests: NDArray[np.int64], evidence: Floats, weights: Floats
    ) -> None:
        # Nearly all facets have no evidence worth a word, now or before.
        at = np.flatnonzero((evidence >= IN_VIEW) | self._book.hot[slots])
        if not len(at):
            return
        self._book.hot[slots[at]] = True
        of = (kinds[at], self._book.keys[slots[at]], tests[at], evidence[at], weights[at])
        for number, key, test, e, weight in zip(*(each.tolist() for each in of), strict=True):
            kind = self._kinds[number]
            self._found[kind].tell((key, test), e, weight)
            facet = (kind, key)
            if facet in self._flagged:
                self._flagged[facet].log_e = max(self._flagged[facet].log_e, e)
                if e < ENDS_BELOW:
                    self._end(facet, test)

    def _end(self, facet: Facet, test: int) -> None:
        """Let a facet go whose members no longer teach falsehoods; a campaign without facets is over."""
        tests = self._tests[facet]
        tests.discard(test)
        if not tests:
            campaign = self._flagged.pop(facet)
            del self._tests[facet]
            campaign.open, campaign.untold = campaign in self._flagged.values(), True

    def _discover(self) -> None:
        for kind, found in self._found.items():
            for key, target in found.news():
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
                        which = int(self._book.targets[slot, target]) + NUMBERED[member.kind]
                        self.teaching.parting.suspect(which)

    def _flag(self, facet: Facet, test: int) -> None:
        """A facet is believed: find its members, and the campaign that they belong to."""
        kind, key = facet
        book = self._book
        slot = book.slot(key)
        n = 0 if slot is None else int(book.n[slot])
        if slot is None or self._vain.get((facet, test)) == n:
            return
        entries = [self._entries[each] for each in book.members(slot) if each in self._entries]
        self._tests[facet] = {test}
        indicted = [e for e in entries if self._indicts(facet, e.which, e.log_ratio)]
        idents = {e.ident for e in indicted}
        if not idents:
            del self._tests[facet]
            if len(self._vain) >= MAX_VAIN:
                self._vain.clear()
            self._vain[facet, test] = n
            return
        owners = Counter(self._campaign_of[ident] for ident in idents if ident in self._campaign_of)
        owner, shared = owners.most_common(1)[0] if owners else ("", 0)
        if shared >= OVERLAP * len(idents) or owners.total() == len(idents):
            campaign = self._campaigns[owner]
        else:
            name = hashlib.blake2b(f"{kind} {key}".encode(), key=self._background.key, digest_size=6).hexdigest()
            campaign = self._campaigns[f"campaign-{name}"] = Campaign(f"campaign-{name}", entries[0].at_us)
            campaign.first = book.members(slot)[0]
        campaign.facets.add(facet)
        campaign.since_us = min(campaign.since_us, entries[0].at_us)
        evidence = float(book.contradiction_evidence(np.array([slot]))[0])
        campaign.log_e = max(campaign.log_e, evidence)
        self._flagged[facet] = campaign
        campaign.untold = campaign.open = True
        if kind in self._more.names:
            if len(campaign.named) < 2 * MAX_NAMED:
                last = entries[-1].shared
                campaign.named.append((facet, last.words[last.keys.tolist().index(key)]))
        elif kind != "sender" and len(campaign.phrases) < MAX_NAMED:
            phrase = entries[-1].phrase(key)
            campaign.phrases.append(phrase)
            campaign.named.append((facet, phrase))
        elif kind == "sender" and len(campaign.named) < 2 * MAX_NAMED:
            campaign.named.append((facet, ""))
        campaign.spared += len(entries) - len(indicted)
        for entry in indicted:
            self._join(campaign, facet, entry)
        log.info("%s: %s", campaign.ident, campaign.sentence())

    def _join(self, campaign: Campaign, facet: Facet, entry: Entry) -> None:
        if entry.ident in campaign.members or entry.ident in self._campaign_of:
            return
        campaign.members[entry.ident] = f"{entry.account:016x}"
        campaign.teaches[entry.taught] += 1
        campaign.untold = True
        campaign.news.append((entry.ident, round(1_000 * entry.log_ratio)))
        campaign.honest += self._honest(facet, entry.log_ratio)
        self._campaign_of[entry.ident] = campaign.ident
        if facet[0] not in ("sender", FAMILY):
            self.teaching.parting.joined(entry.class_number)
        if entry.accepted:
            self.teaching.unlearn(entry.number, entry.phrases, entry.which)
            self._pulled.append(Charge.of(entry.ident, campaign, facet[0]))

    def _honest(self, facet: Facet, log_ratio: float) -> float:
        """How likely a member of a facet is honest, given how many of them contradict their content."""
        slot = None if facet[0] == FAMILY else self._book.slot(facet[1])
        if slot is None:
            return 0.0
        share = min(MOST_CONTRARY, self._book.contrary_share(slot))
        return 1.0 / (1.0 + share / (1.0 - share) * math.exp(log_ratio))

    def _indicts(self, facet: Facet, which: int, log_ratio: float) -> bool:
        """Whether the evidence on a facet speaks against one of its members."""
        kind, key = facet
        slot = self._book.slot(key)
        if slot is None:
            return False
        if kind == "sender":
            return True  # nobody else can put words in an authenticated sender's mouth
        tests = self._tests[facet]
        watched = [test for test in tests if test >= 0]
        # The members of a phrase are of one kind of contributions, so a class is known by its number in that kind.
        parted = _PARTED in tests and facet in self._parted and which == self._parted[facet] % CLASSES
        if not (_CONTRADICTION in tests or which in self._book.targets[slot, watched] or parted):
            return False
        if parted and log_ratio >= self._planted[facet]:
            return True
        share = min(MOST_CONTRARY, self._book.contrary_share(slot))
        return share / (1.0 - share) * math.exp(log_ratio) >= SPARED_BELOW
