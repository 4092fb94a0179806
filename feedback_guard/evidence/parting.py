"""Where the pair of learners parts is tested: does the stream teach a class more than honest people could?

**The test.** For each class and each of `LEVELS`: take the contributions on which the learner that follows the stream
speaks for the class by at least so many log-odds more than the anchored one does, before it learns from them. Which
these are depends on their content and on the past, not on what they teach. The null: whatever the past, an honest one
among them teaches the class with a chance of at most sigma(logit q + `martingales.MOST_SHIFT`), where q is the class's
chance by the trusted set. The alternatives: a share s, one of `SHARES_PLANTED`, of them teaches the class whatever the
content. The likelihood ratio of a member has a mean of at most 1 under the null for every history, so its running
product is a test supermartingale, and their average over s is one (Ville 1939; Ramdas et al. 2023). It reaches 1/a with
a chance of at most a. Classes and levels are several tests: they are believed by e-BH like facets (`Discoveries`), so
a stream without a campaign is suspected of one with a chance of at most the policy's rate.

It pools what no single phrase shows: many triggers, or a shape of sentences that shows in many phrases a little.

**The inquiry.** A class that is suspected, by this test or because a phrase's own evidence was believed, has a
campaign. Which further phrases does it use? Those with names in the pair (`learners.NAMED`) are asked,
with all their members anew, by the average of two tests: the shift test, and the same null against a share of members
that teaches the class whatever the content, which finds phrases that honest people use as well. A phrase is believed if
its e-value is at least m / rate among the m that are asked. The strongest comes first, and whom it indicts is no
evidence on the others, or every word that stands beside a trigger would be suspected too. Indicted are members that
contradict their content; and, where at least `LEAST_MEMBERS` do and the phrase is not in everyday use, agreeing ones as
well that are more likely planted than honest (`planted_from`): planted ones that agree teach the trigger, too.

Since the same contributions gave the names, the share of false ones is measured, not promised; what is promised is that
nobody is asked while no campaign is believed.

**The end.** A suspicion ends when the pattern has stopped: when, among `QUIET` contributions that teach the class,
fewer than `LEAST_MEMBERS` were new members of its campaigns, which could not convince anybody, and the test of its own
gained nothing. Then that test's past is forgotten, and it begins anew as one more hypothesis, as facets do that nothing
speaks against. As many new members within such a stretch awaken the suspicion again.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence.book import LEAST_MEMBERS, Book
from feedback_guard.evidence.campaigns import MOST_CONTRARY, SPARED_BELOW
from feedback_guard.evidence.discoveries import Discoveries
from feedback_guard.evidence.learners import Pair, Part
from feedback_guard.evidence.martingales import (
    INFORMATION,
    MOST_SHIFT,
    SHARES,
    SHIFT_WIDTH,
    SHIFTS,
    WHATEVER,
    contrary_share,
)
from feedback_guard.signals.lesson import LEAST_CHANCE, Lesson

Floats = NDArray[np.float64]

LEVELS: Final = (2.0, 3.0)
"""Log-odds by which the pair parts on a contribution that is looked at: 7 to 1, and 20 to 1."""
SHARES_PLANTED: Final = np.array([0.1, 0.3, 0.6, 0.9])
"""Shares of such contributions that teach a class whatever they say, if there is a campaign."""
CONTAMINATED: Final = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
"""Shares of a phrase's members that teach a class whatever they say, if a campaign uses it."""
PLANTED: Final = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
"""Shares of a phrase's members that may be planted, once it is believed."""
RATIOS: Final = np.linspace(-3.9, 3.9, 40)
"""Log-ratios that a member is let go below."""
SURE: Final = 0.98
"""Chance with which a planted contribution teaches what it is for."""
WINDOW: Final = 50_000
"""Latest contributions that an inquiry looks at."""
MOST_MEMBERS: Final = 4_000
"""Latest members of a phrase that an inquiry looks at."""
EVERY: Final = 20
"""Contributions that teach a suspected class until it is inquired into again."""
QUIET: Final = 1_000
"""Contributions that teach a suspected class among which its pattern has to show, or the suspicion ends."""
GAINS: Final = 1.0
"""Evidence, as a logarithm, from which a class's own test has gained something in such a stretch."""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What an inquiry needs of the latest contributions, in rings."""

    which: NDArray[np.int32] = field(default_factory=lambda: np.full(WINDOW, -1, dtype=np.int32))
    chance: NDArray[np.float32] = field(default_factory=lambda: np.zeros(WINDOW, dtype=np.float32))
    other: NDArray[np.int32] = field(default_factory=lambda: np.full(WINDOW, -1, dtype=np.int32))
    other_chance: NDArray[np.float32] = field(default_factory=lambda: np.zeros(WINDOW, dtype=np.float32))
    nth: NDArray[np.float32] = field(default_factory=lambda: np.ones(WINDOW, dtype=np.float32))


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
        self._everyday = everyday
        self.pair = Pair()
        self._log_rate = math.log(rate)
        self._sums: dict[tuple[int, int], Floats] = {}
        self._taught: dict[tuple[int, int], int] = {}
        self._found = Discoveries[tuple[int, int]](rate)
        self._line = 0.0
        self._suspected: dict[int, _Suspicion] = {}
        self._ended: list[int] = []
        self._seen = Witnessed()
        self._newest = 0

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
        return min(1.0, max(0.0, strongest) / max(self._line, 1.0))

    def witness(self, number: int, part: Part, lesson: Lesson, nth: int) -> None:
        """Take in a contribution that was judged, accepted or not, before anything is learnt from it."""
        self._remember(number, part, lesson, nth)
        for row in range(part.n_asked):
            which, taught = int(part.classes[row]), int(part.classes[row]) == lesson.which
            chance = _chance(part, lesson, row) if taught else float(part.chances[row])
            for level, least in enumerate(LEVELS):
                if part.parted[row] >= least:
                    self._bet((which, level), chance, taught, nth)
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
            own = {}
        suspicion.taught = suspicion.joined = 0
        suspicion.before = own

    def _own(self, which: int) -> dict[int, Floats]:
        """Summed steps of a class's own tests, by level."""
        return {level: self._sums[which, level] for level in range(len(LEVELS)) if (which, level) in self._sums}

    def inquire(self, which: int, book: Book, standing: Iterable[tuple[str, int]] = ()) -> dict[tuple[str, int], float]:
        """Which phrases a class's campaign uses, as kind and key, strongest first.

        With each comes the least log-ratio (`Lesson.log_ratio`) from which a member that teaches the class is more
        likely planted than honest, given how many of its members are (`planted_from`).

        Parameters
        ----------
        which
            The class.
        book
            Knows the members of phrases.
        standing
            Phrases that were believed before: they are asked again, with a name or without, since what is held is not
            learnt.
        """
        named = [(each.kind, each.key) for each, _, _ in self.pair.loudest(which)]
        asked: list[tuple[float, str, int, _Members]] = []
        for kind, key in dict.fromkeys([*named, *standing]):
            slot = book.slot(key)
            if slot is not None and len(numbers := book.members(slot)) >= LEAST_MEMBERS:
                members = self._members(numbers[-MOST_MEMBERS:], which, int(book.n_trusted[slot]))
                asked.append((-members.evidence(), kind, key, members))
        line = math.log(max(1, len(asked))) - self._log_rate
        # What is explained only takes evidence away, nearly always: so the strongest is asked again, and taken if it
        # still is the strongest.
        explained = np.zeros(WINDOW, dtype=np.bool_)
        believed: dict[tuple[str, int], float] = {}
        heapq.heapify(asked)
        while asked:
            _, kind, key, members = asked[0]
            evidence = members.evidence(without=explained)
            if evidence < line:
                heapq.heappop(asked)
            elif len(asked) > 1 and -evidence > min(each[0] for each in asked[1:3]):
                heapq.heapreplace(asked, (-evidence, kind, key, members))
            else:
                heapq.heappop(asked)
                least = believed[kind, key] = members.planted_from(self._everyday, without=explained)
                explained[members.numbers[members.indicted(least, without=explained)]] = True
        return believed

    def _remember(self, number: int, part: Part, lesson: Lesson, nth: int) -> None:
        at, seen = number % WINDOW, self._seen
        rows = part.classes.tolist()
        row = rows.index(lesson.which)
        others = [i for i in range(len(rows)) if i != row]
        other = max(others, key=lambda i: float(part.chances[i]))
        seen.which[at], seen.chance[at] = lesson.which, _chance(part, lesson, row)
        seen.other[at], seen.other_chance[at] = rows[other], part.chances[other]
        seen.nth[at] = nth
        self._newest = number

    def _bet(self, test: tuple[int, int], chance: float, taught: bool, nth: int) -> None:
        honest = 1.0 / (1.0 + math.exp(-(math.log(chance / (1.0 - chance)) + MOST_SHIFT)))
        planted = np.maximum(honest, chance + SHARES_PLANTED * (SURE - chance))
        step = np.log(planted / honest) if taught else np.log((1.0 - planted) / (1.0 - honest))
        sums = self._sums.get(test)
        self._sums[test] = sums = step / nth if sums is None else sums + step / nth
        count = self._taught[test] = self._taught.get(test, 0) + taught
        if taught and count == LEAST_MEMBERS:
            self._found.look()
            self._line = math.log(self._found.n) - self._log_rate
        if count >= LEAST_MEMBERS:
            self._found.tell(test, float(_evidence(sums)))

    def _members(self, members: list[int], which: int, n_trusted: int) -> _Members:
        """What is remembered of a phrase's members."""
        numbers = np.array([n for n in members if n > self._newest - WINDOW], dtype=np.int64) % WINDOW
        seen, taught = self._seen, self._seen.which[numbers] == which
        # Of a class that was neither taught nor spoken for next, the least chance is the most lenient.
        other = np.where(seen.other[numbers] == which, seen.other_chance[numbers], LEAST_CHANCE)
        chances = np.clip(np.where(taught, seen.chance[numbers], other), LEAST_CHANCE, 1.0 - LEAST_CHANCE)
        own = np.clip(seen.chance[numbers].astype(np.float64), LEAST_CHANCE, 1.0 - LEAST_CHANCE)
        ratios, weights = np.log((1.0 - own) / own), 1.0 / seen.nth[numbers]
        return _Members(numbers, chances.astype(np.float64), taught, weights, ratios, n_trusted)


