"""Counting a contribution on all its facets, and the arithmetic of the tests of `martingales`, compiled.

What the sums mean, and why the nulls are these, is said in `martingales`; where a facet's are kept, in `book`. The
constants that the compiled functions use stand here, see `feedback_guard.compiled`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

HONEST: Final = np.array([0.01, 0.05, 0.10, 0.15, 0.20, 0.30])
"""Shares of contradictions in honest facets."""
CONTRARY: Final = np.array([0.50, 0.70, 0.90, 0.98])
"""Shares of contradictions in facets that somebody uses to teach falsehoods."""
SHARES: Final = np.concatenate([HONEST, CONTRARY])
CONTRADICTION_PRIOR: Final = np.concatenate(
    [np.log(np.array([0.45, 0.30, 0.14, 0.06, 0.035, 0.015])), np.full(len(CONTRARY), -np.log(len(CONTRARY)))]
)
"""How likely each of `SHARES` is beforehand, as a logarithm, among the honest and among the contrary ones."""
MOST_SHIFT: Final = 1.5
"""Log-odds by which an honest word hardly ever speaks for a class by more: 4.5 to 1."""
SHIFTS: Final = np.array([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, MOST_SHIFT, 2.25, 3.0, 3.75])
"""Shifts that the null is made of. Beyond `MOST_SHIFT` they matter where few contributions are trusted."""
WHATEVER: Final = np.array([0.80, 0.95])
"""Chances with which a class is taught, whatever the content, by somebody who plants a trigger."""
POTENTIAL: Final = len(SHIFTS) + len(WHATEVER)
"""Where the potential stands among what a member adds to a shift test."""
N_SHIFT: Final = POTENTIAL + 1
NONE: Final = -1
"""No class is watched in a place among a facet's targets."""
CONTRADICTION: Final = -1
"""The contradiction test, where tests are numbered; the shift tests are numbered by their place among the targets."""
LEAST_MEMBERS: Final = 5
"""Members below which a facet is no hypothesis: fewer could not convince anybody."""
FORGOTTEN_BELOW: Final = -3.0
"""Evidence, as a logarithm, below which the past of a facet that the trusted set does not know is forgotten: it begins
anew, as one more hypothesis. Otherwise whoever uses a phrase honestly for a month could then poison with it for as long
without being noticed."""
REMEMBERED_EACH: Final = 1.0
"""By how much each trusted contribution with the phrase lowers that: about what one honest member adds, so that the
stream's honest past never says more for a phrase than the trusted set does."""
_N_HONEST: Final = len(HONEST)
_N_SHIFTS: Final = len(SHIFTS)


@compiled()
def _log_sum(sums: Any, prior: Any, start: int, end: int) -> float:
    top = -np.inf
    for j in range(start, end):
        top = max(top, sums[j] + prior[j])
    total = 0.0
    for j in range(start, end):
        total += math.exp(sums[j] + prior[j] - top)
    return top + math.log(total)


@compiled()
def _log_ratio(sums: Any, prior: Any, n_nulls: int, n: int) -> float:
    return _log_sum(sums, prior, n_nulls, n) - _log_sum(sums, prior, 0, n_nulls)


@compiled("float64[:](float64[:, :])")
def contradiction_evidence(sums: Floats) -> Floats:
    """Logarithm of the e-value of facets, from their summed steps of shape (n, len(SHARES))."""
    evidence = np.empty(len(sums))
    for i in range(len(sums)):
        evidence[i] = _log_ratio(sums[i], CONTRADICTION_PRIOR, _N_HONEST, len(CONTRADICTION_PRIOR))
    return evidence


@compiled("float64[:](float64[:, :], int64[:], float64[:, :])")
def shift_evidence(sums: Floats, n_trusted: Numbers, priors: Floats) -> Floats:
    """Logarithm of the e-value of facets and classes, from their summed steps of shape (n, N_SHIFT).

    Parameters
    ----------
    n_trusted
        In how many trusted contributions each facet stands, shape (n,).
    priors
        How likely each shift and each of `WHATEVER` is beforehand, as a logarithm: a row for each number of trusted
        contributions, of which the last stands for all larger ones.
    """
    evidence = np.empty(len(sums))
    for i in range(len(sums)):
        evidence[i] = _log_ratio(sums[i], priors[min(n_trusted[i], len(priors) - 1)], _N_SHIFTS, POTENTIAL)
    return evidence


@compiled()
def _shift_step(chance: float, taught: bool, other: float, sure: float, step: Any) -> None:
    odds = math.log(chance / (1.0 - chance))
    for j in range(_N_SHIFTS):
        expected = other + sure / (1.0 + math.exp(-(odds + SHIFTS[j])))
        step[j] = math.log(expected if taught else 1.0 - expected)
    for j in range(len(WHATEVER)):
        step[_N_SHIFTS + j] = math.log(WHATEVER[j] if taught else 1.0 - WHATEVER[j])
    step[POTENTIAL] = -math.log(other + sure * chance)


