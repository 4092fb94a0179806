"""The ready policies, by what the hosts' own clients send: recorded, so that this runs without the hosts.

`scripts/hosts NAME` does the same with the hosts themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jmespath
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from feedback_guard.doors.cover import compare
from feedback_guard.doors.interface import Door, Doors
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.expressions import RequestFunctions
from feedback_guard.policy.loader import load_policy, presets
from feedback_guard.verdict import Decision
from tests.middleware.fakes import FakeGuard
from tests.serving import Serving

DATA = Path(__file__).parent / "data"
HOSTS = sorted(name.removeprefix("hosts/") for name in presets() if name.startswith("hosts/"))
USER = {"X-Authenticated-User": "ada"}
ASSESSMENT = {
    "assessment_name": "helpful",
    "source": {"source_type": "HUMAN", "source_id": "somebody else"},
    "feedback": {"value": False},
    "rationale": "it lost my card",
}
ANNOTATIONS = {
    "data": [
        {"span_id": "2", "name": "helpful", "annotator_kind": "HUMAN", "result": {"label": "bad", "explanation": "no"}},
        {"trace_id": "1", "name": "score", "annotator_kind": "HUMAN", "result": {"score": 0}},
    ]
}
TRACE = {"trace": {"trace_info": {"trace_id": "tr-1", "assessments": [ASSESSMENT]}}}


def extracted(host: str, route: str, body: Any, key: str = "extract", **params: str) -> Any:
    (found,) = [item for item in load_policy(f"hosts/{host}").policy.routes if item.name == route]
    options = jmespath.Options(custom_functions=RequestFunctions(params))
    return jmespath.compile(getattr(found, key)).search(body, options)


def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if part is not None}


@pytest.mark.parametrize("host", HOSTS)
def test_no_write_route_of_the_host_is_left_open(host: str) -> None:
    """The routes are those of the version in `requirements-NAME.txt`."""
    lines = (DATA / f"{host}-routes.txt").read_text(encoding="utf-8").splitlines()
    coverage = compare(load_policy(f"hosts/{host}").policy, Doors({Door(*line.split()) for line in lines}))
    assert not coverage.open
    assert not coverage.dead
    assert len(coverage.covered) >= 6


@pytest.mark.parametrize(
    ("given", "taught"),
    [
        ({}, {"kind": "label", "input": "it lost my card", "label": "helpful=false"}),
        ({"feedback": {"value": 0}}, {"kind": "label", "input": "it lost my card", "label": "helpful=0"}),
        ({"rationale": None}, {"kind": "label", "input": "helpful", "label": "helpful=false"}),
        (
            {"feedback": {"value": "x" * 200}},
            {"kind": "demonstration", "input": "it lost my card", "output": "x" * 200},
        ),
        (
            {"feedback": None, "expectation": {"value": {"a": 1}}},
            {"kind": "label", "input": "it lost my card", "label": 'helpful={"a":1}'},
        ),
        ({"feedback": None}, {"kind": "demonstration", "input": "it lost my card", "output": "it lost my card"}),
    ],
)
def test_what_an_assessment_of_mlflow_teaches(given: dict[str, Any], taught: dict[str, Any]) -> None:
    body = {"assessment": {**ASSESSMENT, **given}}
    expected = {**taught, "interaction": "tr-1", "contributor": "somebody else"}
    for route in ("assessments", "assessment-edits"):
        assert without_nulls(extracted("mlflow", route, body, trace_id="tr-1")) == expected


def test_a_trace_of_mlflow_is_feedback_only_with_assessments() -> None:
    assert not extracted("mlflow", "traces", {"trace": {"trace_info": {"trace_id": "tr-1"}}}, "when")
    assert extracted("mlflow", "traces", TRACE, "when")
    (only,) = extracted("mlflow", "traces", TRACE)
    assert only["label"] == "helpful=false"


def test_what_phoenix_teaches() -> None:
    first, second = extracted("phoenix", "annotations", ANNOTATIONS)
    assert first == {"kind": "label", "input": "no", "label": "helpful=bad", "interaction": "2"}
    assert second == {"kind": "label", "input": "score", "label": "score=0", "interaction": "1"}
    note = extracted("phoenix", "notes", {"data": {"span_id": "2", "note": "hello"}})
    assert note == {"kind": "demonstration", "input": "note", "output": "hello", "interaction": "2"}


@pytest.mark.parametrize(
    ("body", "label"),
    [
        ({"query": "query { spans { spanAnnotations { label } } }"}, None),
        ({"query": "mutation { createProject(name: 1) { id } }"}, None),
        (
            {
                "query": "mutation M($i: X) { createSpanAnnotations(input: $i) { x } }",
                "variables": {"input": [{"name": "a", "label": "b", "explanation": "c"}]},
            },
            "a=b",
        ),
        ({"query": "mutation { patchTraceAnnotations }", "variables": {"input": {"name": "a", "score": 0}}}, "a=0"),
        ({"query": "mutation { createSpanNote(x: 1) }", "variables": {}}, "graphql"),
        ({"query": "mutation { createSpanAnnotations(input: []) }", "variables": None}, "graphql"),
        ({"query": "mutation { createSpanAnnotations(input: []) }", "variables": {"input": []}}, "graphql"),
    ],
)
def test_which_graphql_of_phoenix_is_feedback(body: Any, label: str | None) -> None:
    assert bool(extracted("phoenix", "graphql", body, "when")) is (label is not None)
    if label is not None:
        assert [item["label"] for item in extracted("phoenix", "graphql", body)] == [label]


HELD = [
    ("mlflow", "POST", "/api/3.0/mlflow/traces/tr-1/assessments", {"assessment": ASSESSMENT}),
    ("mlflow", "POST", "/ajax-api/3.0/mlflow/traces/tr-1/assessments", {"assessment": ASSESSMENT}),
    ("mlflow", "PATCH", "/api/3.0/mlflow/traces/tr-1/assessments/a-7", {"assessment": ASSESSMENT}),
    ("mlflow", "POST", "/api/3.0/mlflow/traces", TRACE),
    ("phoenix", "POST", "/v1/span_annotations?sync=true", ANNOTATIONS),
    ("phoenix", "POST", "/v1/session_notes", {"data": {"session_id": "2", "note": "hello"}}),
    ("phoenix", "POST", "/graphql", {"query": "mutation { createSpanAnnotations }", "variables": {}}),
]


@pytest.fixture(scope="module", params=HOSTS)
def serving(request: pytest.FixtureRequest) -> Iterator[tuple[str, Serving]]:
    """An application that takes everything, behind a guard with the host's policy that holds everything."""

    async def taken(_: Request) -> JSONResponse:
        return JSONResponse({"taken": True})

    guard = FakeGuard(load_policy(f"hosts/{request.param}").policy)
    guard.decide_on = lambda _: Decision.QUARANTINE
    app = Starlette(routes=[Route("/{path:path}", taken, methods=["POST", "PATCH"])])
    with Serving(FeedbackGuardMiddleware(app, guard=guard)) as server:
        yield request.param, server


