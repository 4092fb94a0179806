"""What the middleware adds to a request that carries no contribution, beside a middleware that does nothing.

Usage: python -m benchmarks.passing [--requests N] [--rounds N]

CPU time of this process, without sockets: the same scopes and bodies through the application alone, through an empty
middleware, and through the guard. Rounds are interleaved; the median is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from feedback_guard import FeedbackGuardMiddleware, Guard
from feedback_guard.middleware.interface import ASGIApp, Message, Receive, Scope, Send
from feedback_guard.policy.schema import Policy

EXTRACT = "{kind: 'label', input: input, label: label}"
ROUTES: list[dict[str, Any]] = [
    {"name": "early", "path": "/early", "when": "query('kind') == 'feedback'", "extract": EXTRACT},
    {"name": "late", "path": "/late", "when": "kind == 'feedback'", "extract": EXTRACT},
    {"name": "maybe", "path": "/maybe", "extract": "feedback && " + EXTRACT, "require_contribution": False},
    {"name": "form", "path": "/form", "accepts": ["urlencoded"], "when": "kind == 'feedback'", "extract": EXTRACT},
    {"name": "item", "path": "/items/{item}/rating", "extract": EXTRACT},
]
TEXT = "where is my card? " * 10
BODY = json.dumps({"kind": "inference", "data": [TEXT], "session": "5b1f"}).encode()
FORM = b"kind=inference&session=5b1f&data=" + TEXT.replace(" ", "+").replace("?", "%3F").encode()
JSON_TYPE, FORM_TYPE = b"application/json", b"application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Case:
    """A request, by what the guard has to do about it."""

    name: str
    path: str
    body: bytes = BODY
    media: bytes = JSON_TYPE
    query: bytes = b""


CASES = [
    Case("another path", "/predict"),
    Case("`when` on the query", "/early", query=b"kind=inference"),
    Case("`when` on a JSON body", "/late"),
    Case("JSON body, nothing found", "/maybe"),
    Case("`when` on a form", "/form", FORM, FORM_TYPE),
]


async def application(_: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and answers."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def empty(app: ASGIApp) -> ASGIApp:
    """A middleware that does nothing."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return middleware


async def cost_us(app: ASGIApp, case: Case, n: int) -> float:
    """CPU microseconds of one request, over so many."""
    headers = [
        (b"host", b"127.0.0.1"),
        (b"user-agent", b"bench"),
        (b"accept", b"*/*"),
        (b"content-type", case.media),
        (b"content-length", str(len(case.body)).encode()),
    ]
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    began = time.process_time()
    for _ in range(n):
        sent.clear()
        pending = [{"type": "http.request", "body": case.body, "more_body": False}]

        async def receive(pending: list[dict[str, Any]] = pending) -> Message:
            return pending.pop() if pending else {"type": "http.disconnect"}

        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": case.path,
            "raw_path": case.path.encode(),
            "query_string": case.query,
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        await app(scope, receive, send)
    spent = time.process_time() - began
    if sent[0].get("status") != 200:
        raise RuntimeError(f"{case.name}: answered {sent[0]}")
    return spent / n * 1e6


async def run(n: int, rounds: int) -> dict[str, dict[str, float]]:
    """Medians by case and by what stands in front of the application."""
    policy = Policy.model_validate({"routes": ROUTES, "baseline": {"path": "none"}})
    fronts: dict[str, Callable[[], ASGIApp]] = {
        "alone": lambda: application,
        "empty": lambda: empty(application),
        "guarded": lambda: FeedbackGuardMiddleware(application, guard=Guard.from_policy(policy)),
    }
    apps = {name: make() for name, make in fronts.items()}
    found: dict[str, dict[str, list[float]]] = {case.name: {name: [] for name in apps} for case in CASES}
    for _ in range(rounds):
        for case in CASES:
            for name, app in apps.items():
                found[case.name][name].append(await cost_us(app, case, n))
    return {
        case: {name: statistics.median(values) for name, values in by_front.items()} for case, by_front in found.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5_000, help="requests for each figure")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved repetitions; medians are shown")
    args = parser.parse_args()
    table = Table("request without a contribution", "app alone µs", "empty middleware adds", "guard adds", box=None)
    for case, cost in asyncio.run(run(args.requests, args.rounds)).items():
        alone = cost["alone"]
        table.add_row(case, f"{alone:.1f}", f"{cost['empty'] - alone:.1f}", f"{cost['guarded'] - alone:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
