"""What a trusted set of a given size can and cannot support, in sentences.

A p-value that is calibrated on n contributions is never below 1 / (n + 1), times whatever the signal pays for having
looked more than once. A signal holds a contribution by itself only where that is within its share of the false-hold
rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from feedback_guard.contribution import TEXT_FIELDS, Kind
from feedback_guard.policy.signals import SignalsPolicy
from feedback_guard.signals import anomaly, disagreement, novelty

_LEAST = {
    "disagreement": disagreement.LEAST_TRUSTED,
    "novelty": novelty.LEAST_TRUSTED,
    "anomaly": anomaly.LEAST_TRUSTED,
}
_SHOWN = 5


def price(signal: str, kind: Kind) -> float:
    """What a signal's least p-value is multiplied by.

    Examples
    --------
    >>> price("novelty", Kind.PREFERENCE), price("disagreement", Kind.LABEL)
    (3.0, 1.0)
    """
    if signal == "novelty":
        return float(len(TEXT_FIELDS[kind]))
    if signal == "anomaly":
        return 1.0 / anomaly.ANCHORED_SHARE
    return 1.0


def least_p_value(signal: str, kind: Kind, n_trusted: int) -> float:
    """The smallest p-value that a signal can give a kind of which there are `n_trusted` trusted contributions.

    Examples
    --------
    >>> round(least_p_value("novelty", Kind.LABEL, 300), 5)
    0.00332
    """
    return min(1.0, price(signal, kind) / (n_trusted + 1))


def notes_on(counts: Mapping[str, int], labels: Mapping[str, int], policy: SignalsPolicy) -> tuple[str, ...]:
    """Say what a trusted set cannot support under a policy.

    Parameters
    ----------
    counts
        Trusted contributions of each kind.
    labels
        Trusted contributions of each label.
    policy
        The signals' shares and the false-hold rate.

    Returns
    -------
    tuple of str
        A sentence each; empty if nothing is amiss.
    """
    notes = []
    for name, n in sorted(counts.items()):
        kind = Kind(name)
        few = sorted(signal for signal, least in _LEAST.items() if n < least and policy.shares[signal] > 0.0)
        if few:
            most = max(_LEAST[signal] for signal in few)
            notes.append(f"{n} trusted {name}s are too few for {', '.join(few)}; {most} are needed")
        for signal in sorted(set(_LEAST) - set(few)):
            level = policy.false_hold_rate * policy.shares[signal]
            least = least_p_value(signal, kind, n)
            if level > 0.0 and least > level * (1 + 1e-9):
                needed = math.ceil(price(signal, kind) / level - 1e-6) - 1
                notes.append(
                    f"{n} trusted {name}s: {signal} alone cannot hold one at a false-hold rate of "
                    f"{policy.false_hold_rate:g}: its least p-value is {least:.2g}, its share of the rate {level:.2g}; "
                    f"{needed} are needed"
                )
    rare = sorted(label for label, n in labels.items() if n < disagreement.LEAST_PER_CLASS)
    if rare:
        shown = ", ".join(repr(label) for label in rare[:_SHOWN])
        more = f" and {len(rare) - _SHOWN} more" if len(rare) > _SHOWN else ""
        notes.append(
            f"labels with fewer than {disagreement.LEAST_PER_CLASS} trusted examples, which disagreement cannot judge: "
            f"{shown}{more}"
        )
    return tuple(notes)
