"""One budget of the policy: whose it is, what it counts, how much, over what time, and what happens without room."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from feedback_guard.policy.base import Duration, Name, Strict

SHARED: Final = frozenset({"family", "radius", "phrase", "pair", "target"})
"""Facets of what a contribution says, rather than of who sends it: known only after it was read."""
WORDED: Final = frozenset({"phrase", "pair"})
"""Facets of which a contribution has many values, the rare ones of which are charged."""
DEFAULT_RARE: Final = 3
"""Trusted contributions below which a phrase is rare, unless the policy says so."""
RARE_SHARE: Final = 0.01
"""Share of honest contributions that a rare phrase stands in at most, as far as the trusted set can tell."""
_AT_MOST: Final = (3.00, 4.74, 6.30)
"""What is expected at most of what was seen 0, 1, 2 times: upper 95 % bounds of a Poisson mean (Garwood 1936)."""


def default_rare(n_trusted: int) -> int:
    """How few trusted contributions a phrase stands in to be rare, where the policy does not say it.

    A word that is in none of a hundred texts may well be in every fiftieth honest one. So this is 3 only from 630
    trusted contributions on, 2 from 474, 1 from 300, and below that 0: there is no telling, and no phrase is charged.

    Examples
    --------
    >>> [default_rare(n) for n in (100, 300, 500, 1_000, 50_000)]
    [0, 1, 2, 3, 3]
    """
    return sum(bound <= RARE_SHARE * n_trusted for bound in _AT_MOST)


class LimitPolicy(Strict):
    """One budget."""

    name: Name
    """Names the budget in answers, metrics and the ledger; unique."""
    facet: str = Field(pattern=r"^(contributor|anonymous|group:[A-Za-z0-9_.-]{1,64}|family|radius|phrase|pair|target)$")
    """Whose budget it is. By who sends: `contributor`, `anonymous` (all contributions without a contributor together)
    or `group:NAME`. By what is said: `family` (near copies of one text), `radius` (texts that lie close together),
    `phrase` (each rare word), `pair` (each rare pair of neighbouring words), `target` (each label; each answer that is
    taught; each vote for or against one output)."""
    measure: Literal["count", "weight"]
    """`weight` bounds influence (accepted weight). `count` bounds how often: of who sends, every judged contribution
    costs 1; of what is said, every accepted one."""
    amount: float = Field(gt=0, le=10**9)
    """How much per period, in contributions (`count`) or weight (`weight`); in all if there is no period."""
    per: Duration | None = None
    """The period. Without one the budget is for a lifetime. (What one snapshot may hold is bounded by
    `snapshot.caps`.)"""
    burst: float | None = Field(None, gt=0, le=10**9)
    """How much may come at once; by default the amount. In every interval of length t at most
    burst + amount x t / per is admitted."""
    then: Literal["limit", "hold"] | None = None
    """Without room: `limit` refuses (429), `hold` keeps the contribution for a moderator. By default who sends too much
    is limited, and what is said too often is held."""
    rare: int | None = Field(None, ge=1, le=1_000_000)
    """For `phrase` and `pair`: one that stands in fewer trusted contributions than this is rare, and charged. By
    default 3; less with fewer than 630 trusted contributions, and 0 with fewer than 300, since what is absent from so
    few need not be rare. For `radius`: where as many trusted texts lie within the radius, there is always room. By
    default there is no such place."""
    supporters: int | None = Field(None, ge=2, le=1_000)
    """For `phrase` and `pair`: so many established contributors who use a phrase lift its budget."""
    radius: float | None = Field(None, gt=0.0, le=1.0)
    """For `radius`: how close, as Euclidean distance between unit vectors (0 same, 1.41 unrelated). No ball of half
    this radius holds more than the amount, among the latest 20,000 accepted contributions of the period."""

    def __hash__(self) -> int:
        # A policy's limits have different names; hashing every field costs more than looking a limit up saves.
        return hash(self.name)

    @property
    def shared(self) -> bool:
        """Whether it is about what is said."""
        return self.facet in SHARED

    @property
    def holds(self) -> bool:
        """Whether a contribution without room waits for a moderator instead of being refused."""
        return self.then == "hold" or (self.then is None and self.shared)

    @model_validator(mode="after")
    def _period_is_positive(self) -> Self:
        if self.per == 0:
            raise ValueError("the period of a budget must be longer than 0; leave `per` out for a lifetime budget")
        if self.per is None and self.burst is not None:
            raise ValueError("a lifetime budget has no burst; give it a period (`per`) or leave `burst` out")
        return self

    @model_validator(mode="after")
    def _options_fit_the_facet(self) -> Self:
        if self.facet not in WORDED and self.supporters is not None:
            raise ValueError("`supporters` is for the facets phrase and pair")
        if self.facet not in (*WORDED, "radius") and self.rare is not None:
            raise ValueError("`rare` is for the facets phrase, pair and radius")
        if (self.facet == "radius") is (self.radius is None):
            raise ValueError("the facet radius needs `radius`, and no other facet has one")
        if self.facet == "radius" and self.burst is not None:
            raise ValueError("the facet radius counts what lies within the latest `per`; it has no burst")
        if self.facet == "radius" and self.then == "limit":
            raise ValueError("the facet radius holds; `then: limit` is not for it")
        if self.then == "hold" and self.measure == "count" and not self.shared:
            raise ValueError("who sends too often is refused; `then: hold` is for weight, and for what is said")
        return self
