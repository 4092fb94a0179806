"""Upstreams for tests: one that writes down every byte it gets, and answers as it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import h11

from tests.patience import PATIENCE_SECONDS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-App: yes\r\n\r\nok"


@dataclass(frozen=True)
class Seen:
    """One request as the upstream read it."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]


class Upstream:
    """A TCP server that records raw bytes and the requests in them.

    Parameters
    ----------
    answer
        Makes the bytes of an answer; None closes the connection instead, with a reset.
    """

    def __init__(self, answer: Callable[[Seen], bytes | None] = lambda _: OK) -> None:
        self.answer = answer
        self.raw: list[bytearray] = []
        self.seen: list[Seen] = []
        self.changed = threading.Condition()
        self.on_connection: Callable[[socket.socket], bool] | None = None
        self.wrap: Callable[[socket.socket], socket.socket] = lambda connection: connection
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._ended: set[object] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def finish(self) -> None:
        """Wait until all that was asked on connections which their clients have ended is done."""
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            address = last.getsockname()
        with self.changed:
            # They are accepted one after the other: once this one has been, so were all that were made before it.
            assert self.changed.wait_for(lambda: address in self._ended, PATIENCE_SECONDS)
        for thread in self._threads[1:]:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, client = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            raw = bytearray()
            self.raw.append(raw)

            def serve(connection: socket.socket = connection, raw: bytearray = raw, client: object = client) -> None:
                with (
                    contextlib.suppress(OSError, h11.RemoteProtocolError),
                    connection,
                    self.wrap(connection) as wrapped,
                ):
                    self._open.append(wrapped)
                    if self.on_connection is None or self.on_connection(wrapped):
                        self._serve(wrapped, raw)
                with self.changed:
                    self._ended.add(client)
                    self.changed.notify_all()

            self._start(serve)

    def _serve(self, connection: socket.socket, raw: bytearray) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        while True:
            request, body = None, bytearray()
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    data = connection.recv(65_536)
                    with self.changed:
                        raw += data
                        self.changed.notify_all()
                    http.receive_data(data)
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return
            assert request is not None
            seen = Seen(request.method, request.target, list(request.headers.raw_items()), bytes(body))
            with self.changed:
                self.seen.append(seen)
                self.changed.notify_all()
            answer = self.answer(seen)
            if answer is None:
                reset(connection)
                return
            connection.sendall(answer)
            if b"connection: close" in answer.lower() or b"content-length" not in answer.lower():
                return
            http.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            http.send(h11.EndOfMessage())
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    def wait_for(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, seconds), f"never came true; seen: {self.seen}"

    @property
    def only(self) -> Seen:
        (seen,) = self.seen
        return seen


def reset(connection: socket.socket) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()
