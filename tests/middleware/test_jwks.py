"""Keys fetched from a real server over loopback: rotation, redirects, outages, and servers that mean harm."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedback_guard import settings
from feedback_guard.clock import SystemClock
from feedback_guard.errors import IdentityError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.fetch import fetch
from feedback_guard.store.states import Delivery
from tests.middleware.direct import Recorder
from tests.middleware.fakes import EXTRACT, FEEDBACK, FakeGuard, make_policy
from tests.middleware.issuer import POLICY, claims, make_key, published, sign
from tests.patience import PATIENCE_SECONDS
from tests.serving import Serving

OLD, NEW, EVIL = make_key("RSA", "k-old"), make_key("EC", "k-new"), make_key("RSA", "evil")


class JwksApp:
    """An issuer: `/jwks` has its keys; other paths misbehave."""

    def __init__(self) -> None:
        self.data = published(OLD)
        self.asked: list[str] = []
        self.fields: dict[bytes, bytes] = {}
        self.status = 200

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        self.asked.append(scope["path"])
        self.fields = dict(scope["headers"])
        status, headers, body = self.status, [(b"content-type", b"application/json")], self.data
        if scope["path"] == "/moved":
            status, headers, body = 302, [(b"location", b"/jwks")], b""
        elif scope["path"] == "/large":
            body = b'{"keys": [' + b" " * settings.MAX_JWKS_BYTES + b"]}"
        elif scope["path"] == "/compressed":
            headers.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for at in range(0, len(body), 65_536):
            await send({"type": "http.response.body", "body": body[at : at + 65_536], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def issuer() -> Iterator[tuple[JwksApp, Serving]]:
    app = JwksApp()
    with Serving(app, lifespan="off") as server:
        yield app, server


def get(url: str, **options: Any) -> bytes:
    return asyncio.run(fetch(url, max_bytes=settings.MAX_JWKS_BYTES, timeout_seconds=20.0, **options))


def test_a_document_is_fetched(issuer: tuple[JwksApp, Serving]) -> None:
    app, server = issuer
    assert get(f"{server.url}/jwks?tenant=a%20b") == app.data
    assert app.fields[b"host"] == f"127.0.0.1:{server.port}".encode()
    assert b"authorization" not in app.fields


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/moved", "answered 302; redirects are not followed"),
        ("/large", "more than 262144 bytes"),
        ("/compressed", "compressed"),
    ],
)
def test_what_is_not_a_plain_small_answer_is_refused(issuer: tuple[JwksApp, Serving], path: str, sentence: str) -> None:
    app, server = issuer
    with pytest.raises(IdentityError, match=sentence):
        get(server.url + path)
    assert app.asked == [path], "nothing else is asked for"


def test_an_error_of_the_issuer_is_no_key_set(issuer: tuple[JwksApp, Serving]) -> None:
    app, server = issuer
    app.status = 500
    with pytest.raises(IdentityError, match="answered 500"):
        get(server.url + "/jwks")


def test_proxies_of_the_environment_are_not_asked(
    issuer: tuple[JwksApp, Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, server = issuer
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert get(server.url + "/jwks") == app.data


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does with each of its connections what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_SECONDS)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.settimeout(PATIENCE_SECONDS)
                        connection.recv(65_536)
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/jwks"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_SECONDS)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def drips(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    for _ in range(1_000):
        connection.sendall(b"x-more: y\r\n")
        if connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"":
            return


def pours(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"content-length: 100000000000\r\n\r\n")
    for _ in range(10_000):
        connection.sendall(b" " * 65_536)


HARMFUL: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "says nothing": (silent, "did not answer within"),
    "closes at once": (lambda connection: None, "cannot be asked"),
    "no HTTP": (lambda connection: connection.sendall(b"SSH-2.0-x\r\n\r\n"), "cannot be asked"),
    "cut off": (lambda connection: connection.sendall(HEAD + b"content-length: 9\r\n\r\n{"), "cannot be asked"),
    "endless head": (lambda connection: connection.sendall(HEAD + b"x-more: y\r\n" * 20_000), "cannot be asked"),
    "endless body": (pours, "more than 262144 bytes"),
    "two lengths": (
        lambda connection: connection.sendall(HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
        "cannot be asked",
    ),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_a_server_that_means_harm_costs_bounded_time_and_memory(name: str) -> None:
    answer, sentence = HARMFUL[name]
    # Whatever else they do is seen for what it is, and not waited for until the time is over.
    timeout_seconds = 0.3 if name == "says nothing" else PATIENCE_SECONDS
    with listening(answer) as url, pytest.raises(IdentityError, match=sentence):
        asyncio.run(fetch(url, max_bytes=settings.MAX_JWKS_BYTES, timeout_seconds=timeout_seconds))


def test_nobody_listening_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(IdentityError, match="cannot be asked: ConnectionRefusedError"):
        get(f"http://127.0.0.1:{port}/")


def test_https_needs_a_certificate_that_is_trusted() -> None:
    def no_tls(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"\r\n")

    with listening(no_tls) as url, pytest.raises(IdentityError, match="cannot be asked: SSLError"):
        get(url.replace("http://", "https://"))


class Guarded:
    """An application behind a guard that believes the issuer's tokens, both over real sockets."""

    def __init__(self, issuer: Serving, **jwt: Any) -> None:
        identity = {
            "user": False,
            "missing": "anonymous",
            "jwt": POLICY
            | {
                "jwks_url": f"{issuer.url}/jwks",
                "algorithms": ["RS256", "ES256"],
                "groups": {"tenant": ["org"]},
                "timeout": "20s",
            }
            | jwt,
        }
        self.guard = FakeGuard(make_policy([{"name": "f", "path": "/feedback", "extract": EXTRACT}], identity=identity))
        self.guard.clock = SystemClock()  # type: ignore[assignment]
        self.app = Recorder()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Callable[..., int]]:
        wrapped = FeedbackGuardMiddleware(self.app, guard=self.guard)
        with Serving(wrapped, lifespan="off") as server:

            def send(key: Any = None, **changes: Any) -> int:
                payload = claims(exp=int(time.time()) + 60, org="acme", **changes)
                alg = {"RSA": "RS256", "EC": "ES256"}[key.key_type] if key else ""
                headers = {"authorization": f"Bearer {sign(key, payload, alg=alg).decode()}"} if key else {}
                return server.post("/feedback", FEEDBACK, headers).status

            yield send


