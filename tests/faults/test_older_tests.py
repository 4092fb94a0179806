"""Tests of single faults (F10 to F13) that are run again with a bug in the guard: each of them has to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.errors import TransitionError
from feedback_guard.gateway import relay
from feedback_guard.middleware import dispatch, keeping, keys
from feedback_guard.middleware.dispatch import Dispatcher
from feedback_guard.middleware.outcome import AnswerWatch, Outcome, Recorder
from feedback_guard.store import deliveries, leases, tables
from feedback_guard.store import repeats as stores_repeats
from feedback_guard.store.database import Store
from feedback_guard.store.rows import SUBMISSIONS
from feedback_guard.store.states import Delivery
from tests.gateway import test_relay as relaying
from tests.gateway.serving import Gateway
from tests.gateway.upstreams import Upstream
from tests.middleware import test_asgi as calling
from tests.middleware import test_cancel as cancelling
from tests.middleware import test_dispatch as dispatching
from tests.middleware import test_idempotency as repeating
from tests.middleware import test_keeping as keeping_answers
from tests.middleware.counting import Host
from tests.middleware.counting import folder as folder
from tests.middleware.counting import start as start
from tests.middleware.direct import until
from tests.store import test_deliveries as delivering
from tests.store import test_leases as leasing
from tests.store import test_repeats as claiming
from tests.store.build import CLOCK, policy

Patch = pytest.MonkeyPatch
_S = tables.submission.c
Start = Callable[..., Host]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(policy(f"sqlite:///{tmp_path}/store.db"), clock=CLOCK) as opened:
        yield opened


def fails(test: Callable[..., None], *args: Any) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError, TimeoutError, TransitionError)):
        test(*args)


# F10, F11: what the application did.


def test_half_an_answer_is_taken_for_a_whole_one(monkeypatch: Patch, caplog: pytest.LogCaptureFixture) -> None:
    def outcome(self: AnswerWatch, error: object = None, *, cause: str = "") -> Outcome:
        return Outcome(Delivery.DELIVERED if (self.status or 200) < 400 else Delivery.FAILED, {})

    monkeypatch.setattr(AnswerWatch, "outcome", outcome)
    broken = calling.test_an_application_that_breaks_leaves_a_stated_outcome_and_its_exception_passes
    fails(broken, None, False, False, Delivery.UNKNOWN)
    fails(broken, 200, False, True, Delivery.UNKNOWN)
    fails(dispatching.test_every_end_has_a_state, "hangs in between", caplog)
    fails(dispatching.test_every_end_has_a_state, "hangs before", caplog)


def test_an_upstream_that_does_not_answer_is_taken_for_one_that_refuses(monkeypatch: Patch) -> None:
    monkeypatch.setattr(relay, "_NOT_KNOWN", Outcome(Delivery.FAILED, {}))
    lost = relaying.test_a_connection_that_ends_before_an_answer_leaves_the_outcome_unknown
    with Upstream() as upstream, Gateway(upstream.url) as gateway:
        fails(lost, "reset after the body", gateway, upstream)


def test_what_was_never_sent_is_taken_for_unknown(monkeypatch: Patch) -> None:
    monkeypatch.setattr(relay, "_NOT_SENT", Outcome(Delivery.UNKNOWN, {}))
    fails(relaying.test_an_upstream_that_is_not_there_has_seen_nothing)


def test_stale_credentials_are_taken_for_a_refusal(monkeypatch: Patch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(dispatch, "_replayed", lambda outcome: outcome)
    fails(dispatching.test_every_end_has_a_state, "401: stale credentials", caplog)


def test_a_judgement_goes_with_its_request(monkeypatch: Patch, caplog: pytest.LogCaptureFixture) -> None:
    async def unshielded(task: Any) -> Any:
        return await task

    monkeypatch.setattr(asyncio, "shield", unshielded)
    fails(cancelling.test_a_judgement_that_fails_after_its_request_was_cancelled_is_quiet, caplog)


def test_an_outcome_is_tried_once(monkeypatch: Patch) -> None:
    real = Recorder.begin

    def begin(self: Recorder, *args: Any, **options: Any) -> asyncio.Event:
        self.stopping.set()
        return real(self, *args, **options)

    monkeypatch.setattr(Recorder, "begin", begin)
    monkeypatch.setattr(cancelling, "until", partial(until, seconds=2.0))  # what is waited for never comes
    fails(cancelling.test_an_outcome_that_the_store_refuses_is_tried_again_after_the_answer)


# F12: what comes again.


def test_a_key_is_everybodys(monkeypatch: Patch, start: Start) -> None:
    monkeypatch.setattr(keys, "_whose", lambda *_: (b"anybody",))
    fails(repeating.test_another_key_another_contributor_and_another_route_are_other_requests, start)


def test_any_body_fits_a_key(monkeypatch: Patch, start: Start) -> None:
    real = stores_repeats.look

    def look(connection: Any, key: Any, now_us: int) -> Any:
        row = connection.execute(stores_repeats._FIND, {"scope": key.scope_sha256}).one_or_none()
        alike = key if row is None else stores_repeats.RepeatKey(key.scope_sha256, row.fingerprint_sha256, key.route, 1)
        return real(connection, alike, now_us)

    monkeypatch.setattr(stores_repeats, "look", look)
    fails(repeating.test_a_key_that_was_used_for_another_request_is_422, start, "body")


def test_a_claim_is_never_bound(monkeypatch: Patch, start: Start) -> None:
    monkeypatch.setattr(stores_repeats, "bind", lambda *_: None)
    fails(repeating.test_a_repetition_gets_the_first_answer_and_has_no_effect, start)


def test_whoever_lost_a_claim_records_all_the_same(monkeypatch: Patch, store: Store) -> None:
    monkeypatch.setattr(stores_repeats, "bind", lambda *_: None)
    fails(claiming.test_whoever_lost_the_claim_can_record_nothing, store)


def test_cookies_are_given_again(monkeypatch: Patch) -> None:
    monkeypatch.setattr(keeping, "_safe", tuple)
    fails(keeping_answers.test_only_fields_that_say_the_same_later_are_kept)


# F13: replay.


def test_a_claim_is_no_bar(monkeypatch: Patch, store: Store) -> None:
    both = _S.delivery.in_([Delivery.APPROVED.value, Delivery.DISPATCHING.value])
    monkeypatch.setattr(leases, "_APPROVED", SUBMISSIONS.where(both))
    fails(delivering.test_an_approved_request_is_claimed_once, store)


def test_an_old_claim_is_as_good_as_a_new_one(monkeypatch: Patch, store: Store) -> None:
    real = deliveries.deliver

    def deliver(group: Any, submission_id: str, to: Delivery, **options: Any) -> Delivery:
        return real(group, submission_id, to, **options | {"fence": deliveries.find(group, submission_id).fence})

    monkeypatch.setattr(deliveries, "deliver", deliver)
    fails(leasing.test_whoever_was_overtaken_can_say_nothing, store)


def test_a_request_that_was_altered_is_delivered(
    monkeypatch: Patch, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def recorded(group: Any, ident: str) -> dict[str, Any]:
        row = deliveries.find(group, ident)
        return {"request_sha256": row.request, "application": row.application}

    monkeypatch.setattr(leases, "_recorded", recorded)
    monkeypatch.setattr(leases, "sha256_hex", bytes)
    fails(delivering.test_a_held_request_that_was_altered_is_not_delivered, store, caplog)


def test_a_call_is_made_however_late(monkeypatch: Patch) -> None:
    real = Dispatcher._call

    def call(self: Dispatcher, scope: Any, body: bytes, _: float) -> Any:
        return real(self, scope, body, float("inf"))

    monkeypatch.setattr(Dispatcher, "_call", call)
    fails(dispatching.test_a_claim_that_is_too_old_is_given_back_and_the_application_not_called)


def test_the_end_does_not_wait_for_a_claim(monkeypatch: Patch) -> None:
    async def stop(self: Dispatcher) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            self._stopping = True
            loop.cancel()
            await self._deliveries.drain(1.0)

    monkeypatch.setattr(Dispatcher, "stop", stop)
    fails(dispatching.test_a_request_that_is_being_claimed_at_the_end_is_still_delivered)
