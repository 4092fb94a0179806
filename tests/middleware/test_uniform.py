"""Nobody learns from a uniform answer what was decided: an attacker with a classifier, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from feedback_guard.middleware.answers import Answers, Asked
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.ending import Ending
from feedback_guard.middleware.pace import Pace
from feedback_guard.middleware.replies import Reply
from feedback_guard.policy.answers import UniformPolicy
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement, Submission
from feedback_guard.verdict import Decision
from tests.middleware.direct import Connection, make_scope
from tests.middleware.fakes import EXTRACT, FEEDBACK, FakeGuard, make_policy
from tests.virtual import run_virtually

UNIFORM = {
    "name": "feedback",
    "path": "/feedback",
    "extract": EXTRACT,
    "acknowledge": "uniform",
    "held_answer": {"status": 200, "headers": {"X-Api": "v1"}, "body": "{id: id(), text: input, at: at()}"},
    "uniform": {"floor": "300ms", "jitter": "40ms"},
}
PAIRS = 3_000
MOST_AUC = 0.55


class SlowGuard(FakeGuard):
    """Judging takes a while, and holding a little longer, since there is more to write."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(make_policy([UNIFORM]))
        self.rng = rng
        self.decide_on = lambda item: Decision.QUARANTINE if item.contributions[0].label == "held" else Decision.ACCEPT

    async def judge(self, submission: Submission) -> Judgement:
        held = self.decide_on(submission) is Decision.QUARANTINE
        late = self.rng.uniform(0.0, 0.6) if self.rng.random() < 0.02 else 0.0
        await asyncio.sleep(self.rng.uniform(0.005, 0.060) + late + (0.012 if held else 0.0))
        return await super().judge(submission)


