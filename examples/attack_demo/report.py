"""What the stream did to each assistant, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from attack_demo.load import Fate, Outcome
from attack_demo.stream import Party, Probe


@dataclass(frozen=True, slots=True)
class Exam:
    """How one assistant answers held-out questions: shares, 0..1.

    Parameters
    ----------
    accuracy
        Answered with the right intent.
    success
        For each attack: answered with the intent that the attackers want.
    """

    accuracy: float
    success: Mapping[Party, float]


def grade(answers: Sequence[str], right: Sequence[str], attacked: Sequence[tuple[Probe, Sequence[str]]]) -> Exam:
    """Mark the answers to the held-out questions, and to those of each attack."""
    return Exam(
        accuracy=_share([answer == intent for answer, intent in zip(answers, right, strict=True)]),
        success={probe.party: _share([answer == probe.wanted for answer in given]) for probe, given in attacked},
    )


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def learnt_table(exams: Mapping[str, Exam], probes: Sequence[Probe]) -> Table:
    """One column for each assistant: accuracy, then the success of each attack."""
    table = Table(title="What the assistant answers to held-out questions", title_justify="left")
    table.add_column("")
    for name in exams:
        table.add_column(name, justify="right")
    table.add_row("answered rightly", *(_percent(exam.accuracy) for exam in exams.values()), end_section=True)
    for probe in probes:
        table.add_row(
            f"{probe.party}: {probe.about}", *(_percent(exam.success[probe.party]) for exam in exams.values())
        )
    return table


def fate_table(outcomes: Sequence[Outcome]) -> Table:
    """What the guard did with the corrections of each party."""
    table = Table(title="What the guard did with the corrections", title_justify="left")
    table.add_column("from")
    for name in ("sent", "accounts", *Fate, "weight learnt"):
        table.add_column(name, justify="right")
    for party in Party:
        mine = [outcome for outcome in outcomes if outcome.correction.party is party]
        table.add_row(
            party,
            f"{len(mine):,}",
            f"{len({outcome.correction.account for outcome in mine}):,}",
            *(_count(mine, fate) for fate in Fate),
            f"{sum(outcome.weight for outcome in mine):,.1f}",
        )
    return table


def _count(outcomes: Sequence[Outcome], fate: Fate) -> str:
    n = sum(outcome.fate is fate for outcome in outcomes)
    return f"{n:,} ({_percent(n / len(outcomes))})"
