"""The policy: everything an operator decides, as one frozen, strict model.

The reference page in the documentation and the JSON Schema for editors are generated from the descriptions here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.answers import (
    Acknowledge,
    DuplicatesPolicy,
    HeldAnswerPolicy,
    IdempotencyPolicy,
    UniformPolicy,
)
from feedback_guard.policy.base import Duration, Expression, Name, RoutePath, Sha256, Share, Strict, Waiver
from feedback_guard.policy.forms import FormPolicy, Media
from feedback_guard.policy.identity import IdentityPolicy
from feedback_guard.policy.limits import LimitPolicy as LimitPolicy  # noqa: PLC0414 - its place until now
from feedback_guard.policy.newcomers import NewcomersPolicy
from feedback_guard.policy.probing import ProbingPolicy
from feedback_guard.policy.receipts import ReceiptsPolicy, RouteReceiptPolicy
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.policy.replay import CredentialMode, CredentialsPolicy, ReplayPolicy, ServiceCredential
from feedback_guard.policy.reputation import ReputationPolicy
from feedback_guard.policy.snapshot import SnapshotPolicy


class Named(Protocol):
    """What is called by its name in ledger, metrics and answers."""

    @property
    def name(self) -> str:
        """The name."""
        ...


NamedT = TypeVar("NamedT", bound=Named)


def _unique(items: tuple[NamedT, ...]) -> tuple[NamedT, ...]:
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} stands twice")
    return items


class Mode(StrEnum):
    """Whether the guard acts."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class Backend(StrEnum):
    """What runs the embedding model."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"
    UNSAFE_HASHING = "unsafe-hashing-for-tests"


class StorePolicy(Strict):
    """Where the record is kept."""

    url: str = "sqlite:///feedback-guard.db"
    """Database URL: `sqlite:///FILE` (one host, any number of processes; relative to the working directory) or
    `postgresql://…`."""
    hold_capacity: int = Field(10_000, ge=1, le=10_000_000)
    """Most requests and contributions that may be held at a time. At the bound the guard answers 503."""
    queue_size: int = Field(1_024, ge=1, le=65_536)
    """Most transactions waiting for the writer. At the bound the guard answers 503."""
    max_group: int = Field(64, ge=1, le=1_024)
    """Most transactions that share one commit."""
    busy_timeout: Duration = 5 * MICROSECONDS
    """How long a write waits for another process's lock before the guard answers 503."""


class EmbeddingPolicy(Strict):
    """Which model turns texts into vectors, and how requests share it."""

    backend: Backend = Backend.TORCH
    """`torch`, `onnx` or `openvino`. `unsafe-hashing-for-tests` is no model: it protects nothing."""
    model: str = "builtin"
    """`builtin` for all-MiniLM-L6-v2 from its package, or a local sentence-transformers directory."""
    digest: Sha256 | None = None
    """SHA-256 of the model directory, as `feedback-guard doctor` prints it. Required unless `builtin`."""
    threads: int | None = Field(None, ge=1, le=256)
    """Threads of the model; by default as many as there are cores."""
    max_batch: int = Field(32, ge=1, le=1_024)
    """Most texts in one pass through the model."""
    max_wait: Duration = 2_000
    """How long the first text of a batch waits for others."""
    queue_size: int = Field(512, ge=1, le=65_536)
    """Most texts waiting for the model. At the bound a contribution counts as not scored."""
    deadline: Duration = 2 * MICROSECONDS
    """How long a contribution waits for its vectors before it counts as not scored."""
    isolated: bool = True
    """Runs the model in a process of its own: faster beside a busy application, and a model that hangs or crashes is
    started anew. False runs it in a thread of the application's process, which saves some memory."""
    stall: Duration = 30 * MICROSECONDS
    """How long an isolated model may take over one batch before its process is ended and started anew."""

    @model_validator(mode="after")
    def _own_model_is_pinned(self) -> Self:
        if self.model != "builtin" and self.digest is None and self.backend is not Backend.UNSAFE_HASHING:
            raise ValueError("a model of your own needs its digest; `feedback-guard doctor --model DIR` prints it")
        return self


class SignalWeight(Strict):
    """How much of the false-hold rate a signal may spend."""

    share: Share
    """Share of `false_hold_rate` that this signal may spend. 0 turns it off; the shares add up to at most 1."""


