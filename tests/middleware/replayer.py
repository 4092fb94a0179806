"""A worker of its own that replays what is approved; its arguments are URL EFFECTS ENDING [MARKS].

Store, claims, dispatcher and recorder are the real ones; the application writes each effect to a file before it
answers. ENDING is where the worker ends itself, one of `POINTS`, or stops itself (`stop` and a point), or `none`. Marks
are `idempotent`, `short` (a claim must be used at once, until the worker was stopped), the URL of an upstream, for the
worker of a gateway, and the routes that it serves, all of them by default. It ends when nothing is approved any more.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feedback_guard.gateway.forwarding import Forwarder
from feedback_guard.gateway.proxy import Proxy
from feedback_guard.gateway.upstream import Upstream
from feedback_guard.gateway.wires import Patience, Wires
from feedback_guard.guard import Guard
from feedback_guard.middleware import dispatch
from feedback_guard.middleware.credentials import Credentials
from feedback_guard.middleware.dispatch import Dispatcher
from feedback_guard.middleware.entry import Entry
from feedback_guard.middleware.outcome import Recorder
from feedback_guard.middleware.tasks import OwnedTasks, wait_for_event
from feedback_guard.policy.schema import Policy
from feedback_guard.store.records import Claim
from feedback_guard.store.states import Delivery
from tests.faults.points import OF_THE_WIRE, Ending
from tests.patience import PATIENCE_SECONDS

_BEFORE = ("before the claim", "in the claim", "after the claim", "before the call")
_AFTER = ("after the answer", "before the record", "in the record", "after the record")
POINTS = {
    "middleware": (*_BEFORE, "before the effect", "after the effect", *_AFTER),
    "gateway": (*_BEFORE, *OF_THE_WIRE, *_AFTER),
}
ROUTES = tuple(f"r{number}" for number in range(max(map(len, POINTS.values()))))


def policy(url: str, *, idempotent: bool) -> Policy:
    """A policy with a route for each point, whose retries come at once."""
    routes = [{"name": name, "path": f"/{name}", "extract": "@", "idempotent": idempotent} for name in ROUTES]
    retries = {"first_wait": 0, "longest_wait": 0}
    return Policy.model_validate(
        {"store": {"url": url, "busy_timeout": 30_000_000}, "routes": routes, "replay": retries}
    )


class Worker(Guard):
    """A guard that ends, or stops, at one point."""

    ending = ""

    def reach(self, point: str) -> None:
        """Die here, or stop until somebody says go on."""
        if self.ending == point:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.ending == f"stop {point}":
            self.ending = ""
            print("stopped", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
            dispatch.START_SECONDS = PATIENCE_SECONDS  # type: ignore[misc]

    async def claim_approved(self, routes: Sequence[str], limit: int = 10, *, lease_us: int = 0) -> list[Claim]:
        self.reach("before the claim")

        def claim(tx: Any) -> list[Claim]:
            claims: list[Claim] = tx.claim_approved(
                self.worker, now_us=tx.now_us(), limit=limit, application="a", routes=routes, lease_us=lease_us
            )
            if claims:
                self.reach("in the claim")
            return claims

        claims = await self.store.run(claim)
        if claims:
            self.reach("after the claim")
        return claims

    async def record_delivery(
        self,
        submission_id: str,
        to: Delivery,
        detail: Mapping[str, Any],
        *,
        fence: int = 0,
        again: bool = False,
    ) -> None:
        self.reach("before the record")

        def record(tx: Any) -> None:
            tx.deliver(
                submission_id,
                to,
                now_us=tx.now_us(),
                detail=detail,
                fence=fence,
                retries=self._retries if again else None,
            )
            self.reach("in the record")

        await self.store.run(record)
        self.reach("after the record")


class Proving(Credentials):
    """The last thing before the call."""

    worker: Worker

    async def prove(self, *args: Any, **options: Any) -> Any:
        made = await super().prove(*args, **options)
        self.worker.reach("before the call")
        return made


def effect(effects: Path, body: str, key: str, *, idempotent: bool) -> None:
    """Do what is asked, which is on the disk afterwards; an idempotent application knows what it has done."""
    line = f"{body} {key}" if idempotent else body
    with effects.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if not idempotent or line not in file.read().splitlines():
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def proxy(worker: Worker, url: str) -> Any:
    """What a gateway has in the place of an application."""
    upstream = Upstream.parse(url)

    class Reaching(Ending):
        def reach(self, point: str) -> None:
            worker.reach(point)

    Reaching("").on_the_wire()
    wires = Wires(upstream, Patience(connect_seconds=PATIENCE_SECONDS, read_seconds=PATIENCE_SECONDS))
    forward = Proxy(worker.metrics, wires, Forwarder.of(upstream, worker.policy.identity))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await forward(scope, receive, send)
        worker.reach("after the answer")

    return app


def application(worker: Worker, effects: Path, *, idempotent: bool) -> Any:
    """An application with an effect that is on disk before it answers; it may know a key that it had before."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"].decode()
        key = dict(scope["headers"]).get(b"idempotency-key", b"").decode()
        worker.reach("before the effect")
        effect(effects, body, key, idempotent=idempotent)
        worker.reach("after the effect")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        worker.reach("after the answer")

    return app


async def work(url: str, effects: Path, ending: str, marks: Sequence[str]) -> None:
    idempotent = "idempotent" in marks
    dispatch.START_SECONDS = 0.0 if "short" in marks else PATIENCE_SECONDS  # type: ignore[misc]
    worker = Worker(policy(url, idempotent=idempotent), "sha256:" + "0" * 64)
    worker.ending = ending
    credentials = Proving(worker.policy, {})
    credentials.worker = worker
    tasks = OwnedTasks()
    recorder = Recorder(worker, tasks, wait_for_event)
    upstream = next((mark for mark in marks if mark.startswith("http:")), None)
    app = proxy(worker, upstream) if upstream else application(worker, effects, idempotent=idempotent)
    routes = [mark for mark in marks if mark in ROUTES] or list(ROUTES)
    dispatcher = Dispatcher(
        worker, Entry(app), routes, recorder, credentials, poll_seconds=0.02, deadline_seconds=PATIENCE_SECONDS
    )
    while worker.store.count_by_delivery().get(Delivery.APPROVED):
        dispatcher.start()
        await asyncio.sleep(0.05)
        await dispatcher.stop()
    await tasks.drain(PATIENCE_SECONDS)
    await worker.stop()
    print("drained", flush=True)


def main(arguments: Sequence[str]) -> None:
    url, effects, ending, *marks = arguments
    asyncio.run(work(url, Path(effects), ending, marks))
