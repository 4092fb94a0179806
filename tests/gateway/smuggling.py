"""Requests that two programs might read differently: what a client may send, and what must become of it."""

from __future__ import annotations

from dataclasses import dataclass

BODY = b'{"input": "where is my card?", "label": "card_arrival"}'
HIDDEN = b'POST /feedback HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n"x"'


@dataclass(frozen=True)
class Case:
    """Raw bytes, and how many requests of them may reach the upstream: none is a refusal."""

    name: str
    data: bytes
    requests: int = 0

    def __str__(self) -> str:
        return self.name


def post(*lines: bytes, body: bytes = BODY, target: bytes = b"/feedback", version: bytes = b"1.1") -> bytes:
    head = [b"POST " + target + b" HTTP/" + version, b"Host: test", b"Content-Type: application/json", *lines]
    return b"\r\n".join([*head, b"", body])


def sized(body: bytes = BODY) -> bytes:
    return b"Content-Length: %d" % len(body)


def chunked(body: bytes = BODY, *, size: bytes | None = None, end: bytes = b"0\r\n\r\n") -> bytes:
    return (size or b"%x" % len(body)) + b"\r\n" + body + b"\r\n" + end


TE = b"Transfer-Encoding: chunked"
WHOLE = post(sized())
BOTH = chunked() + HIDDEN

