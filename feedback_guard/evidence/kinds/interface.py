"""What a kind of facet is: something that contributions can share besides their sender and their phrases.

Evidence is added up over every facet that a contribution has. A kind says which those are; the rest is the same for
all: the contradiction test on each facet, belief at a rate of false campaigns of the kind's own, campaigns, pull-backs.

The null of that test allows that up to 30 % of a facet's honest members contradict their content, since people and the
model that reads the content err. Where members are alike by nature, these errors are not independent: what misreads one
text of a topic misreads others. A kind says how much so (`alike`), as the correlation of errors within a facet, and the
n-th member counts for (1 + (n - 1) alike)^-2 of one. However many there are, they add up to about 1 / alike: as many as
are independent among members with such a correlation (the design effect of samples in clusters, Kish 1965). A
likelihood ratio raised to a power of at most 1 has a mean of at most 1 (Jensen), so the rate of false campaigns holds
as before where members do err independently.

References
----------
Kish, L. (1965). Survey sampling. Wiley.
Wang, R., Ramdas, A. (2022). False discovery rate control with e-values. JRSS B 84, 822-852.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, Self

from feedback_guard.contribution import Kind
from feedback_guard.signals.interface import Observation, State

MAX_SHARED: Final = 32
"""Most facets of one kind that a contribution has; further ones are not looked at."""
FIELDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.LABEL: ("input",),
    Kind.RATING: ("input", "output"),
    Kind.CORRECTION: ("input", "output"),
    Kind.PREFERENCE: ("input", "chosen"),
    Kind.DEMONSTRATION: ("input", "output"),
}
"""Texts whose phrases and habits are looked at: what is asked about, and what is taught."""


class Shared(NamedTuple):
    """A facet of a contribution.

    Parameters
    ----------
    value
        Names it within its kind. Only a keyed number of it is kept, so it may be what a user wrote.
    n_trusted
        Trusted contributions that have it.
    words
        What a moderator reads after the kind's noun. It never repeats contributed text.
    """

    value: str
    n_trusted: int = 0
    words: str = ""


class FacetKind(ABC):
    """A kind of facet. One per file; each passes `feedback_guard.evidence.kinds.checks`.

    It looks once at the trusted set and is frozen then: what the stream brings cannot change which facets a
    contribution has. `of` is called for every contribution, so it takes microseconds rather than milliseconds.
    """

    name: ClassVar[str]
    """In lower-case letters; of campaigns and verdicts."""
    noun: ClassVar[str]
    """What members share, in words: "a region of embedding space"."""
    alike: ClassVar[float] = 0.0
    """Correlation of the errors of two members, 0..1: 0 for what members merely happen to share, as an account; 1 if
    they are one question asked again and again. Measure it on clean data (docs/how-to/facets.md); when in doubt, more.
    """
    by_rarity: ClassVar[bool] = False
    """Whether a facet is the likelier to be planted the rarer it is in the trusted set: for what a sender chooses, such
    as a way of writing, rather than for what a contribution happens to be about. Its e-value then weighs 1 / (1 + n) at
    n trusted contributions."""
    learnt: ClassVar[bool] = False
    """Whether the learner that follows the stream learns how much each facet speaks for each class. For kinds with few
    facets that many contributions have."""

    @classmethod
    @abstractmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        """Look once at the trusted set, and return a frozen state: data, never code."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: State) -> Self:
        """Make the kind from what `fit` returned.

        Raises
        ------
        BaselineError
            If a part is missing.
        """

    @abstractmethod
    def of(self, observation: Observation) -> Sequence[Shared]:
        """The facets of a contribution, each once. Empty where it has none, such as without vectors."""

    def place(self, shared: Sequence[Shared]) -> Shared | None:  # noqa: ARG002 - what a kind that knows would look at
        """Which of a contribution's facets says most narrowly what it is about; None if the kind does not say that.

        Members of a phrase with the same are taken to be misread together (`feedback_guard.evidence.places`).
        """
        return None
