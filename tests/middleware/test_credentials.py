"""What a replayed request proves itself with, by each route's way; and that nothing is kept that need not be."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.errors import CredentialError, PolicyError, UsageError
from feedback_guard.middleware import credentials as module
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.credentials import ALWAYS, put_back, take_out
from feedback_guard.middleware.envelope import Envelope
from feedback_guard.middleware.replayed import REPLAY_KEY, Replay
from feedback_guard.policy.schema import Policy
from feedback_guard.store.states import Delivery
from tests.middleware.direct import make_scope
from tests.middleware.fakes import EXTRACT, FakeGuard, Kept, make_policy
from tests.middleware.test_dispatch import JSON, Bench

ROUTE = {"name": "feedback", "path": "/feedback", "extract": EXTRACT}
SECRETS = [b"Bearer of-ada", b"session=of-ada", b"key-of-ada", b"proxy-of-ada"]
HEADERS = [
    (b"x-first", b"1"),
    (b"authorization", SECRETS[0]),
    (b"cookie", SECRETS[1]),
    (b"x-api-key", SECRETS[2]),
    (b"cookie", b"more=of-ada"),
    JSON,
    (b"proxy-authorization", SECRETS[3]),
    (b"x-last", b"\xff"),
]
FIELD = st.tuples(st.sampled_from([b"cookie", b"Authorization", b"x-a", b"x-b"]), st.binary(max_size=20))


def guard(mode: str = "none", policy: Mapping[str, Any] | None = None, **route: Any) -> FakeGuard:
    return FakeGuard(make_policy([{**ROUTE, "credentials": mode, **route}], **(policy or {})))


async def replayed(bench: Bench, headers: Any = HEADERS) -> tuple[Kept, list[tuple[bytes, bytes]]]:
    """What became of an approved request, and the headers that the application saw."""
    bench.middleware._service.credentials.load()
    kept = await bench.hold_and_approve(headers=headers)
    await bench.close()
    return kept, list(bench.app.scopes[0]["headers"]) if bench.app.scopes else []


@given(st.lists(FIELD, max_size=12))
def test_what_was_taken_out_comes_back_in_its_place(headers: list[tuple[bytes, bytes]]) -> None:
    whole = Envelope.of(make_scope(), headers, b"{}")
    left, taken = take_out(whole, ALWAYS)
    assert not [name for name, _ in left.headers if name.lower() in ALWAYS]
    if taken is None:
        assert left == whole
    else:
        assert left.stripped
        assert put_back(Envelope.from_bytes(left.to_bytes()), taken) == whole


@pytest.mark.parametrize("taken", [b"", b"x", b"[1]", b'[[0,"!","!"]]', b'[["a","",""]]', b"{}x"])
def test_what_was_never_taken_out_does_not_come_back(taken: bytes) -> None:
    with pytest.raises(CredentialError, match="cannot be read"):
        put_back(Envelope.of(make_scope(), [], b""), taken)


def test_by_default_no_credential_is_kept_and_the_application_is_told_whose_request_it_is() -> None:
    async def run() -> None:
        bench = Bench(guard=guard())
        kept, headers = await replayed(bench)
        assert kept.submission.credentials is None
        for secret in SECRETS:
            assert secret not in bytes(kept.submission.request or b"")
            assert secret.hex() not in repr(Envelope.from_bytes(kept.submission.request or b""))
        assert [name for name, _ in headers if name != b"content-length"] == [b"x-first", b"content-type", b"x-last"]
        replay = bench.app.scopes[0][REPLAY_KEY]
        assert isinstance(replay, Replay)
        assert (replay.submission, replay.route, replay.fence, replay.attempt) == ("s-1", "feedback", 1, 1)
        assert replay.stripped == ("authorization", "cookie", "proxy-authorization", "x-api-key")

    asyncio.run(run())


def test_the_policy_names_further_headers_that_are_not_kept() -> None:
    async def run() -> None:
        bench = Bench(guard=guard(policy={"credentials": {"headers": ["X-Signed"]}}))
        _, headers = await replayed(bench, [JSON, (b"x-signed", b"s"), (b"x-api-key", b"k"), (b"cookie", b"c")])
        assert [name for name, _ in headers if name.startswith((b"x-", b"cookie"))] == [b"x-api-key"]

    asyncio.run(run())


def test_the_token_that_names_the_contributor_is_not_kept_either() -> None:
    jwt = {"issuer": "i", "audience": ["a"], "header": "X-Assertion", "jwks_file": "unused"}
    policy = Policy.model_validate({"identity": {"jwt": jwt}})
    left, _ = module.Credentials(policy, {}).part(Envelope.of(make_scope(), [(b"x-assertion", b"e.y.j")], b""))
    assert left.headers == ()


def test_kept_credentials_come_back_to_the_byte() -> None:
    async def run() -> None:
        bench = Bench(guard=guard("keep", {"credentials": {"keys": {"env": "UNUSED"}}}))
        kept, headers = await replayed(bench)
        assert kept.submission.credentials is not None
        assert SECRETS[0] not in (kept.submission.request or b"")
        assert headers[: len(HEADERS)] == HEADERS
        assert bench.app.scopes[0][REPLAY_KEY].stripped == ()

    asyncio.run(run())


def test_credentials_that_are_gone_or_do_not_open_need_others() -> None:
    async def run(error: bool) -> Kept:
        made = guard("keep", {"credentials": {"keys": {"env": "UNUSED"}}})
        bench = Bench(guard=made)

        def unseal(_: Any) -> bytes | None:
            if error:
                raise CredentialError("the kept credentials need the key 0123456789abcdef, which is not there")
            return None

        made.unseal = unseal  # type: ignore[method-assign,assignment]
        kept, headers = await replayed(bench)
        assert not headers, "the application is not called"
        return kept

    for error, said in ((True, "which is not there"), (False, "no credentials are kept")):
        kept = asyncio.run(run(error))
        assert kept.delivery is Delivery.NEEDS_CREDENTIALS
        assert said in str(kept.detail["cause"])


def test_a_request_that_had_no_credentials_needs_none() -> None:
    async def run() -> None:
        bench = Bench(guard=guard("keep", {"credentials": {"keys": {"env": "UNUSED"}}}))
        kept, _ = await replayed(bench, [JSON])
        assert kept.delivery is Delivery.DELIVERED
        assert kept.submission.credentials is None

    asyncio.run(run())


def test_a_service_credential_takes_the_clients_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FG_TEST_TOKEN", "Bearer of-the-service\n")
    (tmp_path / "token").write_text("old")

    async def run() -> None:
        bench = Bench(guard=guard("service", service={"env": "FG_TEST_TOKEN"}))
        _, headers = await replayed(bench)
        assert [value for name, value in headers if name == b"authorization"] == [b"Bearer of-the-service"]
        assert not [name for name, _ in headers if name in {b"cookie", b"x-api-key"}]

        source = {"header": "X-Service", "file": str(tmp_path / "token")}
        bench = Bench(guard=guard("service", service=source))
        bench.middleware._service.credentials.load()
        (tmp_path / "token").write_text("new")  # rotated after the start
        kept = await bench.hold_and_approve(headers=[JSON, (b"x-service", b"of-the-client")])
        assert kept.delivery is Delivery.DELIVERED
        headers = bench.app.scopes[0]["headers"]
        assert [value for name, value in headers if name == b"x-service"] == [b"new"]
        await bench.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("mode", "more", "said"),
    [
        ("service", {"service": {"env": "FG_NOWHERE"}}, r"routes\.feedback\.service: .* FG_NOWHERE is not set"),
        ("service", {"service": {"file": "/nowhere/token"}}, "cannot be read"),
    ],
)
def test_a_secret_that_is_missing_refuses_the_start(mode: str, more: dict[str, Any], said: str) -> None:
    middleware = FeedbackGuardMiddleware(Bench().app, guard=guard(mode, **more))
    sent: list[Any] = []

    async def run() -> None:
        messages = [{"type": "lifespan.startup"}]

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        with pytest.raises(CredentialError, match=said):
            await middleware({"type": "lifespan", "state": {}}, receive, send)

    asyncio.run(run())
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "feedback_guard: routes.feedback" in sent[0]["message"]


@pytest.mark.parametrize("value", ["two\r\nx-evil: 1", "nul\x00", "\u20ac", "x" * 20_000])
def test_a_secret_cannot_become_two_headers(value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(value)
    middleware = FeedbackGuardMiddleware(Bench().app, guard=guard("service", service={"file": str(tmp_path / "token")}))
    with pytest.raises(CredentialError, match=r"routes\.feedback\.service: the value of Authorization") as caught:
        middleware._service.credentials.load()
    assert value[:3] not in str(caught.value).replace("feedback", "").replace("xt", "")


def test_a_function_mints_a_credential_for_whom_it_is() -> None:
    seen: list[Replay] = []

    async def mint(replay: Replay) -> dict[str, str]:
        seen.append(replay)
        return {"Authorization": f"Bearer for-{replay.submission}"}

    def plainly(replay: Replay) -> list[tuple[str, str]]:
        assert threading.current_thread() is not threading.main_thread(), "it may wait for a network"
        return [("X-A", "1"), ("X-A", "2")]

    async def run() -> None:
        bench = Bench(guard=guard(), credentials={"feedback": mint})
        _, headers = await replayed(bench)
        assert headers[-1] == (b"authorization", b"Bearer for-s-1")
        assert [replay.submission for replay in seen] == ["s-1"]
        bench = Bench(guard=guard(), credentials={"feedback": plainly})
        _, headers = await replayed(bench)
        assert headers[-2:] == [(b"x-a", b"1"), (b"x-a", b"2")]

    asyncio.run(run())


async def _late(_: Replay) -> None:
    await asyncio.Event().wait()


def _raises(_: Replay) -> None:
    raise RuntimeError("the secret")


MISTAKES: dict[str, Any] = {
    "has none": (lambda _: None, "has no credential for this request"),
    "raises": (_raises, "made no credential"),
    "too late": (_late, "made no credential within 0.05 s"),
    "is a text": (lambda _: "Bearer x", "returned no header fields"),
    "is a number": (lambda _: 7, "returned no header fields"),
    "two lines": (lambda _: {"Authorization": "x\r\ny: z"}, "control characters"),
    "no name": (lambda _: {"": "x"}, "a header's name"),
    "bytes": (lambda _: {"Authorization": b"x"}, "no text in Latin-1"),
    "too many": (lambda _: [("X-A", "1")] * 17, "at most 16"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_function_that_makes_none_leaves_the_request_for_people(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mint, said = MISTAKES[name]
    monkeypatch.setattr(module, "MINT_SECONDS", 0.05)

    async def run() -> None:
        bench = Bench(guard=guard(), credentials={"feedback": mint})
        kept, headers = await replayed(bench)
        assert not headers, "the application is not called"
        assert kept.delivery is Delivery.NEEDS_CREDENTIALS
        assert said in str(kept.detail["cause"])

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    assert "the secret" not in caplog.text


def test_a_function_for_no_route_or_beside_another_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="has no route 'other'; it has: feedback"):
        FeedbackGuardMiddleware(Bench().app, guard=guard(), credentials={"other": lambda _: None})
    with pytest.raises(UsageError, match="keep one of them"):
        FeedbackGuardMiddleware(
            Bench().app,
            guard=guard("service", service={"env": "FG_TEST_TOKEN"}),
            credentials={"feedback": lambda _: None},
        )


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"routes": [{**ROUTE, "credentials": "keep"}]}, "'feedback' keeps credentials, and `credentials.keys`"),
        ({"routes": [{**ROUTE, "credentials": "service"}]}, "go together"),
        ({"routes": [{**ROUTE, "service": {"env": "A"}}]}, "go together"),
        ({"routes": [{**ROUTE, "credentials": "always"}]}, "credentials"),
        ({"credentials": {"headers": ["X y"]}}, "headers"),
        ({"credentials": {"keys": {"env": "A B"}}}, "env"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, PolicyError), match=said):
        Policy.model_validate(parts)


def test_an_idempotent_application_gets_one_key_for_all_attempts() -> None:
    async def run() -> None:
        client = (b"idempotency-key", b'"of-the-client"')
        bench = Bench(guard=guard(idempotent=True, idempotency={"key": "ignore"}))
        _, headers = await replayed(bench, [JSON, client])
        keys = [value for name, value in headers if name == b"idempotency-key"]
        assert keys == [Replay("s-1", "feedback", None).idempotency_key.encode()]
        assert keys != [Replay("s-2", "feedback", None).idempotency_key.encode()]
        bench = Bench(guard=guard(idempotency={"key": "ignore"}))
        _, headers = await replayed(bench, [JSON, client])
        assert client in headers, "elsewhere it stays what the client sent"

    asyncio.run(run())
