"""The example application without the guard: it answers, learns, and knows who is asking."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from bank_assistant.accounts import issue_token
from bank_assistant.app import create_app, weight_of
from bank_assistant.student import Example, Student
from feedback_guard import Decision, Verdict


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app()) as client:
        yield client


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {issue_token(name)}"}


def test_it_answers_a_question(client: TestClient) -> None:
    answer = client.get("/ask", params={"q": "Why has my new card not arrived?"}).json()
    assert answer["intent"] == "card_arrival"
    assert 0 < answer["confidence"] <= 1


def test_many_questions_are_answered_as_one_by_one(client: TestClient) -> None:
    questions = ["How do I change my PIN?", "Which countries do you support?"]
    many = client.post("/ask", json={"questions": questions}).json()
    assert many == [client.get("/ask", params={"q": question}).json() for question in questions]


def test_a_correction_is_learnt_at_the_next_training(client: TestClient) -> None:
    question = "blorp flomp wibble"
    for i in range(10):
        sent = client.post(
            "/feedback", json={"question": f"{question} {i}", "intent": "age_limit"}, headers=bearer("u")
        )
        assert (sent.status_code, sent.json()) == (201, {"weight": 1.0})
    assert client.get("/ask", params={"q": question}).json()["intent"] != "age_limit"
    assert client.post("/retrain").json() == {"examples": 2320}
    assert client.get("/ask", params={"q": question}).json()["intent"] == "age_limit"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Basic eDp5"}, 401),
        ({"authorization": "Bearer alice.0000"}, 400),
        ({"authorization": "Bearer .0000"}, 400),
        ({"authorization": issue_token("alice")}, 401),
        ({"authorization": f"Bearer {issue_token('alice').replace('alice', 'bob')}"}, 400),
    ],
)
def test_nobody_corrects_it_without_a_token_of_the_bank(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    body = {"question": "q", "intent": "i"}
    assert client.post("/feedback", json=body, headers=headers).status_code == status


def test_weights_are_honoured_in_training() -> None:
    examples = [Example("red apple", "fruit"), Example("red apple", "paint", 0.1), Example("blue wall", "paint")]
    assert Student(examples).answer(["red apple"])[0].intent == "fruit"
    swapped = [Example("red apple", "fruit", 0.1), Example("red apple", "paint"), Example("green pear", "fruit")]
    assert Student(swapped).answer(["red apple"])[0].intent == "paint"
    assert Student([*examples, Example("anything", "paint", 0.0)]).n_examples == 3


@pytest.mark.parametrize(
    ("verdicts", "weight"),
    [
        ([], 1.0),
        ([Verdict("a", Decision.ACCEPT, 0.4, 0.9, (), "sha256:0", None)], 0.4),
        ([Verdict("a", Decision.QUARANTINE, 0.0, 1.0, (), "sha256:0", None)], 0.0),
        ([Verdict("a", Decision.QUARANTINE, 0.0, 1.0, (), "sha256:0", None, observed=True)], 1.0),
    ],
    ids=["no guard", "shaded", "held", "only observed"],
)
def test_the_application_learns_as_much_as_the_guard_says(verdicts: list[Verdict], weight: float) -> None:
    assert weight_of(Request({"type": "http", "state": {"feedback_guard": verdicts}})) == weight
    assert weight_of(Request({"type": "http"})) == 1.0
