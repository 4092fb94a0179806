"""Receipts: which endpoints give them out, and which routes ask for them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Expression, Name, RoutePath, Strict
from feedback_guard.policy.replay import HeaderName, SecretSource


class RouteReceiptPolicy(Strict):
    """A receipt that feedback on a route must come with: what it speaks of was served, and to this contributor.

    Anything else is refused with a problem that says what is wrong, before limits are asked or a text is read. On a
    route with `acknowledge: uniform` it is answered like everything else, and recorded nowhere.
    """

    header: HeaderName = "Feedback-Receipt"
    """Header that the client sends it in."""
    body: Expression | None = None
    """Instead of the header: JMESPath from the body to the receipt, a text; or to a list of them, one for each
    contribution. It may call what `extract` may call."""
    audience: Name = "default"
    """The route takes receipts of this audience only."""
    again: Literal["refuse", "replace"] = "refuse"
    """A contributor has one live vote for each output. `refuse` answers 409 to a second one; `replace` takes it, and
    withdraws the first. What the first one cost its budgets is not given back."""
    per: Literal["output", "kind"] = "output"
    """`kind` allows one live vote for each output and kind, such as a rating beside a correction."""
    unbound: Literal["refuse", "accept"] = "refuse"
    """What to do with a receipt that does not say what was served, when the contribution names a served text."""


class ServingPolicy(Strict):
    """An endpoint whose answers are served outputs. Each answer with a status of 2xx gets a `Feedback-Receipt`."""

    name: Name
    """Names the endpoint in metrics; unique among routes and serving endpoints."""
    path: RoutePath
    """Decoded path as the application routes it. `{name}` stands for one segment."""
    methods: tuple[Literal["POST", "PUT", "GET"], ...] = Field(("POST",), min_length=1, max_length=3)
    """Methods whose answers are served outputs."""
    audience: Name = "default"
    """For which routes the receipts are good."""
    model: str = Field("", max_length=settings.MAX_ID_CHARS)
    """Name of the model that serves, if it is always the same."""
    read: Literal["json", "text", "events"] = "json"
    """What the answer's body is: `json`, a document; `text`, the served text itself; `events`, a stream of server-sent
    events with a JSON document in each."""
    output: Expression | None = None
    """JMESPath to the served text, from the document, or from each event to its piece. For `text` there is none."""
    interaction: Expression | None = None
    """For `json`: JMESPath from the document to the identifier of the output. Without it the guard makes one."""
    interaction_header: HeaderName | None = None
    """Header of the answer with the identifier of the output, instead."""
    digest: Literal["receipt", "store"] = "receipt"
    """Where the digest of the served text goes. `receipt` waits for the whole answer, and signs it with its digest.
    `store` lets the answer stream: the receipt is signed at its beginning, and the digest is written to the store at
    its end."""
    max_bytes: int = Field(262_144, ge=1, le=settings.MAX_SERVED_BYTES)
    """Largest answer, in bytes, that is read; a larger one gets no receipt with `digest: receipt`, and no digest with
    `digest: store`."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if (self.read == "text") is (self.output is not None):
            raise ValueError("`output` says where the text stands in `json` and `events`; with `text` there is none")
        if self.interaction is not None and (self.read != "json" or self.digest == "store"):
            raise ValueError("`interaction` is read from a whole JSON document; use `interaction_header`, or none")
        if self.interaction is not None and self.interaction_header is not None:
            raise ValueError("the identifier comes from either `interaction` or `interaction_header`")
        if self.read == "events" and self.digest == "receipt":
            raise ValueError("events would not stream any more; take `digest: store`")
        return self


class ReceiptsPolicy(Strict):
    """Receipts of what was served to whom, signed with HMAC-SHA256."""

    keys: SecretSource | None = None
    """Keys: a line each, newest first. The first one signs, all of them are believed.
    `feedback-guard credentials new-key` makes one. They are keys of their own: not those of `credentials`."""
    lifetime: Duration = 7 * 86_400 * MICROSECONDS
    """How long a receipt is good. At most 366 days."""
    leeway: Duration = Field(30 * MICROSECONDS, le=600 * MICROSECONDS)
    """How far the clocks of those who sign may be off."""
    serving: tuple[ServingPolicy, ...] = Field((), max_length=64)
    """Endpoints whose answers get receipts. An application may also sign by itself, with
    `feedback_guard.ReceiptSigner`."""

    @field_validator("lifetime")
    @classmethod
    def _is_bounded(cls, lifetime: int) -> int:
        if not MICROSECONDS <= lifetime <= settings.MAX_RECEIPT_LIFETIME_US:
            raise ValueError("between 1s and 366d")
        return lifetime

    @model_validator(mode="after")
    def _serving_has_keys(self) -> Self:
        names = [endpoint.name for endpoint in self.serving]
        if len(set(names)) != len(names):
            raise ValueError("the name of a serving endpoint stands twice; rename one")
        if self.serving and self.keys is None:
            raise ValueError("`serving` signs receipts, and `keys` does not say where the key is")
        return self
