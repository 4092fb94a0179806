"""What a door hands to the guard, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass, field

from feedback_guard.contribution import Contribution
from feedback_guard.limits.interface import Refusal
from feedback_guard.policy.routes import OnHold
from feedback_guard.store.repeats import Claim
from feedback_guard.store.states import Delivery
from feedback_guard.store.votes import Vote
from feedback_guard.verdict import Decision, Verdict


@dataclass(frozen=True, slots=True)
class Submission:
    """The contributions of one request, judged together: all of them pass, or none.

    Parameters
    ----------
    route
        Name of the policy's route; empty for a direct call.
    on_hold
        What a held contribution does to the request.
    contributions
        At least one.
    request
        The request, serialised by the door that took it, to be kept if it is held.
    anonymous
        True when nobody is named: the contributions charge the budget that all such share.
    claim
        The right to have this request judged, if it may come again; bound to it when it is recorded.
    conceal
        True when the client must not learn what was decided.
    credentials
        What was taken out of the request, to be encrypted and kept if the request is held; None to keep none.
    body_sha256
        Digest of the body that the application is to get, in hexadecimal; None where there is no body.
    votes
        What the contributions are by the receipts that they came with, one for each, in order; none without receipts.
    """

    route: str
    on_hold: OnHold
    contributions: tuple[Contribution, ...]
    request: bytes | None = None
    anonymous: bool = False
    claim: Claim | None = None
    conceal: bool = False
    credentials: bytes | None = field(default=None, repr=False)
    votes: tuple[Vote, ...] = ()
    body_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided about a submission, after it was recorded.

    Parameters
    ----------
    submission
        Its identifier in the store.
    verdicts
        One for each contribution, in order.
    decision
        The worst of them; it decides what happens to the request.
    delivery
        `DISPATCHING`: give the request to the application. `HELD`: answer 202. `REFUSED`: answer 429 or 4xx.
        `NONE`: there was no request.
    observed
        True when the guard only observes.
    refusal
        The budget that had no room, if one had none.
    """

    submission: str
    verdicts: tuple[Verdict, ...]
    decision: Decision
    delivery: Delivery
    observed: bool
    refusal: Refusal | None = None
