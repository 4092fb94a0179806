"""The policy: everything an operator decides, as one frozen, strict model.

The reference page in the documentation and the JSON Schema for editors are generated from the descriptions here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Name, Named, Sha256, Strict, Waiver, unique
from feedback_guard.policy.embedding import EmbeddingPolicy
from feedback_guard.policy.evidence import EvidencePolicy
from feedback_guard.policy.identity import IdentityPolicy
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.policy.newcomers import NewcomersPolicy
from feedback_guard.policy.probing import ProbingPolicy
from feedback_guard.policy.receipts import ReceiptsPolicy
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.policy.replay import CredentialMode, CredentialsPolicy, ReplayPolicy
from feedback_guard.policy.reputation import ReputationPolicy
from feedback_guard.policy.review import ReviewPolicy
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.policy.signals import SignalsPolicy
from feedback_guard.policy.snapshot import SnapshotPolicy
from feedback_guard.policy.store import StorePolicy


class Mode(StrEnum):
    """Whether the guard acts."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class DriftPolicy(Strict):
    """The alarm on the whole stream. It holds nothing; while it stands, being unlike the trusted set holds nothing."""

    expected_run_length: int = Field(100_000, ge=100, le=10**9)
    """Average number of contributions between two false alarms on a stream that resembles the trusted set."""
    forgives_from: int = Field(10, ge=0, le=200)
    """While the alarm stands and so many contributors sent texts of late (in 200 contributions) that lie far from all
    trusted ones, nothing is held for being unlike the trusted set alone. 0 never forgives."""
    forgiven_weight: float = Field(0.5, ge=0.0, le=1.0, strict=False)
    """What such a contribution teaches at most."""


class StagingPolicy(Strict):
    """How long an accepted contribution waits before anything learns from it."""

    mature_after: Duration = 86_400 * MICROSECONDS
    """Time between acceptance and maturity, by the time of contribution."""


class FailurePolicy(Strict):
    """What happens when a part of the guard fails."""

    fail_open: bool = False
    """True lets contributions pass that could not be scored; each is counted and marked. Unsafe: whoever can make
    the guard fail can then teach the model anything."""


class BaselinePolicy(Strict):
    """What is normal, made once from the trusted set."""

    path: str | None = None
    """Directory that `feedback-guard baseline build` wrote, relative to the working directory. Without one the guard
    only observes."""
    digest: Sha256 | None = None
    """Digest the baseline must have; it is printed by `baseline build` and `baseline show`."""


class Policy(Strict):
    """Everything an operator decides."""

    version: Literal[1] = 1
    """Version of this format."""
    name: Name = "default"
    """Names the policy for people. Verdicts carry the digest. It is the application's name too, if `application` is
    not set: what is held under another name is then not given to the application."""
    application: Name | None = None
    """Names the application that is guarded; without it, the policy's `name` does. What is held for one application is
    never given to another. Guards of different applications that share a store need one each; whoever changes it takes
    care that nothing is held."""
    mode: Mode = Mode.ENFORCE
    """`observe` judges and records without interfering; `enforce` acts."""
    store: StorePolicy = StorePolicy()
    baseline: BaselinePolicy = BaselinePolicy()
    embedding: EmbeddingPolicy = EmbeddingPolicy()
    signals: SignalsPolicy = SignalsPolicy()
    evidence: EvidencePolicy = EvidencePolicy()
    drift: DriftPolicy = DriftPolicy()
    limits: tuple[LimitPolicy, ...] = Field((), max_length=64)
    """Budgets. Every one that fits a contribution must have room for it."""
    newcomers: NewcomersPolicy = NewcomersPolicy()
    redis: RedisPolicy | None = None
    """Redis in front of the budgets. Without it each process learns of what others charged from the store."""
    reputation: ReputationPolicy = ReputationPolicy()
    probing: ProbingPolicy = ProbingPolicy()
    staging: StagingPolicy = StagingPolicy()
    snapshot: SnapshotPolicy = SnapshotPolicy()
    failure: FailurePolicy = FailurePolicy()
    identity: IdentityPolicy = IdentityPolicy()
    routes: tuple[RoutePolicy, ...] = Field((), max_length=256)
    """Endpoints that take feedback; everything else passes untouched."""
    ignore: tuple[Waiver, ...] = Field((), max_length=1_024)
    """Routes of the application that take no feedback, such as `POST /login` or `/admin/*`. They pass untouched like
    everything else; `feedback-guard doctor --app` does not report them."""
    replay: ReplayPolicy = ReplayPolicy()
    credentials: CredentialsPolicy = CredentialsPolicy()
    receipts: ReceiptsPolicy = ReceiptsPolicy()
    review: ReviewPolicy = ReviewPolicy()

    @property
    def application_name(self) -> str:
        """Which application the guard stands in front of."""
        return self.application or self.name

    @field_validator("limits", "routes")
    @classmethod
    def _names_are_unique(cls, items: tuple[Named, ...]) -> tuple[Named, ...]:
        return unique(items)

    @model_validator(mode="after")
    def _kept_credentials_have_a_key(self) -> Self:
        keeping = [route.name for route in self.routes if route.credentials is CredentialMode.KEEP]
        if keeping and self.credentials.keys is None:
            raise ValueError(
                f"the route {keeping[0]!r} keeps credentials, and `credentials.keys` does not say where the key is"
            )
        return self

    @model_validator(mode="after")
    def _receipts_have_a_key(self) -> Self:
        asking = [route.name for route in self.routes if route.receipt is not None]
        if asking and self.receipts.keys is None:
            raise ValueError(
                f"the route {asking[0]!r} asks for receipts, and `receipts.keys` does not say where the key is"
            )
        both = sorted({route.name for route in self.routes} & {endpoint.name for endpoint in self.receipts.serving})
        if both:
            raise ValueError(f"the name {both[0]!r} is used for a route and for a serving endpoint; rename one")
        return self
