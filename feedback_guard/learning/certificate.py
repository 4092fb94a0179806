"""Predictions that a number of hostile contributors provably cannot change: one model for each partition, and a vote.

Every contributor is in one partition, so whatever one of them sends changes one model, and so one vote. With n votes
for the winner and m for the next, floor((n - m) / 2) hostile contributors change nothing; where the next one would win
a tie, one vote less counts. This is deep partition aggregation, by identity instead of by example.

What is certified is the step from a snapshot to a prediction: any other snapshot in which the rows of at most so many
contributors are others, or gone, or added, gives the same answer. Two things make that true and must stay so. A model
learns from its own partition and from what nobody hostile wrote, with `own_micro` for weights: the weights after share
caps depend on what everybody sends, so that one contributor could move all models through them. And training is
deterministic: a fixed seed, and nothing of one partition in another's model.

References
----------
Levine and Feizi, "Deep Partition Aggregation: Provable Defense against General Poisoning Attacks", ICLR 2021.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from feedback_guard.contribution import Contribution
from feedback_guard.errors import SnapshotError, UsageError
from feedback_guard.learning.snapshot import Snapshot
from feedback_guard.limits.interface import UNIT

M = TypeVar("M")
X = TypeVar("X")


class Example(NamedTuple):
    """What a model of one partition learns from: a contribution, and a weight that depends on its contributor alone."""

    contribution: Contribution
    weight: float


@dataclass(frozen=True, slots=True)
class Certified:
    """A prediction of all models together.

    Parameters
    ----------
    label
        The winner; None if no model voted.
    radius
        So many hostile contributors cannot change it, whatever they send.
    votes
        How many models voted for the winner.
    """

    label: str | None
    radius: int
    votes: int


def tally(votes: Iterable[str | None], *, labels: Sequence[str] | None = None) -> Certified:
    """Count votes and certify the winner. Of several with as many votes, the first in order wins.

    Parameters
    ----------
    votes
        One for each partition; None from a partition that has no model.
    labels
        All labels there can be, in their order. Without them the order is that of the texts, and a label that nobody
        voted for yet, first in order, is reckoned with: hostile contributors may bring one.

    Raises
    ------
    UsageError
        If somebody voted for a label that is not in `labels`.

    Examples
    --------
    >>> tally(["b", "b", "b", "b", "a", None])
    Certified(label='b', radius=1, votes=4)
    >>> tally(["a", "a", "a", "a", "b", None], labels=["a", "b"])
    Certified(label='a', radius=1, votes=4)
    >>> tally(["a", "b"], labels=["a", "b"])
    Certified(label='a', radius=0, votes=1)
    """
    counts = Counter(vote for vote in votes if vote is not None)
    order = {label: place for place, label in enumerate(sorted(counts) if labels is None else labels)}
    unknown = sorted(counts.keys() - order.keys())
    if unknown:
        raise UsageError(f"a model voted for {unknown[0]!r}, which is not among the labels")
    if not counts:
        return Certified(None, 0, 0)
    winner = min(counts, key=lambda label: (-counts[label], order[label]))
    # What another label needs for itself to win: as many votes, and one more unless it comes first in order.
    gaps = [counts[winner] - counts[other] - (order[other] < order[winner]) for other in order if other != winner]
    if labels is None:
        gaps.append(counts[winner] - 1)
    return Certified(winner, min(gaps, default=2 * counts[winner] - 2) // 2, counts[winner])


@dataclass(frozen=True)
class Ensemble(Generic[M, X]):
    """Models of the partitions of a snapshot.

    Parameters
    ----------
    models
        One for each partition; None where nobody taught anything.
    predict
        Answers inputs with a model: one label for each.
    labels
        As for `tally`.
    """

    models: tuple[M | None, ...]
    predict: Callable[[M, Sequence[X]], Sequence[str]]
    labels: Sequence[str] | None = None

    def certify(self, inputs: Sequence[X]) -> list[Certified]:
        """Answer inputs, each with the number of hostile contributors that cannot change the answer."""
        by_model = [None if model is None else list(self.predict(model, inputs)) for model in self.models]
        wrong = next(
            (place for place, said in enumerate(by_model) if said is not None and len(said) != len(inputs)), None
        )
        if wrong is not None:
            raise UsageError(f"the model of partition {wrong} did not give one label for each of {len(inputs)} inputs")
        return [
            tally((None if said is None else said[number] for said in by_model), labels=self.labels)
            for number in range(len(inputs))
        ]


def train(
    snapshot: Snapshot,
    fit: Callable[[Sequence[Example]], M],
    predict: Callable[[M, Sequence[X]], Sequence[str]],
    *,
    labels: Sequence[str] | None = None,
) -> Ensemble[M, X]:
    """Train a model for each partition of a snapshot.

    Parameters
    ----------
    snapshot
        Cut under a policy with `snapshot.certificate`. All of it is held in memory.
    fit
        Makes a model of the examples of one partition, in the order of acceptance. Deterministic; it may also use data
        that no contributor can write, such as the trusted set or a pre-trained encoder.
    predict
        Answers inputs with such a model.
    labels
        As for `tally`.

    Raises
    ------
    SnapshotError
        If the snapshot has no partitions.
    """
    certificate = snapshot.manifest["certificate"]
    if certificate is None:
        raise SnapshotError(
            f"the snapshot {snapshot.id} has no partitions; set `snapshot.certificate` in the policy and cut another"
        )
    parts: list[list[Example]] = [[] for _ in range(certificate["partitions"])]
    for row in snapshot:
        if row.partition is None or row.partition >= len(parts):
            raise SnapshotError(f"entry {row.seq} of snapshot {snapshot.id} is in no partition; verify the snapshot")
        parts[row.partition].append(Example(row.contribution, row.own_micro / UNIT))
    return Ensemble(tuple(fit(part) if part else None for part in parts), predict, labels)


def certified_accuracy(found: Sequence[Certified], expected: Sequence[str], radius: int) -> float:
    """Share of inputs that are answered right, and that so many hostile contributors cannot change.

    Examples
    --------
    >>> certified_accuracy([Certified("a", 2, 5), Certified("b", 0, 3)], ["a", "b"], 1)
    0.5
    """
    if len(found) != len(expected) or not expected:
        raise UsageError("there is one expected label for each prediction, and at least one")
    right = sum(one.label == label and one.radius >= radius for one, label in zip(found, expected, strict=True))
    return right / len(expected)
