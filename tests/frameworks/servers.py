"""The servers of the suite: uvicorn, and granian, whose protocol is written in another language by other people."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from granian.constants import Interfaces
from granian.server.embed import Server

from feedback_guard.middleware.interface import ASGIApp
from tests.patience import PATIENCE_SECONDS
from tests.ports import free_port
from tests.serving import Serving


class Granian(Serving):
    """Runs an ASGI application with granian in a thread.

    Parameters
    ----------
    app
        The application.
    lifespan
        False sends no lifespan.
    """

    def __init__(self, app: ASGIApp, *, lifespan: bool) -> None:
        self.port = free_port()
        self._app = app
        self._interface = Interfaces.ASGI if lifespan else Interfaces.ASGINL
        self._loop: asyncio.AbstractEventLoop | None = None
        self._granian: Server | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="granian")

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._granian = Server(
            self._app,
            address="127.0.0.1",
            port=self.port,
            interface=self._interface,
            log_enabled=False,
        )
        await self._granian.serve()

    def __enter__(self) -> Self:
        self._thread.start()
        while self._thread.is_alive():
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS).close()
            except ConnectionRefusedError:
                self._thread.join(0.005)
            else:
                return self
        raise RuntimeError("granian did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._granian is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._granian.stop)
        self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError("granian did not stop")


def uvicorn(app: ASGIApp, lifespan: bool) -> Serving:
    return Serving(app, lifespan="on" if lifespan else "off", ws="auto")


def granian(app: ASGIApp, lifespan: bool) -> Serving:
    return Granian(app, lifespan=lifespan)


SERVERS: dict[str, Callable[[ASGIApp, bool], Serving]] = {"uvicorn": uvicorn, "granian": granian}
