"""The application of `benchmarks.uniform`: slow and quick, failing and not, behind a route with uniform answers."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import random
import socket
from pathlib import Path
from typing import Any

import uvicorn

from feedback_guard import FeedbackGuardMiddleware, Guard
from feedback_guard.middleware.answers import Answers, Asked
from feedback_guard.middleware.ending import Ending
from feedback_guard.middleware.replies import Reply
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement

_RANDOM = random.SystemRandom()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Take up to a second, answer this and that, and raise now and then."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
                print("ready", flush=True)
            else:
                await send({"type": "lifespan.shutdown.complete"})
                return
    await receive()
    await asyncio.sleep(min(1.0, _RANDOM.lognormvariate(-3.0, 1.0)))
    if _RANDOM.random() < 0.01:
        raise RuntimeError("the application fails")
    headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"session=1")]
    await send({"type": "http.response.start", "status": _RANDOM.choice([200, 201, 422, 500]), "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * _RANDOM.randint(0, 500)})


def plant_byte() -> None:
    """Let a held answer have one more byte in a header."""
    real = Answers.of

    def of(self: Answers, judgement: Judgement, asked: Asked) -> Reply:
        reply = real(self, judgement, asked)
        if judgement.delivery is not Delivery.HELD:
            return reply
        fields = tuple((name, value + b"1" if name == b"x-api" else value) for name, value in reply.headers)
        return dataclasses.replace(reply, headers=fields)

    Answers.of = of  # type: ignore[method-assign]


def plant_early() -> None:
    """Let a held answer leave one millisecond earlier."""
    real = Ending.judged

    def judged(self: Ending, judgement: Judgement, *args: Any, **named: Any) -> Any:
        if judgement.delivery is Delivery.HELD:
            self._since -= 0.001
        return real(self, judgement, *args, **named)

    Ending.judged = judged  # type: ignore[method-assign]


PLANTS = {"none": lambda: None, "byte": plant_byte, "early": plant_early}


def main() -> None:
    """Serve on the given socket until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--plant", choices=sorted(PLANTS), default="none")
    args = parser.parse_args()
    PLANTS[args.plant]()
    app = FeedbackGuardMiddleware(application, guard=Guard.from_policy(args.policy))
    listener = socket.socket(fileno=os.dup(args.fd))
    uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
