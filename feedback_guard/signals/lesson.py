"""What a contribution teaches, and how the trusted set would weigh it: the raw material of evidence.

A single contribution that contradicts its content proves little: honest people err, and so does the model that reads
the content. Evidence adds up what many contributions with something in common teach, and for that needs numbers that
multiply: calibrated chances and likelihood ratios, rather than p-values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled
from feedback_guard.contribution import Kind

Floats = NDArray[np.float64]

TEMPERATURES = np.geomspace(0.3, 8.0, 24)
"""Candidates by which log-odds are divided, so that stated chances become true ones."""
NOISES = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15)
"""Candidates for the share of trusted contributions that teach anything, whatever the content."""
PLAUSIBLE = 1.92
"""By how much less likely, as a logarithm, a scale may make the trusted set than the likeliest one does: those within
are the 95 % confidence region of one parameter (Wilks 1938). That is so of the smallest trusted sets; the larger one
is, the less has to be given away, and nothing from `ENOUGH` on."""
ENOUGH = 1_000
"""Trusted contributions from which the likeliest scale is taken as it is."""
LEAST_CHANCE = 0.02
"""A chance below this is not believed: no contribution weighs more than 49 to 1."""
MAX_LOG_RATIO = 4.5
"""Most that one contribution may weigh, as a logarithm."""
CLASSES: Final = 1 << 20
"""Room for the classes of one kind of contributions, in `NUMBERED`."""
NUMBERED: Final[Mapping[Kind, int]] = {
    kind: place * CLASSES for place, kind in enumerate(sorted(Kind, key=lambda each: each is not Kind.LABEL))
}
"""What the classes of each kind of contributions are numbered from, among those of all kinds: the first label and the
first direction of a vote are two classes."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one contribution teaches, as the trusted set reads it.

    Parameters
    ----------
    taught
        Name of what is taught: one that the trusted set knows, so it repeats nothing that only a user wrote.
    which
        Its number among the classes that the trusted set knows; -1 where free text is taught.
    log_ratio
        Logarithm of how much likelier this contribution is from somebody who contradicts the content than from an
        honest one: positive when it contradicts, within `MAX_LOG_RATIO`.
    shares
        Calibrated chance of each class, given the content, shape (n_classes,); None where nobody chooses among
        classes: a preference always teaches that the first answer is better.
    comparable
        Whether contradictions can be compared across topics. For free text they cannot: some sorts of prompt have
        answers that resemble neither the prompt nor other answers, whoever writes them.
    kind
        Kind of contributions whose classes these are.
    n_known
        How many trusted contributions of this kind there were to learn the classes from.
    """

    taught: str
    which: int
    log_ratio: float
    shares: Floats | None
    comparable: bool
    kind: Kind = Kind.LABEL
    n_known: int = ENOUGH

    @property
    def n_classes(self) -> int:
        """How many classes there are to choose from; two where nobody chooses: what is taught, and the contrary."""
        return 2 if self.shares is None else len(self.shares)

    @property
    def number(self) -> int:
        """Number of what is taught among the classes of all kinds."""
        return self.which + NUMBERED[self.kind]


@dataclass(frozen=True, slots=True)
class Scale:
    """How the log-odds of a classifier become chances that hold on the trusted set.

    Parameters
    ----------
    temperature
        What log-odds are divided by.
    noise
        Share of trusted contributions that teach anything, whatever the content, 0..1.

    References
    ----------
    Guo, C. et al. (2017). On calibration of modern neural networks. ICML (temperature scaling).
    """

    temperature: float
    noise: float

    @classmethod
    def fit(cls, chances: Floats, n_classes: int) -> Scale:
        """Choose what makes the trusted set likeliest; of a small one, the mildest of what is nearly as likely.

        Few contributions leave open how sure one may be of the classifier, and evidence multiplies what is too sure.

        Parameters
        ----------
        chances
            Cross-fitted chance of what each trusted contribution teaches, at each of `TEMPERATURES`: shape
            (n, len(TEMPERATURES)).
        n_classes
            How many classes there are.
        """
        found = np.array([np.log((1.0 - noise) * chances + noise / n_classes).sum(axis=0) for noise in NOISES])
        doubt = PLAUSIBLE * max(0.0, 1.0 - len(chances) / ENOUGH)
        plausible = np.argwhere(found >= found.max() - doubt)
        # The mildest of them, by what it says of a contribution that the classifier is surest of.
        noise, i = max(plausible.tolist(), key=lambda at: (at[1], at[0]))
        return cls(float(TEMPERATURES[i]), NOISES[noise])

    def shares(self, logits: Floats) -> Floats:
        """Chance of each class, shape (n_classes,), from log-odds of that shape."""
        return _shares(logits, self.temperature, self.noise)


CERTAIN: Final = Scale(1.0, 0.0)
"""Takes the classifier at its word."""


@compiled("float64[::1](float64[::1], float64, float64)")
def _shares(logits: Floats, temperature: float, noise: float) -> Floats:
    top, total = -np.inf, 0.0
    for logit in logits:
        top = max(top, logit)
    shares = np.empty(len(logits))
    for i in range(len(logits)):
        shares[i] = math.exp(logits[i] / temperature - top / temperature)
        total += shares[i]
    for i in range(len(logits)):
        shares[i] = (1.0 - noise) * shares[i] / total + noise / len(shares)
    return shares


def two_way_log_ratio(chance: float) -> float:
    """`Lesson.log_ratio` where there are two classes: whoever contradicts teaches the other one.

    Examples
    --------
    >>> round(two_way_log_ratio(0.25), 2)
    1.1
    """
    chance = min(1.0 - LEAST_CHANCE, max(LEAST_CHANCE, chance))
    return math.log((1.0 - chance) / chance)


def steepness(p_values: Floats) -> float:
    """How p-values of contradictions are distributed, as the exponent k of the density k p^(k-1), 0.05..1.

    Parameters
    ----------
    p_values
        Of trusted contents that were given a wrong lesson. 1 says that contradictions cannot be told from honesty.
    """
    return float(min(1.0, max(0.05, 1.0 / max(1e-9, float(-np.log(p_values).mean())))))


def p_log_ratio(p_value: float, k: float) -> float:
    """`Lesson.log_ratio` from a conformal p-value: its mean over honest contributions is at most 1.

    References
    ----------
    Vovk, V., Wang, R. (2021). E-values: calibration, combination and applications. Annals of Statistics 49.
    """
    return max(-MAX_LOG_RATIO, min(MAX_LOG_RATIO, math.log(k) + (k - 1.0) * math.log(p_value)))


def chances_at_temperatures(logits: Floats, which: int) -> Floats:
    """Chance of a class at each of `TEMPERATURES`, from log-odds of shape (n_classes,)."""
    scaled = logits[None, :] / TEMPERATURES[:, None]
    odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(odds[:, which] / odds.sum(axis=1), dtype=np.float64)
