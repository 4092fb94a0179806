"""One request in is one request out: raw bytes over real sockets, through the real gateway, to a recording upstream.

Whatever is sent, the bytes that the upstream receives are read by four parsers, and all must find the same requests in
them: as many as the gateway answered with the upstream's answer, and on the guarded path those that the guard judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import h11
import httptools
import pytest

from feedback_guard.gateway.bounds import Bounds
from feedback_guard.gateway.wire import RequestReader
from feedback_guard.middleware.envelope import Envelope
from feedback_guard.verdict import Decision
from tests.gateway.serving import Gateway, raw
from tests.gateway.smuggling import BODY, CASES, Case
from tests.gateway.upstreams import Upstream
from tests.middleware.fakes import FakeGuard

Requests = list[tuple[bytes, bytes]]
"""Target and body of each."""


def by_the_gateway(data: bytes) -> Requests:
    reader, found = RequestReader(Bounds()), []
    reader.feed(data)
    while reader.waiting:
        head = reader.head()
        assert head is not None, "half a head"
        body, done = reader.body()
        assert done, "half a body"
        found.append((head.raw_path, body))
        reader.next()
    return found


def by_h11(data: bytes, *, found: Requests | None = None) -> Requests:
    """Read by h11; what was read before it gave up stands in `found`."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    found = [] if found is None else found
    http.receive_data(data)
    target = body = b""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            target, body = event.target, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            found.append((target.partition(b"?")[0], body))
            http.send(h11.Response(status_code=400, headers=[("content-length", "0")]))
            http.send(h11.EndOfMessage())
            if http.our_state is not h11.DONE:
                return found
            http.start_next_cycle()
        else:
            return found


def by_llhttp(data: bytes, *, found: Requests | None = None) -> Requests:
    """Read by Node's parser; what was read before it gave up stands in `found`."""
    read: Requests = [] if found is None else found

    class Reading:
        target = body = b""

        def on_message_begin(self) -> None:
            self.target = self.body = b""

        def on_url(self, url: bytes) -> None:
            self.target += url

        def on_body(self, body: bytes) -> None:
            self.body += body

        def on_message_complete(self) -> None:
            read.append((self.target.partition(b"?")[0], self.body))

    httptools.HttpRequestParser(Reading()).feed_data(data)
    return read


def by_a_careless_reader(data: bytes) -> Requests:
    """LF is enough for an end of line, `chunked` anywhere is chunked, the last length counts."""
    found: Requests = []
    while data:
        head, _, data = data.replace(b"\r\n\r\n", b"\n\n", 1).partition(b"\n\n")
        target = head.split()[1]
        if re.search(rb"(?im)^transfer[-_]encoding.*chunked", head):
            body = b""
            while True:
                line, _, data = data.partition(b"\n")
                size = int(line.strip().partition(b";")[0], 16)
                body, data = body + data[:size], data[size:].split(b"\n", 1)[1]
                if not size:
                    break
        else:
            lengths = re.findall(rb"(?im)^content[-_]length\s*:\s*(\d+)", head)
            size = int(lengths[-1]) if lengths else 0
            body, data = data[:size], data[size:]
        found.append((target.partition(b"?")[0], body))
    return found


BYE = (b"/bye", b"")
PARSERS = [by_the_gateway, by_h11, by_llhttp, by_a_careless_reader]


def read(upstream: Upstream) -> Requests:
    """What the upstream received, by every parser's account."""
    accounts = [[request for data in upstream.raw for request in parser(bytes(data))] for parser in PARSERS]
    for parser, account in zip(PARSERS, accounts, strict=True):
        assert account == accounts[0], parser.__name__
    return accounts[0]


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", answer) if status != b"100"]


@pytest.fixture
def guard() -> FakeGuard:
    return FakeGuard()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def gateway(upstream: Upstream, guard: FakeGuard) -> Iterator[Gateway]:
    with Gateway(upstream.url, guard) as gateway:
        yield gateway


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_request_in_is_one_request_out(case: Case, gateway: Gateway, upstream: Upstream, guard: FakeGuard) -> None:
    answered = statuses(exchange(gateway, case))
    arrived = [request for request in read(upstream) if request != BYE]
    goodbyes = 1 if case.requests and b"HTTP/1.0" not in case.data else 0
    assert len(read(upstream)) == len(arrived) + goodbyes == answered.count(200)
    assert len(arrived) == case.requests
    judged = [Envelope.from_bytes(kept.submission.request or b"") for kept in guard.kept.values()]
    assert [body for target, body in arrived if target == b"/feedback"] == [envelope.body for envelope in judged]
    assert all(body == BODY for target, body in arrived if target == b"/feedback")
    if case.requests == 0:
        assert len(answered) == 1, "a refusal is answered, and nothing after it"
        assert 400 <= answered[0] < 600


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_that_is_held_gets_through(case: Case, gateway: Gateway, upstream: Upstream, guard: FakeGuard) -> None:
    guard.decide_on = lambda _: Decision.QUARANTINE
    exchange(gateway, case)
    assert [request for request in read(upstream) if request != BYE and request[0] != b"/other"] == []


def exchange(gateway: Gateway, case: Case) -> bytes:
    """Send a case, and a `Connection: close` request behind it so that a kept connection ends."""
    return raw(gateway.port, case.data + b"GET /bye HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
