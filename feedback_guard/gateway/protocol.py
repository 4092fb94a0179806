"""The server's side of a connection, for uvicorn: deadlines, bounds, and one request at a time.

What uvicorn's own protocols lack: a deadline for the head, a least rate for the body, a bound on clients that do not
read their answers, and a bound on connections that slow sockets cannot turn against honest clients. What is malformed
is answered once, in `wire`'s words, and the connection ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

from feedback_guard.gateway.answers import answer_head
from feedback_guard.gateway.bounds import Bounds
from feedback_guard.gateway.crowd import Crowd
from feedback_guard.gateway.cycle import ClientLeftError, Cycle
from feedback_guard.gateway.pace import Pace
from feedback_guard.gateway.wire import Head, RequestReader
from feedback_guard.middleware.interface import Scope
from feedback_guard.middleware.replies import BadInputError, Problem, bad_input

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

log = logging.getLogger(__name__)

_FULL: Final = Problem(503, "full", "Too many requests are being answered. Try again later.", retry_after_seconds=5)


class GatewayProtocol(asyncio.Protocol):
    """One connection of a client. uvicorn makes it; `functools.partial` gives it the last two parameters.

    Parameters
    ----------
    config, server_state, app_state, _loop
        uvicorn's.
    bounds
        Of the listener.
    crowd
        The worker's connections, shared by all of a listener.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounds: Bounds,
        crowd: Crowd,
    ) -> None:
        self._app: Any = config.loaded_app
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._bounds = bounds
        self._crowd = crowd
        self._reader = RequestReader(bounds)
        self._transport: asyncio.Transport
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int | None] | None = None
        self._cycle: Cycle | None = None
        self._pace: Pace | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._reading = True
        self._idle = False
        self._lingered: int | None = None
        self.keep_alive = True

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection."""
        self._transport = cast("asyncio.Transport", transport)
        transport = self._transport
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._state.connections.add(self)  # type: ignore[arg-type]
        if not self._crowd.enter(self):
            self._answer(_FULL)
            return
        self._set_timer(self._bounds.head_seconds, self._head_too_slow)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Let go of everything."""
        self._state.connections.discard(self)
        self._crowd.leave(self)
        self._set_timer(None)
        self._stop_stall()
        self._writable.set()
        if self._cycle is not None:
            self._cycle.leave()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._lingered is not None:
            self._lingered += len(data)
            if self._lingered > self._bounds.linger_bytes:
                self._transport.abort()
            return
        if self._pace is not None:
            self._pace.came(len(data), self._loop.time())
        self._reader.feed(data)
        self._advance()

    def pause_writing(self) -> None:
        """Wait: the client does not take what was written."""
        self._writable.clear()
        self._stop_stall()
        self._stall = self._loop.call_later(self._bounds.stall_seconds, self._transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._stop_stall()
        self._writable.set()

    # What uvicorn calls.

    def shutdown(self) -> None:
        """End with the request in progress, or at once if there is none."""
        self.keep_alive = False
        if self._cycle is None:
            self._close()

    # What `Crowd` calls.

    def evict(self) -> None:
        """Make room for another connection."""
        self._transport.abort()

    # What `Cycle` calls.

    def date(self) -> bytes:
        """The date, as uvicorn keeps it; it is made anew once a second."""
        return next((value for name, value in self._state.default_headers if name == b"date"), b"")

    async def write(self, data: bytes) -> None:
        """Write, and wait while the client does not read."""
        if self._transport.is_closing():
            raise ClientLeftError("the client has left")
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()
            if self._transport.is_closing():
                raise ClientLeftError("the client has left, or does not read")

    def took(self) -> None:
        """The application took what there was of the body: there is room for more."""
        self._read_on()

    def finished(self, cycle: Cycle, *, keep: bool) -> None:
        """An answer is complete: go on with the next request, or end."""
        if cycle is not self._cycle:
            return
        self._pace = None
        if not keep or not self.keep_alive or not cycle.body_complete:
            if cycle.body_complete and not self._reader.waiting:
                self._close()
            else:
                self._linger()
            return
        self._cycle = None
        self._idle = True
        self._crowd.idle(self)
        self._reader.next()
        self._set_timer(self._bounds.keep_seconds, self._close)
        if self._reader.waiting:
            self._loop.call_soon(self._advance)
        self._read_on()

    def broken(self, *, abort: bool) -> None:
        """An answer cannot be completed: the client must not take what it got for the whole."""
        if abort:
            self._transport.abort()
        else:
            self._close()

    # Reading.

    def _advance(self) -> None:
        if self._transport.is_closing() or self._lingered is not None:
            return
        try:
            if self._cycle is None:
                if self._idle and self._reader.waiting:
                    self._idle = False
                    self._set_timer(self._bounds.head_seconds, self._head_too_slow)
                head = self._reader.head()
                if head is None:
                    return
                self._begin(head)
            self._read_body()
        except BadInputError as error:
            self._refuse(error.problem)

    def _begin(self, head: Head) -> None:
        self._crowd.busy(self)
        cycle = Cycle(self, head, self._scope(head))
        self._cycle = cycle
        self._pace = Pace(
            self._loop.time(),
            bytes_per_second=self._bounds.body_bytes_per_second,
            grace_seconds=self._bounds.body_grace_seconds,
        )
        self._set_timer(self._bounds.body_grace_seconds, self._look_at_pace)
        self._state.total_requests += 1
        task = self._loop.create_task(cycle.run(self._app), context=contextvars.Context())
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _read_body(self) -> None:
        cycle = self._cycle
        if cycle is None:
            return
        if not cycle.body_complete:
            data, done = self._reader.body()
            if data or done:
                cycle.feed(data, done)
            if done:
                self._pace = None
                self._set_timer(None)
        if cycle.waiting > self._bounds.buffer_bytes or self._reader.waiting > self._bounds.buffer_bytes:
            self._pause()

    def _pause(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if not self._reading and not self._transport.is_closing():
            if self._cycle is not None and self._reader.waiting > self._bounds.buffer_bytes:
                return  # pipelined requests wait for their turn
            self._reading = True
            if self._pace is not None:
                self._pace.begin_again(self._loop.time())
            self._transport.resume_reading()

    def _scope(self, head: Head) -> Scope:
        return {
            "type": "http",
            # 2.4: `send` raises when the client has left.
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": head.version,
            "method": head.method,
            "scheme": "https" if self._transport.get_extra_info("sslcontext") else "http",
            "path": unquote(head.raw_path.decode("ascii")),
            "raw_path": head.raw_path,
            "query_string": head.query_string,
            "root_path": "",
            "headers": head.headers,
            "client": self._client,
            "server": self._server,
            "state": self._app_state.copy(),
        }

    # Deadlines.

    def _set_timer(self, seconds: float | None, callback: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback) if seconds is not None and callback else None

    def _head_too_slow(self) -> None:
        if self._reader.waiting:
            self._refuse(bad_input(408, "head_too_slow", "The head of the request did not come in time.").problem)
        else:
            self._close()

    def _look_at_pace(self) -> None:
        pace, now = self._pace, self._loop.time()
        if pace is None:
            return
        if not self._reading:
            pace.begin_again(now)  # it is the application that is slow
        if now < pace.due:
            self._set_timer(pace.due - now, self._look_at_pace)
        else:
            self._refuse(bad_input(408, "body_too_slow", "The body did not come in time.").problem)

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    # Endings.

    def _refuse(self, problem: Problem) -> None:
        """Answer for a request that is not read to its end. If an answer has begun, it breaks off."""
        cycle = self._cycle
        if cycle is not None:
            began = cycle.started
            cycle.leave()
            if began:
                self._transport.abort()
                return
        self._answer(problem)

    def _answer(self, problem: Problem) -> None:
        reply = problem.reply()
        head = answer_head(
            reply.status, reply.headers, method="POST", version="1.1", keep_alive=False, date=self.date()
        )
        self._transport.write(head.data + reply.body)
        self._linger()

    def _linger(self) -> None:
        """Say that nothing more comes, and read over what the client still sends, for a moment."""
        if self._transport.is_closing() or self._lingered is not None:
            return
        self._lingered = 0
        self._crowd.idle(self)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        self._set_timer(self._bounds.linger_seconds, self._lingered_enough)

    def _lingered_enough(self) -> None:
        if self._transport.get_write_buffer_size():
            self._set_timer(self._bounds.linger_seconds, self._lingered_enough)  # `pause_writing` has a deadline too
        else:
            self._transport.abort()

    def _close(self) -> None:
        """Close when what was written is read, or is not read in time."""
        if self._transport.is_closing():
            return
        self._set_timer(self._bounds.stall_seconds, self._transport.abort)
        self._transport.close()


def _address(name: Any) -> Any:
    """Host and port; None for a Unix socket's client."""
    if isinstance(name, tuple | list) and len(name) >= 2:
        return (str(name[0]), int(name[1]))
    return (name, None) if isinstance(name, str) and name else None
