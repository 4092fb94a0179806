"""Which requests on a guarded path are feedback, and what becomes of the others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import ValidationError

from feedback_guard.errors import PolicyError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.envelope import Envelope
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision
from tests.middleware.direct import Connection, Recorder, call, make_scope
from tests.middleware.fakes import EXTRACT, FEEDBACK, FakeGuard, make_policy

FORM = (b"content-type", b"application/x-www-form-urlencoded")
JSON = (b"content-type", b"application/json")
PLAIN = (b"host", b"x")


class Door:
    """One guarded route in front of an application that keeps what it gets."""

    def __init__(self, identity: dict[str, Any] | None = None, **route: Any) -> None:
        parts = {"name": "feedback", "path": "/feedback", "extract": EXTRACT} | route
        self.guard = FakeGuard(make_policy([parts], identity=identity or {"missing": "anonymous"}))
        self.app = Recorder()
        self.wrapped = FeedbackGuardMiddleware(self.app, guard=self.guard)

    def send(
        self,
        body: Any = b"",
        *headers: tuple[bytes, bytes],
        query: bytes = b"",
        path: str = "/feedback",
        method: str = "POST",
        **options: Any,
    ) -> Connection:
        scope = make_scope(path, method=method, headers=headers or [JSON], query_string=query)
        return asyncio.run(call(self.wrapped, scope, body, **options))

    @property
    def outcome(self) -> str:
        return self.guard.metrics.requests[-1][1]


def test_a_form_is_judged_and_the_application_gets_its_bytes() -> None:
    door = Door(accepts=["urlencoded"])
    assert door.send(b"input=where+is+it&label=x", FORM).status == 200
    (contribution,) = door.guard.only.submission.contributions
    assert (contribution.input, contribution.label) == ("where is it", "x")
    assert door.app.bodies == [b"input=where+is+it&label=x"]


def test_a_form_is_refused_unless_the_route_takes_it() -> None:
    assert Door().send(b"input=a&label=b", FORM).status == 415
    assert Door(accepts=["urlencoded"]).send(FEEDBACK).status == 415
    assert Door(accepts=["json", "urlencoded"]).send(FEEDBACK).status == 200


def test_feedback_by_get_comes_from_the_query_and_head_is_judged_too() -> None:
    route: dict[str, Any] = {
        "methods": ["GET"],
        "accepts": ["empty"],
        "extract": "{kind: 'rating', input: query('q'), output: query('a'), rating: to_number(query('stars'))}",
    }
    for method in ("GET", "HEAD"):
        door = Door(**route)
        assert door.send(b"", PLAIN, method=method, query=b"q=why&a=so&stars=4&page=1").status == 200
        (contribution,) = door.guard.only.submission.contributions
        assert (contribution.input, contribution.output, contribution.rating) == ("why", "so", 4.0)
    door = Door(**route)
    assert door.send(b"", PLAIN, method="GET", query=b"q=why&q=evil&a=so&stars=4").status == 400
    assert door.send(b"", PLAIN, method="GET", query=b"q=why&a=so&stars=1_000").status == 422
    assert door.send(b"{}", JSON, method="GET", query=b"q=why&a=so&stars=4").status == 415
    assert door.send(b"", PLAIN, method="GET", query=b"q=" + b"x" * 17_000).status == 414
    assert not door.app.bodies


def field(name: str, value: str) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


SHOT = b'--b\r\nContent-Disposition: form-data; name="shot"; filename="a.png"\r\n\r\n\x89PNG\x00\xff\r\n'
MULTIPART = (b"content-type", b"multipart/form-data; boundary=b")


def test_path_query_and_body_meet_in_one_expression() -> None:
    door = Door(
        path="/answers/{answer}/rating",
        accepts=["multipart"],
        form={"lists": ["tag"], "files": 1},
        extract="{kind: 'rating', input: question, output: query('answer_text'), rating: to_number(stars), "
        "interaction: path('answer'), metadata: {tags: tag, more: from_json(more)}}",
    )
    fields = [("question", "why"), ("stars", "0"), ("tag", "a"), ("tag", "b"), ("more", '{"n": [1]}')]
    body = b"".join(field(name, value) for name, value in fields) + SHOT + b"--b--\r\n"
    assert door.send(body, MULTIPART, path="/answers/7/rating", query=b"answer_text=so").status == 200
    (contribution,) = door.guard.only.submission.contributions
    assert (contribution.rating, contribution.interaction, contribution.output) == (0.0, "7", "so")
    assert contribution.metadata == {"tags": ["a", "b"], "more": {"n": [1]}}
    assert door.app.bodies == [body]


def test_a_field_that_the_expression_reads_may_not_come_as_a_file() -> None:
    door = Door(
        accepts=["multipart"],
        form={"files": 1},
        extract="{kind: 'label', input: input, label: shot || 'none'}",
    )
    refused = door.send(field("input", "a") + SHOT + b"--b--\r\n", MULTIPART)
    assert (refused.status, refused.json["code"]) == (400, "bad_form")
    assert not door.app.bodies


@pytest.mark.parametrize("text", ["{", '{"a": 1, "a": 2}', "NaN", "[" * 100])
def test_json_in_a_field_is_read_as_strictly_as_a_body(text: str) -> None:
    door = Door(accepts=["multipart"], extract="from_json(payload)")
    assert door.send(field("payload", text) + b"--b--\r\n", MULTIPART).status == 400
    assert door.send(field("payload", '{"kind":"label","input":"a","label":"b"}') + b"--b--", MULTIPART).status == 200


CHUNKED = [(b"transfer-encoding", b"chunked"), JSON]


@pytest.mark.parametrize(
    "route",
    [
        {"extract": "feedback && {kind: 'label', input: feedback, label: 'x'}", "require_contribution": False},
        {"extract": "items[].{kind: 'label', input: a, label: b}", "require_contribution": False},
        {"when": "type == 'feedback'"},
        {"when": "query('kind') == 'feedback'"},
    ],
)
def test_a_request_without_a_contribution_passes_as_it_came(route: dict[str, Any]) -> None:
    """It needs no principal either: the application decides who may ask for what is not feedback."""
    door = Door(identity={"missing": "refuse"}, **route)
    body = json.dumps({"type": "inference", "items": []}).encode()
    connection = door.send(body, *CHUNKED, query=b"kind=inference")
    assert (connection.status, connection.body) == (200, b"app")
    assert door.app.scopes[0]["headers"] == CHUNKED, "its framing is its own"
    assert door.app.bodies == [body]
    assert door.app.scopes[0]["state"]["feedback_guard"] == []
    assert not door.guard.kept
    assert door.outcome == "passed"


def test_what_path_and_query_decide_is_decided_before_the_body_is_read() -> None:
    door = Door(when="query('kind') == 'feedback'")
    pieces = [b"any", b"\x00thing", b"x" * 1_000_000]
    connection = door.send(b"", (b"content-type", b"image/png"), pieces=pieces)
    assert connection.status == 200
    assert door.app.bodies == [b"".join(pieces)]
    assert connection.receives == 3, "the application alone read it"
    assert door.send(FEEDBACK, query=b"kind=feedback").status == 200
    assert len(door.guard.kept) == 1
    assert door.send(b"x", (b"content-type", b"image/png"), query=b"kind=feedback").status == 415


def test_when_tells_feedback_from_other_requests_on_the_same_path() -> None:
    door = Door(when="fn == 'flag'", extract="{kind: 'label', input: data[0], label: data[1]}")
    assert door.send({"fn": "predict", "data": ["a"]}).status == 200
    assert not door.guard.kept
    assert door.send({"fn": "flag", "data": ["a", "b"]}).status == 200
    assert len(door.guard.kept) == 1
    assert door.send({"fn": "flag", "data": []}).status == 422, "feedback must say what it teaches"
    assert door.send(b'{"fn": "predict", "fn": "flag"}').status == 400, "nobody can say which it is"


def test_when_stands_before_a_callable_too() -> None:
    route = {"name": "f", "path": "/feedback", "accepts": ["urlencoded"], "when": "fn == 'flag'"}
    guard = FakeGuard(make_policy([route]))
    asked: list[Any] = []

    def extract(body: Any, scope: Any) -> dict[str, Any]:
        asked.append(body)
        return {"kind": "label", "input": body["input"], "label": scope["path"]}

    wrapped = FeedbackGuardMiddleware(Recorder(), guard=guard, extractors={"f": extract})
    for body in (b"fn=predict&input=a", b"fn=flag&input=b"):
        assert asyncio.run(call(wrapped, make_scope(headers=[FORM]), body)).status == 200
    assert asked == [{"fn": "flag", "input": "b"}]
    assert len(guard.kept) == 1


def test_when_that_cannot_be_applied_refuses() -> None:
    door = Door(when="starts_with(fn, 'flag')")
    assert door.send({"fn": 7}).status == 422
    assert not door.app.bodies


def test_feedback_needs_a_principal_also_where_other_requests_do_not() -> None:
    door = Door(identity={"missing": "refuse"}, when="type == 'feedback'")
    assert door.send({"type": "feedback"} | FEEDBACK).status == 401
    assert not door.guard.kept


def test_a_held_form_is_kept_to_the_byte() -> None:
    door = Door(accepts=["urlencoded"])
    door.guard.decide_on = lambda _: Decision.QUARANTINE
    body = b"input=%61+%C3%A9&l%61bel=x"
    assert door.send(body, FORM, query=b"p=%20").status == 202
    assert door.guard.only.delivery is Delivery.HELD
    envelope = Envelope.from_bytes(door.guard.only.submission.request or b"")
    assert (envelope.body, envelope.query_string) == (body, b"p=%20")
    assert FORM in envelope.headers


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        ({"methods": ["GET"]}, "GET has no body; add `empty`"),
        ({"accepts": ["json", "json"]}, "stands twice in `accepts`"),
        ({"form": {"lists": ["a"]}}, "`form.lists` is for forms"),
        ({"accepts": ["urlencoded"], "form": {"files": 1}}, "`form.files` is for multipart"),
        ({"accepts": ["urlencoded"], "form": {"lists": ["a", "a"]}}, "stands twice in `lists`"),
        ({"when": "a b"}, "not a JMESPath expression"),
    ],
)
def test_a_route_that_cannot_work_is_refused(route: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        RoutePolicy.model_validate({"name": "r", "path": "/r", "extract": "@"} | route)


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("query(name)", "query() takes the name of a parameter"),
        ("query_list()", "query_list() takes the name of a parameter"),
        ("path('x')", "known: none"),
        ("nothing()", "there is no function nothing()"),
    ],
)
def test_a_predicate_that_cannot_work_is_refused_at_start(expression: str, sentence: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Door(when=expression)
    assert sentence in str(caught.value)
    assert "feedback: when" in str(caught.value)
