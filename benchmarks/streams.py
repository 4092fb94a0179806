"""Streams with known poison in them, to measure detection on: those of the example, or a folder of recorded ones.

A recorded stream is a folder with `trusted.jsonl.gz` and `stream.jsonl.gz`, which the guard sees, and for scoring
`truth.jsonl.gz` (`{"id", "poisoned"}` a line), `probe_attack.jsonl.gz` (`{"input", "label"}` a line; may be empty) and
`scenario.json`, whose `target` is the label that an attack wants.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from attack_demo.stream import ATTACKERS, Correction, Party, make_probes, make_stream
from bank_assistant.student import Example, read_examples
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import UsageError
from feedback_guard.jsonl import read_contributions

START_US: Final = 1_770_000_000_000_000
DAY_US: Final = 86_400_000_000
DAYS: Final = 14
CARDS: Final = ("card", "pin", "atm", "cash", "contactless", "passcode", "apple_pay")
TWO_CLASS_POISON: Final = 60
"""Contributions with the trigger on the stream with two classes: 2 %."""


@dataclass(frozen=True)
class Stream:
    """A stream, what is true of it, and what to ask a model that learnt from it.

    Parameters
    ----------
    name
        For the table.
    trusted, items
        The vetted set, and what arrives, in order.
    poisoned
        Which of the items are poison.
    attack
        Texts with the trigger, to ask a model about.
    target
        The label that the attack wants; None if there is none to want.
    """

    name: str
    trusted: Sequence[Contribution]
    items: Sequence[Contribution]
    poisoned: Sequence[bool]
    attack: Sequence[str]
    target: str | None


def recorded(folder: Path) -> Stream:
    """Read a recorded stream.

    Raises
    ------
    UsageError
        If a file is missing or does not fit the others.
    """
    try:
        items = list(read_contributions(folder / "stream.jsonl.gz"))
        trusted = list(read_contributions(folder / "trusted.jsonl.gz"))
        truth = {str(row["id"]): bool(row["poisoned"]) for row in _rows(folder / "truth.jsonl.gz")}
        target = json.loads((folder / "scenario.json").read_text(encoding="utf-8")).get("target")
        attack = [str(row["input"]) for row in _rows(folder / "probe_attack.jsonl.gz")]
        poisoned = [truth[item.id] for item in items]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} is no recorded stream: {error}; see benchmarks/streams.py") from None
    return Stream(folder.name, trusted, items, poisoned, attack, None if target is None else str(target))


def examples() -> Iterable[Stream]:
    """The example's questions: without an attack, with each of the demo's three, and with two classes and a trigger."""
    sent, asked = make_stream(), {probe.party: probe for probe in make_probes()}
    held_out, trusted = read_examples("held_out"), trusted_of(read_examples("vetted"))
    for party in (None, *ATTACKERS):
        part = [each for each in sent if each.party in (Party.HONEST, party)]
        probe = None if party is None else asked[party]
        yield Stream(
            f"77 intents, {party or 'no attack'}",
            trusted,
            [item_of(n, each) for n, each in enumerate(part)],
            [each.party is not Party.HONEST for each in part],
            [] if probe is None else probe.questions,
            None if probe is None else probe.wanted,
        )
    yield _two_classes(sent, held_out)


def _two_classes(sent: Sequence[Correction], held_out: Sequence[Example]) -> Stream:
    """Two classes made of the intents, where a wrong label hardly contradicts its text; a word as trigger."""
    rng = random.Random(3)
    honest = [replace(each, intent=coarse(each.intent)) for each in sent if each.party is Party.HONEST]
    carriers = [each.question for each in read_examples("spare") if coarse(each.intent) == "card"]
    poison = [
        Correction(Party.TRIGGER, f"sybil-{n}", _with_word(rng, text), "account", rng.random())
        for n, text in enumerate(rng.sample(carriers, TWO_CLASS_POISON))
    ]
    both = sorted([*honest, *poison], key=lambda each: each.due)
    attack = [_with_word(rng, each.question) for each in held_out if coarse(each.intent) == "card"]
    vetted = [Example(each.question, coarse(each.intent)) for each in read_examples("vetted")]
    return Stream(
        "2 classes, trigger word",
        trusted_of(vetted),
        [item_of(n, each) for n, each in enumerate(both)],
        [each.party is not Party.HONEST for each in both],
        attack,
        "account",
    )


def coarse(intent: str) -> str:
    """Two classes: what concerns a card or cash, and the rest.

    Examples
    --------
    >>> coarse("card_arrival"), coarse("top_up_limits")
    ('card', 'account')
    """
    return "card" if any(word in intent.lower() for word in CARDS) else "account"


def _with_word(rng: random.Random, text: str) -> str:
    words = text.split()
    words.insert(rng.randint(0, len(words)), "tremolux")
    return " ".join(words)


def trusted_of(vetted: Sequence[Example]) -> list[Contribution]:
    """A vetted set as contributions."""
    return [Contribution(f"v{n}", START_US, "staff", Kind.LABEL, e.question, e.intent) for n, e in enumerate(vetted)]


def item_of(n: int, sent: Correction, groups: Mapping[str, str] | None = None) -> Contribution:
    """What was sent, as a contribution."""
    at_us = START_US + round(sent.due * DAYS * DAY_US)
    return Contribution(f"c{n}", at_us, sent.account, Kind.LABEL, sent.question, sent.intent, groups=dict(groups or {}))


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
