"""Requests that come again, with the real guard: sockets, SQLite, an application that counts its effects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from feedback_guard.store.states import Delivery
from tests.guards import labelled
from tests.middleware.counting import GOOD, KEY, SECOND, Host, liars
from tests.middleware.counting import folder as folder
from tests.middleware.counting import start as start
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.serving import Answer

WINDOW = {"duplicates": {"window": "30s"}}
REQUIRED = {"idempotency": {"key": "required"}}


def same(first: Answer, second: Answer) -> None:
    assert (second.status, second.body) == (first.status, first.body)


def test_a_repetition_gets_the_first_answer_and_has_no_effect(start: Callable[..., Host]) -> None:
    host = start()
    first = host.send()
    assert (first.status, first.body) == (201, b"made 1")
    for _ in range(3):
        again = host.send()
        same(first, again)
        assert (again.headers["location"], again.headers["content-type"]) == ("/f/1", "text/plain")
    assert len(host.app.effects) == host.counted == 1


def test_an_answer_that_is_given_again_has_no_cookie_and_nothing_unknown(start: Callable[..., Host]) -> None:
    host = start()
    first = host.send()
    assert first.headers["set-cookie"]
    again = host.send()
    assert again.headers["set-cookie"] is None
    assert again.headers["x-effect"] is None


def test_the_bare_key_of_common_clients_is_the_same_key(start: Callable[..., Host]) -> None:
    host = start()
    same(host.send(key=KEY), host.send(key=KEY.strip('"')))
    assert len(host.app.effects) == 1


def test_another_key_another_contributor_and_another_route_are_other_requests(start: Callable[..., Host]) -> None:
    host = start()
    host.send()
    host.send(key='"other"')
    host.send(user="eve")
    host.send(path="/other")
    assert len(host.app.effects) == 4


@pytest.mark.parametrize("change", ["body", "query"])
def test_a_key_that_was_used_for_another_request_is_422(start: Callable[..., Host], change: str) -> None:
    host = start()
    host.send()
    answer = host.send(SECOND) if change == "body" else host.send(path="/feedback?a=1")
    assert (answer.status, answer.json["code"]) == (422, "key_reused")
    assert len(host.app.effects) == host.counted == 1


def test_a_key_in_flight_is_409_until_the_answer_is_there(start: Callable[..., Host]) -> None:
    host = start()
    host.app.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(host.send)
        assert host.app.called.wait(PATIENCE_SECONDS)
        answer = host.send()
        assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (409, "in_flight", "1")
        assert host.send(SECOND).status == 422
        host.app.go_on.set()
        same(first.result(), host.send())
    assert len(host.app.effects) == 1


@pytest.mark.parametrize("key", ['""', '"a', "a b", '"a" b', '"é"', '"' + "x" * 256 + '"', "x" * 256, '"\\x"'])
def test_a_malformed_key_is_400_and_nothing_happens(start: Callable[..., Host], key: str) -> None:
    host = start()
    answer = host.send(key=key.encode().decode("latin-1"))
    assert (answer.status, answer.json["code"]) == (400, "bad_key")
    assert host.app.effects == []
    assert host.counted == 0


def test_two_keys_are_400(start: Callable[..., Host]) -> None:
    host = start()
    fields = [("X-User", "ada"), ("Idempotency-Key", '"a"'), ("Idempotency-Key", '"a"')]
    assert host.serving.post("/feedback", {"text": GOOD.input, "topic": GOOD.label}, fields).status == 400


def test_a_route_may_require_a_key(start: Callable[..., Host]) -> None:
    host = start(REQUIRED)
    answer = host.send(key=None)
    assert (answer.status, answer.json["code"]) == (400, "key_missing")
    assert host.send().status == 201


def test_a_route_may_leave_the_key_to_the_application(start: Callable[..., Host]) -> None:
    host = start({"idempotency": {"key": "ignore"}})
    host.send()
    host.send(key="not a key")
    assert len(host.app.effects) == 2


def test_a_held_contribution_is_held_once_and_its_repetition_gets_the_same_answer(start: Callable[..., Host]) -> None:
    host = start()
    item, first = liars(host, 202)
    effects, counted = len(host.app.effects), host.counted
    who = f"liar-{list(labelled(60, seed=3, flip=True)).index(item)}"
    same(first, host.send(item, key=f'"{who}"', user=who))
    assert (len(host.app.effects), host.counted) == (effects, counted)


def test_an_answer_that_was_not_kept_before_a_crash_is_made_again(start: Callable[..., Host]) -> None:
    """Recorded, and then the process died before it kept the answer: the repetition is told the same."""
    held = {
        "status": 200,
        "headers": {"X-Kind": "assessment"},
        "body": "{id: id(), at: at(), text: text, by: contributor()}",
    }
    host = start({"held_answer": held})
    item, first = liars(host, 200)
    who = first.json["by"]
    host.guard.store.submit(
        lambda tx: tx.connection.exec_driver_sql("UPDATE repeat SET status = NULL, headers = NULL, body = NULL")
    ).result()
    again = host.send(item, key=f'"{who}"', user=who)
    same(first, again)
    assert again.headers["x-kind"] == "assessment"


def test_what_a_budget_had_no_room_for_may_come_again_under_its_key(start: Callable[..., Host]) -> None:
    limit = {"name": "per-hour", "facet": "contributor", "measure": "count", "amount": 1, "per": "1h"}
    host = start(limits=[limit])
    assert host.send().status == 201
    assert host.send(SECOND, key='"b"').status == 429
    host.guard.clock.advance(7_200)  # type: ignore[attr-defined]
    assert host.send(SECOND, key='"b"').status == 201
    assert len(host.app.effects) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_what_the_application_says_it_did_not_do_may_come_again(start: Callable[..., Host], status: int) -> None:
    host = start()
    host.app.status = status
    assert host.send().status == status
    host.app.status = 201
    assert host.send().status == 201
    assert len(host.app.effects) == host.counted == 2


@pytest.mark.parametrize("status", [200, 204, 400, 409, 500, 599])
def test_whatever_else_the_application_answered_stands(start: Callable[..., Host], status: int) -> None:
    host = start()
    host.app.status, host.app.pieces = status, [b""] if status == 204 else [b"done"]
    first = host.send()
    host.app.status = 201
    same(first, host.send())
    assert len(host.app.effects) == 1


@pytest.mark.parametrize(("status", "media"), [(200, "application/json"), (422, "application/problem+json")])
def test_after_an_answer_that_is_too_large_to_keep_a_repetition_is_told_how_it_ended(
    start: Callable[..., Host], status: int, media: str
) -> None:
    host = start({"idempotency": {"max_answer_bytes": 10}})
    host.app.status, host.app.pieces = status, [b"x" * 11]
    assert host.send().body == b"x" * 11
    again = host.send()
    assert (again.status, again.headers["content-type"]) == (status, media)
    assert again.json["id"]
    assert "not kept" in again.json["detail"]
    assert len(host.app.effects) == 1


def test_after_an_application_that_raised_nobody_knows_and_it_is_not_called_again(start: Callable[..., Host]) -> None:
    host = start()
    host.app.error = RuntimeError("in the middle of it")
    assert host.send().status == 500
    host.app.error = None
    again = host.send()
    assert (again.status, again.json["code"]) == (500, "outcome_unknown")
    assert len(host.app.effects) == 1
    assert host.guard.store.count_by_delivery() == {Delivery.UNKNOWN: 1}


def test_an_answer_is_whole_for_its_client_only_when_it_is_kept(start: Callable[..., Host]) -> None:
    """An application that sends all the bytes it announced, and says that it is done a while later."""
    host = start()
    host.app.headers.append((b"content-length", b"6"))
    host.app.pieces = [b"made ", b"1", b""]
    for number in range(10):
        first = host.send(key=f'"k{number}"')
        assert (first.status, first.body) == (201, b"made 1")
        same(first, host.send(key=f'"k{number}"'))
    assert len(host.app.effects) == 10


def test_a_client_that_leaves_finds_the_answer_when_it_comes_back(start: Callable[..., Host]) -> None:
    host = start()
    host.app.go_on.clear()
    with host.serving.connect() as client:
        fields = {"X-User": "ada", "Idempotency-Key": KEY}
        client.request("POST", "/feedback", {"text": GOOD.input, "topic": GOOD.label}, fields)
        assert host.app.called.wait(PATIENCE_SECONDS)
    host.app.go_on.set()
    wait_until(lambda: host.send().status != 409)
    answer = host.send()
    assert (answer.status, answer.body) == (201, b"made 1")
    assert len(host.app.effects) == 1


def test_a_key_that_expired_is_forgotten_and_taken_away(start: Callable[..., Host]) -> None:
    host = start({"idempotency": {"retain": "1h"}})
    host.send()
    host.guard.clock.advance(3_601)  # type: ignore[attr-defined]
    assert host.send().status == 201
    assert len(host.app.effects) == 2
    host.guard.clock.advance(3_601)  # type: ignore[attr-defined]
    asyncio.run(host.guard.housekeep())
    with host.guard.store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM repeat").scalar_one() == 0


def test_nobody_named_is_told_apart_by_network_and_a_window_does_not_apply(start: Callable[..., Host]) -> None:
    host = start(WINDOW)
    same(host.send(user=""), host.send(user=""))
    assert len(host.app.effects) == 1
    host.send(user="", key=None)
    host.send(user="", key=None)
    assert len(host.app.effects) == 3


def test_the_same_body_within_the_window_is_a_repetition(start: Callable[..., Host]) -> None:
    host = start(WINDOW)
    first = host.send(key=None)
    same(first, host.send(key=None))
    assert len(host.app.effects) == host.counted == 1
    host.send(SECOND, key=None)
    host.send(key=None, user="eve")
    host.send(key=None, path="/feedback?a=1")
    host.send(key=None, path="/other")
    assert len(host.app.effects) == 5
    host.guard.clock.advance(31)  # type: ignore[attr-defined]
    host.send(key=None)
    assert len(host.app.effects) == 6


def test_without_a_window_the_same_body_is_a_new_request(start: Callable[..., Host]) -> None:
    host = start()
    host.send(key=None)
    host.send(key=None)
    assert len(host.app.effects) == 2


def test_parallel_repetitions_without_a_key_wait_for_the_first_answer(start: Callable[..., Host]) -> None:
    host = start(WINDOW)
    host.app.go_on.clear()
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(host.send, key=None) for _ in range(20)]
        assert host.app.called.wait(PATIENCE_SECONDS)
        host.app.go_on.set()
        got = {(answer.result().status, answer.result().body) for answer in answers}
    assert got == {(201, b"made 1")}
    assert len(host.app.effects) == host.counted == 1


def test_a_repetition_that_waited_too_long_is_told_to_come_back(start: Callable[..., Host]) -> None:
    host = start({"duplicates": {"window": "30s", "wait": "50ms"}})
    host.app.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(host.send, key=None)
        assert host.app.called.wait(PATIENCE_SECONDS)
        answer = host.send(key=None)
        assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "in_flight", "1")
        host.app.go_on.set()
        same(first.result(), host.send(key=None))
    assert len(host.app.effects) == 1


def test_a_guard_that_observes_interferes_with_nothing(start: Callable[..., Host]) -> None:
    host = start({**REQUIRED, **WINDOW}, baseline={"path": None})
    for _ in range(2):
        assert host.send().status == 201
        assert host.send(key=None).status == 201
        assert host.send(key="not a key").status == 201
    assert len(host.app.effects) == 6


def test_repetitions_are_counted_as_such(start: Callable[..., Host]) -> None:
    host = start()
    host.send()
    host.send()
    page = host.guard.metrics.render()[0].decode()
    for outcome in ("accepted", "repeated"):
        assert f'feedback_guard_requests_total{{outcome="{outcome}",route="feedback"}} 1.0' in page


def test_a_held_answer_that_is_too_large_to_keep_is_made_again(start: Callable[..., Host]) -> None:
    host = start({"idempotency": {"max_answer_bytes": 10}, "held_answer": {"body": "{text: text, by: contributor()}"}})
    item, first = liars(host, 202)
    who = first.json["by"]
    same(first, host.send(item, key=f'"{who}"', user=who))
    with host.guard.store.reading() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM repeat WHERE status = 202").scalar_one()
    assert kept == 0
