"""A small chat service behind the guard, on a real socket: it serves, whole and streamed, and takes feedback."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feedback_guard.clock import ManualClock
from feedback_guard.guard import Guard
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.receipts.keys import ReceiptKeys
from feedback_guard.receipts.signer import ReceiptSigner
from tests.guards import START_US, make_guard
from tests.serving import Answer, Serving

KEY = bytes(range(32))
IDENTITY = {"header": {"header": "X-User", "hops": ["127.0.0.1"]}, "network_group": False}
RATE: dict[str, Any] = {
    "name": "rate",
    "path": "/rate",
    "extract": "{kind: 'rating', input: question, output: answer, rating: stars, interaction: about, model: model}",
    "receipt": {},
}
SERVING: list[dict[str, Any]] = [
    {"name": "ask", "path": "/ask", "output": "answer", "interaction": "id", "model": "m-1"},
    {"name": "stream", "path": "/stream", "read": "text", "digest": "store"},
    {"name": "events", "path": "/events", "read": "events", "digest": "store", "output": "choices[0].delta.content"},
    {"name": "small", "path": "/small", "output": "answer", "max_bytes": 16},
]
ANSWER = "Your card is on its way.\r\nIt takes five days."


class Chat:
    """Serves the same answer in several ways, and keeps the feedback that reaches it."""

    def __init__(self) -> None:
        self.feedback: list[bytes] = []
        self.served: list[Mapping[str, Any]] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 200
        self.number = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        body = (await receive()).get("body", b"")
        path = scope["path"]
        if path == "/rate":
            self.feedback.append(body)
            await self.answer(send, b"thanks")
            return
        self.served.append(scope)
        self.number += 1
        document = json.dumps({"id": f"chat-{self.number}", "answer": ANSWER}).encode()
        pieces = {"/stream": [ANSWER[:25].encode(), ANSWER[25:].encode(), b""], "/events": events()}
        await self.answer(send, *pieces.get(path, [document[:9], document[9:]]))

    async def answer(self, send: Any, *pieces: bytes) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for place, piece in enumerate(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": place < len(pieces) - 1})


def events() -> list[bytes]:
    """The answer as server-sent events, cut at inconvenient places."""
    texts = [ANSWER[:7], ANSWER[7:25], ANSWER[25:]]
    documents = [{"choices": [{"delta": {"content": text}}]} for text in texts] + [{"choices": [{"delta": {}}]}]
    whole = b": hello\r\n\r\n" + b"".join(b"data: %s\r\n\r\n" % json.dumps(doc).encode() for doc in documents)
    whole += b"data: [DONE]\n\n"
    return [whole[:13], whole[13:60], whole[60:61], whole[61:140], whole[140:]]


class Host:
    """The service behind a guard; use it as a context."""

    def __init__(self, folder: Path, database: Path, *, receipt: Mapping[str, Any] | None = None, **changes: Any):
        self.app = Chat()
        self.clock = ManualClock(START_US)
        route = {**RATE, "receipt": dict(receipt or {}), **changes.pop("route", {})}
        parts: dict[str, Any] = {
            "routes": [route],
            "identity": IDENTITY,
            "signals": {"false_hold_rate": 1e-6},
            "store": {"url": f"sqlite:///{database}"},
            "receipts": {"keys": {"env": "RECEIPT_KEYS"}, "lifetime": "1h", "serving": SERVING},
        }
        self.guard: Guard = make_guard(folder, self.clock, **parts | changes)
        self.serving = Serving(FeedbackGuardMiddleware(self.app, guard=self.guard))

    def __enter__(self) -> Host:
        self.serving.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.serving.__exit__(None, None, None)

    def ask(self, path: str = "/ask", user: str | None = "ada", **headers: str) -> Answer:
        named = {"X-User": user} if user else {}
        return self.serving.post(path, {"question": "where is my card?"}, {**named, **headers})

    def rate(
        self, receipt: str | None, user: str = "ada", *, headers: Mapping[str, str] | None = None, **changes: Any
    ) -> Answer:
        fields = {"X-User": user, **(headers or {})}
        if receipt is not None:
            fields["Feedback-Receipt"] = receipt
        body = {"question": "where is my card?", "answer": ANSWER, "stars": 1.0, **changes}
        return self.serving.post("/rate", body, fields)

    def sign(self, **changes: Any) -> str:
        parts: dict[str, Any] = {"interaction": "chat-x", "contributor": "ada", "output": ANSWER}
        return ReceiptSigner(ReceiptKeys([KEY]), lifetime_us=3_600_000_000, clock=self.clock).sign(**parts | changes)

    def learning(self) -> list[str]:
        """The states of all contributions, oldest first."""
        with self.guard.store.reading() as connection:
            rows = connection.exec_driver_sql(
                "SELECT c.learning FROM contribution c JOIN ledger l ON l.subject = c.id WHERE l.kind = 'judged' "
                "ORDER BY l.seq"
            ).all()
        return [str(row[0]) for row in rows]

    def counted(self, route: str, outcome: str) -> int:
        """How often an outcome of receipts was counted."""
        wanted = f'feedback_guard_receipts_total{{outcome="{outcome}",route="{route}"}} '
        page = self.guard.metrics.render()[0].decode()
        return sum(int(float(line.removeprefix(wanted))) for line in page.splitlines() if line.startswith(wanted))


def lines(*keys: bytes) -> str:
    """Keys as the environment holds them."""
    return "\n".join(base64.b64encode(key).decode() for key in keys)