@compiled("float64[:, :](float64[:], boolean[:], float64, float64)")
def shift_steps(chances: Floats, taught: Booleans, other: float, sure: float) -> Floats:
    """What one member adds to the shift tests of some classes, shape (n, N_SHIFT).

    Parameters
    ----------
    chances, taught
        Chance of each class given the content, above 0 and below 1, and whether it is taught, shape (n,).
    other, sure
        Whoever means a class with a chance of p teaches it with one of `other + sure * p`.
    """
    steps = np.empty((len(chances), N_SHIFT))
    for i in range(len(chances)):
        _shift_step(chances[i], taught[i], other, sure, steps[i])
    return steps


@compiled()
def _shift(
    targets: Any, shift: Any, before: Any, which: int, nth: int, chances: Floats, least: float, other: float,
    sure: float, row_of: Numbers, steps: Floats, n_steps: int,
) -> int:  # fmt: skip
    """Add a member to the shift tests of a facet, and watch it for what the member teaches from now on."""
    watched = False
    for t in range(len(targets)):
        of = targets[t]
        if of == NONE:
            continue
        watched = watched or of == which
        if row_of[of] < 0:
            # The step depends on the class alone, and a contribution's facets are watched for few of them.
            row_of[of] = n_steps
            _shift_step(min(max(chances[of], least), 1.0 - least), of == which, other, sure, steps[n_steps])
            n_steps += 1
        before[t] = shift[t, POTENTIAL]
        for j in range(N_SHIFT):
            shift[t, j] += np.float32(steps[row_of[of], j] / nth)
    # Places are filled in order, so the last one is the last to be vacant.
    if not watched and targets[len(targets) - 1] == NONE:
        for t in range(len(targets)):
            if targets[t] == NONE:
                targets[t] = which
                break
    return n_steps


@compiled(
    "UniTuple(int64, 3)("
    "int64[:], int32[:], int32[:], int16[:, :], boolean[:], float32[:, :], float32[:, :, :], "
    "int64[:], int64, int64, int64, boolean[:], float64[:], float64[:], "
    "float64[:], float64, int64, float64, float64, float64[:, :], float64, float64, "
    "int64[:], int64[:], int64[:, :], float64[:], int64[:])"
)
def count(
    first: Numbers,
    n: NDArray[np.int32],
    n_trusted: NDArray[np.int32],
    targets: NDArray[np.int16],
    hot: Booleans,
    contradiction: NDArray[np.float32],
    shift: NDArray[np.float32],
    slots: Numbers,
    member: int,
    n_own: int,
    nth: int,
    contradict: Booleans,
    alike: Floats,
    step: Floats,
    chances: Floats,
    least_chance: float,
    which: int,
    other: float,
    sure: float,
    priors: Floats,
    least_potential: float,
    in_view: float,
    before: Numbers,
    looks: Numbers,
    told: Numbers,
    evidence: Floats,
    past: Numbers,
) -> tuple[int, int, int]:
    """Add a member to its facets: to their columns in the book, and to their tests.

    Parameters
    ----------
    first, n, n_trusted, targets, hot, contradiction, shift
        Columns of the book, changed here.
    slots
        Where the m facets stand in them.
    member
        What the member is called by.
    n_own, nth
        How many of the facets, from the first, are no kinds whose members are alike; it is the n-th near copy.
    contradict
        Whether each facet is asked about by the contradiction test, shape (m,).
    alike
        How alike the members of each facet are, 0..1, shape (m,).
    step
        What the member adds to contradiction tests.
    chances, least_chance, which
        Chance of each class given the content, the least that is believed, and the class that is taught; none where
        nobody chooses among classes.
    other, sure, priors
        See `shift_steps` and `shift_evidence`.
    least_potential
        Potential from which a shift test is a hypothesis.
    in_view
        Evidence, as a logarithm, that is worth telling.
    before
        Takes how many members each facet had, shape (m,).
    looks
        Takes how many tests of each have just become hypotheses, shape (m,).
    told, evidence
        Take which tests have something to tell, as places among the facets and numbers of tests, and what.
    past
        Takes the facets whose past speaks so much against a campaign that it is to be forgotten.

    Returns
    -------
    tuple of three int
        How many tests have something to tell, how many have become hypotheses, and how many facets have such a past.
    """
    n_told = n_looks = n_past = n_steps = 0
    n_targets, chosen = targets.shape[1], len(chances) > 0
    potential = np.empty((n_own, n_targets), dtype=np.float32)
    most = np.full(len(slots), -np.inf)
    steps = np.empty((min(len(chances), n_own * n_targets), N_SHIFT))
    row_of = np.full(len(chances), -1)
    for i in range(len(slots)):
        slot = slots[i]
        before[i] = n[slot]
        share = 1.0 / nth
        if i >= n_own:
            share = min(share, (1.0 + alike[i] * n[slot]) ** -2.0)
        for j in range(len(step)):
            contradiction[slot, j] += np.float32(step[j] * share)
        if n[slot] == 0:
            first[slot] = member
        n[slot] += 1
        if chosen and i < n_own:
            potential[i] = -np.inf
            n_steps = _shift(
                targets[slot],
                shift[slot],
                potential[i],
                which,
                nth,
                chances,
                least_chance,
                other,
                sure,
                row_of,
                steps,
                n_steps,
            )
        looks[i] = 0
        if n[slot] < LEAST_MEMBERS or not contradict[i]:
            continue
        if n[slot] == LEAST_MEMBERS:
            looks[i] += 1
            n_looks += 1
        most[i] = _log_ratio(contradiction[slot], CONTRADICTION_PRIOR, _N_HONEST, len(CONTRADICTION_PRIOR))
        if most[i] >= in_view or hot[slot]:
            hot[slot] = True
            told[n_told, 0], told[n_told, 1], evidence[n_told] = i, CONTRADICTION, most[i]
            n_told += 1
    for i in range(n_own if chosen else 0):
        slot = slots[i]
        if n[slot] < LEAST_MEMBERS:
            continue
        prior, was_hot = priors[min(n_trusted[slot], len(priors) - 1)], hot[slot]
        for t in range(n_targets):
            if potential[i, t] == -np.inf:  # not watched for a class before this member came
                continue
            e = _log_ratio(shift[slot, t], prior, _N_SHIFTS, POTENTIAL)
            most[i] = max(most[i], e)
            if shift[slot, t, POTENTIAL] < least_potential:
                continue
            if potential[i, t] < least_potential or n[slot] == LEAST_MEMBERS:
                looks[i] += 1
                n_looks += 1
            if e >= in_view or was_hot:
                hot[slot] = True
                told[n_told, 0], told[n_told, 1], evidence[n_told] = i, t, e
                n_told += 1
    for i in range(len(slots)):
        line = FORGOTTEN_BELOW
        if i < n_own:
            line -= REMEMBERED_EACH * n_trusted[slots[i]]
        if -np.inf < most[i] < line:
            past[n_past] = i
            n_past += 1
    return n_told, n_looks, n_past


