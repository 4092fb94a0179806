"""Properties of the reader: pieces do not matter, and what it takes, others read alike."""

from __future__ import annotations

import h11
import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feedback_guard.gateway.bounds import Bounds
from feedback_guard.gateway.chunks import ChunkReader
from feedback_guard.gateway.pace import Pace
from feedback_guard.gateway.wire import RequestReader
from feedback_guard.middleware.replies import BadInputError
from tests.gateway.smuggling import CASES, ONE, Case
from tests.gateway.test_smuggling import Requests, by_h11, by_llhttp

Read = list[tuple[str, bytes, bytes, list[tuple[bytes, bytes]], bytes] | int]
"""Method, path, query, fields and body of each; or the status of a refusal."""


def read(*pieces: bytes) -> Read:
    """Everything in a stream of pieces: requests, and the status of the refusal that ends it."""
    reader, found = RequestReader(Bounds()), Read()
    head, body = None, b""
    for piece in pieces:
        reader.feed(piece)
        while True:
            try:
                if head is None:
                    head = reader.head()
                    if head is None:
                        break
                more, done = reader.body()
            except BadInputError as error:
                found.append(error.problem.status)
                return found
            body += more
            if not done:
                break
            found.append((head.method, head.raw_path, head.query_string, head.headers, body))
            if not head.keep_alive:
                return found  # the connection ends here
            head, body = None, b""
            reader.next()
    return found


@pytest.mark.parametrize("case", [case for case in CASES if len(case.data) < 3000], ids=str)
def test_a_request_in_single_bytes_is_the_same_request(case: Case) -> None:
    pieces = [case.data[place : place + 1] for place in range(len(case.data))]
    whole = read(case.data)
    if case.requests:
        assert read(*pieces) == whole
        assert len(whole) == case.requests
    else:
        # The whole may show two faults, of which the first byte by byte is another one.
        assert [isinstance(one, int) for one in read(*pieces)] == [isinstance(one, int) for one in whole]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_pieces_do_not_matter(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(ONE))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(case.data)), max_size=8)))
    pieces = [case.data[start:end] for start, end in zip([0, *cuts], [*cuts, len(case.data)], strict=True)]
    assert read(*pieces) == read(case.data)


TRICKS = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\x00", b"\x0b", b"\x0c", b"\x85", b"\xa0"),
    *(b":", b";", b",", b'"', b"0", b"0x", b"+", b"-", b"_", b"#", b"?", b"%", b"chunked", b"HTTP/1.1"),
    *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"1\r\n", b"0\r\n\r\n"),
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
]


@given(
    st.sampled_from([case.data for case in CASES if len(case.data) < 3000 and b"Upgrade" not in case.data]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.sampled_from(TRICKS)), min_size=1, max_size=4),
)
@example(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", [(1.0, 0, b"")])
@settings(max_examples=2_000, deadline=None)
def test_what_is_taken_others_read_alike(data: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    """Requests with bytes taken out and tricks put in: refused, or read as h11 and llhttp read them."""
    for where, taken, trick in edits:
        place = round(where * len(data))
        data = data[:place] + trick + data[place + taken :]
    found = read(data)
    taken_whole = [one for one in found if not isinstance(one, int)]
    if not taken_whole:
        return
    ours: Requests = [(path, body) for _, path, _, _, body in taken_whole]
    for parser in (by_h11, by_llhttp):
        theirs: Requests = []
        try:
            parser(data, found=theirs)
        except (h11.RemoteProtocolError, httptools.HttpParserError, httptools.HttpParserUpgrade):
            ours = ours[: len(theirs)]  # it refuses what follows
        assert theirs[: len(ours)] == ours, parser.__name__


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_chunks_are_put_together(chunks: list[bytes], step: int) -> None:
    data = b"".join(b"%X\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\nrest"
    reader, buffer, body, done = ChunkReader(16_384), bytearray(), b"", False
    for start in range(0, len(data), step):
        buffer += data[start : start + step]
        piece, done = reader.read(buffer)
        body += piece
    assert done
    assert body == b"".join(chunks)
    assert bytes(buffer) == b"rest"


def test_what_surrounds_a_body_may_not_outweigh_it() -> None:
    tiny = bytearray(b"1\r\na\r\n" * 100_000)
    with pytest.raises(BadInputError):
        ChunkReader(16_384).read(tiny)
    fair = bytearray(b"8\r\nabcdefgh\r\n" * 10_000 + b"0\r\n\r\n")
    assert ChunkReader(16_384).read(fair) == (b"abcdefgh" * 10_000, True)


@given(st.lists(st.tuples(st.integers(0, 5_000), st.floats(0.0, 3.0)), max_size=60))
def test_a_client_at_the_least_rate_is_never_too_slow_and_a_slower_one_is_in_the_end(
    steps: list[tuple[int, float]],
) -> None:
    now, pace = 0.0, Pace(0.0, bytes_per_second=100.0, grace_seconds=5.0)
    owed = 0.0
    for n_bytes, seconds in steps:
        now += seconds
        owed = max(0.0, owed + seconds * 100.0)
        if owed > 500.0:
            assert pace.due < now, "whoever owes more than the grace is worth is too slow"
            return
        assert pace.due >= now - 1e-6
        pace.came(n_bytes, now)
        owed = max(0.0, owed - n_bytes)
