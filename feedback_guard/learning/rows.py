"""A row of a snapshot, as a line of JSON and as columns of Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from feedback_guard.contribution import Contribution, parse_contribution
from feedback_guard.errors import SnapshotError
from feedback_guard.ledger.canonical import canonical_json
from feedback_guard.limits.interface import UNIT

if TYPE_CHECKING:
    import pyarrow as pa

GROUP: Final = 10_000
"""Rows of one row group in Parquet; as many are in memory at a time."""
_NUMBERS: Final = ("seq", "accepted_us", "judged_micro", "own_micro", "weight_micro")
_FIELDS: Final = frozenset({*_NUMBERS, "contribution", "anonymous", "route", "partition"})
_TEXTS: Final = ("label", "output", "chosen", "rejected", "interaction", "model")


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One contribution in a snapshot.

    Parameters
    ----------
    seq, accepted_us
        Position and time of the ledger entry that accepted it.
    contribution
        What it teaches.
    anonymous
        True when nobody is named.
    route
        Name of the policy's route that it came by; empty for a direct call.
    judged_micro
        Weight that verdict or moderator gave it, in micro-units.
    own_micro
        After the absolute bounds of its contributor alone; it does not depend on what others sent.
    weight_micro
        After all caps: what to train with.
    partition
        Of its contributor, from 0; None without a certificate.
    """

    seq: int
    accepted_us: int
    contribution: Contribution
    anonymous: bool
    route: str
    judged_micro: int
    own_micro: int
    weight_micro: int
    partition: int | None = None

    @property
    def weight(self) -> float:
        """What to train with, above 0 and at most 1."""
        return self.weight_micro / UNIT


def line(row: SnapshotRow, payload: str) -> str:
    """A row as canonical JSON on one line; `payload` is its contribution, in canonical JSON already."""
    return (
        f'{{"accepted_us":{row.accepted_us},"anonymous":{"true" if row.anonymous else "false"},'
        f'"contribution":{payload},"judged_micro":{row.judged_micro},"own_micro":{row.own_micro},'
        f'"partition":{"null" if row.partition is None else row.partition},'
        f'"route":{json.dumps(row.route, ensure_ascii=False)},"seq":{row.seq},"weight_micro":{row.weight_micro}}}\n'
    )


def parse_line(text: bytes, where: str) -> SnapshotRow:
    """Read what `line` wrote.

    Raises
    ------
    SnapshotError
        If it is something else; the message names the place and never repeats the text.
    """
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or value.keys() != _FIELDS:
            raise SnapshotError(f"{where} is not a row of a snapshot: its keys are others")
        numbers = {name: value[name] for name in _NUMBERS}
        partition, route, anonymous = value["partition"], value["route"], value["anonymous"]
        sound = (
            all(type(number) is int and number >= 0 for number in numbers.values())
            and (partition is None or (type(partition) is int and partition >= 0))
            and isinstance(route, str)
            and isinstance(anonymous, bool)
        )
        if not sound:
            raise SnapshotError(f"{where} is not a row of a snapshot: a value is of the wrong kind")
        contribution = parse_contribution(value["contribution"])
    except (ValueError, RecursionError):
        raise SnapshotError(f"{where} is not JSON in UTF-8") from None
    return SnapshotRow(contribution=contribution, anonymous=anonymous, route=route, partition=partition, **numbers)


def arrow() -> Any:
    """The package pyarrow.

    Raises
    ------
    SnapshotError
        If it is not installed.
    """
    try:
        import pyarrow.parquet

        return pyarrow
    except ImportError:
        raise SnapshotError(
            "Parquet needs the package pyarrow, which is not installed; install feedback-guard[parquet], "
            "or write JSON lines alone with --format jsonl"
        ) from None


def parquet_schema() -> pa.Schema:
    """The columns of a snapshot in Parquet; `weight` is `weight_micro` as a fraction."""
    pa = arrow()
    moment, text = pa.timestamp("us", tz="UTC"), pa.string()
    required = (
        ("id", text),
        ("at", moment),
        ("contributor", text),
        ("anonymous", pa.bool_()),
        ("groups", pa.map_(text, text)),
        ("kind", text),
        ("input", text),
        ("weight", pa.float64()),
        ("weight_micro", pa.int64()),
        ("own_micro", pa.int64()),
        ("judged_micro", pa.int64()),
        ("seq", pa.int64()),
        ("accepted_at", moment),
        ("route", text),
    )
    optional = (*((name, text) for name in _TEXTS), ("rating", pa.float64()), ("metadata", text))
    return pa.schema(
        [
            *(pa.field(name, kind, nullable=False) for name, kind in required),
            *(pa.field(name, kind) for name, kind in optional),
            pa.field("partition", pa.int32()),
        ]
    )


def columns(row: SnapshotRow) -> dict[str, Any]:
    """A row as values of `parquet_schema`."""
    item = row.contribution
    return {
        "id": item.id,
        "at": item.at_us,
        "contributor": item.contributor,
        "anonymous": row.anonymous,
        "groups": sorted(item.groups.items()),
        "kind": item.kind.value,
        "input": item.input,
        **{name: getattr(item, name) for name in _TEXTS},
        "rating": item.rating,
        "metadata": canonical_json(item.metadata) if item.metadata else None,
        "weight": row.weight,
        "weight_micro": row.weight_micro,
        "own_micro": row.own_micro,
        "judged_micro": row.judged_micro,
        "seq": row.seq,
        "accepted_at": row.accepted_us,
        "route": row.route,
        "partition": row.partition,
    }


class ParquetWriter:
    """Writes rows in row groups of a fixed size: the same rows give the same bytes with the same pyarrow."""

    def __init__(self, path: Path) -> None:
        self._arrow = arrow()
        self._schema = parquet_schema()
        self._writer = self._arrow.parquet.ParquetWriter(path, self._schema, compression="zstd", version="2.6")
        self._rows: list[dict[str, Any]] = []

    @property
    def version(self) -> str:
        """Of pyarrow."""
        return str(self._arrow.__version__)

    def add(self, row: SnapshotRow) -> None:
        """Write a row, by and by."""
        self._rows.append(columns(row))
        if len(self._rows) == GROUP:
            self._flush()

    def close(self) -> None:
        """Write the rest, and the end of the file."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(self._table(self._rows), row_group_size=GROUP)
        self._rows = []

    def _table(self, rows: Sequence[dict[str, Any]]) -> Any:
        arrays = [self._arrow.array([row[field.name] for row in rows], type=field.type) for field in self._schema]
        return self._arrow.Table.from_arrays(arrays, schema=self._schema)
