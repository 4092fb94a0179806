"""No other spelling of a guarded path gets past the guard; what is merely similar goes through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.serving import Gateway, raw
from tests.gateway.smuggling import BODY
from tests.gateway.upstreams import Upstream
from tests.middleware.fakes import EXTRACT, FakeGuard, make_policy

ROUTES: list[dict[str, Any]] = [
    {"name": "feedback", "path": "/feedback", "extract": EXTRACT},
    {"name": "rate", "path": "/items/{item}/rating", "methods": ["PUT", "PATCH"], "extract": EXTRACT},
    {"name": "twin", "paths": ["/api/log", "/ajax/{user}.log"], "extract": EXTRACT},
]

JUDGED = [
    b"POST /feedback",
    b"POST /%66eedback",
    b"POST /feedback%0a",
    b"post /feedback",
    b"POST /feedback/",
    b"POST //feedback",
    b"POST /Feedback",
    b"POST /FEEDBACK",
    b"POST /%2ffeedback",
    b"POST /%2Ffeedback",
    b"POST /feed%62ack%2f",
    b"POST /feedbac%E2%84%AA",  # the Kelvin sign folds to k
    b"PUT /items/a%2Fb/rating",
    b"PUT /items/7//rating",
    b"PUT /items/7/rating/",
    b"PUT /Items/7/Rating",
    b"PATCH /items/a;b/RATING",
    b"PUT /items/%252e/rating/",
    b"POST /api/log/",
    b"POST /AJAX/ada.log",
    b"post /feedback/",
]

REFUSED = [
    b"POST /./feedback",
    b"POST /x/../feedback",
    b"POST /x/..;/feedback",
    b"POST /feedback/x/..",
    b"POST /feedback/.",
    b"POST /feedback;v=1",
    b"POST /;x/feedback",
    b"POST /x/%2e%2e/feedback",
    b"POST /x%2f..%2ffeedback",
    b"POST /%2566eedback",
    b"POST /feedback%00",
    b"POST /feedback%00.html",
    b"POST /feedback%20",
    b"POST /feedback%09",
    b"POST /feedback%3bx",
    b"POST /\\feedback",
    b"POST /x\\..\\feedback",
    b"POST /%5cfeedback",
    b"POST /%EF%BD%86eedback",  # a fullwidth f
    b"POST /items/7/rating\nX-HTTP-Method-Override: PUT",
    b"GET /items/7/rating\nX-HTTP-Method: patch",
    b"POST /items/7/rating\nX-Method-Override: PUT",
    b"GET /feedback\nX_HTTP_Method_Override: POST",
]

HARMLESS = [
    b"GET /feedback/",
    b"GET /Feedback",
    b"POST /feedbacks",
    b"POST /feedback/7",
    b"POST /x/feedback",
    b"POST /feedback.json",
    b"POST /items/7/rating",
    b"PUT /items/rating",
    b"PUT /items/7/8/rating",
    b"DELETE /feedback/",
    b"POST /",
    b"POST /api",
    b"POST /x\nX-HTTP-Method-Override: PUT",
    b"POST /feed/back",
    b"POST /..",
]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def guard() -> FakeGuard:
    return FakeGuard(make_policy(ROUTES))


@pytest.fixture
def gateway(upstream: Upstream, guard: FakeGuard) -> Iterator[Gateway]:
    with Gateway(upstream.url, guard) as gateway:
        yield gateway


def send(gateway: Gateway, line: bytes) -> bytes:
    line, _, field = line.partition(b"\n")
    return raw(
        gateway.port,
        line
        + b" HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\n"
        + (field + b"\r\n" if field else b"")
        + b"Content-Length: %d\r\n\r\n" % len(BODY)
        + BODY,
    )


@pytest.mark.parametrize("line", REFUSED, ids=ascii)
def test_another_spelling_is_refused(line: bytes, gateway: Gateway, upstream: Upstream, guard: FakeGuard) -> None:
    got = send(gateway, line)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"ambiguous_request" in got
    assert upstream.seen == []
    assert guard.kept == {}
    assert [outcome for _, outcome in guard.metrics.requests] == ["bad_input"]


@pytest.mark.parametrize("line", HARMLESS, ids=ascii)
def test_what_is_merely_similar_goes_through(
    line: bytes, gateway: Gateway, upstream: Upstream, guard: FakeGuard
) -> None:
    assert send(gateway, line).startswith(b"HTTP/1.1 200 ")
    assert len(upstream.seen) == 1
    assert guard.kept == {}


@pytest.mark.parametrize("line", JUDGED, ids=ascii)
def test_what_differs_in_case_and_slashes_is_judged(
    line: bytes, gateway: Gateway, upstream: Upstream, guard: FakeGuard
) -> None:
    assert send(gateway, line).startswith(b"HTTP/1.1 200 ")
    assert len(guard.kept) == len(upstream.seen) == 1
    assert upstream.only.target == line.split()[1]


def test_a_guard_that_only_observes_refuses_no_spelling(upstream: Upstream) -> None:
    with Gateway(upstream.url, FakeGuard(make_policy(ROUTES), enforcing=False)) as gateway:
        assert send(gateway, b"POST /x/../feedback").startswith(b"HTTP/1.1 200 ")
    assert len(upstream.seen) == 1


def test_two_names_of_one_endpoint_are_two_paths_of_the_policy(upstream: Upstream) -> None:
    routes: list[dict[str, Any]] = [
        {"name": "feedback", "paths": ["/feedback", "/feedback;v=1", "/x/../feedback"], "extract": EXTRACT}
    ]
    with Gateway(upstream.url, FakeGuard(make_policy(routes))) as gateway:
        for line in (b"POST /feedback", b"POST /feedback;v=1", b"POST /x/../feedback"):
            assert send(gateway, line).startswith(b"HTTP/1.1 200 ")
        assert len(gateway.guard.kept) == 3


@pytest.mark.parametrize("target", [b"/feedback", b"/socket"])
def test_a_websocket_is_refused(target: bytes, gateway: Gateway, upstream: Upstream) -> None:
    got = raw(
        gateway.port,
        b"GET " + target + b" HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        b"POST /feedback HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n",
    )
    assert got.startswith(b"HTTP/1.1 501 ")
    assert got.count(b"HTTP/1.1") == 1
    assert upstream.raw == []
