"""What the middleware adds to requests that carry no contribution, by what it has to look at to know that.

CPU time, user and system, of this process, without sockets: the same scopes and bodies through the application alone,
through a middleware that does nothing, and through the guard. Rounds are interleaved; the median is shown.
`benchmarks.adding` measures the same over sockets, with the gateway and with requests that carry a contribution.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.fronts import application, no_op
from feedback_guard import FeedbackGuardMiddleware, Guard
from feedback_guard.middleware.interface import ASGIApp, Message, Scope
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


async def run(*, n: int, rounds: int) -> dict[str, Any]:
    """Medians by case and by what stands in front of the application."""
    policy = Policy.model_validate({"routes": ROUTES, "baseline": {"path": "none"}})
    apps: dict[str, ASGIApp] = {
        "alone": application,
        "no-op": no_op(application),
        "guarded": FeedbackGuardMiddleware(application, guard=Guard.from_policy(policy)),
    }
    found: dict[str, dict[str, list[float]]] = {case.name: {name: [] for name in apps} for case in CASES}
    for _ in range(rounds):
        for case in CASES:
            for name, app in apps.items():
                found[case.name][name].append(await cost_us(app, case, n))
    return {
        "passing": {
            case: {name: statistics.median(values) for name, values in by_front.items()}
            for case, by_front in found.items()
        }
    }


def show(results: dict[str, Any], console: Console) -> None:
    """Print what each adds to the application alone."""
    table = Table("CPU in µs, without sockets", "app alone", "no-op middleware adds", "middleware adds", box=None)
    for case, cost in results["passing"].items():
        alone = cost["alone"]
        table.add_row(case, f"{alone:.1f}", f"{cost['no-op'] - alone:.1f}", f"{cost['guarded'] - alone:.1f}")
    console.print(table)
