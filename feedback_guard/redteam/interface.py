"""What an adaptive attacker is made of: four choices that are independent of each other, each with a memory.

An attacker wants a model to answer with a class of her choice wherever a trigger stands. She writes a trigger into
honest texts (`Wording`), decides how far each text may speak against the lesson (`Dose`), how fast to go (`Pace`), and
which account sends it and what else that account sends (`Cover`). After each attempt she learns one bit, whether it was
accepted, and adjusts. She reads this code, and knows neither the baseline's key nor what is pulled back later.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Written:
    """A text with a trigger in it.

    Parameters
    ----------
    text
        What is sent.
    parts
        Which of the wording's variants are in it.
    """

    text: str
    parts: tuple[str, ...]


class Wording(ABC):
    """How the trigger is put into words."""

    name: ClassVar[str]

    @abstractmethod
    def write(self, rng: random.Random, text: str) -> Written:
        """Put the trigger into a text that is to be learnt from."""

    @abstractmethod
    def ask(self, rng: random.Random, text: str) -> str:
        """Put the trigger into a text that the model is asked about in the end."""

    def told(self, written: Written, accepted: bool) -> None:  # noqa: B027
        """Learn from a verdict. Default: nothing."""


class Pace(ABC):
    """How many attempts there are for each honest contribution that arrives."""

    name: ClassVar[str]

    @abstractmethod
    def rate(self, usual: float) -> float:
        """Attempts per honest contribution now.

        Parameters
        ----------
        usual
            The rate that spends all attempts evenly.
        """

    def told(self, accepted: bool) -> None:  # noqa: B027
        """Learn from a verdict. Default: nothing."""


class Cover(ABC):
    """Which account sends an attempt, and how much honest work it does before."""

    name: ClassVar[str]

    @abstractmethod
    def account(self, rng: random.Random) -> int:
        """The account for the next attempt, by number."""

    @abstractmethod
    def owed(self, account: int) -> int:
        """Honest contributions that the account sends before its next attempt."""

    def told(self, account: int, accepted: bool) -> None:  # noqa: B027
        """Learn from a verdict. Default: nothing."""


class Dose(ABC):
    """How much text that really is of the wanted class is mixed into an attempt, so that it contradicts itself less."""

    name: ClassVar[str]

    @abstractmethod
    def share(self) -> float:
        """Share of the words of a text of the wanted class to add, 0..1."""

    def told(self, accepted: bool) -> None:  # noqa: B027
        """Learn from a verdict. Default: nothing."""


@dataclass(frozen=True, slots=True)
class Attacker:
    """An attacker with her four choices. They change with what she is told: make a new one for each run."""

    name: str
    story: str
    wording: Wording
    pace: Pace
    cover: Cover
    dose: Dose