class SignalsPolicy(Strict):
    """How findings become a suspicion and a hold.

    The findings of one contribution are combined by a weighted Bonferroni bound: with shares that add up to 1 at
    most, no more than `false_hold_rate` of honest contributions are held, however the signals depend on each other.
    """

    false_hold_rate: float = Field(0.01, gt=0.0, le=0.5)
    """Share of honest contributions, alike to the trusted set, that may be held by mistake."""
    full_weight_at: float = Field(3.0, ge=1.0, le=100.0)
    """A contribution has its full weight when its combined p-value is at least this many times the false-hold rate;
    between the two its weight grows linearly. 1 switches shading off."""
    disagreement: SignalWeight = SignalWeight(share=0.50)
    """What is taught contradicts the content, as a model of the trusted set reads it."""
    novelty: SignalWeight = SignalWeight(share=0.15)
    """The text is far from anything in the trusted set."""
    anomaly: SignalWeight = SignalWeight(share=0.10)
    """Length, character make-up and position are jointly unusual (half-space trees)."""
    near_duplicate: SignalWeight = SignalWeight(share=0.15)
    """More accounts than chance sent almost the same text."""
    obfuscation: SignalWeight = SignalWeight(share=0.10)
    """Hidden, mixed-script, reordered or encoded text."""
    unknown_label: Literal["accept", "quarantine"] = "accept"
    """What to do with a label that the trusted set has never seen."""
    unknown_label_weight: Share = 0.7
    """Most weight of a contribution whose label the trusted set has never seen."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = sum(self.shares.values())
        if total > 1.0 + 1e-9:
            raise ValueError(f"the shares of the signals add up to {total:g}; at most 1 keeps the false-hold rate true")
        if total <= 0.0:
            raise ValueError("every signal is off: nothing would ever be held; use `mode: observe` to hold nothing")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of each signal, by its name."""
        return {
            name: getattr(self, name).share
            for name in ("disagreement", "novelty", "anomaly", "near_duplicate", "obfuscation")
        }


class EvidencePolicy(Strict):
    """What contributions teach together: evidence is added up over senders, words, and the shapes of sentences."""

    enabled: bool = True
    """False judges every contribution by itself only."""
    false_campaign_rate: float = Field(0.1, gt=0.0, le=0.5)
    """Share of false campaigns among those found that is accepted, for each kind of facet; on a stream without any
    campaign, the chance of finding one of a kind."""
    after_denial: Literal["hold", "reject"] = "hold"
    """What becomes of later members of a campaign that a moderator denied whole: `hold` keeps each for a decision,
    `reject` refuses it at once, and the application does not see it either."""


class DriftPolicy(Strict):
    """The alarm on the whole stream. It never holds a single contribution."""

    expected_run_length: int = Field(100_000, ge=100, le=10**9)
    """Average number of contributions between two false alarms on a stream that resembles the trusted set."""


class StagingPolicy(Strict):
    """How long an accepted contribution waits before anything learns from it."""

    mature_after: Duration = 86_400 * MICROSECONDS
    """Time between acceptance and maturity, by the time of contribution."""


class FailurePolicy(Strict):
    """What happens when a part of the guard fails."""

    fail_open: bool = False
    """True lets contributions pass that could not be scored; each is counted and marked. Unsafe: whoever can make
    the guard fail can then teach the model anything."""


class OnHold(StrEnum):
    """What a held contribution does to its request."""

    HOLD = "hold"
    PASS = "pass"  # noqa: S105


