"""A real server on a free loopback port, for tests that need real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import uvicorn

from tests.patience import PATIENCE_SECONDS


class Prompt(uvicorn.Server):
    """uvicorn without its waits of a tenth of a second each, of which there are two in every server's life.

    With a connection or a task that goes on, it ends as ever.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()

    def leave(self) -> None:
        """Have it end; from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), 0.1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        await self.lifespan.shutdown()


class Serving:
    """Runs an ASGI application with uvicorn in a thread.

    Parameters
    ----------
    app
        The application.
    http
        uvicorn's HTTP implementation.
    lifespan
        `on` fails on an application whose start-up fails; `off` sends no lifespan.
    ws
        `auto` also takes websockets.
    """

    def __init__(
        self,
        app: Any,
        *,
        http: Literal["h11", "httptools"] = "h11",
        lifespan: Literal["auto", "on", "off"] = "on",
        root_path: str = "",
        uds: str | None = None,
        ws: Literal["auto", "none"] = "none",
    ) -> None:
        self._socket: socket.socket | None = None
        if uds is None:
            self._socket = socket.socket()
            self._socket.bind(("127.0.0.1", 0))
            self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            app,
            http=http,
            lifespan=lifespan,
            root_path=root_path,
            uds=uds,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
            proxy_headers=False,
            ws=ws,
            loop="asyncio",
        )
        self.server = Prompt(config)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uvicorn")

    def _run(self) -> None:
        try:
            self.server.run(sockets=[self._socket] if self._socket is not None else None)
        except SystemExit:
            pass  # start-up failed; `__enter__` says so
        finally:
            self._started.set()

    def __enter__(self) -> Self:
        started = self.server.startup

        async def startup(sockets: list[socket.socket] | None = None) -> None:
            await started(sockets=sockets)
            self._started.set()

        self.server.startup = startup  # type: ignore[method-assign]
        self._thread.start()
        if not self._started.wait(PATIENCE_SECONDS) or not self.server.started:
            self.__exit__(None, None, None)
            raise RuntimeError("the application did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.leave()
        self._thread.join(PATIENCE_SECONDS)
        if self._socket is not None:
            self._socket.close()
        if self._thread.is_alive():
            raise RuntimeError("the server did not stop")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> Client:
        """Open a connection."""
        return Client(self.port)

    def post(
        self,
        path: str,
        body: bytes | object,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        method: str = "POST",
    ) -> Answer:
        """Send one request on a connection of its own and read the answer."""
        with self.connect() as client:
            client.request(method, path, body, headers)
            return client.answer(method)


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """A plain socket that can send anything, in any pieces."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | object = b"",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send a request with a Content-Length; anything but bytes becomes JSON."""
        data, fields = encode(body, headers)
        self.send(head(method, path, [*fields, ("content-length", str(len(data)))]) + data)

    def chunked(
        self,
        path: str,
        chunks: Iterable[bytes],
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        end: bool = True,
    ) -> None:
        """Send a request in chunks."""
        _, fields = encode({}, headers)
        self.send(head("POST", path, [*fields, ("transfer-encoding", "chunked")]))
        for chunk in chunks:
            self.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if end:
            self.send(b"0\r\n\r\n")

    def answer(self, method: str = "POST") -> Answer:
        """Read one response; one to HEAD has no body whatever its headers say."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        try:
            return Answer(response.status, response.headers, response.read())
        finally:
            response.close()

    def closed(self) -> bool:
        """Whether the server closes the connection, as seen by reading to its end."""
        try:
            while self.socket.recv(65_536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True


def encode(
    body: bytes | object, headers: Mapping[str, str] | Iterable[tuple[str, str]]
) -> tuple[bytes, list[tuple[str, str]]]:
    """Return the body as bytes, and the header fields with a content type if there is none."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8")
    fields = list(headers.items() if isinstance(headers, Mapping) else headers)
    if not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("content-type", "application/json"))
    return data, fields


def head(method: str, path: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return a request line and header fields."""
    lines = [f"{method} {path} HTTP/1.1", "host: test", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
