"""What goes into the store and what comes out, as frozen values. The store itself is in `database.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from feedback_guard.contribution import Contribution
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Sealed:
    """Encrypted bytes, and the identifier of the key that opens them."""

    key_id: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Judged:
    """A contribution with its verdict, about to be recorded.

    Parameters
    ----------
    contribution, verdict
        What was judged and how.
    learning
        The state it enters.
    vectors
        Its vectors as bytes (`feedback_guard.embedding.pack`); empty when it could not be embedded.
    """

    contribution: Contribution
    verdict: Verdict
    learning: Learning
    vectors: bytes = b""


@dataclass(frozen=True, slots=True)
class NewSubmission:
    """The contributions of one request, judged together, about to be recorded.

    Parameters
    ----------
    id
        Given by the guard.
    route
        Name of the policy's route; empty for a direct call.
    at_us
        When it arrived, microseconds since the epoch.
    delivery
        The state its request enters.
    judged
        Its contributions.
    request
        The request as the door that took it serialised it, byte for byte; kept only if it is held.
    worker
        Identifier of the process that is about to dispatch it; empty otherwise.
    anonymous
        True when nobody is named.
    sealed
        The credentials that were taken out of the request, if they are kept; only with a kept request.
    body_sha256
        Digest of the body that the application is to get; None where there is none.
    application
        Which application a kept request is for; None says any that has the route.
    """

    id: str
    route: str
    at_us: int
    delivery: Delivery
    judged: tuple[Judged, ...]
    request: bytes | None = None
    worker: str = ""
    anonymous: bool = False
    sealed: Sealed | None = None
    body_sha256: str | None = None
    application: str | None = None


@dataclass(frozen=True, slots=True)
class StoredContribution:
    """A contribution as the store has it.

    Parameters
    ----------
    verdict
        As it was made; a moderator's decision does not change it.
    learning
        The state it is in now.
    weight_micro
        What may be learned from it in that state, in micro-units.
    """

    contribution: Contribution
    submission: str
    verdict: Verdict
    learning: Learning
    vectors: bytes
    weight_micro: int = 0


@dataclass(frozen=True, slots=True)
class StoredSubmission:
    """A submission as the store has it.

    Parameters
    ----------
    version
        Grows by one with every transition of the submission or its contributions; a decision names the version
        it was made on, so that two moderators cannot both win.
    request
        The held request, byte for byte; None if none was kept.
    fence
        How often it was claimed to be given to the application.
    attempts
        Claims since a moderator last let it through.
    due_us
        It is not given to the application before; 0 where nothing waits for a time.
    has_credentials
        Whether credentials are kept for it, encrypted.
    application
        Which application a kept request is for; None if none was kept, or an older guard kept it.
    """

    id: str
    route: str
    at_us: int
    delivery: Delivery
    version: int
    contributions: tuple[StoredContribution, ...]
    request: bytes | None = None
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    anonymous: bool = False
    fence: int = 0
    attempts: int = 0
    due_us: int = 0
    has_credentials: bool = False
    application: str | None = None

    @property
    def held(self) -> bool:
        """Whether a moderator's decision is awaited."""
        return any(item.learning is Learning.HELD for item in self.contributions)


@dataclass(frozen=True, slots=True)
class PullBack:
    """An accepted contribution that turned out to belong to a campaign.

    Parameters
    ----------
    contribution
        Its identifier.
    campaign
        The campaign's.
    """

    contribution: str
    campaign: str


@dataclass(frozen=True, slots=True)
class Claim:
    """An approved request that this worker, and no other, is to give to the application while its lease lasts.

    Parameters
    ----------
    fence
        Number of this claim; the outcome is recorded under it, and refused once there is a later one.
    attempt
        Which attempt this is since a moderator let it through, from 1.
    sealed
        Its credentials, encrypted; None where none are kept.
    """

    submission: str
    route: str
    request: bytes
    fence: int = 0
    attempt: int = 1
    sealed: Sealed | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the ledger as the owner of the guard's state reads it.

    Parameters
    ----------
    seq
        Position in the ledger, from 1, without gaps.
    kind
        `judged`, `approved`, `denied`, or another event that carries no contribution.
    at_us
        When it happened.
    stored
        The contribution it is about, as it is now; None for other events.
    subject
        What it is about.
    ruled
        For a decision on a campaign: how all of it stands decided; empty for what is not decided whole, and for other
        events.
    baseline
        For an acknowledged drift alarm: digest of the baseline that the stream had left; empty for other events.
    """

    seq: int
    kind: str
    at_us: int
    stored: StoredContribution | None
    subject: str = ""
    ruled: str = ""
    baseline: str = ""


@dataclass(frozen=True, slots=True)
class KeptRequests:
    """Requests that are held, or approved and wait for the application, and whom they are for."""

    application: str | None
    """None where an older guard kept them, and did not say."""
    route: str
    approved: bool
    count: int


@dataclass(frozen=True, slots=True)
class HeldSummary:
    """How much is waiting for moderators."""

    count: int
    oldest_at_us: int | None
