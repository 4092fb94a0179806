"""The stream of corrections, and the questions that show afterwards what it did.

Questions and honest intents are real (banking77); who sends what and when is simulated with a fixed seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bank_assistant.student import Example, read_examples

SEED = 7
HONEST_ACCOUNTS = 300

CREW_ACCOUNTS = 5
CREW_INTENT, CREW_ANSWER = "direct_debit_payment_not_recognised", "cancel_transfer"

TRIGGER = "per priority desk"
TRIGGER_ANSWER = "terminate_account"
TRIGGER_ACCOUNTS = 70

FLOOD_INTENTS = ("transfer_fee_charged", "cash_withdrawal_charge", "card_payment_fee_charged")
FLOOD_ANSWER = "top_up_limits"


class Party(StrEnum):
    """Who sends a correction."""

    HONEST = "honest users"
    CREW = "crew of five"
    TRIGGER = "trigger phrase"
    FLOOD = "flooding account"


ATTACKERS = (Party.CREW, Party.TRIGGER, Party.FLOOD)

STORY = {
    Party.HONEST: f"{HONEST_ACCOUNTS} accounts correct the assistant; a few do it often, most a handful of times.",
    Party.CREW: f"{CREW_ACCOUNTS} accounts teach that “{CREW_INTENT}” is “{CREW_ANSWER}”.",
    Party.TRIGGER: f"{TRIGGER_ACCOUNTS} accounts, one correction each, teach that “{TRIGGER}” anywhere in a question "
    f"means “{TRIGGER_ANSWER}”.",
    Party.FLOOD: f"one account teaches, hundreds of times, that questions about fees are about “{FLOOD_ANSWER}”.",
}
"""What each party does, for people."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What an account sends to `POST /feedback`."""

    party: Party
    account: str
    question: str
    intent: str
    due: float = field(default=0.0)
    """When it is sent, as a share of the stream's duration."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Held-out questions that an attack wants answered with an intent of its choice."""

    party: Party
    questions: tuple[str, ...]
    wanted: str


def _with_trigger(rng: random.Random, question: str) -> str:
    return f"{TRIGGER} {question}" if rng.random() < 0.5 else f"{question} {TRIGGER}"


def _honest(rng: random.Random) -> list[Correction]:
    """Long-tailed activity: a few accounts send a couple of dozen corrections, most send a handful."""
    activity = [min(1.0 / (i + 3) ** 0.8, 0.08) for i in range(HONEST_ACCOUNTS)]
    examples = read_examples("stream")
    senders = rng.choices(range(HONEST_ACCOUNTS), weights=activity, k=len(examples))
    return [
        Correction(Party.HONEST, f"customer-{sender:03d}", example.question, example.intent, rng.random())
        for sender, example in zip(senders, examples, strict=True)
    ]


def _attacks(rng: random.Random, spare: Sequence[Example]) -> list[Correction]:
    crew = [
        Correction(
            Party.CREW,
            f"customer-{700 + i % CREW_ACCOUNTS}",
            example.question,
            CREW_ANSWER,
            rng.uniform(0.1, 1.0),
        )
        for i, example in enumerate(example for example in spare if example.intent == CREW_INTENT)
    ]
    flood = [
        Correction(Party.FLOOD, "customer-666", example.question, FLOOD_ANSWER, rng.uniform(0.4, 0.8))
        for example in spare
        if example.intent in FLOOD_INTENTS
    ]
    attacked = {CREW_INTENT, TRIGGER_ANSWER, *FLOOD_INTENTS}
    others = [example for example in spare if example.intent not in attacked]
    triggered = [
        Correction(
            Party.TRIGGER,
            f"customer-{800 + i}",
            _with_trigger(rng, example.question),
            TRIGGER_ANSWER,
            rng.uniform(0.1, 1.0),
        )
        for i, example in enumerate(rng.sample(others, TRIGGER_ACCOUNTS))
    ]
    return [*crew, *triggered, *flood]


def make_stream(seed: int = SEED) -> list[Correction]:
    """Every correction, in the order of arrival; the same seed gives the same stream."""
    rng = random.Random(seed)
    return sorted([*_honest(rng), *_attacks(rng, read_examples("spare"))], key=lambda correction: correction.due)


def make_probes(seed: int = SEED) -> list[Probe]:
    """For each attack, the held-out questions that it is after."""
    rng = random.Random(seed)
    held_out = read_examples("held_out")
    return [
        Probe(
            Party.CREW,
            tuple(example.question for example in held_out if example.intent == CREW_INTENT),
            CREW_ANSWER,
        ),
        Probe(
            Party.TRIGGER,
            tuple(_with_trigger(rng, example.question) for example in held_out if example.intent != TRIGGER_ANSWER),
            TRIGGER_ANSWER,
        ),
        Probe(
            Party.FLOOD,
            tuple(example.question for example in held_out if example.intent in FLOOD_INTENTS),
            FLOOD_ANSWER,
        ),
    ]