def test_the_hosts_own_client_can_read_the_answer_to_what_is_held(serving: tuple[str, Serving]) -> None:
    """The shapes are those that the hosts themselves answer with, seen in their clients' code and on the wire."""
    host, server = serving
    answers = {
        (method, path): server.post(path, body, USER, method=method)
        for name, method, path, body in HELD
        if name == host
    }
    assert {answer.status for answer in answers.values()} == {200}
    values = {key: json.loads(answer.body) for key, answer in answers.items()}
    if host == "mlflow":
        created, twin, edited, trace = values.values()
        for value in (created, twin):
            assert value["assessment"].pop("assessment_id").startswith("held-")
            assert value["assessment"] == ASSESSMENT | {"trace_id": "tr-1"}
        assert edited["assessment"] == ASSESSMENT | {"trace_id": "tr-1", "assessment_id": "a-7"}
        assert trace == TRACE
    else:
        annotations, note, graphql = values.values()
        assert [list(item) for item in annotations["data"]] == [["id"], ["id"]]
        assert list(note["data"]) == ["id"]
        assert graphql["data"] is None
        assert graphql["errors"][0]["message"]


def test_what_is_no_feedback_passes(serving: tuple[str, Serving]) -> None:
    host, server = serving
    path, body = {
        "mlflow": ("/api/3.0/mlflow/traces", {"trace": {"trace_info": {"trace_id": "tr-1"}}}),
        "phoenix": ("/graphql", {"query": "query { projects }"}),
    }[host]
    assert server.post(path, body).json == {"taken": True}
