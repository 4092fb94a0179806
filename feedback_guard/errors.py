"""Everything that feedback_guard raises, as one tree.

::

    GuardError
    ├── ContributionError        what a client offered cannot be read as a contribution
    ├── PolicyError              the policy file is wrong: says file, line, key
    ├── BaselineError            the baseline is missing, altered, or belongs to another model
    ├── EmbeddingError           a text could not be embedded
    │   ├── EmbeddingOverloadError   the queue in front of the model is full
    │   ├── EmbeddingDeadlineError   the vectors did not come in time
    │   └── ModelDigestError         the model directory is not the one that was pinned
    ├── SignalError              a detector failed or returned what it must not
    ├── StoreError               the database did not take it: nothing may be acknowledged
    │   ├── StoreFullError           the hold store is at its bound
    │   ├── TransitionError          that state cannot follow the present one, or somebody was faster
    │   │   └── FencedError              an outcome of a claim that has passed to somebody else
    │   ├── ClaimLostError           another delivery of the same request took over
    │   └── UnsafeDatabaseError      a database that would lose or corrupt records
    ├── ReceiptError             a receipt that feedback came with does not fit, or is used up
    ├── SnapshotError            a snapshot cannot be cut, or is not what was written
    ├── CredentialError          a key or a credential is not there, or cannot be used
    ├── LedgerError              the record is not what was written
    ├── LimitError               a budget is defined or charged wrongly
    ├── IdentityError            who sends a request cannot be found out now: nothing is taken
    ├── UpstreamError            behind a gateway: the upstream was not reached, or not understood (`gateway.wires`)
    └── UsageError               the caller used the API or the command wrongly

Every error says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from enum import StrEnum


class GuardError(Exception):
    """The root: catch this to catch whatever feedback_guard raises."""


class ContributionError(GuardError):
    """What a client offered cannot be read as a contribution.

    Parameters
    ----------
    message
        What is wrong and what would be right.
    field
        The field it is about, as a dotted path; empty when it is about the whole.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class PolicyError(GuardError):
    """The policy is wrong. The message names file, line and key, and the allowed values."""


class BaselineError(GuardError):
    """The baseline is missing, altered, or was made with another model."""


class EmbeddingError(GuardError):
    """A text could not be embedded."""


class EmbeddingOverloadError(EmbeddingError):
    """The bounded queue in front of the model is full."""


class EmbeddingDeadlineError(EmbeddingError):
    """The vectors did not come before the request's deadline."""


class ModelDigestError(EmbeddingError):
    """The model directory does not have the digest that was pinned, or holds files that are refused."""


class SignalError(GuardError):
    """A detector failed, or returned what the contract forbids."""


class StoreError(GuardError):
    """The database did not take it. Nothing may be acknowledged."""


class StoreFullError(StoreError):
    """The hold store is at its bound: nothing more can be held without losing something."""


class TransitionError(StoreError):
    """The requested state cannot follow the present one, or somebody else was faster."""


class FencedError(TransitionError):
    """An outcome names a claim that is over: the lease ran out, and whoever holds the request now speaks for it."""


class ClaimLostError(StoreError):
    """Another delivery of the same request took over; nothing was recorded for this one."""


class UnsafeDatabaseError(StoreError):
    """A database that would lose or corrupt records; start-up is refused."""


class SnapshotError(GuardError):
    """A snapshot cannot be cut, or cannot be read as what was written."""


class CredentialError(GuardError):
    """A key or a credential is not there, or cannot be used. The message never holds any of it."""


class Refused(StrEnum):
    """What is wrong with a receipt; also how it is counted."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    FORGED = "forged"
    OTHER_AUDIENCE = "other_audience"
    EARLY = "early"
    EXPIRED = "expired"
    OTHER_CONTRIBUTOR = "other_contributor"
    OTHER_INTERACTION = "other_interaction"
    OTHER_MODEL = "other_model"
    OTHER_OUTPUT = "other_output"
    UNBOUND = "unbound"
    USED = "used"


class ReceiptError(GuardError):
    """A receipt that feedback came with does not fit, or is used up.

    Parameters
    ----------
    reason
        What is wrong with it.
    """

    def __init__(self, reason: Refused) -> None:
        super().__init__(f"the receipt is refused: {reason.value.replace('_', ' ')}")
        self.reason = reason


class LedgerError(GuardError):
    """The record is not what was written."""


class LimitError(GuardError):
    """A budget is defined or charged wrongly."""


class IdentityError(GuardError):
    """Who sends a request cannot be found out now: keys cannot be fetched, or a function fails."""


class UsageError(GuardError):
    """The caller used the API or the command wrongly."""