class RoutePolicy(Strict):
    """One endpoint that takes feedback."""

    name: Name
    """Names the route in metrics, ledger and review; unique."""
    path: RoutePath | None = None
    """Decoded path as the application routes it, without `root_path`. `{name}` stands for one segment. `/a` and `/a/`
    are two paths."""
    paths: tuple[RoutePath, ...] = Field((), max_length=settings.MAX_PATHS)
    """Instead of `path`: several paths that lead to the same endpoint, such as `/api/…` and `/ajax-api/…`."""
    methods: tuple[Literal["POST", "PUT", "PATCH", "DELETE", "GET"], ...] = Field(("POST",), min_length=1)
    """Methods that carry feedback here. `GET` needs `empty` in `accepts`, and takes HEAD too."""
    accepts: tuple[Media, ...] = Field((Media.JSON,), min_length=1, max_length=4)
    """What bodies are taken: `json`, the forms `urlencoded` and `multipart`, or none at all, `empty`. Another one is
    answered with 415."""
    form: FormPolicy = FormPolicy()
    when: Expression | None = None
    """JMESPath on the same request: only where it is true is the request feedback, and any other passes untouched. One
    that asks nothing but `path()`, `query()` and `query_list()` is answered before the body is read."""
    extract: Expression | None = None
    """JMESPath from the body to one contribution (an object), several (a list) or none (null, or an empty list). A
    form is an object of texts. `path('x')` and `query('x')` are parameters of path and query, `query_list('x')` is
    all of that name, `from_json(x)` reads a text as JSON, `to_number(x)` as a number. Without an expression,
    `FeedbackGuardMiddleware(extractors={NAME: callable})` must name a Python callable."""
    on_hold: OnHold = OnHold.HOLD
    """`hold` keeps the request until a moderator approves it, then gives it to the application, at most once.
    `pass` lets the application have it; the learning store leaves it out."""
    max_body_bytes: int = Field(settings.DEFAULT_BODY_BYTES, ge=1, le=settings.MAX_BODY_BYTES)
    """Largest body, in bytes."""
    body_deadline: Duration = 10 * MICROSECONDS
    """How long a client may take to send the body."""
    require_contribution: bool = True
    """True answers 422 when the expression finds nothing at all; false lets a body without feedback pass."""
    credentials: CredentialMode = CredentialMode.NONE
    """What a held request proves itself with when it is given to the application. `none`: the client's credentials
    are not kept, and nothing takes their place. `keep`: the client's own, kept encrypted until then. `service`: a
    credential of yours."""
    service: ServiceCredential | None = None
    """The credential for `credentials: service`."""
    idempotent: bool = False
    """True says that the application may get a held request twice without harm: it recognises `Idempotency-Key`, or
    the effect is the same. Attempts that fail are then repeated, within the bounds of `replay`."""
    held_answer: HeldAnswerPolicy | None = None
    """What the client of a held contribution is answered. Without it: 202 and `{"status": "held", "id": …}`."""
    acknowledge: Acknowledge = Acknowledge.PLAIN
    """`uniform` answers an accepted contribution like a held one: from `held_answer`, after `uniform.floor`, so that
    nobody learns from the answer what was decided. The application's own answer is recorded and not shown."""
    uniform: UniformPolicy = UniformPolicy()
    idempotency: IdempotencyPolicy = IdempotencyPolicy()
    duplicates: DuplicatesPolicy = DuplicatesPolicy()
    receipt: RouteReceiptPolicy | None = None
    """The receipt that feedback must come with; none by default."""

    @model_validator(mode="after")
    def _service_is_named(self) -> Self:
        if (self.credentials is CredentialMode.SERVICE) is (self.service is None):
            raise ValueError("`credentials: service` and `service`, which says where the credential is, go together")
        return self

    @model_validator(mode="after")
    def _has_a_path(self) -> Self:
        if (self.path is None) is not bool(self.paths):
            raise ValueError("a route has either `path`, or several of them in `paths`")
        if len(set(self.paths)) != len(self.paths):
            raise ValueError("a path stands twice in `paths`; remove one")
        return self

    @model_validator(mode="after")
    def _uniform_has_an_answer(self) -> Self:
        if self.acknowledge is Acknowledge.UNIFORM and self.held_answer is None:
            raise ValueError("`acknowledge: uniform` answers everybody from `held_answer`; write one")
        return self

    @property
    def all_paths(self) -> tuple[str, ...]:
        """Its paths, at least one."""
        return self.paths if self.path is None else (self.path,)

    @model_validator(mode="after")
    def _bodies_fit(self) -> Self:
        if len(set(self.accepts)) != len(self.accepts):
            raise ValueError("a kind of body stands twice in `accepts`; remove one")
        if "GET" in self.methods and Media.EMPTY not in self.accepts:
            raise ValueError("GET has no body; add `empty` to `accepts`, and extract from path() and query()")
        forms = {Media.URLENCODED, Media.MULTIPART} & set(self.accepts)
        if self.form.lists and not forms:
            raise ValueError("`form.lists` is for forms; add `urlencoded` or `multipart` to `accepts`")
        if self.form.files and Media.MULTIPART not in self.accepts:
            raise ValueError("`form.files` is for multipart forms; add `multipart` to `accepts`")
        return self


class ModeratorPolicy(Strict):
    """Somebody who may decide on held contributions."""

    name: Name
    """Stands in the ledger beside every decision."""
    token_sha256: Sha256
    """SHA-256 of the moderator's token; `feedback-guard review token` makes a pair."""


class ReviewPolicy(Strict):
    """The moderators' application."""

    moderators: tuple[ModeratorPolicy, ...] = Field((), max_length=1_000)
    """Who may log in."""
    session: Duration = 8 * 3_600 * MICROSECONDS
    """How long a login lasts at most."""
    idle: Duration = 3_600 * MICROSECONDS
    """How long a login lasts without a request."""
    secure_cookies: bool = True
    """True sends cookies over HTTPS only, except to localhost. Browsers treat http://localhost as secure."""
    attempts_per_minute: int = Field(10, ge=1, le=1_000)
    """Failed logins per minute and network before further ones are refused."""

    @field_validator("moderators")
    @classmethod
    def _names_are_unique(cls, moderators: tuple[ModeratorPolicy, ...]) -> tuple[ModeratorPolicy, ...]:
        return _unique(moderators)


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
    """Names the policy for people. Verdicts carry the digest."""
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

    @field_validator("limits", "routes")
    @classmethod
    def _names_are_unique(cls, items: tuple[Named, ...]) -> tuple[Named, ...]:
        return _unique(items)

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
