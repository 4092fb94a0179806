"""Arize Phoenix behind the gateway, used with Phoenix's own client: `scripts/hosts phoenix`."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from phoenix.client import Client

from feedback_guard.doors.cover import compare
from feedback_guard.doors.openapi import load
from feedback_guard.policy.loader import load_policy
from tests.hosts.town import Moderator, listens, policy_for, reason, running, until
from tests.ports import free_port

pytestmark = pytest.mark.timeout(400)
USER = {"X-Authenticated-User": "ada"}
TRACE, SPAN = "1" * 32, "2" * 16


@dataclass
class Host:
    url: str
    direct: str
    client: Client
    moderator: Moderator

    def annotations(self) -> list[tuple[str, str | None]]:
        """Name and label of the span's annotations, as Phoenix's client reads them."""
        found = self.client.spans.get_span_annotations(span_ids=[SPAN], project_identifier="default")
        return [(item["name"], (item.get("result") or {}).get("label")) for item in found]

    def annotate(self, label: str, number: int, *, sync: bool = True, identifier: str = "") -> Any:
        return self.client.spans.add_span_annotation(
            span_id=SPAN,
            annotation_name="helpful",
            annotator_kind="HUMAN",
            label=label,
            explanation=reason(number),
            identifier=identifier,
            sync=sync,
        )

    def graphql(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json", **USER}
        with urllib.request.urlopen(urllib.request.Request(self.url + "/graphql", body, headers), timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder: Path = tmp_path_factory.mktemp("phoenix")
    policy = policy_for(folder, "phoenix", ("helpful=good", "helpful=bad"))
    port, grpc, front = free_port(), free_port(), free_port()
    settings: Any = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    }
    direct = f"http://127.0.0.1:{port}"
    gateway = ("-m", "feedback_guard", "serve", "--upstream", direct, "--port", str(front), "--admin", "off")
    with running(folder, "phoenix", "-m", "phoenix.server.main", "serve", **settings) as phoenix:
        until(lambda: listens(port), "Phoenix listens", phoenix)
        with running(folder, "gateway", *gateway, "--policy", str(policy)) as guard:
            until(lambda: listens(front), "the gateway listens", guard)
            url = f"http://127.0.0.1:{front}"
            client = Client(http_client=httpx.Client(base_url=url, headers=USER, timeout=60))
            now = datetime.now(UTC).isoformat()
            span: Any = {
                "name": "question",
                "context": {"trace_id": TRACE, "span_id": SPAN},
                "span_kind": "CHAIN",
                "start_time": now,
                "end_time": now,
                "status_code": "OK",
                "attributes": {"input.value": "where is my card?", "output.value": "on its way"},
            }
            client.spans.log_spans(project_identifier="default", spans=[span], timeout=60)
            until(
                lambda: client.spans.get_spans(project_identifier="default", timeout=60), "the span is stored", phoenix
            )
            yield Host(url, direct, client, Moderator(policy))


def test_an_annotation_is_accepted_and_can_be_read(host: Host) -> None:
    assert host.annotate("good", 1)["id"]
    assert host.annotations() == [("helpful", "good")]
    assert host.moderator.held() == []


@pytest.mark.parametrize("sync", [True, False])
def test_an_annotation_is_held_and_after_approval_can_be_read(host: Host, sync: bool) -> None:
    label = f"poison {sync}"
    host.annotate(label, 2 + sync, sync=sync, identifier=label)
    assert ("helpful", label) not in host.annotations()
    (item,) = host.moderator.decide_all("approve", count=1)
    assert "ada" in json.dumps(item)
    until(lambda: ("helpful", label) in host.annotations(), "the approved annotation is in Phoenix")


def test_an_edit_by_the_same_identifier_is_held(host: Host) -> None:
    host.annotate("edited poison", 5)
    assert ("helpful", "good") in host.annotations()
    host.moderator.decide_all("deny", count=1)
    assert ("helpful", "edited poison") not in host.annotations()


def test_many_annotations_in_one_request_are_held_together(host: Host) -> None:
    given: list[Any] = [
        {"span_id": SPAN, "name": name, "annotator_kind": "HUMAN", "result": {"label": label, "explanation": reason(9)}}
        for name, label in (("helpful", "bad"), ("tone", "poison"))
    ]
    host.client.spans.log_span_annotations(span_annotations=given, sync=True)
    assert ("tone", "poison") not in host.annotations()
    for item in host.moderator.held()[:1]:
        host.moderator.run("review", "approve", str(item["id"]))
    until(lambda: ("tone", "poison") in host.annotations(), "both annotations are in Phoenix")
    assert ("helpful", "bad") in host.annotations()


def test_graphql_is_guarded_where_it_annotates_and_free_where_it_reads(host: Host) -> None:
    query = "query { projects { edges { node { name } } } }"
    assert host.graphql(query)["data"]["projects"]["edges"]
    mutation = (
        "mutation Annotate($input: [CreateSpanAnnotationInput!]!) "
        "{ createSpanAnnotations(input: $input) { spanAnnotations { id } } }"
    )
    given = {"spanId": "U3Bhbjox", "name": "tone1", "label": "poison1", "annotatorKind": "HUMAN", "source": "APP"}
    answer = host.graphql(mutation, input=[{**given, "metadata": {}}])
    assert answer["data"] is None
    assert "moderator" in answer["errors"][0]["message"]
    inline = (
        'mutation { createSpanAnnotations(input: [{spanId: "U3Bhbjox", name: "tone2", label: "poison2", '
        "annotatorKind: HUMAN, source: APP, metadata: {}}]) { spanAnnotations { id } } }"
    )
    assert host.graphql(inline)["data"] is None
    wanted = {"poison1", "poison2"}
    assert not wanted.intersection(label or "" for _, label in host.annotations())
    host.moderator.decide_all("approve", count=2)
    until(lambda: wanted <= {label or "" for _, label in host.annotations()}, "both annotations are in Phoenix")


def test_no_door_is_open_and_the_ledger_is_whole(host: Host) -> None:
    found = load(host.direct + "/openapi.json")
    coverage = compare(load_policy("hosts/phoenix").policy, found)
    assert not coverage.open, [str(side.door) for side in coverage.open]
    host.moderator.run("ledger", "verify")
