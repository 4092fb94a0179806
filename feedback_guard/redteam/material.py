"""An honest stream, parted: what arrives, what the attackers have of it and write with, and what is asked later."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from feedback_guard.clock import MICROSECONDS
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import UsageError

ATTACKERS_SHARE: Final = 0.25
"""Share of the stream that the attackers write with; it does not arrive otherwise."""
EXAM_SHARE: Final = 0.15
"""Share of the stream that the models are asked about in the end; it does not arrive either."""
LEAST: Final = 200
"""Fewest labelled contributions of a stream and of a trusted set."""
MAX_EXAM: Final = 600
"""Most texts that a model is asked about."""
DAY_US: Final = 86_400 * MICROSECONDS


@dataclass(frozen=True, slots=True)
class Text:
    """An honest text with its label."""

    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Material:
    """What a run is made of.

    Parameters
    ----------
    trusted
        The trusted set's texts, for the models that are trained in the end.
    honest
        What honest contributors send, in order of time.
    attackers
        Texts that the attackers have.
    exam
        Texts that the models are asked about.
    wanted
        The label that the attackers want to hear.
    """

    trusted: tuple[Text, ...]
    honest: tuple[Contribution, ...]
    attackers: tuple[Text, ...]
    exam: tuple[Text, ...]
    wanted: str


def part(
    trusted: Sequence[Contribution], stream: Sequence[Contribution], *, seed: int, days: float | None = None
) -> Material:
    """Part a stream; the same seed gives the same parts.

    Parameters
    ----------
    trusted
        Vetted contributions.
    stream
        Honest contributions in order of arrival. Only those of the kind `label` are used.
    days
        Days that the stream is spread over evenly; None leaves its own times.

    Raises
    ------
    UsageError
        If there is too little to attack.
    """
    known = tuple(Text(str(each.input), str(each.label)) for each in trusted if each.kind is Kind.LABEL)
    labelled = [each for each in stream if each.kind is Kind.LABEL]
    for what, n in (("trusted set", len(known)), ("stream", len(labelled))):
        if n < LEAST:
            raise UsageError(
                f"the {what} has {n} contributions of the kind `label`; the red team teaches labels and needs {LEAST}"
            )
    rng = random.Random(seed)
    lots = list(range(len(labelled)))
    rng.shuffle(lots)
    n_attackers, n_exam = int(ATTACKERS_SHARE * len(lots)), min(MAX_EXAM, int(EXAM_SHARE * len(lots)))
    taken, asked = lots[:n_attackers], lots[n_attackers : n_attackers + n_exam]
    rest = sorted(lots[n_attackers + n_exam :])
    honest = [labelled[at] for at in rest]
    if days is not None:
        step = days * DAY_US / len(honest)
        honest = [replace(each, at_us=honest[0].at_us + round(n * step)) for n, each in enumerate(honest)]
    attackers = tuple(Text(str(labelled[at].input), str(labelled[at].label)) for at in taken)
    exam = tuple(Text(str(labelled[at].input), str(labelled[at].label)) for at in asked)
    return Material(known, tuple(honest), attackers, exam, _wanted(rng, known, attackers))


def _wanted(rng: random.Random, trusted: Sequence[Text], attackers: Sequence[Text]) -> str:
    """A label that the trusted set knows well enough, and the attackers have a text of."""
    counts, own = Counter(each.label for each in trusted), {each.label for each in attackers}
    if len(counts) < 2:
        raise UsageError("the trusted set has one label only; nothing else can be taught than what it says")
    usual = sorted(counts.values())[len(counts) // 2]
    able = [label for label, n in sorted(counts.items()) if n >= usual and label in own]
    if not able or len(own) < 2:
        raise UsageError("the labels of the stream are not those of the trusted set; give two files that go together")
    return rng.choice(able)
