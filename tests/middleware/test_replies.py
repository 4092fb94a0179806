from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from feedback_guard.clock import MICROSECONDS
from feedback_guard.limits.interface import UNIT, Budget, Charge, Measure, Refusal
from feedback_guard.middleware.replies import Reply, bad_input, decided, rate_limit_fields, unavailable
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement
from feedback_guard.verdict import Decision, Reason, Verdict


def refusal(
    *,
    retry_after_us: int | None = 1_500_000,
    period_us: int | None = 60 * MICROSECONDS,
    measure: Measure = Measure.COUNT,
) -> Refusal:
    budget = Budget("per-user", "contributor", measure, 10 * UNIT, period_us, 20 * UNIT)
    return Refusal(Charge(budget, "ada", UNIT), retry_after_us, 400_000)


def judgement(decision: Decision, delivery: Delivery, found: Refusal | None = None) -> Judgement:
    reasons = (Reason("novelty", "it is far from anything", 0.0001),)
    wait = found.retry_after_us if found else None
    verdict = Verdict("c-1", decision, 0.0, 0.9999, reasons, "sha256:p", "sha256:b", retry_after_us=wait)
    return Judgement("s-1", (verdict,), decision, delivery, False, found)


def read(reply: Reply) -> tuple[int, dict[str, str], Any]:
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    assert len(headers) == len(reply.headers)
    assert headers["content-length"] == str(len(reply.body))
    assert headers["cache-control"] == "no-store"
    return reply.status, headers, json.loads(reply.body)


def test_held_is_202_with_an_id_and_no_location() -> None:
    status, headers, body = read(decided(judgement(Decision.QUARANTINE, Delivery.HELD)))
    assert (status, headers["content-type"]) == (202, "application/json")
    assert "location" not in headers
    assert (body["status"], body["id"]) == ("held", "s-1")


def test_limited_is_429_with_retry_after_and_the_budget() -> None:
    status, headers, body = read(decided(judgement(Decision.LIMIT, Delivery.REFUSED, refusal())))
    assert (status, headers["content-type"]) == (429, "application/problem+json")
    assert headers["retry-after"] == "2"
    assert headers["ratelimit-policy"] == '"per-user";q=10;w=60'
    assert headers["ratelimit"] == '"per-user";r=0;t=2'
    assert (body["status"], body["title"], body["code"], body["budget"]) == (
        429,
        "Request cannot be satisfied as assigned quota has been exceeded",
        "limited",
        "per-user",
    )
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert body["violated-policies"] == ["per-user"]


def test_a_lifetime_budget_has_no_window_and_no_time_to_come_back() -> None:
    found = refusal(retry_after_us=None, period_us=None, measure=Measure.WEIGHT)
    status, headers, body = read(decided(judgement(Decision.LIMIT, Delivery.REFUSED, found)))
    assert status == 429
    assert "retry-after" not in headers
    assert headers["ratelimit-policy"] == '"per-user";q=10;feedback-guard-unit="weight"'
    assert headers["ratelimit"] == '"per-user";r=0'
    assert "not refilled" in body["detail"]


@pytest.mark.parametrize(("wait_us", "seconds"), [(0, "1"), (1, "1"), (1_000_000, "1"), (1_000_001, "2")])
def test_a_wait_is_rounded_up_to_whole_seconds(wait_us: int, seconds: str) -> None:
    _, headers, _ = read(decided(judgement(Decision.LIMIT, Delivery.REFUSED, refusal(retry_after_us=wait_us))))
    assert headers["retry-after"] == seconds


def test_a_limit_without_the_budget_still_says_when() -> None:
    verdict = Verdict("c-1", Decision.LIMIT, 0.0, 0.0, (), "p", None, retry_after_us=7_000_000)
    given = Judgement("s-1", (verdict,), Decision.LIMIT, Delivery.REFUSED, False)
    _, headers, _ = read(decided(given))
    assert headers["retry-after"] == "7"


def test_numbers_stay_within_structured_fields() -> None:
    budget = Budget("b", "contributor", Measure.COUNT, 10**30, 10**30, 1)
    fields = dict(rate_limit_fields(Refusal(Charge(budget, "k", 1), 10**30, 10**30)))
    assert fields[b"ratelimit-policy"] == b'"b";q=999999999999999;w=999999999999999'


def test_refused_is_422_as_problem() -> None:
    status, headers, body = read(decided(judgement(Decision.REJECT, Delivery.REFUSED)))
    assert (status, headers["content-type"], body["code"]) == (422, "application/problem+json", "refused")


@pytest.mark.parametrize(
    ("decision", "delivery"),
    [(Decision.QUARANTINE, Delivery.HELD), (Decision.LIMIT, Delivery.REFUSED), (Decision.REJECT, Delivery.REFUSED)],
)
def test_no_answer_tells_scores_or_reasons(decision: Decision, delivery: Delivery) -> None:
    text = decided(judgement(decision, delivery)).body.decode()
    for word in ("novelty", "0.99", "0.0001", "far from", "sha256", "c-1"):
        assert word not in text


def test_unavailable_asks_to_come_back() -> None:
    status, headers, _ = read(unavailable("later"))
    assert (status, headers["retry-after"]) == (503, "5")


def test_a_problem_is_ascii_whatever_it_carries() -> None:
    reply = bad_input(422, "no_contribution", "é\u2028\ud800", field="\ud800").problem.reply()
    assert reply.body.isascii()


def test_it_is_sent_whole() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(unavailable("later").send(send))
    start, body = sent
    assert (b"connection", b"close") not in start["headers"]
    assert body["more_body"] is False


def test_an_answer_that_closes_lingers_when_it_is_sent_and_before_it_ends() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def linger() -> None:
        sent.append("linger")

    reply = unavailable("later")
    asyncio.run(reply.send_and_close(send, linger))
    start, body, between, end = sent
    assert (b"connection", b"close") in start["headers"]
    assert (body["body"], body["more_body"]) == (reply.body, True)
    assert between == "linger"
    assert (end["body"], end["more_body"]) == (b"", False)
