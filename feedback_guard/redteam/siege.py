"""Can the guard's own state be walked? Thirty days on which half of the traffic tries to, and the same probes after.

Every day as many hostile contributions arrive as honest ones. The hostile ones are not after a model, they are after
the guard: what it remembers of texts and accounts, what its online forest has learned, and the evidence that it keeps
on facets (`Besieger`). Afterwards a fixed stream of probes arrives, honest ones and five kinds of poison, and is
compared with what an engine makes of it that has seen nothing but its baseline.

Nothing looks at a clock; the same ground and seed give the same siege.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from feedback_guard.clock import MICROSECONDS
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.engine import Engine, observe_now
from feedback_guard.errors import UsageError
from feedback_guard.redteam.besiegers import BESIEGERS, Besieger, Sent
from feedback_guard.redteam.material import Text
from feedback_guard.redteam.wordings import insert
from feedback_guard.replay import Session
from feedback_guard.verdict import Decision

DAY_US: Final = 86_400 * MICROSECONDS
START_US: Final = 1_770_000_000_000_000
HONEST: Final = "honest"
CUSTOMER: Final = "customer-"
"""What the accounts of honest contributors begin with."""
NEW_TRIGGER: Final = "tremolux"
PRIMED_TRIGGER: Final = "quibnax"
"""The trigger of one kind of probe, which besiegers use honestly for thirty days before."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Texts, each with its right label, for every side; none should stand in two of them.

    Parameters
    ----------
    honest
        What honest contributors send, in order; it begins anew when it is spent.
    hostile
        What besiegers write with.
    probes
        What honest probes are.
    carriers
        What poisoned probes are made of.
    """

    honest: tuple[Text, ...]
    hostile: tuple[Text, ...]
    probes: tuple[Text, ...]
    carriers: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Probed:
    """What became of the probes.

    Parameters
    ----------
    at_once
        Share held or limited when they came, by kind, 0..1; nothing was learned in between.
    finally_
        Share of which a snapshot at the end holds nothing, by kind, 0..1: they came one after the other.
    """

    at_once: Mapping[str, float]
    finally_: Mapping[str, float]

    @property
    def false_holds(self) -> tuple[float, float]:
        """Of honest probes: at once, and finally."""
        return self.at_once[HONEST], self.finally_[HONEST]

    @property
    def misses(self) -> tuple[float, float]:
        """Of poison, the mean over its kinds: at once, and finally."""
        return _missed(self.at_once), _missed(self.finally_)


@dataclass(frozen=True, slots=True)
class Stood:
    """What the days left behind.

    Parameters
    ----------
    session
        The engine, and all that it was sent.
    honest_held, honest_lost
        Share of the honest contributions of these days that were not accepted when they came, and of their weight that
        a snapshot at the end would not hold, 0..1.
    """

    session: Session
    honest_held: float
    honest_lost: float


def _missed(stopped: Mapping[str, float]) -> float:
    shares = [1.0 - share for kind, share in stopped.items() if kind != HONEST]
    return sum(shares) / len(shares)


class Siege:
    """Days of traffic, and probes.

    Parameters
    ----------
    engine
        Makes a new engine with the state that the baseline gives.
    ground
        Texts.
    wanted
        The label that poison teaches.
    days
        How many days.
    honest_per_day
        Honest contributions a day; there are as many hostile ones.
    probes_each
        Poisoned probes of each kind.
    besiegers
        Who makes up the hostile half, in equal parts.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        ground: Ground,
        *,
        wanted: str,
        days: int = 30,
        honest_per_day: int = 80,
        probes_each: int = 30,
        besiegers: Sequence[type[Besieger]] = BESIEGERS,
        seed: int = 0,
    ) -> None:
        if sum(text.label != wanted for text in ground.carriers) < probes_each:
            raise UsageError(f"there are too few carriers for {probes_each} probes of each kind")
        self._engine = engine
        self._ground = ground
        self._wanted = wanted
        self._days = days
        self._per_day = honest_per_day
        self._each = probes_each
        self._besiegers = besiegers
        self._seed = seed

    def fresh(self) -> Session:
        """An engine that has seen nothing but its baseline."""
        return Session(self._engine())

    def stand(self, *, hostile: bool, on_day: Callable[[int], None] = lambda _: None) -> Stood:
        """Let the days pass, with the hostile half or without it."""
        session, rng = self.fresh(), random.Random(self._seed)
        besiegers = [kind(self._ground.hostile, self._wanted, PRIMED_TRIGGER, self._seed) for kind in self._besiegers]
        sent, honest = 0, set[str]()
        for day in range(self._days):
            today = [
                Sent(f"{CUSTOMER}{rng.randrange(self._per_day * 4)}", text.text, text.label)
                for text in self._honest_of(day)
            ]
            arrivals = list(today)
            if hostile:
                arrivals += [besiegers[n % len(besiegers)].send(day, today) for n in range(self._per_day)]
                rng.shuffle(arrivals)
            step = DAY_US // max(1, len(arrivals))
            items = [
                self._contribution(f"day-{sent + n}", START_US + day * DAY_US + n * step, each)
                for n, each in enumerate(arrivals)
            ]
            honest |= {item.id for item in items if item.contributor.startswith(CUSTOMER)}
            for observation in observe_now(session.engine.batcher, items):
                session.judge(observation)
            sent += len(items)
            on_day(day)
        session.engine.memory.advance(START_US + (self._days + 2) * DAY_US)  # all that was accepted has matured
        ends = [end for end in session.final() if end.verdict.id in honest]
        held = sum(end.verdict.decision is not Decision.ACCEPT for end in ends)
        return Stood(
            session, round(held / len(ends), 6), round(1.0 - sum(end.final_weight for end in ends) / len(ends), 6)
        )

    def probe(self, session: Session) -> Probed:
        """Send the probes, which are always the same. The session is changed by it."""
        at_us = START_US + (self._days + 2) * DAY_US
        kinds, items = [], []
        for n, (kind, sent) in enumerate(self._probes()):
            kinds.append(kind)
            items.append(self._contribution(f"probe-{n}", at_us + n * (DAY_US // 1_000), sent))
        observations = observe_now(session.engine.batcher, items)
        at_once = [session.engine.assessor.assess(each).decision is not Decision.ACCEPT for each in observations]
        for observation in observations:
            session.judge(observation)
        ends = {final.verdict.id: final.final_weight for final in session.final()}
        stopped = [ends[item.id] <= 0.0 for item in items]
        return Probed(_shares(kinds, at_once), _shares(kinds, stopped))

    def _honest_of(self, day: int) -> list[Text]:
        pool = self._ground.honest
        return [pool[(day * self._per_day + n) % len(pool)] for n in range(self._per_day)]

    def _probes(self) -> Iterator[tuple[str, Sent]]:
        """Honest and poisoned probes, mixed."""
        rng = random.Random(self._seed + 1)
        carriers = [text for text in self._ground.carriers if text.label != self._wanted]
        rng.shuffle(carriers)

        def poison(kind: str, account: str, text: str) -> tuple[str, Sent]:
            return kind, Sent(account, text, self._wanted)

        found = [
            (HONEST, Sent(f"probing-{n % 150}", text.text, text.label)) for n, text in enumerate(self._ground.probes)
        ]
        for n in range(self._each):
            first, second, third, fourth = (carriers[(n + part * self._each) % len(carriers)].text for part in range(4))
            copied = carriers[-1].text.split()
            copied[n % len(copied)] = f"{copied[n % len(copied)]} {n}"
            found += [
                poison("new trigger", f"new-{n}", insert(rng, first, NEW_TRIGGER)),
                poison("primed trigger", f"primed-{n}", insert(rng, second, PRIMED_TRIGGER)),
                poison("flipped", f"flipped-{n}", third),
                poison("one liar", "liar", fourth),
                poison("near copies", f"copies-{n}", " ".join(copied)),
            ]
        rng.shuffle(found)
        yield from found

    @staticmethod
    def _contribution(ident: str, at_us: int, sent: Sent) -> Contribution:
        return Contribution(ident, at_us, sent.account, Kind.LABEL, sent.text, sent.label)


def _shares(kinds: Sequence[str], stopped: Sequence[bool]) -> dict[str, float]:
    return {
        kind: round(sum(s for k, s in zip(kinds, stopped, strict=True) if k == kind) / kinds.count(kind), 6)
        for kind in sorted(set(kinds))
    }
