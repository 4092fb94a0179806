"""Sending the stream, and asking the questions, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import httpx2

from attack_demo.servers import DemoError
from attack_demo.stream import Correction
from bank_assistant.accounts import issue_token

CLIENTS = 24
"""Clients that send at the same time."""
QUESTIONS = 200
"""Questions in one request."""
TIMEOUT_SECONDS = 60.0


class Fate(StrEnum):
    """What an assistant answered to a correction."""

    ACCEPTED = "accepted"
    HELD = "held"
    LIMITED = "limited"


_FATES = {201: Fate.ACCEPTED, 202: Fate.HELD, 429: Fate.LIMITED}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A correction, what became of it, and how much of it the assistant will learn (0..1)."""

    correction: Correction
    fate: Fate
    weight: float


async def send(address: str, stream: Sequence[Correction], advance: Callable[[], None]) -> list[Outcome]:
    """Send the whole stream in its order, with at most `CLIENTS` requests under way.

    Raises
    ------
    DemoError
        If the assistant answers anything that the demo does not expect.
    """
    outcomes: list[Outcome] = []
    async with httpx2.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS) as client:

        async def work(corrections: Iterator[Correction]) -> None:
            for correction in corrections:
                outcomes.append(await _send_one(client, correction))
                advance()

        queue = iter(stream)
        await asyncio.gather(*(work(queue) for _ in range(CLIENTS)))
    return outcomes


async def _send_one(client: httpx2.AsyncClient, correction: Correction) -> Outcome:
    response = await client.post(
        "/feedback",
        json={"question": correction.question, "intent": correction.intent},
        headers={"authorization": f"Bearer {issue_token(correction.account)}"},
    )
    fate = _FATES.get(response.status_code)
    if fate is None:
        raise DemoError(f"POST /feedback at {client.base_url} answered {response.status_code}: {response.text[:500]}")
    weight = float(response.json()["weight"]) if fate is Fate.ACCEPTED else 0.0
    return Outcome(correction, fate, weight)


async def retrain(address: str) -> None:
    """Let the assistant learn from everything that it has stored."""
    async with httpx2.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS) as client:
        (await client.post("/retrain")).raise_for_status()


async def ask(address: str, questions: Sequence[str]) -> list[str]:
    """The intents that the assistant answers, one for each question."""
    intents: list[str] = []
    async with httpx2.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS) as client:
        for start in range(0, len(questions), QUESTIONS):
            response = await client.post("/ask", json={"questions": questions[start : start + QUESTIONS]})
            intents += [answer["intent"] for answer in response.raise_for_status().json()]
    return intents
