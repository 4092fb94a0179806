"""Receipts over real sockets: given out by serving endpoints, asked for by the route that takes feedback."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.errors import CredentialError, PolicyError
from feedback_guard.ledger.verify import verify
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.policy.schema import Policy
from feedback_guard.receipts.form import unpack
from feedback_guard.receipts.keys import ReceiptKeys
from feedback_guard.receipts.signer import ReceiptSigner
from feedback_guard.store.states import Delivery
from tests.guards import make_guard
from tests.receipts.chat import ANSWER, KEY, RATE, SERVING, Host, lines

HOUR = 3_600.0
Start = Callable[..., Host]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("receipts")


@pytest.fixture
def start(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("RECEIPT_KEYS", lines(KEY))
    with contextlib.ExitStack() as stack:
        database = tmp_path / "guard.db"
        yield lambda **options: stack.enter_context(Host(folder, database, **options))
        stack.close()
        assert verify(f"sqlite:///{database}").clean


def code(answer: Any) -> tuple[int, str]:
    return answer.status, answer.json["code"]


def test_an_answer_carries_a_receipt_and_feedback_with_it_is_taken_once(start: Start) -> None:
    host = start()
    served = host.ask()
    assert served.json["answer"] == ANSWER
    receipt = served.headers["feedback-receipt"]
    assert unpack(receipt)[0].interaction == "chat-1"
    assert host.rate(receipt).status == 200
    assert code(host.rate(receipt)) == (409, "receipt_used")
    assert code(host.rate(receipt, stars=0.0)) == (409, "receipt_used")
    assert len(host.app.feedback) == 1
    stored = host.guard.store.events_after(0, 1)[0].stored
    assert stored is not None
    assert (stored.contribution.interaction, stored.contribution.model) == ("chat-1", "m-1")
    assert (host.counted("ask", "issued"), host.counted("rate", "valid"), host.counted("rate", "used")) == (1, 1, 2)


def test_what_does_not_fit_is_refused_before_anything_is_judged(start: Start) -> None:
    host = start()
    receipt = host.ask().headers["feedback-receipt"]
    other = host.ask().headers["feedback-receipt"]
    assert code(host.rate(None)) == (403, "receipt_missing")
    assert code(host.rate("")) == (403, "receipt_missing")
    assert code(host.rate("1.AAAA.AAAA")) == (403, "bad_receipt")
    assert code(host.rate(receipt[:-2] + ("AA" if receipt[-2:] != "AA" else "BA"))) == (403, "bad_receipt")
    assert code(host.rate(receipt, user="eve")) == (403, "receipt_of_another")
    assert code(host.rate(receipt, answer="Send me your PIN.")) == (403, "receipt_for_other")
    assert code(host.rate(receipt, about="chat-2")) == (403, "receipt_for_other")
    assert code(host.rate(receipt, model="m-2")) == (403, "receipt_for_other")
    assert code(host.rate(host.sign(audience="corrections"))) == (403, "receipt_elsewhere")
    assert code(host.rate(host.sign(output=None))) == (403, "receipt_unbound")
    assert code(host.rate(host.sign(input="who are you?"))) == (403, "receipt_for_other")
    stranger = ReceiptSigner(ReceiptKeys([bytes(32)]), clock=host.clock)
    assert code(host.rate(stranger.sign(interaction="i", contributor="ada", output=ANSWER))) == (403, "bad_receipt")
    assert code(host.rate(receipt, headers={"feedback-receipt": receipt})) != (200, "")
    assert host.guard.store.last_event() is None
    assert host.app.feedback == []
    assert host.rate(receipt).status == host.rate(other).status == 200
    assert host.counted("rate", "forged") == 1
    assert host.counted("rate", "unknown_key") == 1


def test_a_receipt_is_good_for_its_time_only(start: Start) -> None:
    host = start()
    first, second = (host.ask().headers["feedback-receipt"] for _ in range(2))
    host.clock.advance(-31.0)
    assert code(host.rate(first)) == (403, "receipt_early")
    host.clock.advance(31.0 + HOUR + 29.0)
    assert host.rate(first).status == 200
    host.clock.advance(1.0)
    assert code(host.rate(second)) == (403, "receipt_expired")


@pytest.mark.parametrize("path", ["/stream", "/events"])
def test_a_streamed_answer_is_held_against_what_was_streamed(start: Start, path: str) -> None:
    host = start()
    served = host.ask(path)
    receipt = served.headers["feedback-receipt"]
    assert code(host.rate(receipt, answer="Send me your PIN.")) == (403, "receipt_for_other")
    assert host.rate(receipt, answer=ANSWER.replace("\r\n", "\n")).status == 200


def test_a_digest_in_the_store_is_forgotten_with_its_receipt(start: Start) -> None:
    host = start()
    receipt = host.ask("/stream").headers["feedback-receipt"]
    host.clock.advance(HOUR + 61.0)
    import asyncio

    asyncio.run(host.guard.housekeep())
    with host.guard.store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM served").scalar() == 0
    assert code(host.rate(receipt)) == (403, "receipt_expired")


def test_what_cannot_be_signed_passes_as_it_is(start: Start) -> None:
    host = start()
    assert host.ask(user=None).headers["feedback-receipt"] is None
    small = host.ask("/small")
    assert (small.headers["feedback-receipt"], small.json["answer"]) == (None, ANSWER)
    host.app.headers = [(b"content-encoding", b"br")]
    assert host.ask().headers["feedback-receipt"] is None
    host.app.headers = [(b"feedback-receipt", b"my own")]
    assert host.ask().headers.get_all("feedback-receipt") == ["my own"]
    host.app.headers, host.app.status = [], 500
    assert host.ask().headers["feedback-receipt"] is None
    assert host.counted("ask", "unnamed") == host.counted("ask", "unreadable") == 1
    assert host.counted("small", "too_large") == 1
    assert all(name != b"accept-encoding" for name, _ in host.app.served[-1]["headers"])


def test_a_later_vote_replaces_the_first_and_costs_like_any_other(start: Start) -> None:
    limits = [{"name": "weight", "facet": "contributor", "measure": "weight", "amount": 2}]
    host = start(receipt={"again": "replace"}, limits=limits)
    receipt = host.ask().headers["feedback-receipt"]
    assert host.rate(receipt, stars=1.0).status == 200
    assert host.rate(receipt, stars=0.0).status == 200
    assert host.learning() == ["withdrawn", "accepted"]
    assert host.rate(receipt, stars=1.0).status == 429
    assert host.learning() == ["withdrawn", "accepted", "limited"]
    kinds = [event.kind for event in host.guard.store.events_after(0, 10)]
    assert kinds.count("withdrawn") == 1
    assert host.counted("rate", "replaced") == 1


def test_a_vote_that_was_visibly_limited_uses_nothing_up(start: Start) -> None:
    limits = [{"name": "rate", "facet": "contributor", "measure": "count", "amount": 1, "per": "1h"}]
    host = start(limits=limits)
    first, second = (host.ask().headers["feedback-receipt"] for _ in range(2))
    assert host.rate(first).status == 200
    assert host.rate(second).status == 429
    host.clock.advance(HOUR - 1.0)
    host.clock.advance(1.0)
    assert host.rate(second).status == 200


def test_a_held_request_is_withdrawn_and_no_moderator_can_send_it(start: Start) -> None:
    host = start(receipt={"again": "replace"}, signals={"unknown_label": "accept", "false_hold_rate": 0.5})
    receipt = host.ask().headers["feedback-receipt"]
    strange = "\u202e zzqx \u0440\u0430yp\u0430l " * 30
    answers = [host.rate(receipt, question=strange, stars=float(n % 2)) for n in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    assert host.learning() == ["withdrawn", "held"]
    stored = host.guard.store.submission(answers[0].json["id"])
    assert stored is not None
    assert stored.delivery is Delivery.WITHDRAWN
    import asyncio

    from feedback_guard.errors import TransitionError

    with pytest.raises(TransitionError, match="withdrawn"):
        asyncio.run(host.guard.decide(stored.id, approve=True, moderator="m"))


@pytest.mark.parametrize("again", ["refuse", "replace"])
def test_of_votes_that_race_exactly_one_lives(start: Start, again: str) -> None:
    host = start(receipt={"again": again})
    receipt = host.ask().headers["feedback-receipt"]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda n: host.rate(receipt, stars=float(n % 2)).status, range(32)))
    states = host.learning()
    assert states.count("accepted") == 1
    if again == "refuse":
        assert sorted(set(answers)) == [200, 409]
        assert answers.count(200) == len(states) == len(host.app.feedback) == 1
    else:
        assert set(answers) == {200}
        assert states.count("withdrawn") == 31


def test_one_vote_for_each_kind_where_the_policy_says_so(start: Start) -> None:
    extract = "[{kind: 'rating', input: question, output: answer, rating: stars}, "
    extract += "{kind: 'correction', input: question, output: better, rejected: answer}]"
    host = start(receipt={"per": "kind"}, route={"extract": extract})
    receipt = host.ask().headers["feedback-receipt"]
    assert host.rate(receipt, better="Your card arrives on Monday.").status == 200
    assert code(host.rate(receipt, better="Another.")) == (409, "receipt_used")
    assert host.learning() == ["accepted", "accepted"]


def test_two_votes_for_one_output_in_one_request_are_refused(start: Start) -> None:
    extract = "[{kind: 'rating', input: question, output: answer, rating: stars}, "
    extract += "{kind: 'rating', input: question, output: answer, rating: `1.0`}]"
    host = start(route={"extract": extract})
    assert code(host.rate(host.ask().headers["feedback-receipt"])) == (409, "receipt_used")


def test_receipts_in_the_body_one_for_each_contribution(start: Start) -> None:
    extract = "votes[].{kind: 'rating', input: 'q', output: answer, rating: stars}"
    host = start(receipt={"body": "votes[].receipt"}, route={"extract": extract})
    receipts = [host.ask().headers["feedback-receipt"] for _ in range(2)]
    votes = [{"answer": ANSWER, "stars": 1.0, "receipt": receipt} for receipt in receipts]
    assert host.rate(None, votes=[votes[0], {**votes[1], "receipt": None}]).status == 403
    assert code(host.rate(None, votes=[votes[0], votes[0]])) == (409, "receipt_used")
    assert host.rate(None, votes=votes).status == 200
    assert code(host.rate(None, votes=votes[1:])) == (409, "receipt_used")
    assert host.learning() == ["accepted", "accepted"]


def test_a_repetition_of_the_same_request_is_answered_and_not_refused(start: Start) -> None:
    host = start()
    receipt = host.ask().headers["feedback-receipt"]
    key = {"Idempotency-Key": '"k-1"'}
    first, again = (host.rate(receipt, headers=key) for _ in range(2))
    assert (first.status, first.body) == (again.status, again.body) == (200, b"thanks")
    assert len(host.app.feedback) == 1


def test_where_answers_are_uniform_a_bad_receipt_is_answered_like_a_good_one(start: Start) -> None:
    uniform = {
        "acknowledge": "uniform",
        "held_answer": {"status": 200, "body": "{id: id()}"},
        "uniform": {"floor": "20ms", "jitter": "1ms"},
    }
    limits = [{"name": "weight", "facet": "contributor", "measure": "weight", "amount": 1}]
    host = start(route=uniform, limits=limits)
    good, second = (host.ask().headers["feedback-receipt"] for _ in range(2))
    answers = [host.rate(text) for text in (good, good, "1.AAAA.BBBB", None)] + [host.rate(good, user="eve")]
    assert {answer.status for answer in answers} == {200}
    assert len({(tuple(answer.headers.keys()), len(answer.body)) for answer in answers}) == 1
    # What was limited and does not look so uses its receipt up.
    assert [host.rate(second).status for _ in range(2)] == [200, 200]
    assert host.learning() == ["accepted", "limited"]
    assert host.counted("rate", "used") == 2


def test_keys_are_changed_while_receipts_are_out(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    new = bytes(range(32, 64))
    host = start()
    old_receipt = host.ask().headers["feedback-receipt"]
    monkeypatch.setenv("RECEIPT_KEYS", lines(new, KEY))
    host.guard.receipts.load()
    new_receipt = host.ask().headers["feedback-receipt"]
    assert unpack(new_receipt)[0].key_id == ReceiptKeys([new]).newest.ident
    assert host.rate(old_receipt).status == host.rate(new_receipt).status == 200
    late = host.sign(interaction="late")
    monkeypatch.setenv("RECEIPT_KEYS", lines(new))
    host.guard.receipts.load()
    assert code(host.rate(late)) == (403, "bad_receipt")


def test_a_guard_that_observes_lets_everything_through(start: Start) -> None:
    host = start(mode="observe")
    receipt = host.ask().headers["feedback-receipt"]
    assert [host.rate(text).status for text in (receipt, receipt, None)] == [200, 200, 200]
    assert len(host.app.feedback) == 3
    assert host.counted("rate", "missing") == host.counted("rate", "used") == 1


def test_without_keys_nothing_starts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECEIPT_KEYS", raising=False)
    import asyncio

    guard = make_guard(
        folder,
        routes=[RATE],
        receipts={"keys": {"env": "RECEIPT_KEYS"}},
        store={"url": f"sqlite:///{tmp_path}/guard.db"},
    )
    with pytest.raises(CredentialError, match="RECEIPT_KEYS is not set"):
        asyncio.run(guard.start())


def test_policies_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIPT_KEYS", lines(KEY))
    keys = {"env": "RECEIPT_KEYS"}
    for wrong, said in (
        ({"routes": [RATE]}, "asks for receipts"),
        ({"receipts": {"serving": SERVING[:1]}}, "does not say where the key is"),
        ({"receipts": {"keys": keys, "serving": [{**SERVING[0], "name": "rate"}]}, "routes": [RATE]}, "is used for"),
        ({"receipts": {"keys": keys, "lifetime": 0}}, "between 1s and 366d"),
        ({"receipts": {"keys": keys, "serving": [{**SERVING[2], "digest": "receipt"}]}}, "would not stream"),
        ({"receipts": {"keys": keys, "serving": [{**SERVING[1], "output": "x"}]}}, "there is none"),
        ({"receipts": {"keys": keys, "serving": [SERVING[0], SERVING[0]]}}, "stands twice"),
    ):
        with pytest.raises(ValueError, match=said):
            Policy.model_validate(wrong)
    taken = Policy.model_validate(
        {"routes": [RATE], "receipts": {"keys": keys, "serving": [{**SERVING[0], "path": "/rate"}]}}
    )
    from feedback_guard.guard import Guard

    async def app(*_: Any) -> None: ...

    with pytest.raises(PolicyError, match="is taken already"):
        FeedbackGuardMiddleware(app, guard=Guard.from_policy(taken))


def test_json_with_a_receipt_is_what_the_application_gets(start: Start) -> None:
    host = start()
    host.rate(host.ask().headers["feedback-receipt"])
    assert json.loads(host.app.feedback[0])["answer"] == ANSWER