ONE = [
    Case("a length", WHOLE, 1),
    Case("chunks", post(TE, body=chunked()), 1),
    Case("chunks with extensions", post(TE, body=chunked(size=b'%x;a="b\\"";c' % len(BODY))), 1),
    Case("chunks with a trailer", post(TE, body=chunked(end=b"0\r\nX-Sum: 1\r\nX-Other: 7\r\n\r\n")), 1),
    Case("Transfer-Encoding in capitals", post(b"TRANSFER-ENCODING: CHUNKED", body=chunked()), 1),
    Case("white space around a length", post(b"Content-Length: \t%d \t" % len(BODY)), 1),
    Case("an empty line before the request", b"\r\n" + WHOLE, 1),
    Case("two pipelined requests", WHOLE + WHOLE, 2),
    Case("three pipelined requests, one in chunks", WHOLE + post(TE, body=chunked()) + WHOLE, 3),
    Case("Expect", post(sized(), b"Expect: 100-continue"), 1),
    Case("a request hidden in an unguarded body", post(sized(HIDDEN), body=HIDDEN, target=b"/other"), 1),
    Case("a request hidden in an unguarded chunk", post(TE, body=chunked(HIDDEN), target=b"/other"), 1),
    Case("latin-1 in a value", post(sized(), b"X-Name: caf\xe9"), 1),
    Case(
        "an h2c upgrade",
        post(sized(), b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA"),
        1,
    ),
    Case("HTTP/1.0", post(sized(), version=b"1.0"), 1),
]

REFUSED = [
    Case("length and chunks", post(sized(), TE, body=chunked())),
    Case("chunks and length", post(TE, sized(), body=BOTH)),
    Case("chunks, length 0, hidden request", post(TE, b"Content-Length: 0", body=BOTH)),
    Case("two lengths", post(sized(), b"Content-Length: 0", body=BODY + HIDDEN)),
    Case("two equal lengths", post(sized(), sized())),
    Case("a list of lengths", post(b"Content-Length: %d, %d" % (len(BODY), len(BODY)))),
    Case("a signed length", post(b"Content-Length: +%d" % len(BODY))),
    Case("a negative length", post(b"Content-Length: -1")),
    Case("a hexadecimal length", post(b"Content-Length: 0x%x" % len(BODY))),
    Case("an underscored length", post(b"Content-Length: 5_5")),
    Case("an empty length", post(b"Content-Length:")),
    Case("a length beyond 64 bits", post(b"Content-Length: 18446744073709551671")),
    Case("a length with a space inside", post(b"Content-Length: 5 5")),
    Case("Content_Length", post(b"Content_Length: 0", sized())),
    Case("Transfer_Encoding", post(b"Transfer_Encoding: chunked", sized())),
    Case("two codings in one field", post(b"Transfer-Encoding: chunked, identity", body=BOTH)),
    Case("two codings in two fields", post(TE, b"Transfer-Encoding: identity", body=BOTH)),
    Case("chunked twice", post(b"Transfer-Encoding: chunked, chunked", body=BOTH)),
    Case("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked", body=BOTH)),
    Case("an unknown coding", post(b"Transfer-Encoding: xchunked", sized())),
    Case("a coding in quotes", post(b'Transfer-Encoding: "chunked"', sized())),
    Case("a coding with a parameter", post(b"Transfer-Encoding: chunked;q=1", body=BOTH)),
    Case("a coding with a control character", post(b"Transfer-Encoding: \x0bchunked", sized())),
    Case("a coding with a latin-1 space", post(b"Transfer-Encoding: chunked\xa0", body=BOTH)),
    Case("an empty coding", post(b"Transfer-Encoding:", sized())),
    Case("white space before the colon", post(b"Transfer-Encoding : chunked", sized())),
    Case("white space before any colon", post(b"X-A : 1", sized())),
    Case("a tab before the colon", post(b"Content-Length\t: 0", sized())),
    Case(
        "white space before the first field",
        b"POST /feedback HTTP/1.1\r\n Host: test\r\n" + sized() + b"\r\n\r\n" + BODY,
    ),
    Case("a folded field", post(b"X-Long: a\r\n b", sized())),
    Case("a folded coding", post(b"Transfer-Encoding:\r\n chunked", sized())),
    Case("a field without a colon", post(b"Nothing", sized())),
    Case("a field without a name", post(b": x", sized())),
    Case("NUL in a value", post(b"X-A: a\x00b", sized())),
    Case("NUL in a name", post(b"X-\x00A: a", sized())),
    Case("CR in a value", post(b"X-A: a\rContent-Length: 0", sized())),
    Case("LF in a value", post(b"X-A: a\nTransfer-Encoding: chunked", sized())),
    Case("LF for CR LF", WHOLE.replace(b"\r\n", b"\n")),
    Case("LF at the end of the head", WHOLE.replace(b"\r\n\r\n", b"\n\n")),
    Case("LF CR", WHOLE.replace(b"\r\n", b"\n\r")),
    Case("CR alone", WHOLE.replace(b"\r\n", b"\r") + b"\n"),
    Case("DEL in a value", post(b"X-A: \x7f", sized())),
    Case("chunks in HTTP/1.0", post(TE, body=chunked(), version=b"1.0")),
    Case("HTTP/1.2", post(sized(), version=b"1.2")),
    Case("HTTP/2.0", post(sized(), version=b"2.0")),
    Case("HTTP/0.9", b"POST /feedback\r\n\r\n"),
    Case("HTTP/1.01", post(sized(), version=b"1.01")),
    Case("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Case("an absolute target", post(sized(), target=b"http://test/feedback")),
    Case("an absolute target elsewhere", post(sized(), target=b"http://169.254.169.254/feedback")),
    Case("CONNECT", b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n"),
    Case("CONNECT to a path", WHOLE.replace(b"POST ", b"CONNECT ")),
    Case("a method too long", WHOLE.replace(b"POST ", b"P" * 33 + b" ")),
    Case("an asterisk", b"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n"),
    Case("a fragment", post(sized(), target=b"/feedback#x")),
    Case("a space in the target", post(sized(), target=b"/feedback x")),
    Case("a tab for a space", WHOLE.replace(b"POST ", b"POST\t")),
    Case("two spaces", WHOLE.replace(b"POST ", b"POST  ")),
    Case("bytes beyond ASCII in the target", post(sized(), target=b"/feedb\xe4ck")),
    Case("no Host", WHOLE.replace(b"Host: test\r\n", b"")),
    Case("two Hosts", post(b"Host: evil", sized())),
    Case("a Host with a path", WHOLE.replace(b"Host: test", b"Host: test/evil")),
    Case("a Host with credentials", WHOLE.replace(b"Host: test", b"Host: a@evil")),
    Case("a chunk size with a sign", post(TE, body=chunked(size=b"+%x" % len(BODY)))),
    Case("a chunk size with 0x", post(TE, body=chunked(size=b"0x%x" % len(BODY)))),
    Case("a chunk size with a space", post(TE, body=chunked(size=b"%x " % len(BODY)))),
    Case("a chunk size after a space", post(TE, body=chunked(size=b" %x" % len(BODY)))),
    Case("a chunk size with an underscore", post(TE, body=chunked(size=b"3_7"))),
    Case("a chunk size beyond 64 bits", post(TE, body=chunked(size=b"f" * 17))),
    Case("an empty chunk size", post(TE, body=b"\r\n" + BODY)),
    Case("LF after a chunk size", post(TE, body=b"%x\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n")),
    Case("LF after a chunk extension", post(TE, body=b"%x;a\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n")),
    Case("LF after a chunk", post(TE, body=b"%x\r\n" % len(BODY) + BODY + b"\n0\r\n\r\n")),
    Case("LF in a chunk extension", post(TE, body=chunked(size=b"%x;\n" % len(BODY)))),
    Case("CR in a chunk extension", post(TE, body=chunked(size=b"%x;a\rb" % len(BODY)))),
    Case("a chunk longer than its size", post(TE, body=chunked(size=b"%x" % (len(BODY) - 1)))),
    Case("a folded trailer", post(TE, body=chunked(end=b"0\r\nX: 1\r\n 2\r\n\r\n"))),
    Case("a length in a trailer", post(TE, body=chunked(end=b"0\r\nContent-Length: 7\r\n\r\n"))),
    Case("a coding in a trailer", post(TE, body=chunked(end=b"0\r\ntransfer_encoding: chunked\r\n\r\n"))),
    Case("a trailer without a colon", post(TE, body=chunked(end=b"0\r\nX\r\n\r\n"))),
    Case("endless chunk extensions", post(TE, body=chunked(size=b"%x;" % len(BODY) + b"a" * 5000))),
    Case("endless trailers", post(TE, body=chunked(end=b"0\r\n" + b"X: 1\r\n" * 5000 + b"\r\n"))),
    Case("a body of single bytes", post(TE, body=b"1\r\n \r\n" * 20_000 + b"0\r\n\r\n")),
    Case("too many fields", post(*[b"X-A: 1"] * 101, sized())),
    Case("a head too large", post(*[b"X-A: " + b"a" * 1000] * 40, sized())),
    Case("a target too long", post(sized(), target=b"/feedback?" + b"a" * 9000)),
    Case("an endless target", b"GET /" + b"a" * 70_000),
    Case("an unknown expectation", post(sized(), b"Expect: 200-ok")),
    Case("Connection that names Content-Type", post(sized(), b"Connection: close, content-type")),
    Case("Connection that names Content-Length", post(sized(), b"Connection: content-length")),
    Case("Connection that names Host", post(sized(), b"Connection: host")),
    Case("an upgrade to a websocket", post(sized(), b"Connection: Upgrade", b"Upgrade: websocket")),
    Case("another media type", post(sized()).replace(b"application/json", b"text/plain")),
]

CASES = [*ONE, *REFUSED]
