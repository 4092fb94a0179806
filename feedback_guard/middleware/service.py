"""The middleware's life: it starts and stops with the application, and owns what outlives a single request."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from typing import Final

from feedback_guard.errors import GuardError, UsageError
from feedback_guard.lasting import keep_for_good_once
from feedback_guard.middleware.credentials import Credentials
from feedback_guard.middleware.dispatch import DEADLINE_SECONDS, POLL_SECONDS, Dispatcher
from feedback_guard.middleware.entry import Entry
from feedback_guard.middleware.fitting import warn_of_unfitting
from feedback_guard.middleware.interface import ASGIApp, JudgingGuard, Message, Receive, Scope, Send
from feedback_guard.middleware.lives import one_life
from feedback_guard.middleware.outcome import Recorder
from feedback_guard.middleware.silence import Silences
from feedback_guard.middleware.tasks import OwnedTasks, Wait, wait_for_event

log = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 10.0
"""How long the end of the application waits for outcomes that are being recorded."""


class Service:
    """Starts the guard with the application, or with the first request if no lifespan comes.

    Parameters
    ----------
    app
        What the middleware wraps.
    guard
        What it asks.
    credentials
        What replayed requests prove themselves with.
    wait, poll_seconds, deadline_seconds
        Of the dispatcher.
    silence_seconds
        How long the application may say nothing to a client before its outcome is `UNKNOWN`.
    keep
        Whether what is there when the application has started is taken out of the garbage collector's sight.
    """

    def __init__(
        self,
        app: ASGIApp,
        guard: JudgingGuard,
        *,
        credentials: Credentials,
        wait: Wait = wait_for_event,
        poll_seconds: float = POLL_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
        silence_seconds: float = DEADLINE_SECONDS,
        keep: bool = True,
    ) -> None:
        self._app = app
        self._keep = keep
        self._guard = guard
        self._wait = wait
        self._poll_seconds = poll_seconds
        self.deadline_seconds = deadline_seconds
        self.credentials = credentials
        self.entry = Entry(app)
        self.tasks = OwnedTasks()
        self.recorder = Recorder(guard, self.tasks, wait)
        self.silences = Silences(self.recorder, silence_seconds)
        self._dispatcher: Dispatcher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        self._in_lifespan = False
        self._looked = False

    async def ready(self, scope: Scope) -> None:
        """Make sure that guard and dispatcher run in this event loop; cheap when they do.

        Raises
        ------
        GuardError
            If the guard cannot start; the next request tries again.
        """
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self.entry.note(scope)
        if self._starting is None or self._starting.get_loop() is not loop:
            # Whoever comes first may leave; the start goes on. It serves all requests, so it sees no one's context.
            self._starting = self.tasks.own(self._start(), name="start", context=contextvars.Context())
        starting = self._starting
        try:
            await asyncio.shield(starting)
        finally:
            if starting.done() and self._starting is starting:
                self._starting = None

    async def _start(self) -> None:
        self.credentials.load()
        await self._guard.start()
        # Before the application has started, nothing may be given to it: its lifespan says when.
        if not self._in_lifespan:
            self._dispatch()

    def _dispatch(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self.recorder.stopping = asyncio.Event()
        self._dispatcher = Dispatcher(
            self._guard,
            self.entry,
            [route.name for route in self._guard.policy.routes],
            self.recorder,
            self.credentials,
            wait=self._wait,
            poll_seconds=self._poll_seconds,
            deadline_seconds=self.deadline_seconds,
        )
        self._dispatcher.start()
        self._loop = loop
        if not self._looked:
            self._looked = True
            warn_of_unfitting(self._app, self._guard.policy)
            if self._keep:
                keep_for_good_once()

    async def _quiesce(self) -> None:
        """Finish what was begun, while the application still has what its lifespan gave it."""
        self._loop = None
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            await dispatcher.stop()
        self.silences.end()
        self.recorder.stopping.set()
        await self.tasks.drain(DRAIN_SECONDS)

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Live through the application's lifespan: start before it, stop after it.

        An application that does not speak the protocol, such as Django's, is spoken for.

        Raises
        ------
        UsageError
            If the guard serves another application.
        """
        with contextlib.ExitStack() as life:
            try:
                life.enter_context(one_life(self._guard))
            except UsageError as error:
                log.error("the guard cannot start: %s", error)
                await receive()
                await send({"type": "lifespan.startup.failed", "message": f"feedback_guard: {error}"})
                raise
            await self._live(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entry.note(scope)
        self.entry.lifespan_state = scope.get("state")
        self._in_lifespan = True
        asked = ended = False
        refused: GuardError | None = None

        async def receive_started() -> Message:
            nonlocal asked, refused
            asked = True
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self.credentials.load()
                    await self._guard.start()
                except GuardError as error:
                    refused = error
                    log.error("the guard cannot start: %s", error)
                    await send({"type": "lifespan.startup.failed", "message": f"feedback_guard: {error}"})
                    raise
            elif message["type"] == "lifespan.shutdown":
                await self._quiesce()
            return message

        async def send_and_follow(message: Message) -> None:
            nonlocal ended
            if refused is not None:
                return  # the answer was given above; the application only reports the same failure again
            if message["type"] == "lifespan.startup.complete":
                self._dispatch()
            elif message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                await self._guard.stop()
                # Nothing is begun after this message: the server takes it as leave to close the event loop.
                ended = True
            await send(message)

        try:
            try:
                await self._app(scope, receive_started, send_and_follow)
            except Exception as error:
                if asked:
                    raise
                log.info("the application does not speak the lifespan protocol (%s)", type(error).__name__)
            if not asked:
                await receive_started()
                await send_and_follow({"type": "lifespan.startup.complete"})
                await receive_started()
                await send_and_follow({"type": "lifespan.shutdown.complete"})
        finally:
            self._in_lifespan = False
            if not ended:
                await self._quiesce()
                await self._guard.stop()
