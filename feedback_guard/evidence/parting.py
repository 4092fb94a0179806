"""Where the pair of learners parts is tested: does the stream teach a class more than honest people could?

**The test.** For each class and each of `LEVELS`: take the contributions on which the learner that follows the stream
speaks for the class by at least so many log-odds more than the anchored one does, before it learns from them. Which
these are depends on their content and on the past, not on what they teach. The null: whatever the past, an honest one
among them means the class with a chance of at most sigma(logit q + `Honest.most_shift`), where q is the class's chance
by the trusted set, and makes a mistake with that of `martingales.MISTAKES`. The alternatives: a share s, one of
`SHARES_PLANTED`, of them teaches the class whatever the content. The likelihood ratio of a member has a mean of at most
1 under the null for every history, so its running product is a test supermartingale, and their average over s is one
(Ville 1939; Ramdas et al. 2023). It reaches 1/a with a chance of at most a. Classes and levels are several tests: they
are believed by e-BH like facets (`Discoveries`), and all of them count from the first contribution of their kind, so a
stream without a campaign is suspected of one with a chance of at most the policy's rate, however often one looks.

It pools what no single phrase shows: many triggers, or a shape of sentences that shows in many phrases a little.

**The inquiry.** A class that is suspected, by this test or because a phrase's own evidence was believed, has a
campaign. Which further phrases it uses is asked then, and again and again while the suspicion holds (`inquiry`).

**The end.** A suspicion ends when the pattern has stopped: when, among `QUIET` contributions that teach the class,
fewer than `LEAST_MEMBERS` were new members of its campaigns, which could not convince anybody, and the test of its own
gained nothing. Then that test's past is forgotten, and it begins anew as one more hypothesis, as facets do that nothing
speaks against. As many new members within such a stretch awaken the suspicion again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import Kind
from feedback_guard.evidence.book import Book
from feedback_guard.evidence.counting import LEAST_MEMBERS
from feedback_guard.evidence.discoveries import Discoveries
from feedback_guard.evidence.facets import PHRASES
from feedback_guard.evidence.inquiry import Inquiry, chance_of
from feedback_guard.evidence.learners import Pair, Part
from feedback_guard.evidence.martingales import Honest
from feedback_guard.evidence.planted import SURE
from feedback_guard.signals.lesson import NUMBERED, Lesson

Floats = NDArray[np.float64]

LEVELS: Final = (2.0, 3.0)
"""Log-odds by which the pair parts on a contribution that is looked at: 7 to 1, and 20 to 1."""
SHARES_PLANTED: Final = np.array([0.1, 0.3, 0.6, 0.9])
"""Shares of such contributions that teach a class whatever they say, if there is a campaign."""
EVERY: Final = 20
"""Contributions that teach a suspected class until it is inquired into again."""
QUIET: Final = 1_000
"""Contributions that teach a suspected class among which its pattern has to show, or the suspicion ends."""
GAINS: Final = 1.0
"""Evidence, as a logarithm, from which a class's own test has gained something in such a stretch."""


@dataclass(slots=True)
class _Suspicion:
    """A class that is suspected, or was: how much of its pattern showed lately.

    Parameters
    ----------
    holds
        Whether it is suspected now.
    since
        Contributions that taught the class since the last inquiry.
    taught, joined
        Contributions that taught the class in this stretch of `QUIET`, and how many new members of campaigns.
    before
        Summed steps of the class's own tests when the stretch began, by level.
    """

    holds: bool = True
    since: int = EVERY
    taught: int = 0
    joined: int = 0
    before: dict[int, Floats] = field(default_factory=dict)


