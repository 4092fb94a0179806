"""Receipts in the gateway: an upstream in any language serves, the gateway signs, and asks for what it signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from feedback_guard.gateway.app import Passage, gateway_app
from tests.guards import make_guard
from tests.receipts.chat import ANSWER, IDENTITY, KEY, RATE, SERVING, Chat, lines
from tests.serving import Serving


@pytest.mark.parametrize("path", ["/ask", "/stream", "/events"])
def test_the_gateway_signs_what_the_upstream_serves(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIPT_KEYS", lines(KEY))
    upstream = Chat()
    guard = make_guard(
        tmp_path,
        routes=[RATE],
        identity=IDENTITY,
        signals={"false_hold_rate": 1e-6},
        receipts={"keys": {"env": "RECEIPT_KEYS"}, "serving": SERVING},
    )
    rating = {"question": "where is my card?", "answer": ANSWER, "stars": 1.0}
    with (
        Serving(upstream, lifespan="off") as behind,
        Serving(gateway_app(guard, Passage(behind.url))) as gateway,
    ):
        served = gateway.post(path, {"question": "where is my card?"}, {"X-User": "ada"})
        receipt = served.headers["feedback-receipt"]
        assert receipt is not None
        sent = {"X-User": "ada", "Feedback-Receipt": receipt}
        assert gateway.post("/rate", rating, {"X-User": "ada"}).json["code"] == "receipt_missing"
        assert gateway.post("/rate", {**rating, "answer": "Your PIN?"}, sent).json["code"] == "receipt_for_other"
        assert gateway.post("/rate", rating, sent).status == 200
        assert gateway.post("/rate", rating, sent).json["code"] == "receipt_used"
        assert len(upstream.feedback) == 1