def test_a_contribution_is_that_of_the_token_through_a_rotation_of_keys(issuer: tuple[JwksApp, Serving]) -> None:
    jwks, server = issuer
    guarded = Guarded(server)
    with guarded.serving() as send:
        assert not jwks.asked, "nobody is asked before there is a token"
        assert send(OLD) == 200
        (contribution,) = guarded.guard.only.submission.contributions
        assert (contribution.contributor, contribution.groups["tenant"]) == ("ada", "acme")
        assert send(NEW) == 401
        jwks.data = published(OLD, NEW)
        assert send(NEW) == 401, "one look for an unknown key was all for now"
        assert send(EVIL) == 401
        assert send(OLD, sub="bob") == 200
        assert send() == 200, "without a token nobody is named"
    assert len(jwks.asked) == 2
    assert [kept.submission.anonymous for kept in guarded.guard.kept.values()] == [False, False, True]


def test_a_new_key_of_the_issuers_is_found_at_its_first_token(issuer: tuple[JwksApp, Serving]) -> None:
    jwks, server = issuer
    guarded = Guarded(server)
    with guarded.serving() as send:
        assert send(OLD) == 200
        jwks.data = published(NEW)
        assert send(NEW) == 200
        assert send(OLD) == 401, "the issuer has withdrawn it"
    assert len(jwks.asked) == 2


@pytest.mark.parametrize("path", ["/moved", "/large", "/compressed"])
def test_an_issuer_without_keys_makes_nobody_anonymous(issuer: tuple[JwksApp, Serving], path: str) -> None:
    jwks, server = issuer
    guarded = Guarded(server, jwks_url=server.url + path)
    with guarded.serving() as send:
        assert [send(OLD) for _ in range(5)] == [503] * 5
    assert jwks.asked == [path]
    assert not guarded.guard.kept
    assert not guarded.app.bodies
    assert all(kept.delivery is Delivery.DELIVERED for kept in guarded.guard.kept.values())
