"""Where a replayed request enters the application, by a door that only the guard can open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feedback_guard.middleware.envelope import Envelope
from feedback_guard.middleware.interface import PASSAGE, PASSAGE_KEY, STATE_KEY, ASGIApp, Scope
from feedback_guard.middleware.replayed import REPLAY_KEY, Replay
from feedback_guard.verdict import Verdict


class Entry:
    """The outermost application that the guard knows of, and the state that its lifespan made.

    Parameters
    ----------
    app
        What the middleware wraps: the way in if nothing further out is known.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._wrapped = app
        self.outermost: ASGIApp | None = None
        self._inside = False
        self.lifespan_state: dict[str, Any] | None = None

    def note(self, scope: Scope) -> None:
        """Remember the outermost application, if this scope came through one."""
        app = scope.get("app")
        if app is not None and callable(app):
            self.outermost = app
            self._inside = any(
                getattr(getattr(item, "cls", None), "is_feedback_guard", False)
                for item in getattr(app, "user_middleware", ())
            )

    @property
    def app(self) -> ASGIApp:
        """The outermost application known: what stands between it and the guard is needed, such as authentication."""
        return self.outermost or self._wrapped

    def scope(self, envelope: Envelope, verdicts: Sequence[Verdict], replay: Replay) -> Scope:
        """Make the scope of a replayed request: as it came, with what a server and the guard add to it.

        Parameters
        ----------
        envelope
            The request.
        verdicts
            For the application to read; the request is not judged again.
        replay
            Which attempt it is, and whose request.
        """
        scope = envelope.scope()
        scope["state"] = {**(self.lifespan_state or {}), STATE_KEY: list(verdicts)}
        scope[PASSAGE_KEY] = PASSAGE
        scope[REPLAY_KEY] = replay
        if envelope.mount is not None and self._inside:
            # The guard is a middleware of a mounted application, and so is the way in: below the mount.
            scope["root_path"], scope["app_root_path"] = envelope.mount, envelope.root_path
        elif self.outermost is not None:
            scope["path"] = envelope.path_outside
        if self.outermost is not None:
            scope["app"] = self.outermost
        return scope
