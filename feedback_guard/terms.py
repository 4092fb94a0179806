"""The operator's constants of reputation, from a policy."""

from __future__ import annotations

from fractions import Fraction

from feedback_guard.limits.bankroll import PICO
from feedback_guard.limits.reputation import Terms
from feedback_guard.policy.reputation import ReputationPolicy
from feedback_guard.policy.schema import Policy


def terms_of(policy: ReputationPolicy) -> Terms:
    """The operator's constants, as exact integers.

    Examples
    --------
    >>> terms_of(ReputationPolicy(identities=100, damage=0.5)).damage
    500000000000
    """
    return Terms(
        identities=policy.identities,
        damage=policy.damage_pico,
        most=policy.most_pico,
        floor=int(Fraction(str(policy.floor)) * PICO),
        reliability=int(Fraction(str(policy.reliability)) * PICO),
    )


def terms_in(policy: Policy) -> Terms | None:
    """The constants of reputation in a policy; None where it is off."""
    return terms_of(policy.reputation) if policy.reputation.enabled else None
