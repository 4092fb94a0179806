"""A real store in a file, a clock that is moved by hand, and what a moderator's browser does over a real socket."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from starlette.types import ASGIApp

from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.metrics import Metrics
from feedback_guard.policy.review import ModeratorPolicy, ReviewPolicy
from feedback_guard.policy.schema import Policy
from feedback_guard.policy.store import StorePolicy
from feedback_guard.review.auth import token_sha256
from feedback_guard.store.database import Store
from feedback_guard.store.records import Judged, NewSubmission, StoredSubmission
from feedback_guard.store.states import Delivery, Learning, Resolution
from feedback_guard.verdict import Decision, Reason, Verdict
from tests.patience import PATIENCE_SECONDS
from tests.serving import Serving
from tests.store.ready import ready

START_US = 1_780_000_000_000_000
TOKENS = {"ada": "fg_token-of-ada", "bob": "fg_token-of-bob"}
REASON = Reason("disagreement", "The label is not what the trusted set gives to such a question.", 0.0021, None)


@dataclass
class Desk:
    """What the review application needs, and nothing else."""

    policy: Policy
    clock: ManualClock
    store: Store
    metrics: Metrics = field(default_factory=Metrics)
    decided: list[str] = field(default_factory=list)

    async def decide(
        self, submission_id: str, *, approve: bool, moderator: str, note: str = "", version: int | None = None
    ) -> StoredSubmission:
        now_us = self.clock.now_us()
        stored = await self.store.run(
            lambda tx: tx.decide(
                submission_id,
                approve=approve,
                moderator=moderator,
                note=note,
                version=version,
                now_us=now_us,
                limits=self.policy.limits,
            )
        )
        self.decided.append(submission_id)
        return stored

    def noticed(self) -> None:
        self.decided.append("campaign")

    async def resolve(
        self,
        submission_id: str,
        resolution: Resolution,
        *,
        moderator: str,
        note: str = "",
        version: int | None = None,
    ) -> StoredSubmission:
        now_us = self.clock.now_us()
        stored = await self.store.run(
            lambda tx: tx.resolve(
                submission_id, resolution, moderator=moderator, note=note, version=version, now_us=now_us
            )
        )
        self.decided.append(submission_id)
        return stored


def resolve(desk: Desk, ident: str, resolution: Resolution, *, moderator: str = "bob", note: str = "") -> None:
    now_us = desk.clock.now_us()
    desk.store.submit(lambda tx: tx.resolve(ident, resolution, moderator=moderator, note=note, now_us=now_us)).result()


def a_policy(url: str, **review: Any) -> Policy:
    moderators = tuple(ModeratorPolicy(name=name, token_sha256=token_sha256(token)) for name, token in TOKENS.items())
    return Policy(store=StorePolicy(url=url), review=ReviewPolicy(moderators=moderators, **review))


@contextmanager
def a_desk(path: Path, **review: Any) -> Iterator[Desk]:
    with a_desk_at(ready(f"sqlite:///{path}/review.db"), **review) as made:
        yield made


@contextmanager
def a_desk_at(url: str, **review: Any) -> Iterator[Desk]:
    policy, clock = a_policy(url, **review), ManualClock(START_US)
    with Store.open(policy.store, clock=clock) as store:
        yield Desk(policy, clock, store)


def a_contribution(ident: str, **changes: Any) -> Contribution:
    values: dict[str, Any] = {
        "id": ident,
        "at_us": START_US,
        "contributor": "user-17",
        "kind": Kind.LABEL,
        "input": "where is my card?",
        "label": "card_arrival",
    }
    return Contribution(**(values | changes))


def hold(
    desk: Desk,
    ident: str,
    *contributions: Contribution,
    reasons: tuple[Reason, ...] = (REASON,),
    delivery: Delivery = Delivery.HELD,
    learning: Learning = Learning.HELD,
    request: bytes | None = b'{"method": "POST"}',
    route: str = "feedback",
    suspicion: float = 0.9979,
    at_us: int | None = None,
    campaign: str | None = None,
) -> str:
    """Put a submission into the store as the guard would have recorded it, and return its identifier."""
    contributions = contributions or (a_contribution(f"{ident}-c0"),)
    decision = Decision.QUARANTINE if learning is Learning.HELD else Decision.ACCEPT
    judged = tuple(
        Judged(
            item,
            Verdict(
                item.id,
                decision,
                0.0 if learning is Learning.HELD else 1.0,
                suspicion,
                reasons,
                "p" * 64,
                "b" * 64,
                campaign,
            ),
            learning,
        )
        for item in contributions
    )
    new = NewSubmission(
        id=ident,
        route=route,
        at_us=desk.clock.now_us() if at_us is None else at_us,
        delivery=delivery,
        judged=judged,
        request=request,
        worker="w-1" if delivery is Delivery.DISPATCHING else "",
    )
    desk.store.submit(lambda tx: tx.insert(new)).result()
    return ident


def deliver(desk: Desk, ident: str, to: Delivery, detail: Mapping[str, Any] | None = None) -> None:
    now_us, fence = desk.clock.now_us(), stored(desk, ident).fence
    desk.store.submit(lambda tx: tx.deliver(ident, to, now_us=now_us, detail=detail or {}, fence=fence)).result()


def decide(desk: Desk, ident: str, *, approve: bool, moderator: str = "bob", note: str = "") -> None:
    now_us, limits = desk.clock.now_us(), desk.policy.limits
    desk.store.submit(
        lambda tx: tx.decide(ident, approve=approve, moderator=moderator, note=note, now_us=now_us, limits=limits)
    ).result()


def stored(desk: Desk, ident: str) -> StoredSubmission:
    found = desk.store.submission(ident)
    assert found is not None
    return found


@contextmanager
def serving(app: ASGIApp, *, root_path: str = "") -> Iterator[str]:
    """Serve an application over a real socket; yields its origin."""
    with Serving(app, root_path=root_path) as server:
        yield server.url


class Browser:
    """A moderator's browser as far as HTTP goes: cookies, forms, Sec-Fetch-Site. It follows no redirects by itself."""

    def __init__(self, origin: str, *, base: str = "") -> None:
        self.origin = origin
        self.base = base
        self.http = httpx2.Client(base_url=origin, timeout=PATIENCE_SECONDS, trust_env=False)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, **kwargs: Any) -> httpx2.Response:
        return self.http.get(self.base + path, **kwargs)

    def post(self, path: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> httpx2.Response:
        given = {"Sec-Fetch-Site": "same-origin"} if headers is None else dict(headers)
        return self.http.post(self.base + path, data=dict(form), headers=given)

    def log_in(self, name: str = "ada", **form: str) -> httpx2.Response:
        answer = self.post("/login", {"secret": TOKENS[name], **form})
        # The cookie is `Secure`; a browser counts localhost as secure, this client does not.
        match = re.match(r"([^=;]+)=([^;]*)", answer.headers.get("set-cookie", ""))
        if match:
            self.http.headers["Cookie"] = f"{match[1]}={match[2]}"
        return answer

    def form(self, path: str) -> dict[str, str]:
        """The hidden fields of a page's forms."""
        html = self.get(path).text
        return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', html))

    def decide(self, ident: str, *, approve: bool, note: str = "") -> httpx2.Response:
        fields = self.form(f"/items/{ident}")
        return self.post(f"/items/{ident}/{'approve' if approve else 'deny'}", fields | {"note": note})