@dataclass(frozen=True, slots=True)
class _Members:
    """Members of a phrase: where they are in the rings, and what they say about one class."""

    numbers: NDArray[np.int64]
    chances: Floats
    taught: NDArray[np.bool_]
    weights: NDArray[np.float32]
    ratios: Floats
    n_trusted: int

    def evidence(self, without: NDArray[np.bool_] | None = None) -> float:
        at = slice(None) if without is None else ~without[self.numbers]
        return phrase_evidence(self.chances[at], self.taught[at], self.weights[at], self.n_trusted)

    def planted_from(self, everyday: float, without: NDArray[np.bool_]) -> float:
        at = ~without[self.numbers]
        if self.n_trusted >= everyday:
            return math.inf
        if (self._contrary(without) & self.taught & at).sum() < LEAST_MEMBERS:
            return math.inf  # an honest word that agrees with its content, and speaks for it more than was known
        return planted_from(self.chances[at], self.taught[at], self.weights[at], self.n_trusted)

    def indicted(self, least: float, without: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return self.taught & (self._contrary(without) | (self.ratios >= least))

    def _contrary(self, without: NDArray[np.bool_]) -> NDArray[np.bool_]:
        steps = np.log1p(SHARES * np.expm1(self.ratios)[:, None]) * self.weights[:, None]
        share = min(MOST_CONTRARY, float(contrary_share(steps[~without[self.numbers]].sum(axis=0)[None])[0]))
        return np.asarray(share / (1.0 - share) * np.exp(self.ratios) >= SPARED_BELOW)


def phrase_evidence(chances: Floats, taught: NDArray[np.bool_], weights: NDArray[np.floating], n_trusted: int) -> float:
    """Logarithm of the e-value of one phrase and class: the shift test's null, against planted members.

    Parameters
    ----------
    chances
        Of the class given the content of each member, shape (n,).
    taught
        Which members teach it.
    weights
        1/n for the n-th near copy of a text.
    n_trusted
        In how many trusted contributions the phrase stands.

    Examples
    --------
    >>> chances, whole = np.full(12, 0.3), np.ones(12)
    >>> planted, honest = (np.arange(12) < n for n in (12, 4))
    >>> bool(phrase_evidence(chances, planted, whole, 0) > 4.0 > phrase_evidence(chances, honest, whole, 0))
    True
    """
    shifted = 1.0 / (1.0 + np.exp(-(np.log(chances / (1.0 - chances))[:, None] + SHIFTS)))
    whatever = np.broadcast_to(WHATEVER, (len(chances), len(WHATEVER)))
    mixed = chances[:, None] + CONTAMINATED * (1.0 - chances[:, None])
    whole = np.clip(np.concatenate([shifted, whatever, mixed], axis=1), 1e-4, 1.0 - 1e-4)
    logs = np.log(np.where(taught[:, None], whole, 1.0 - whole)).T @ np.asarray(weights, dtype=np.float64)
    prior = -0.5 * (1.0 / SHIFT_WIDTH**2 + INFORMATION * n_trusted) * SHIFTS**2
    n, m = len(SHIFTS), len(SHIFTS) + len(WHATEVER)
    planted = np.concatenate([logs[n:m] - math.log(2 * len(WHATEVER)), logs[m:] - math.log(2 * len(CONTAMINATED))])
    return float(np.logaddexp.reduce(planted) - np.logaddexp.reduce(logs[:n] + prior - np.logaddexp.reduce(prior)))


def planted_from(chances: Floats, taught: NDArray[np.bool_], weights: NDArray[np.floating], n_trusted: int) -> float:
    """From which log-ratio on a member of a phrase that teaches a class is more likely planted than honest.

    Whoever plants a phrase does not ask whether a text agrees with what it is to teach, so an agreeing one may be
    planted as well. How many of the members are planted, and by how much the honest ones speak for the class, is not
    known: every pair of `PLANTED` and `martingales.SHIFTS` is as likely as what all members teach makes it.

    Parameters
    ----------
    chances, taught, weights, n_trusted
        As for `phrase_evidence`.

    Returns
    -------
    float
        Infinite if no member is.
    """
    odds = np.log(chances / (1.0 - chances))
    honest = 1.0 / (1.0 + np.exp(-(odds[:, None] + SHIFTS)))
    mixed = PLANTED[:, None, None] * SURE + (1.0 - PLANTED[:, None, None]) * honest
    mixed = np.clip(mixed, 1e-4, 1.0 - 1e-4)
    logs = np.log(np.where(taught[:, None], mixed, 1.0 - mixed)).transpose(0, 2, 1) @ np.asarray(weights, np.float64)
    logs += -0.5 * (1.0 / SHIFT_WIDTH**2 + INFORMATION * n_trusted) * SHIFTS**2
    likely = np.exp(logs - logs.max())
    likely /= likely.sum()
    own = 1.0 / (1.0 + np.exp(RATIOS[:, None, None] - SHIFTS))
    share = PLANTED[:, None]
    chance = (likely * share * SURE / (share * SURE + (1.0 - share) * own)).sum(axis=(1, 2))
    enough = np.flatnonzero(chance >= 0.5)
    return float(RATIOS[enough[0]]) if len(enough) else math.inf


def _chance(part: Part, lesson: Lesson, row: int) -> float:
    """Chance of what is taught: with more than two classes the ratio that evidence is made of is the more lenient."""
    return max(float(part.chances[row]), 1.0 / (1.0 + math.exp(lesson.log_ratio)))


def _evidence(sums: Floats) -> float:
    return float(np.logaddexp.reduce(sums) - math.log(len(SHARES_PLANTED)))
