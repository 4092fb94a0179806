"""What the stream did to each assistant, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from attack_demo.load import Fate, Outcome
from attack_demo.stream import ATTACKERS, STORY, Party, Probe


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


def _table() -> Table:
    return Table(box=box.SIMPLE, pad_edge=False)


def learnt_table(exams: Mapping[str, Exam]) -> Table:
    """One column for each assistant: how often it is right, then how often it says what the attackers want."""
    table = _table()
    table.add_column("")
    for name in exams:
        table.add_column(name, justify="right")
    table.add_row("the right intent", *(_percent(exam.accuracy) for exam in exams.values()), end_section=True)
    for party in ATTACKERS:
        shares = (_percent(exam.success[party]) for exam in exams.values())
        table.add_row(f"what the {party} wants", *shares)
    return table


def story() -> Table:
    """What each party does, before it does it."""
    table = Table.grid(padding=(0, 0, 0, 2))
    for party, sentence in STORY.items():
        table.add_row(party, sentence)
    return table


def fate_table(outcomes: Sequence[Outcome]) -> Table:
    """What the guard did with the corrections of each party."""
    table = _table()
    table.add_column("from")
    for name in ("sent", *Fate, "weight"):
        table.add_column(name, justify="right")
    for party in Party:
        mine = [outcome for outcome in outcomes if outcome.correction.party is party]
        weight = sum(outcome.weight for outcome in mine)
        table.add_row(party, f"{len(mine):,}", *(_count(mine, fate) for fate in Fate), f"{weight:,.1f}")
    return table


def _count(outcomes: Sequence[Outcome], fate: Fate) -> str:
    n = sum(outcome.fate is fate for outcome in outcomes)
    return f"{n:,} {100 * n / len(outcomes):5.1f}%" if n else f"0 {'':6}"
