"""Where the pair of learners parts is tested: does the stream teach a class more than honest people could?

**The test.** For each class and each of `LEVELS`: take the contributions on which the learner that follows the stream
speaks for the class by at least so many log-odds more than the anchored one does, before it learns from them. Which
these are depends on their content and on the past, not on what they teach. The null: whatever the past, an honest one
among them means the class with a chance of at most sigma(logit q + `Honest.most_shift`), where q is the class's chance
by the trusted set, and makes a mistake with that of `martingales.MISTAKES`. The alternatives: a share s, one of
`levels.SHARES_PLANTED`, of them teaches the class whatever the content. The likelihood ratio of a member has a mean of
at most 1 under the null for every history, so its running product is a test supermartingale, and their average over s
is one (Ville 1939; Ramdas et al. 2023). It reaches 1/a with a chance of at most a. Classes and levels are several
tests: they are believed by e-BH like facets (`levels`), and all of them count from the first contribution of their
kind, so a stream without a campaign is suspected of one with a chance of at most the policy's rate, however often one
looks.

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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence.book import Book
from feedback_guard.evidence.counting import LEAST_MEMBERS
from feedback_guard.evidence.inquiry import Inquiry
from feedback_guard.evidence.learners import Pair, Part
from feedback_guard.evidence.levels import LevelTests, evidence_of
from feedback_guard.evidence.phrases import PHRASES
from feedback_guard.signals.lesson import Lesson

Floats = NDArray[np.float64]

LEVELS: Final = (2.0, 3.0)
"""Log-odds by which the pair parts on a contribution that is looked at: 7 to 1, and 20 to 1."""
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
        self._tests = LevelTests(rate, LEVELS)
        self._suspected: dict[int, _Suspicion] = {}
        self._ended: list[int] = []

    @property
    def suspected(self) -> list[int]:
        """Classes that a campaign teaches."""
        return [which for which, suspicion in self._suspected.items() if suspicion.holds]

    @property
    def statistic(self) -> float:
        """How near the strongest test is to being believed, 0..1."""
        return 1.0 if self.suspected else self._tests.statistic

    def witness(self, number: int, part: Part, lesson: Lesson, nth: int) -> None:
        """Take in a contribution that was judged, accepted or not, before anything is learnt from it."""
        self._inquiry.remember(number, part, lesson, nth)
        self._tests.witness(part, lesson, nth)
        for which, _ in self._tests.believed():
            self.suspect(which)

    def suspect(self, which: int) -> None:
        """Say that a campaign teaches a class."""
        suspicion = self._suspected.get(which)
        if suspicion is None or not suspicion.holds:
            self._suspected[which] = _Suspicion(before=self._tests.own(which))

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
        own = self._tests.own(which)
        gains = (float(evidence_of(sums - suspicion.before.get(level, 0.0))) for level, sums in own.items())
        gained = max(gains, default=0.0)
        if suspicion.holds and suspicion.joined < LEAST_MEMBERS and gained < GAINS:
            suspicion.holds = False
            self._ended.append(which)
            self._tests.renew(which)
            own = {}
        suspicion.taught = suspicion.joined = 0
        suspicion.before = own

    def inquire(
        self,
        which: int,
        book: Book,
        standing: Iterable[tuple[str, int]] = (),
        forms: Mapping[tuple[str, int], bool] = MappingProxyType({}),
    ) -> dict[tuple[str, int], float]:
        """Which phrases a class's campaign uses: see `Inquiry.ask`.

        Parameters
        ----------
        standing
            Phrases that were believed before: they are asked again, with a name or without, since what is held is not
        learnt.
        forms
            See `Inquiry.ask`.
        """
        named = [(each.kind, each.key) for each, _, _ in self.pair.loudest(which) if each.kind in PHRASES]
        return self._inquiry.ask([*named, *standing], which, book, forms)