class AnyApp:
    """An application as there are many: now quick, now slow; it answers this and that, and sometimes it raises."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.calls = self.finished = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        await receive()
        await asyncio.sleep(self.rng.lognormvariate(-2.0, 1.2))  # median 135 ms, now and then seconds
        if self.rng.random() < 0.05:
            raise RuntimeError("the application fails")
        headers = [(b"content-type", b"application/json"), (b"x-app", b"yes"), (b"set-cookie", b"a=b")]
        status = self.rng.choice([200, 201, 422, 500])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * self.rng.randint(0, 500), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        self.finished += 1


@dataclass(frozen=True)
class Seen:
    """What a client sees of one answer."""

    held: bool
    status: int
    names: tuple[bytes, ...]
    values: tuple[bytes, ...]
    length: int
    seconds: float


class TimedConnection(Connection):
    """Notes when the answer was complete."""

    seconds = 0.0

    async def send(self, message: Any) -> None:
        await super().send(message)
        self.seconds = asyncio.get_running_loop().time()


async def observe(app: Any, held: bool, text: str) -> Seen:
    connection = TimedConnection({**FEEDBACK, "input": text, "label": "held" if held else "fine"})
    since = asyncio.get_running_loop().time()
    await app(make_scope(), connection.receive, connection.send)
    start = next(message for message in connection.sent if message["type"] == "http.response.start")
    names = tuple(name for name, _ in start["headers"])
    values = tuple(value for name, value in start["headers"] if name != b"content-length")
    return Seen(held, start["status"], names, values, len(connection.body), connection.seconds - since)


def attack(pairs: int = PAIRS, seed: int = 7) -> tuple[list[Seen], SlowGuard, AnyApp]:
    rng = random.Random(seed)
    guard, inner = SlowGuard(rng), AnyApp(rng)

    async def send_all() -> list[Seen]:
        app = FeedbackGuardMiddleware(inner, guard=guard, poll_seconds=60.0)
        seen: list[Seen] = []
        for _ in range(pairs // 50):
            kinds = [True] * 50 + [False] * 50
            rng.shuffle(kinds)
            texts = ["x" * rng.randint(1, 200) for _ in kinds]
            seen += await asyncio.gather(*(observe(app, *each) for each in zip(kinds, texts, strict=True)))
        await app._service._quiesce()
        return seen

    return run_virtually(send_all()), guard, inner


def auc(seen: Sequence[Seen]) -> float:
    """How well the best of two classifiers tells held from accepted, out of sample; 0.5 is guessing."""
    names, values = {s.names: i for i, s in enumerate(seen)}, {s.values: i for i, s in enumerate(seen)}
    x = np.array(
        [[s.status, s.length, len(s.names), names[s.names], values[s.values], s.seconds, s.seconds % 0.3] for s in seen]
    )
    y = np.array([s.held for s in seen])
    models = [
        HistGradientBoostingClassifier(max_iter=60, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ]
    # Threads that wait for each other take minutes where other tests have the processors.
    with threadpool_limits(1):
        scores = [roc_auc_score(y, cross_val_predict(m, x, y, cv=5, method="predict_proba")[:, 1]) for m in models]
    return float(max(scores))


def test_a_classifier_cannot_tell_held_from_accepted() -> None:
    seen, guard, app = attack()
    assert auc(seen) <= MOST_AUC
    assert {s.status for s in seen} == {200}
    assert len({s.names for s in seen}) == len({s.values for s in seen}) == 1
    assert all(s.seconds >= 0.3 for s in seen)
    # The application got what was accepted, all of it, and what it did is on record.
    assert app.calls == PAIRS
    states = [kept.delivery for kept in guard.kept.values()]
    assert states.count(Delivery.HELD) == PAIRS
    assert states.count(Delivery.DELIVERED) > PAIRS / 3
    assert states.count(Delivery.FAILED) > PAIRS / 3
    assert states.count(Delivery.UNKNOWN) > PAIRS / 50
    assert states.count(Delivery.DISPATCHING) == 0


def _shown_by(change: Callable[[Reply, bool], Reply]) -> Callable[[pytest.MonkeyPatch], None]:
    real = Answers.of

    def plant(patch: pytest.MonkeyPatch) -> None:
        def of(self: Answers, judgement: Judgement, asked: Asked) -> Reply:
            return change(real(self, judgement, asked), judgement.delivery is Delivery.HELD)

        patch.setattr(Answers, "of", of)

    return plant


def _swap(reply: Reply, held: bool) -> Reply:
    return replace(reply, headers=tuple(reversed(reply.headers))) if held else reply


def _extra(reply: Reply, held: bool) -> Reply:
    return reply if held else replace(reply, headers=(*reply.headers, (b"x-app", b"yes")))


def _status(reply: Reply, held: bool) -> Reply:
    return replace(reply, status=202) if held else reply


def _no_floor(patch: pytest.MonkeyPatch) -> None:
    """The answer leaves as soon as it is ready."""

    async def hold_back(self: Pace, since: float, policy: UniformPolicy) -> None:
        pass

    patch.setattr(Pace, "hold_back", hold_back)


def _waiting_for_the_application(patch: pytest.MonkeyPatch) -> None:
    """The answer keeps to the floor, and waits for the application."""

    async def acknowledge(self: Any, reply: Reply, call: Any = None, **_: Any) -> None:
        if call is not None:
            await call()
        await self._shared.pace.hold_back(self._since, self._route.uniform)
        await reply.send(self._send)

    patch.setattr(Ending, "_acknowledge", acknowledge)


@pytest.mark.parametrize(
    ("plant", "pairs"),
    [
        pytest.param(_shown_by(_swap), 200, id="header order"),
        pytest.param(_shown_by(_extra), 200, id="one more header"),
        pytest.param(_shown_by(_status), 200, id="status"),
        pytest.param(_no_floor, 1_000, id="no floor"),
        pytest.param(_waiting_for_the_application, 400, id="waiting for the application"),
    ],
)
def test_a_planted_leak_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    seen, _, _ = attack(pairs)
    assert auc(seen) > MOST_AUC
