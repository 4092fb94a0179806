"""Policy of a route: an endpoint that takes feedback, and what becomes of its requests."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.answers import (
    Acknowledge,
    DuplicatesPolicy,
    HeldAnswerPolicy,
    IdempotencyPolicy,
    UniformPolicy,
)
from feedback_guard.policy.base import Duration, Expression, Name, RoutePath, Strict
from feedback_guard.policy.forms import FormPolicy, Media
from feedback_guard.policy.receipts import RouteReceiptPolicy
from feedback_guard.policy.replay import CredentialMode, ServiceCredential


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
