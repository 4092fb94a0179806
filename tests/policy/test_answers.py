from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.routes import RoutePolicy

ROUTE = {"name": "feedback", "path": "/feedback", "extract": "@"}


def route(**parts: Any) -> RoutePolicy:
    return RoutePolicy.model_validate({**ROUTE, **parts})


def test_what_holds_if_nothing_is_said() -> None:
    plain = route()
    assert (plain.acknowledge, plain.held_answer) == ("plain", None)
    assert (plain.idempotency.key, plain.idempotency.retain) == ("optional", 86_400 * MICROSECONDS)
    assert plain.duplicates.window == 0


def test_uniform_needs_an_answer_for_everybody() -> None:
    with pytest.raises(ValidationError, match="write one"):
        route(acknowledge="uniform")
    assert route(acknowledge="uniform", held_answer={"status": 200}).held_answer is not None


@pytest.mark.parametrize(
    "parts",
    [
        {"uniform": {"floor": "0s"}},
        {"uniform": {"floor": "31s"}},
        {"uniform": {"jitter": "31s"}},
        {"uniform": {"ceiling": "1s"}},
        {"idempotency": {"retain": "0s"}},
        {"idempotency": {"retain": "31d"}},
        {"idempotency": {"max_answer_bytes": 2**20 + 1}},
        {"idempotency": {"max_answer_bytes": -1}},
        {"idempotency": {"key": "maybe"}},
        {"duplicates": {"window": "2h"}},
        {"duplicates": {"wait": "61s"}},
        {"acknowledge": "sometimes"},
    ],
)
def test_bounds(parts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        route(**parts)
