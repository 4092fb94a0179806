"""One attack, played against the real engine: honest contributions arrive, and an attacker reacts to every verdict.

The clock is the time of the honest contributions; nothing here looks at another one, so that the same input and seed
give the same run. The engine is that of `replay`: limits, signals, evidence, staging and pull-backs are all there.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.engine import Engine, observe_now
from feedback_guard.redteam.interface import Attacker
from feedback_guard.redteam.material import Material, Text
from feedback_guard.replay import Session
from feedback_guard.signals.interface import Observation
from feedback_guard.verdict import Decision

MAX_BURST: Final = 64
"""Most contributions of the attacker between two honest ones."""


class Party(StrEnum):
    """Who sent a contribution, and what for."""

    HONEST = "honest"
    COVER = "cover"
    """Honest work of an attacker's account."""
    POISON = "poison"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one contribution.

    Parameters
    ----------
    taught
        Its text and label.
    decision
        When it came.
    learnt
        Weight that a snapshot cut at the end holds of it, 0..1.
    pulled_back
        Whether it was accepted and taken back later, with its campaign.
    ripened
        Whether it had been accepted for as long as staging takes before the end, or before it was pulled back: a
        training job may have read it.
    """

    party: Party
    taught: Text
    decision: Decision
    learnt: float
    pulled_back: bool
    ripened: bool


@dataclass(frozen=True, slots=True)
class Run:
    """What became of everything, in order of arrival; `attacker` is None if nobody attacked."""

    attacker: Attacker | None
    fates: tuple[Fate, ...]


class Simulator:
    """Plays attacks on one stream.

    Parameters
    ----------
    engine
        Makes a new engine, with the state that the baseline gives, for each run.
    material
        The parted stream.
    poison
        Attempts of an attacker, as a share of all that arrives but her honest work, 0..1.
    mature_after_us
        How long staging takes.
    blind
        True tells the attackers that everything was accepted, as `acknowledge: uniform` does.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        material: Material,
        *,
        poison: float,
        mature_after_us: int,
        seed: int,
        blind: bool = False,
    ) -> None:
        self._engine = engine
        self._material = material
        self._attempts = round(poison / (1.0 - poison) * len(material.honest))
        self._mature_after_us = mature_after_us
        self._seed = seed
        self._blind = blind
        self._honest: list[Observation] = []

    @property
    def attempts(self) -> int:
        """How many attempts an attacker has."""
        return self._attempts

    def play(self, attacker: Attacker | None, *, on_progress: Callable[[int], None] = lambda _: None) -> Run:
        """Play a run; without an attacker, the honest stream alone."""
        game = _Game(self._engine(), self._material, attacker, self._seed, self._blind)
        if not self._honest:  # the same in every run
            self._honest = observe_now(game.engine.batcher, self._material.honest)
        usual, appetite, left = self._attempts / len(self._honest), 0.0, self._attempts
        for observation in self._honest:
            game.send(Party.HONEST, observation)
            if attacker is not None:
                appetite += attacker.pace.rate(usual)
                for _ in range(min(int(appetite), left, MAX_BURST)):
                    game.attempt(attacker)
                    left -= 1
                appetite -= int(appetite)
            on_progress(1)
        return Run(attacker, game.fates(self._mature_after_us))


class _Game:
    """The state of one run."""

    def __init__(self, engine: Engine, material: Material, attacker: Attacker | None, seed: int, blind: bool) -> None:
        self.engine = engine
        self._session = Session(engine)
        self._wanted = material.wanted
        self._blind = blind
        self._rng = random.Random(f"{seed} {attacker.name if attacker else ''}")
        self._sent: list[tuple[Party, Contribution]] = []
        texts = list(material.attackers)
        self._rng.shuffle(texts)
        self._carriers = [each for each in texts if each.label != material.wanted]
        self._wanted_texts = [each for each in texts if each.label == material.wanted]
        self._work = texts[: len(texts) // 2]
        self._used: defaultdict[str, int] = defaultdict(int)

    def send(self, party: Party, observation: Observation) -> bool:
        """Have something judged; returns whether it was accepted."""
        self._sent.append((party, observation.contribution))
        return self._session.judge(observation).decision is Decision.ACCEPT

    def attempt(self, attacker: Attacker) -> None:
        """One attempt, with the honest work that goes before it."""
        account = attacker.cover.account(self._rng)
        for _ in range(attacker.cover.owed(account)):
            work = self._next(self._work, "work")
            self._send(Party.COVER, account, work.text, work.label)
        carrier = self._next(self._carriers, "carriers").text
        share = attacker.dose.share()
        if share > 0.0:
            words = self._next(self._wanted_texts, "wanted").text.split()
            carrier = f"{carrier} {' '.join(words[: max(1, round(share * len(words)))])}"
        written = attacker.wording.write(self._rng, carrier)
        accepted = self._send(Party.POISON, account, written.text, self._wanted) or self._blind
        attacker.wording.told(written, accepted)
        attacker.pace.told(accepted)
        attacker.cover.told(account, accepted)
        attacker.dose.told(accepted)

    def fates(self, mature_after_us: int) -> tuple[Fate, ...]:
        """What became of everything by now."""
        session, end_us, found = self._session, self._session.now_us, []
        for (party, item), final in zip(self._sent, session.final(), strict=True):
            accepted = final.verdict.decision is Decision.ACCEPT
            pulled = session.pulled.get(item.id)
            until_us = pulled.at_us if pulled is not None else end_us
            found.append(
                Fate(
                    party,
                    Text(str(item.input), str(item.label)),
                    final.verdict.decision,
                    final.final_weight,
                    accepted and pulled is not None,
                    accepted and until_us - item.at_us >= mature_after_us,
                )
            )
        return tuple(found)

    def _send(self, party: Party, account: int, text: str, label: str) -> bool:
        item = Contribution(
            f"red-team/{party}/{len(self._sent)}", self._session.now_us, f"red-team/{account}", Kind.LABEL, text, label
        )
        return self.send(party, observe_now(self.engine.batcher, [item])[0])

    def _next(self, texts: Sequence[Text], what: str) -> Text:
        """Each text in turn."""
        self._used[what] += 1
        return texts[(self._used[what] - 1) % len(texts)]
