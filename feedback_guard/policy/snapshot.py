"""What a snapshot may hold: how long a contribution waits, and how much of the whole one teacher may be."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from feedback_guard.policy.base import Strict
from feedback_guard.policy.replay import SecretSource


class ShareCap(Strict):
    """How much of a snapshot one value of a facet may be. Absolute bounds count first: a few hundred documents can
    be enough for a backdoor, whatever their share.
    """

    facet: str = Field(pattern=r"^(contributor|group:[A-Za-z0-9_.-]{1,64})$")
    """Whose share it is: `contributor`, or `group:NAME`. All contributions without a contributor are one of them; one
    that belongs to no group of that name is not bounded by that cap."""
    max_share: float | None = Field(None, gt=0.0, le=1.0)
    """Largest share of a snapshot's whole weight. Where fewer than 1 / max_share of them took part, nothing can hold
    this, and the snapshot is empty. Weight that is too much is taken away, never given."""
    max_weight: float | None = Field(None, gt=0.0, le=10**9)
    """Most weight in a snapshot. An ordinary contribution weighs 1, a doubtful one less."""
    max_count: int | None = Field(None, ge=1, le=10**9)
    """Most contributions in a snapshot, the earliest accepted first: for training jobs that take no weights."""

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.max_share is None and self.max_weight is None and self.max_count is None:
            raise ValueError("a cap bounds something: give it `max_share`, `max_weight` or `max_count`")
        return self


class CertificatePolicy(Strict):
    """Partitions by contributor, for predictions that a number of hostile contributors provably cannot change."""

    partitions: int = Field(ge=2, le=10_000)
    """How many. Each has a model of its own, and they vote: with more of them more hostile contributors are borne, and
    each model learns from less."""
    key: SecretSource
    """Where the key is that deals contributors to partitions; at least 16 characters, the same for all snapshots."""


class SnapshotPolicy(Strict):
    """What a training job reads: contributions that are accepted and mature, with weights."""

    mature_after_count: int = Field(100, ge=0, le=1_000_000)
    """How many contributions must have been judged after one before a snapshot may hold it, besides the time of
    `staging.mature_after`: what is found late is found by what comes later."""
    caps: tuple[ShareCap, ...] = Field((ShareCap(facet="contributor", max_share=0.05, max_weight=25.0),), max_length=9)
    """How much of a snapshot one contributor, or one group, may be. By default a contributor is at most 5 % of it, with
    a weight of at most 25."""
    certificate: CertificatePolicy | None = None
    """Partitions for certified predictions; without it there are none."""

    @field_validator("caps")
    @classmethod
    def _facets_are_unique(cls, caps: tuple[ShareCap, ...]) -> tuple[ShareCap, ...]:
        facets = [cap.facet for cap in caps]
        twice = sorted({facet for facet in facets if facets.count(facet) > 1})
        if twice:
            raise ValueError(f"the facet {twice[0]!r} has two caps; write its bounds into one")
        return caps
