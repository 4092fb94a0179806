"""From several findings to one p-value: the weighted Bonferroni bound.

Each signal i may spend a share w_i of the false-hold rate, and the shares add up to at most 1. With valid p-values,

    P(min_i p_i / w_i <= a) <= sum_i P(p_i <= a * w_i) <= a * sum_i w_i <= a

whatever the dependence between the signals. So when a contribution is held at a combined p-value of at most `a`, at
most a share `a` of the honest contributions that are exchangeable with the trusted set is held. Fisher's or
Stouffer's way would find more where the signals were independent; they look at the same text and are not.

References
----------
Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scand. J. Statistics 6, 65-70 (weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feedback_guard.errors import SignalError, UsageError
from feedback_guard.signals.interface import Condition, Finding

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Combined:
    """What all signals say together.

    Parameters
    ----------
    p_value
        In (0, 1]. At most a share `a` of honest contributions has one of `a` or below.
    leading
        The scored findings that have a share, by p-value over share, strongest first.
    """

    p_value: float
    leading: tuple[Finding, ...]

    @property
    def suspicion(self) -> float:
        """0..1, higher is more suspicious."""
        return 1.0 - self.p_value

    @property
    def scored(self) -> bool:
        """Whether any signal spoke. If none did, the p-value of 1 means "nothing known", not "normal"."""
        return bool(self.leading)


def combine(findings: Sequence[Finding], shares: Mapping[str, float]) -> Combined:
    """Combine the findings about one contribution.

    Parameters
    ----------
    findings
        At most one of each signal. One that was not scored does not count; its share stays unspent.
    shares
        Share of the false-hold rate by signal, 0..1, together at most 1. A signal with share 0 or none is off.

    Raises
    ------
    SignalError
        If a signal speaks twice, or a p-value lies outside (0, 1]: the bound would not hold.
    UsageError
        If the shares add up to more than 1, or one is negative.

    Examples
    --------
    >>> strong, weak = Finding("a", 0.001, "odd"), Finding("b", 0.4, "fine")
    >>> combine([weak, strong], {"a": 0.5, "b": 0.5}).p_value
    0.002
    """
    if sum(shares.values()) > 1.0 + _ROUNDING or min(shares.values(), default=0.0) < 0.0:
        raise UsageError(f"shares must be 0 or more and add up to at most 1, not {sum(shares.values()):g}")
    seen: set[str] = set()
    weighed: list[tuple[float, str, Finding]] = []
    for finding in findings:
        if finding.signal in seen:
            raise SignalError(f"the signal {finding.signal!r} gave two findings; the false-hold rate would not hold")
        seen.add(finding.signal)
        if finding.condition is not Condition.SCORED:
            continue
        p = finding.p_value
        if p is None or not 0.0 < p <= 1.0:
            raise SignalError(f"the signal {finding.signal!r} gave a p-value of {p}, which is outside (0, 1]")
        share = shares.get(finding.signal, 0.0)
        if share > 0.0:
            weighed.append((p / share, finding.signal, finding))
    weighed.sort()  # no two findings are of the same signal, so none is compared with another
    return Combined(min(1.0, weighed[0][0]) if weighed else 1.0, tuple(finding for _, _, finding in weighed))
