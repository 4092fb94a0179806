from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from feedback_guard import settings
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import PolicyError
from feedback_guard.middleware.answers import Answers, Asked, Template, TemplateError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.policy.answers import HeldAnswerPolicy
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision
from tests.middleware.direct import Recorder, call, make_scope
from tests.middleware.fakes import EXTRACT, FEEDBACK, NOW_US, CountingMetrics, FakeGuard, make_policy

SECRET = "what only the contributor may know"


def asked(document: Any, params: dict[str, str] | None = None, query: bytes = b"") -> Asked:
    return Asked(document, params or {}, query, Contribution("c-1", 1_500_000, "ada", Kind.LABEL, "x", label="y"))


def template(*params: str, **policy: Any) -> Template:
    return Template(HeldAnswerPolicy.model_validate(policy), params, "routes: r: held_answer")


def test_mlflow_s_client_gets_the_assessment_that_it_sent() -> None:
    body = "{assessment: merge(assessment, {assessment_id: id(), trace_id: path('trace'), create_time: at()})}"
    reply = template("trace", status=200, body=body).reply(
        asked({"assessment": {"assessment_name": "correct", "feedback": {"value": True}}}, {"trace": "tr-1"}), "s-1"
    )
    assert reply.status == 200
    assert reply.body == (
        b'{"assessment":{"assessment_name":"correct","feedback":{"value":true},"assessment_id":"s-1",'
        b'"trace_id":"tr-1","create_time":"1970-01-01T00:00:01.500000+00:00"}}'
    )


def test_phoenix_client_gets_an_id_for_each_annotation() -> None:
    reply = template(status=200, body="{data: data[].{id: id()}}").reply(asked({"data": [{"a": 1}, {"a": 2}]}), "s-1")
    assert reply.body == b'{"data":[{"id":"s-1"},{"id":"s-1"}]}'


def test_everything_that_an_answer_may_know() -> None:
    body = "{a: at_ms(), b: contributor(), c: query('sync'), d: `[1, null]`, e: n}"
    reply = template(body=body).reply(asked({"n": 0}, query=b"sync=true"), "s-1")
    assert reply.body == b'{"a":1500,"b":"ada","c":"true","d":[1,null],"e":0}'


def test_headers_stand_in_their_order_and_the_length_is_right() -> None:
    reply = template(status=201, headers={"X-Second": "2", "Content-Type": "text/json", "A": "1"}, body="@").reply(
        asked("é"), "s-1"
    )
    assert reply.headers == (
        (b"x-second", b"2"),
        (b"content-type", b"text/json"),
        (b"a", b"1"),
        (b"cache-control", b"no-store"),
        (b"content-length", b"8"),
    )
    assert reply.body == b'"\\u00e9"'


@pytest.mark.parametrize(("status", "length"), [(202, [b"0"]), (204, []), (205, [])])
def test_an_answer_without_a_body(status: int, length: list[bytes]) -> None:
    reply = template(status=status).reply(asked({}), "s-1")
    assert (reply.status, reply.body) == (status, b"")
    assert [value for name, value in reply.headers if name == b"content-length"] == length
    assert not any(name == b"content-type" for name, _ in reply.headers)


@pytest.mark.parametrize(
    "policy",
    [
        {"status": 199},
        {"status": 206},
        {"status": 302},
        {"status": 404},
        {"status": "200 OK"},
        {"body": "{a: "},
        {"body": ""},
        {"body": "x" * (settings.MAX_EXPRESSION_CHARS + 1)},
        {"headers": {"X": "a\r\nSet-Cookie: b=c"}},
        {"headers": {"X": "a\nb"}},
        {"headers": {"X": " a"}},
        {"headers": {"X": "é"}},
        {"headers": {"X": ""}},
        {"headers": {"X": "a" * (settings.MAX_ANSWER_HEADER_CHARS + 1)}},
        {"headers": {"X Y": "a"}},
        {"headers": {"X:": "a"}},
        {"headers": {"": "a"}},
        {"headers": {"X-A": "1", "x-a": "2"}},
        {"headers": {f"X-{n}": "a" for n in range(settings.MAX_ANSWER_HEADERS + 1)}},
        *[
            {"headers": {name: "1"}}
            for name in (
                "Connection",
                "Keep-Alive",
                "Transfer-Encoding",
                "content-length",
                "TE",
                "Trailer",
                "Upgrade",
                "Proxy-Connection",
                "Content-Encoding",
                "Content-Range",
                "Set-Cookie",
                "WWW-Authenticate",
                "Date",
            )
        ],
        {"unknown": 1},
    ],
)
def test_what_cannot_be_sent_is_refused_when_the_policy_is_read(policy: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HeldAnswerPolicy.model_validate(policy)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"body": "ident()"}, "there is no function ident"),
        ({"body": "path('other')"}, "known: trace"),
        ({"body": "id('x')"}, "id\\(\\) takes 0 arguments, not 1"),
        ({"body": "length()"}, "takes 1 arguments, not 0"),
        ({"status": 204, "body": "@"}, "status 204 has no body"),
    ],
)
def test_what_would_fail_on_every_request_is_refused_at_start_up(policy: dict[str, Any], said: str) -> None:
    route = {"name": "r", "path": "/{trace}", "extract": EXTRACT, "held_answer": policy}
    with pytest.raises((PolicyError, ValidationError), match=said):
        FeedbackGuardMiddleware(Recorder(), guard=FakeGuard(make_policy([route])))