class Parting:
    """The pair, the test of where it parts, and inquiries into what it names.

    Classes are told apart by `Lesson.number`: that votes are bent says nothing about labels.

    Parameters
    ----------
    rate
        Chance that a stream without a campaign is suspected, and the share of false ones among the phrases that an
        inquiry believes, 0..1.
    everyday
        Trusted contributions from which a phrase is in everyday use. Of its members, only those are indicted that
        contradict their content: too many honest ones share it.
    """

    def __init__(self, rate: float, everyday: float = math.inf) -> None:
        self._inquiry = Inquiry(rate, everyday)
        self.pair = Pair()
        self._log_rate = math.log(rate)
        self._sums: dict[tuple[int, int], Floats] = {}
        self._taught: dict[tuple[int, int], int] = {}
        self._found = Discoveries[tuple[int, int]](rate)
        self._looked_at: set[Kind] = set()
        self._suspected: dict[int, _Suspicion] = {}
        self._ended: list[int] = []

    @property
    def suspected(self) -> list[int]:
        """Classes that a campaign teaches."""
        return [which for which, suspicion in self._suspected.items() if suspicion.holds]

    @property
    def statistic(self) -> float:
        """How near the strongest test is to being believed, 0..1."""
        if self.suspected:
            return 1.0
        strongest = max((float(_evidence(sums)) for sums in self._sums.values()), default=0.0)
        line = math.log(max(1, self._found.n)) - self._log_rate
        return min(1.0, max(0.0, strongest) / max(line, 1.0))

    def witness(self, number: int, part: Part, lesson: Lesson, nth: int) -> None:
        """Take in a contribution that was judged, accepted or not, before anything is learnt from it."""
        self._inquiry.remember(number, part, lesson, nth)
        if lesson.kind not in self._looked_at:
            # All of them, from the beginning: which of them come to be asked depends on what is taught.
            self._looked_at.add(lesson.kind)
            self._look(lesson.n_classes * len(LEVELS))
        expected = Honest.of(lesson.n_classes, lesson.n_known)
        for row in range(part.n_asked):
            which = int(part.classes[row]) + NUMBERED[lesson.kind]
            taught = which == lesson.number
            chance = chance_of(part, lesson, row) if taught else float(part.chances[row])
            for level, least in enumerate(LEVELS):
                if part.parted[row] >= least:
                    self._bet((which, level), chance, taught, nth, expected)
        for which, _ in self._found.believed():
            self.suspect(which)

    def suspect(self, which: int) -> None:
        """Say that a campaign teaches a class."""
        suspicion = self._suspected.get(which)
        if suspicion is None or not suspicion.holds:
            self._suspected[which] = _Suspicion(before=self._own(which))

    def joined(self, which: int) -> None:
        """Say that a campaign has a new member that teaches a class: the pattern goes on, or begins again."""
        suspicion = self._suspected.get(which)
        if suspicion is not None:
            suspicion.joined += 1
            if suspicion.joined >= LEAST_MEMBERS:
                self.suspect(which)

    def due(self, taught: int) -> list[int]:
        """The classes to be inquired into now that a further contribution taught one."""
        suspicion = self._suspected.get(taught)
        if suspicion is not None:
            suspicion.since += 1
            suspicion.taught += 1
            if suspicion.taught >= QUIET:
                self._turn(taught, suspicion)
        due = [which for which, each in self._suspected.items() if each.holds and each.since >= EVERY]
        for which in due:
            self._suspected[which].since = 0
        return due

    def take_ended(self) -> list[int]:
        """The classes whose suspicion ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def _turn(self, which: int, suspicion: _Suspicion) -> None:
        """A stretch is over: the suspicion goes on, or ends."""
        own = self._own(which)
        gains = (float(_evidence(sums - suspicion.before.get(level, 0.0))) for level, sums in own.items())
        gained = max(gains, default=0.0)
        if suspicion.holds and suspicion.joined < LEAST_MEMBERS and gained < GAINS:
            suspicion.holds = False
            self._ended.append(which)
            for level in own:
                self._sums.pop((which, level), None)
                self._taught.pop((which, level), None)
                self._found.tell((which, level), -math.inf)
            self._look(len(own))
            own = {}
        suspicion.taught = suspicion.joined = 0
        suspicion.before = own

    def _own(self, which: int) -> dict[int, Floats]:
        """Summed steps of a class's own tests, by level."""
        return {level: self._sums[which, level] for level in range(len(LEVELS)) if (which, level) in self._sums}

    def inquire(self, which: int, book: Book, standing: Iterable[tuple[str, int]] = ()) -> dict[tuple[str, int], float]:
        """Which phrases a class's campaign uses: see `Inquiry.ask`.

        Parameters
        ----------
        standing
            Phrases that were believed before: they are asked again, with a name or without, since what is held is not
            learnt.
        """
        named = [(each.kind, each.key) for each, _, _ in self.pair.loudest(which) if each.kind in PHRASES]
        return self._inquiry.ask([*named, *standing], which, book)

    def _look(self, n: int) -> None:
        """Count so many further hypotheses."""
        self._found.look(n, n)

    def _bet(self, test: tuple[int, int], chance: float, taught: bool, nth: int, expected: Honest) -> None:
        meant = 1.0 / (1.0 + math.exp(-(math.log(chance / (1.0 - chance)) + expected.most_shift)))
        honest = expected.erring(meant)
        planted = np.maximum(honest, chance + SHARES_PLANTED * (SURE - chance))
        step = np.log(planted / honest) if taught else np.log((1.0 - planted) / (1.0 - honest))
        sums = self._sums.get(test)
        self._sums[test] = sums = step / nth if sums is None else sums + step / nth
        count = self._taught[test] = self._taught.get(test, 0) + taught
        if count >= LEAST_MEMBERS:
            self._found.tell(test, float(_evidence(sums)))


def _evidence(sums: Floats) -> float:
    return float(np.logaddexp.reduce(sums) - math.log(len(SHARES_PLANTED)))
