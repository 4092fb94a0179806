"""What is recorded of an application that does not end: it hangs, or somebody waits for it in vain.

The application is left to itself, for it may answer yet, and its client may wait: what it answers after all goes to the
client, and into the record. But a record that stays open for ever says nothing to anybody, so after a time without a
word, and at the end of the guard's life, the outcome is `UNKNOWN`.
"""

from __future__ import annotations

import asyncio

from feedback_guard.middleware.outcome import AnswerWatch, Outcome, Recorder
from feedback_guard.store.states import Delivery


class Silences:
    """The calls of the application that a client waits for, each with a limit on silence.

    Parameters
    ----------
    recorder
        Records outcomes.
    seconds
        How long the application may say nothing, neither a further part of its answer nor its end.
    """

    def __init__(self, recorder: Recorder, seconds: float) -> None:
        self._recorder = recorder
        self._seconds = seconds
        self._open: dict[str, Listening] = {}

    def __len__(self) -> int:
        return len(self._open)

    def listen(self, submission: str, watch: AnswerWatch) -> Listening:
        """Begin to listen to a call.

        Parameters
        ----------
        submission
            Where the outcome is recorded.
        watch
            Sees what the application sends.
        """
        listening = self._open[submission] = Listening(self, submission, watch)
        listening.go_on()
        return listening

    def end(self) -> None:
        """Record what is known of the calls that have not ended; the guard stops."""
        for listening in list(self._open.values()):
            listening.tell("the process stopped before the application had ended")


class Listening:
    """One call of the application."""

    __slots__ = ("_heard", "_owner", "_submission", "_timer", "_told", "_watch")

    def __init__(self, owner: Silences, submission: str, watch: AnswerWatch) -> None:
        self._owner = owner
        self._submission = submission
        self._watch = watch
        self._heard = watch.n_sent
        self._timer: asyncio.TimerHandle | None = None
        self._told: Delivery | None = None

    def go_on(self) -> None:
        """Listen for as long again."""
        self._timer = asyncio.get_running_loop().call_later(self._owner._seconds, self._look)

    def end(self, outcome: Outcome) -> asyncio.Event:
        """The call has ended: begin to record that, unless it says no more than is recorded already.

        Returns
        -------
        asyncio.Event
            Set after the first attempt.
        """
        if self._timer is not None:
            self._timer.cancel()
        self._owner._open.pop(self._submission, None)
        if outcome.delivery is self._told:
            nothing_new = asyncio.Event()
            nothing_new.set()
            return nothing_new
        return self._owner._recorder.begin(self._submission, outcome)

    def tell(self, cause: str) -> None:
        """Record what is known of a call that has not ended; once."""
        if self._timer is not None:
            self._timer.cancel()
        if self._told is None:
            outcome = self._watch.outcome(cause=cause)
            self._told = outcome.delivery
            self._owner._recorder.begin(self._submission, outcome)

    def _look(self) -> None:
        if self._watch.n_sent == self._heard:
            self.tell(f"the application has said nothing for {self._owner._seconds:g} s, and has not ended")
            return
        self._heard = self._watch.n_sent
        self.go_on()
