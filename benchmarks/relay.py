"""A relay on loopback that counts round trips: how often a client waited for its server."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_CHUNK = 65_536


class Relay:
    """Passes bytes on between clients and one server, and counts.

    A round trip is a client's sending after the server had answered; however many statements travel together, they are
    one.

    Parameters
    ----------
    host, port
        The server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.port = int(self._listener.getsockname()[1])
        self.trips = 0
        """So far, of all connections together."""
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def lead_to(self, host: str, port: int) -> None:
        """Lead to another server from now on: connections that were open end, as where an address moves."""
        with self._lock:
            self._server = host, port
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            for each in (self._listener, *self._sockets):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets += [client, server]
                answered = threading.Event()
                answered.set()
                threading.Thread(target=self._up, args=(client, server, answered), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client, answered), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, answered: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_CHUNK):
                if answered.is_set():
                    answered.clear()
                    self.trips += 1
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket, answered: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                answered.set()
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
