"""One candidate example that a user offers: who, when, and what it teaches.

The pydantic model is the border: it refuses what is not in the contract. Inside, a `Contribution` is frozen.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, Self

import rfc8785
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from feedback_guard import settings
from feedback_guard.clock import format_iso8601, parse_iso8601
from feedback_guard.errors import ContributionError

ANONYMOUS: Final = "(anonymous)"
"""Contributor of whatever comes without one, where the policy lets it in."""

Text = Annotated[str, Field(max_length=settings.MAX_TEXT_CHARS)]
Identifier = Annotated[str, Field(min_length=1, max_length=settings.MAX_ID_CHARS)]


class Kind(StrEnum):
    """What sort of example a contribution is."""

    RATING = "rating"
    LABEL = "label"
    CORRECTION = "correction"
    PREFERENCE = "preference"
    DEMONSTRATION = "demonstration"


TEXT_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.LABEL: ("input",),
    Kind.RATING: ("input", "output"),
    Kind.CORRECTION: ("input", "output"),
    Kind.PREFERENCE: ("input", "chosen", "rejected"),
    Kind.DEMONSTRATION: ("input", "output"),
}
"""The fields of each kind that are running text and are embedded, in a fixed order."""

REQUIRED_FIELDS: Mapping[Kind, frozenset[str]] = {
    Kind.LABEL: frozenset({"input", "label"}),
    Kind.RATING: frozenset({"input", "output", "rating"}),
    Kind.CORRECTION: frozenset({"input", "output"}),
    Kind.PREFERENCE: frozenset({"input", "chosen", "rejected"}),
    Kind.DEMONSTRATION: frozenset({"input", "output"}),
}
"""What a contribution of each kind must have."""
_OPTIONAL: Mapping[Kind, frozenset[str]] = {
    kind: frozenset({"rejected"}) if kind is Kind.CORRECTION else frozenset() for kind in Kind
}
_TAUGHT = frozenset({"input", "label", "output", "rating", "chosen", "rejected"})
_VOTES = {"up": 1.0, "down": 0.0}


@dataclass(frozen=True, slots=True)
class Contribution:
    """One candidate example.

    Parameters
    ----------
    id
        Unique within a store; given by the guard over HTTP, by the file in `replay`.
    at_us
        When it was offered, in microseconds since the epoch, UTC.
    contributor
        The identified principal, byte-exact. Never taken from the body.
    kind
        Which sort of example it is; it decides which of the fields below are set.
    input, label, output, chosen, rejected
        What it teaches, as the user sent it.
    rating
        The vote as a number; thumbs are 1.0 (up) and 0.0 (down).
    groups
        Wider principals that the contributor belongs to, such as tenant or network.
    interaction
        Identifier of the served output that it speaks of.
    model
        Name of the model that served that output.
    metadata
        Whatever else the application sends; kept, never scored.

    Examples
    --------
    >>> c = parse_contribution({"id": "a", "at": "2026-03-02T00:00:00Z", "contributor": "u1",
    ...                         "kind": "label", "input": "where is my card?", "label": "card_arrival"})
    >>> c.kind, c.target
    (<Kind.LABEL: 'label'>, 'card_arrival')
    """

    id: str
    at_us: int
    contributor: str
    kind: Kind
    input: str
    label: str | None = None
    output: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    rating: float | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    interaction: str | None = None
    model: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str]:
        """The running texts of this kind, by field, in a fixed order."""
        return {name: getattr(self, name) or "" for name in TEXT_FIELDS[self.kind]}

    @property
    def target(self) -> str | None:
        """What is taught, when it is one of few: the label, or the direction of the vote. Otherwise None."""
        if self.kind is Kind.LABEL:
            return self.label
        if self.kind is Kind.RATING and self.rating is not None:
            return f"{self.rating:g}"
        return None

    def to_json(self) -> dict[str, Any]:
        """The contract's JSON object; absent fields are left out."""
        out: dict[str, Any] = {
            "id": self.id,
            "at": format_iso8601(self.at_us),
            "contributor": self.contributor,
            "kind": self.kind.value,
        }
        for name in ("input", "label", "output", "chosen", "rejected", "rating", "interaction", "model"):
            value = getattr(self, name)
            if value is not None:
                out[name] = value
        for name in ("groups", "metadata"):
            value = getattr(self, name)
            if value:
                out[name] = dict(value)
        return out

    def canonical_bytes(self) -> bytes:
        """The contribution as canonical JSON (RFC 8785), in UTF-8."""
        return rfc8785.dumps(self.to_json())

    def digest(self) -> str:
        """SHA-256 of `canonical_bytes`, in hexadecimal."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()


class ContributionModel(BaseModel):
    """The contract at the border: a JSON object, nothing besides the known fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)

    id: Identifier
    at: str
    contributor: Identifier
    kind: Kind
    input: Text
    label: Annotated[str, Field(min_length=1, max_length=settings.MAX_LABEL_CHARS)] | None = None
    output: Text | None = None
    chosen: Text | None = None
    rejected: Text | None = None
    rating: float | None = None
    groups: dict[Identifier, Identifier] = Field(default_factory=dict, max_length=settings.MAX_GROUPS)
    interaction: Identifier | None = None
    model: Identifier | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("label", mode="before")
    @classmethod
    def _label_as_text(cls, value: object) -> object:
        """Numbers and booleans name a class as well as words do."""
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, int) else value

    @field_validator("rating", mode="before")
    @classmethod
    def _rating_as_number(cls, value: object) -> object:
        if isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            if value in _VOTES:
                return _VOTES[value]
            raise ValueError('a rating is a number, true, false, "up" or "down"')
        return value

    @field_validator("rating")
    @classmethod
    def _rating_is_finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("a rating must be finite")
        return value

    @field_validator("at")
    @classmethod
    def _at_has_an_offset(cls, value: str) -> str:
        parse_iso8601(value)
        return value

    @model_validator(mode="after")
    def _fields_of_the_kind(self) -> Self:
        given = {name for name in _TAUGHT if getattr(self, name) is not None}
        missing = sorted(REQUIRED_FIELDS[self.kind] - given)
        if missing:
            raise ValueError(f"a {self.kind.value} needs {', '.join(missing)}")
        extra = sorted(given - REQUIRED_FIELDS[self.kind] - _OPTIONAL[self.kind])
        if extra:
            raise ValueError(f"a {self.kind.value} has no {', '.join(extra)}")
        for name in given - {"rating"}:
            _refuse_surrogates(getattr(self, name), name)
        if self.metadata and len(rfc8785.dumps(self.metadata)) > settings.MAX_METADATA_BYTES:
            raise ValueError(f"metadata is larger than {settings.MAX_METADATA_BYTES} bytes")
        return self


def _refuse_surrogates(text: str, name: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds a lone surrogate at character {error.start}") from None


def parse_contribution(value: object) -> Contribution:
    """Read a contribution from its JSON object.

    Parameters
    ----------
    value
        The decoded JSON object of the contract.

    Raises
    ------
    ContributionError
        If a field is missing, unknown, of the wrong type or beyond its bound; the error names the field.
    """
    try:
        model = ContributionModel.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ContributionError(message, field=where) from None
    except (RecursionError, OverflowError, rfc8785.CanonicalizationError) as error:
        raise ContributionError(f"cannot be represented as JSON: {error}") from None
    return Contribution(
        **{name: getattr(model, name) for name in ContributionModel.model_fields if name != "at"},
        at_us=parse_iso8601(model.at),
    )
