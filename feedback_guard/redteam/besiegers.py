"""Six ways to try to walk the guard's own state, each aimed at one thing that it remembers."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from feedback_guard.redteam.material import Text
from feedback_guard.redteam.wordings import insert, new_words

ACCOUNTS: Final = 40
"""Accounts of each besieger."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What an account sends."""

    account: str
    text: str
    label: str


class Besieger(ABC):
    """Sends contributions that are to change what the guard takes to be normal.

    Parameters
    ----------
    texts
        Honest texts to write with.
    wanted
        The label that poison will teach.
    trigger
        The trigger that poison will use in the end.
    """

    name: ClassVar[str]

    def __init__(self, texts: Sequence[Text], wanted: str, trigger: str, seed: int) -> None:
        self.rng = random.Random(f"{seed} {self.name}")
        self.texts, self.wanted, self.trigger = texts, wanted, trigger
        self.n = 0

    @abstractmethod
    def write(self, day: int, today: Sequence[Sent]) -> tuple[str, str]:
        """A text and its label.

        Parameters
        ----------
        day
            From 0.
        today
            What honest contributors send today; feedback is often public.
        """

    def send(self, day: int, today: Sequence[Sent]) -> Sent:
        """The next contribution, by the next account."""
        text, label = self.write(day, today)
        self.n += 1
        return Sent(f"{self.name}-{self.n % ACCOUNTS}", text, label)

    def next(self) -> Text:
        """An honest text, at random."""
        return self.rng.choice(self.texts)


class Odd(Besieger):
    """Aims at the online forest: rightly labelled texts that grow longer and odder day by day."""

    name: ClassVar[str] = "odd"

    def write(self, day: int, today: Sequence[Sent]) -> tuple[str, str]:  # noqa: ARG002
        """Pad a text with a little more than yesterday."""
        text = self.next()
        padding = " ".join(self.rng.choice(("!!", "OK OK", "1234", "so so", "...", "&&")) for _ in range(day // 2))
        return f"{text.text} {padding}".strip(), text.label


class Copies(Besieger):
    """Aims at the memory of near-duplicates: what honest people wrote today comes again from strangers."""

    name: ClassVar[str] = "copies"

    def write(self, day: int, today: Sequence[Sent]) -> tuple[str, str]:  # noqa: ARG002
        """Copy one, in half of the cases with the wrong label."""
        victim = self.rng.choice(today)
        return victim.text, victim.label if self.rng.random() < 0.5 else self.wanted


class Primer(Besieger):
    """Aims at the evidence on a trigger: uses it honestly for as long as it takes."""

    name: ClassVar[str] = "primer"

    def write(self, day: int, today: Sequence[Sent]) -> tuple[str, str]:  # noqa: ARG002
        """Put the trigger into a text that is rightly labelled."""
        text = self.next()
        return insert(self.rng, text.text, self.trigger), text.label


class Facets(Besieger):
    """Aims at the number of facets: new words, each in just enough texts to be looked at."""

    name: ClassVar[str] = "facets"
    EACH: ClassVar[int] = 6

    def __init__(self, texts: Sequence[Text], wanted: str, trigger: str, seed: int) -> None:
        super().__init__(texts, wanted, trigger, seed)
        self._new = new_words(random.Random(seed + 17))
        self._words: list[str] = []

    def write(self, day: int, today: Sequence[Sent]) -> tuple[str, str]:  # noqa: ARG002
        """Put five new words into a text that is rightly labelled."""
        if self.n % self.EACH == 0:
            self._words = [next(self._new) for _ in range(5)]
        text = self.next()
        said = text.text
        for word in self._words:
            said = insert(self.rng, said, word)
        return said, text.label


class Liars(Besieger):
    """Aims at evidence that wears out: plain poison, every day with another trigger."""

    name: ClassVar[str] = "liars"

    def write(self, day: int, today: Sequence[Sent]) -> tuple[str, str]:  # noqa: ARG002
        """Teach the wanted label, with the day's trigger."""
        carrier = self.next()
        return insert(self.rng, carrier.text, f"daily{day}"), self.wanted


class Flippers(Besieger):
    """Aims at whatever reads content and learns from what was accepted: the wanted label, without any trigger."""

    name: ClassVar[str] = "flippers"

    def write(self, day: int, today: Sequence[Sent]) -> tuple[str, str]:  # noqa: ARG002
        """Teach the wanted label of any text."""
        return self.next().text, self.wanted


BESIEGERS: Final[tuple[type[Besieger], ...]] = (Odd, Copies, Primer, Facets, Liars, Flippers)
