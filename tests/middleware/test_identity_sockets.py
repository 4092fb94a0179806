"""Whose contribution it is, over real sockets: what a client writes into headers names it only on a trusted hop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from feedback_guard.contribution import ANONYMOUS
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from tests.middleware.direct import Recorder
from tests.middleware.fakes import EXTRACT, FEEDBACK, FakeGuard, make_policy
from tests.serving import Serving

NAMES = [
    "X-Authenticated-User",
    "x-authenticated-user",
    "X-AUTHENTICATED-USER",
    "X_Authenticated_User",
    "X-Authenticated_User",
    "X-Authenticated-User-",
    "HTTP_X_AUTHENTICATED_USER",
]
TRUE_NAMES = 3
FORWARDED: list[list[tuple[str, str]]] = [
    [],
    [("X-Forwarded-For", "10.0.0.1")],
    [("X-Forwarded-For", "127.0.0.1, 10.0.0.1"), ("x-forwarded-for", "10.0.0.2")],
    [("Forwarded", "for=10.0.0.1;by=10.0.0.1"), ("X-Real-IP", "10.0.0.1"), ("X-Forwarded-Proto", "https")],
]
COPIES: list[tuple[str, ...]] = [("admin",), ("admin", "admin"), ("admin", "root"), ("", "admin")]
CASES = list(itertools.product(range(len(NAMES)), FORWARDED, COPIES, (False, True)))


@pytest.fixture(params=["h11", "httptools"])
def http(request: pytest.FixtureRequest) -> Any:
    return request.param


def serving(hops: list[str], http: Literal["h11", "httptools"]) -> tuple[FakeGuard, Serving]:
    identity = {"missing": "anonymous", "header": {"header": "X-Authenticated-User", "hops": hops}}
    guard = FakeGuard(make_policy([{"name": "f", "path": "/feedback", "extract": EXTRACT}], identity=identity))
    return guard, Serving(FeedbackGuardMiddleware(Recorder(), guard=guard), http=http, lifespan="off")


def answers(server: Serving) -> Iterator[tuple[int, tuple[str, ...], int]]:
    """The spelling of the name, its values, and the status, for 224 permutations."""
    for spelling, forwarded, values, backwards in CASES:
        fields = [*forwarded, *((NAMES[spelling], value) for value in values)]
        yield spelling, values, server.post("/feedback", FEEDBACK, fields[::-1] if backwards else fields).status


def test_an_untrusted_peer_is_nobody_whatever_it_writes(http: Any) -> None:
    guard, server = serving(["10.0.0.0/8"], http)
    with server:
        assert {status for _, _, status in answers(server)} == {200}
    found = {item.contributor for kept in guard.kept.values() for item in kept.submission.contributions}
    assert found == {ANONYMOUS}
    assert len(guard.kept) == len(CASES) >= 200


def test_a_trusted_hop_is_believed_only_in_the_headers_own_spelling_and_once(http: Any) -> None:
    guard, server = serving(["127.0.0.1"], http)
    expected: list[str] = []
    with server:
        for spelling, values, status in answers(server):
            own = spelling < TRUE_NAMES
            assert status == (400 if own and len(values) > 1 else 200)
            if status == 200:
                expected.append(values[0] if own else ANONYMOUS)
    assert [kept.submission.contributions[0].contributor for kept in guard.kept.values()] == expected
    assert set(expected) == {"admin", ANONYMOUS}
