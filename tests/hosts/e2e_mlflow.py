"""MLflow's server with the guard around it, used with MLflow's own client: `scripts/hosts mlflow`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import AssessmentSource, Expectation, Feedback
from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider
from mlflow.tracking.request_header.registry import _request_header_provider_registry

from tests.hosts.town import ROOT, Moderator, policy_for, reason, running, said_port, until

pytestmark = pytest.mark.timeout(300)
SOURCE = AssessmentSource(source_type="HUMAN", source_id="somebody else")
LABELS = ("helpful=true", "helpful=false")


class Proxy(RequestHeaderProvider):  # type: ignore[misc]
    """Sets the header that a proxy with authentication would set."""

    def in_context(self) -> bool:
        return True

    def request_headers(self) -> dict[str, str]:
        return {"X-Authenticated-User": "ada"}


@dataclass
class Host:
    url: str
    moderator: Moderator
    trace: str

    def values(self, name: str) -> list[Any]:
        """What MLflow's client reads of the trace's assessments of a name."""
        found = mlflow.get_trace(self.trace).info.assessments
        return [item.value for item in found if item.name == name and item.valid is not False]

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "X-Authenticated-User": "ada"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def took(self, path: str, body: Any) -> bool:
        """Whether a request is answered, and not sent elsewhere as some spellings of a path are."""
        try:
            self.post(path, body)
        except urllib.error.HTTPError as error:
            if error.code not in {308, 404}:
                raise
            return False
        return True


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder: Path = tmp_path_factory.mktemp("mlflow")
    policy = policy_for(folder, "mlflow", LABELS)
    _request_header_provider_registry.register(Proxy)
    command = ("-m", "tests.hosts.child", "mlflow_guarded:app")
    database = f"sqlite:///{folder}/mlflow.db"
    with running(
        folder, "mlflow", *command, pipe=True, FEEDBACK_GUARD_POLICY=str(policy), MLFLOW_BACKEND_STORE_URI=database
    ) as child:
        url = f"http://127.0.0.1:{said_port(child)}"
        mlflow.set_tracking_uri(url)
        with mlflow.start_span(name="question") as span:
            span.set_inputs({"question": "where is my card?"})
            span.set_outputs({"answer": "on its way"})
        until(lambda: mlflow.get_trace(span.trace_id), "the trace is stored", child)
        yield Host(url, Moderator(policy), span.trace_id)


def test_feedback_is_accepted_and_can_be_read(host: Host) -> None:
    given = mlflow.log_feedback(trace_id=host.trace, name="helpful", value=True, rationale=reason(1), source=SOURCE)
    assert mlflow.get_assessment(host.trace, given.assessment_id).value is True
    assert host.moderator.held() == []


def test_feedback_is_held_and_after_approval_can_be_read(host: Host) -> None:
    given = mlflow.log_feedback(trace_id=host.trace, name="helpful", value="poison", rationale=reason(2), source=SOURCE)
    assert isinstance(given, Feedback)
    assert (given.name, given.value, given.trace_id) == ("helpful", "poison", host.trace)
    assert "poison" not in host.values("helpful")
    (item,) = host.moderator.decide_all("approve", count=1)
    assert "ada" in json.dumps(item)
    until(lambda: "poison" in host.values("helpful"), "the approved feedback is in MLflow")
    assert host.values("helpful").count("poison") == 1


def test_an_expectation_is_held_and_after_approval_can_be_read(host: Host) -> None:
    given = mlflow.log_expectation(trace_id=host.trace, name="expected", value="a secret answer", source=SOURCE)
    assert isinstance(given, Expectation)
    assert host.values("expected") == []
    host.moderator.decide_all("approve", count=1)
    until(lambda: host.values("expected") == ["a secret answer"], "the approved expectation is in MLflow")


def test_an_edit_by_id_is_held_and_after_approval_can_be_read(host: Host) -> None:
    given = mlflow.log_feedback(trace_id=host.trace, name="helpful", value=True, rationale=reason(3), source=SOURCE)
    edited = mlflow.update_assessment(host.trace, given.assessment_id, Feedback(name="helpful", value="edited poison"))
    assert edited.value == "edited poison"
    assert mlflow.get_assessment(host.trace, given.assessment_id).value is True
    host.moderator.decide_all("approve", count=1)

    def replaced() -> bool:
        return bool(mlflow.get_assessment(host.trace, given.assessment_id).value == "edited poison")

    until(replaced, "the approved edit is in MLflow")


def test_an_override_is_held(host: Host) -> None:
    given = mlflow.log_feedback(trace_id=host.trace, name="helpful", value=False, rationale=reason(4), source=SOURCE)
    mlflow.override_feedback(trace_id=host.trace, assessment_id=given.assessment_id, value="other poison")
    assert mlflow.get_assessment(host.trace, given.assessment_id).value is False
    host.moderator.decide_all("deny", count=1)
    assert "other poison" not in host.values("helpful")


def test_the_side_doors_are_guarded(host: Host) -> None:
    body = {
        "assessment_name": "helpful",
        "trace_id": host.trace,
        "source": {"source_type": "HUMAN", "source_id": "x"},
        "feedback": {"value": "poison by a side door"},
    }
    taken = 0
    for path in (
        f"/ajax-api/3.0/mlflow/traces/{host.trace}/assessments",
        f"/api/3.0/mlflow/traces/{host.trace}/%61ssessments",
        f"/api/3.0//mlflow/traces/{host.trace}/assessments",
    ):
        taken += host.took(path, {"assessment": body})
    assert taken >= 2
    info = mlflow.get_trace(host.trace).info
    trace = {"trace_info": info.to_dict() | {"trace_id": "tr-" + "5" * 32, "assessments": [body]}}
    host.post("/api/3.0/mlflow/traces", {"trace": trace})
    assert "poison by a side door" not in host.values("helpful")
    host.moderator.decide_all("deny", count=taken + 1)


def test_no_door_is_open_and_the_ledger_is_whole(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "hosts"))
    monkeypatch.setenv("FEEDBACK_GUARD_POLICY", str(host.moderator.policy))
    host.moderator.run("doctor", "--app", "mlflow_guarded:app")
    host.moderator.run("ledger", "verify")