@compiled("void(int32[:], int16[:, :], boolean[:], float32[:, :], float32[:, :, :], int64, boolean)")
def renew(
    n: NDArray[np.int32],
    targets: NDArray[np.int16],
    hot: Booleans,
    contradiction: NDArray[np.float32],
    shift: NDArray[np.float32],
    slot: int,
    two: bool,
) -> None:
    """Begin anew with the facet in a place; where there are `two` classes, both are watched from the beginning."""
    n[slot] = 0
    hot[slot] = False
    contradiction[slot] = 0.0
    shift[slot] = 0.0
    targets[slot] = NONE
    if two:
        targets[slot, 0], targets[slot, 1] = 0, 1


@compiled(
    "void(uint64[:], int64[:], int64[:], int32[:], int32[:], int16[:, :], boolean[:], float32[:, :], "
    "float32[:, :, :], int64[:], int64[:], uint64[:], int64[:], int64, int64)"
)
def clear(
    keys: NDArray[np.uint64],
    arrived: Numbers,
    first: Numbers,
    n: NDArray[np.int32],
    n_trusted: NDArray[np.int32],
    targets: NDArray[np.int16],
    hot: Booleans,
    contradiction: NDArray[np.float32],
    shift: NDArray[np.float32],
    slots: Numbers,
    new: Numbers,
    own_keys: NDArray[np.uint64],
    known: Numbers,
    n_two: int,
    arrivals: int,
) -> None:
    """Give facets that come places as good as new.

    Parameters
    ----------
    keys, arrived, first, n, n_trusted, targets, hot, contradiction, shift
        Columns of the book, changed here.
    slots, new
        Where facets are, and which of them have come.
    own_keys, known
        Of all of them, and in how many trusted contributions each stands.
    n_two
        How many, from the first, have only two classes: both are watched from the beginning then.
    arrivals
        How many facets came before.
    """
    for nth in range(len(new)):
        i = new[nth]
        slot = slots[i]
        keys[slot] = own_keys[i]
        arrived[slot] = arrivals + nth
        n_trusted[slot] = min(known[i], 2147483647)
        first[slot] = 0
        renew(n, targets, hot, contradiction, shift, slot, i < n_two)