@pytest.mark.parametrize(
    ("body", "document", "said"),
    [
        ("length(n)", {"n": 1}, "JMESPathTypeError"),
        ("{a: &b}", {}, "TypeError"),
        ("{q: query('a')}", {}, "BadInputError"),
        ("[@, @, @, @]", "x" * (settings.MAX_ANSWER_BYTES // 3), "larger than"),
    ],
)
def test_a_body_that_it_fails_on_is_an_error_without_its_text(body: str, document: Any, said: str) -> None:
    with pytest.raises(TemplateError, match=said) as raised:
        template(body=body).reply(asked(document, query=b"a=1&a=2"), "s-1")
    assert len(str(raised.value)) < 100


@pytest.mark.parametrize("uniform", [False, True])
def test_a_failing_template_loses_nothing(uniform: bool, caplog: pytest.LogCaptureFixture) -> None:
    metrics = CountingMetrics(["r"])
    policy: dict[str, Any] = {"name": "r", "path": "/r", "held_answer": {"status": 200, "body": "length(input)"}}
    policy["acknowledge"] = "uniform" if uniform else "plain"
    answers = Answers(RoutePolicy.model_validate(policy), [], metrics)
    with caplog.at_level(logging.DEBUG):
        reply = answers.acknowledged(asked({"input": None, "text": SECRET}), "s-1")
    assert reply.status == 202
    assert b'"s-1"' in reply.body
    assert (b"held" in reply.body) is not uniform
    assert metrics.failures == ["answer"]
    assert "route r" in caplog.text
    assert SECRET not in caplog.text


async def _held(policy: dict[str, Any] | None, body: Any = FEEDBACK) -> tuple[FakeGuard, Any]:
    route = {"name": "feedback", "path": "/feedback", "extract": EXTRACT, "held_answer": policy}
    guard = FakeGuard(make_policy([route]))
    guard.decide_on = lambda _: Decision.QUARANTINE
    return guard, await call(FeedbackGuardMiddleware(Recorder(), guard=guard), make_scope(), body)


def test_a_held_request_is_answered_from_the_template() -> None:
    guard, connection = asyncio.run(_held({"status": 201, "body": "{id: id(), echo: input, at: at_ms()}"}))
    assert connection.status == 201
    assert connection.json == {"id": "s-1", "echo": FEEDBACK["input"], "at": NOW_US // 1_000}
    assert guard.only.delivery is Delivery.HELD


def test_a_held_request_whose_template_fails_is_held_all_the_same() -> None:
    guard, connection = asyncio.run(_held({"status": 201, "body": "length(`1`)"}))
    assert (connection.status, connection.json["status"], connection.json["id"]) == (202, "held", "s-1")
    assert guard.only.delivery is Delivery.HELD
    assert guard.metrics.failures == ["answer"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=20,
)
BODIES = ["@", "a.b", "a[].{id: id(), x: @}", "merge(@, {i: id()})", "{l: length(@), k: keys(@)}", "to_string(@)"]


@hypothesis_settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from(BODIES))
def test_any_body_gets_an_answer_or_a_template_error(document: Any, body: str) -> None:
    try:
        reply = template(body=body).reply(asked(document), "s-1")
    except TemplateError:
        return
    assert reply.body.isascii()
    assert dict(reply.headers)[b"content-length"] == str(len(reply.body)).encode()
