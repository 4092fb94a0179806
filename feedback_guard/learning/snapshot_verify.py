"""Is a snapshot what it says, and do its caps hold? Everything is computed anew from the exported files.

This shares no arithmetic with what cuts snapshots: shares are compared as products of whole numbers, and a line is
read as plain JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import rfc8785

from feedback_guard import settings
from feedback_guard.directory import file_sha256
from feedback_guard.errors import SnapshotError
from feedback_guard.learning.manifest import JSONL, MANIFEST, PARQUET, read_manifest
from feedback_guard.learning.partition import Partitions
from feedback_guard.learning.rows import GROUP, arrow

MAX_FINDINGS: Final = 1_000
"""Most findings that are kept; further ones are only counted."""
_WHOLE: Final = ("accepted_us", "judged_micro", "own_micro", "seq", "weight_micro")
_KEYS: Final = frozenset({*_WHOLE, "anonymous", "contribution", "partition", "route"})
_FULL: Final = 1_000_000
"""Weight of an ordinary contribution, in micro-units."""


@dataclass(slots=True)
class SnapshotReport:
    """What a verification found.

    Parameters
    ----------
    manifest
        What the snapshot says of itself.
    rows
        Rows that were looked at.
    findings
        Sentences, each naming file, row or cap; the first `MAX_FINDINGS` of them, `n_findings` counts all.
    parquet
        Whether the rows in Parquet were compared too.
    """

    manifest: Mapping[str, Any]
    rows: int = 0
    findings: list[str] = field(default_factory=list)
    n_findings: int = 0
    parquet: bool = False

    def found(self, sentence: str) -> None:
        """Note a finding."""
        self.n_findings += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(sentence)


@dataclass(slots=True)
class _Facet:
    """What the values of one capped facet have."""

    cap: Mapping[str, Any]
    weight: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    last: dict[str, int] = field(default_factory=dict)

    def value(self, row: Mapping[str, Any]) -> str | None:
        """Whose row this is; None if nobody's."""
        if self.cap["facet"] == "contributor":
            return "" if row["anonymous"] else "id " + row["contribution"]["contributor"]
        group = row["contribution"].get("groups", {}).get(self.cap["facet"][len("group:") :])
        return None if group is None else "id " + group

    def add(self, row: Mapping[str, Any], number: int) -> None:
        """Count a row."""
        value = self.value(row)
        if value is not None:
            self.weight[value] += row["weight_micro"]
            self.judged[value] += row["judged_micro"]
            self.rows[value] += 1
            self.last[value] = number


def verify_snapshot(
    directory: Path,
    *,
    partitions: Partitions | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> SnapshotReport:
    """Verify a snapshot.

    Parameters
    ----------
    directory
        Where it is.
    partitions
        With the key, to deal the contributors to their partitions anew; None only checks that each has one.
    on_progress
        Called with the number of rows looked at since the last call.

    Raises
    ------
    SnapshotError
        If there is no manifest that can be read: then nothing can be said.
    """
    manifest = read_manifest(directory)
    report = SnapshotReport(manifest)
    try:
        _verify(directory, manifest, report, partitions, on_progress or (lambda _count: None))
    except (KeyError, TypeError, AttributeError, ZeroDivisionError, ValueError) as error:
        raise SnapshotError(f"the manifest of {directory} cannot be understood: {error!r}") from None
    return report


def _verify(
    directory: Path,
    manifest: Mapping[str, Any],
    report: SnapshotReport,
    partitions: Partitions | None,
    tell: Callable[[int], None],
) -> None:
    named = {str(file["name"]): file for file in manifest["files"]}
    there = {path.name for path in directory.iterdir()}
    for name in sorted(there - named.keys() - {MANIFEST}):
        report.found(f"{name!r} is in the directory and not in the manifest")
    for name in sorted((named.keys() | {JSONL}) - there):
        report.found(f"{name!r} is not in the directory")
    for name in sorted(named.keys() & there):
        if _digest(directory / name) != named[name]["sha256"]:
            report.found(f"{name!r} does not have the digest that the manifest says")
    if JSONL not in there:
        return
    rows = _Rows(manifest, report, partitions)
    for number, row in _read(directory / JSONL, report):
        rows.look(number, row)
        if number % GROUP == 0:
            tell(GROUP)
    tell(report.rows % GROUP)
    rows.conclude()
    if PARQUET in there & named.keys():
        report.parquet = True
        _compare(directory, report)


class _Rows:
    """What is added up over the rows."""

    def __init__(self, manifest: Mapping[str, Any], report: SnapshotReport, partitions: Partitions | None) -> None:
        self._said = manifest
        self._report = report
        self._partitions = partitions
        self._facets = [_Facet(cap) for cap in manifest["caps"]]
        self._mature = manifest["as_of_us"] - manifest["staging"]["mature_after_us"]
        self._ids: set[bytes] = set()
        self._dealt: dict[str, int] = {}
        self._members = hashlib.sha256()
        self._own: Counter[str] = Counter()
        self._weight = self._last = 0
        if partitions is not None and manifest["certificate"] is None:
            report.found("the snapshot has no partitions, and a key to check them with was given")
        elif partitions is not None and partitions.key_id != manifest["certificate"]["key_id"]:
            report.found(f"partitions: the key is {partitions.key_id}, not {manifest['certificate']['key_id']}")

    def look(self, number: int, row: Mapping[str, Any]) -> None:
        """Look at one row."""
        found = self._report.found
        weight, own, judged = row["weight_micro"], row["own_micro"], row["judged_micro"]
        if not 0 < weight <= judged <= _FULL:
            found(f"row {number}: its weight is {weight}, of {judged} that it was given; wanted 0 < weight <= given")
        if not 0 < own <= judged:
            found(f"row {number}: its own weight is {own}, of {judged} that it was given")
        if row["seq"] <= self._last:
            found(f"row {number}: entry {row['seq']} of the ledger does not come after entry {self._last}")
        if row["seq"] > self._said["ledger"]["seq"]:
            found(f"row {number}: entry {row['seq']} lies behind the end of the ledger that it was cut at")
        if row["accepted_us"] > self._mature:
            found(f"row {number}: it was not mature: accepted {row['accepted_us'] - self._mature} µs too late")
        ident = hashlib.sha256(row["contribution"]["id"].encode("utf-8", "surrogatepass")).digest()[:16]
        if ident in self._ids:
            found(f"row {number}: the contribution stands twice")
        self._ids.add(ident)
        self._last = row["seq"]
        self._weight += weight
        self._members.update(b"%d %d\n" % (row["seq"], weight))
        self._own["" if row["anonymous"] else "id " + row["contribution"]["contributor"]] += own
        self._look_at_partition(number, row)
        for facet in self._facets:
            facet.add(row, number)

    def _look_at_partition(self, number: int, row: Mapping[str, Any]) -> None:
        certificate, partition = self._said["certificate"], row["partition"]
        if certificate is None:
            if partition is not None:
                self._report.found(f"row {number}: it has a partition, and the manifest says that there are none")
            return
        if type(partition) is not int or not 0 <= partition < certificate["partitions"]:
            self._report.found(f"row {number}: there is no partition {partition!r}")
            return
        contributor, anonymous = row["contribution"]["contributor"], row["anonymous"]
        who = "" if anonymous else "id " + contributor
        if self._dealt.setdefault(who, partition) != partition:
            self._report.found(f"row {number}: its contributor is in partition {self._dealt[who]} too")
        if self._partitions is not None and self._partitions.of(contributor, anonymous=anonymous) != partition:
            self._report.found(f"row {number}: the key deals its contributor to another partition than {partition}")

    def conclude(self) -> None:
        """Hold the sums against the caps and against the manifest."""
        said = self._said
        for what, found in (
            ("contributions", self._report.rows),
            ("weight_micro", self._weight),
            ("members_sha256", self._members.hexdigest()),
        ):
            if said[what] != found:
                self._report.found(f"manifest: {what} is {said[what]}, the rows give {found}")
        for facet in self._facets:
            self._conclude_facet(facet)

    def _conclude_facet(self, facet: _Facet) -> None:
        cap, whole = facet.cap, self._weight
        over, under = _fraction(cap["max_share"])
        for value, weight in facet.weight.items():
            name = _told(cap["facet"], value)
            where = f"; its last row is row {facet.last[value]}"
            if weight * under > over * whole:
                self._report.found(
                    f"cap {cap['facet']} max_share {cap['max_share']}: {name} has {weight} of {whole}{where}"
                )
            if cap["max_weight_micro"] is not None and weight > cap["max_weight_micro"]:
                self._report.found(
                    f"cap {cap['facet']} max_weight: {name} has {weight}, at most {cap['max_weight_micro']}{where}"
                )
            if cap["max_count"] is not None and facet.rows[value] > cap["max_count"]:
                self._report.found(
                    f"cap {cap['facet']} max_count: {name} has {facet.rows[value]} rows, "
                    f"at most {cap['max_count']}{where}"
                )
        if max(facet.weight.values(), default=0) != cap["largest_micro"]:
            self._report.found(f"manifest: the largest {cap['facet']} does not have {cap['largest_micro']}")
        if cap["facet"] == "contributor" and cap["max_weight_micro"] is not None:
            for value, own in self._own.items():
                if own > cap["max_weight_micro"]:
                    self._report.found(
                        f"cap contributor max_weight: the own weights of {_told('contributor', value)} are {own}"
                    )
        if len(self._facets) == 1:
            self._taken_without_need(facet, over, under)

    def _taken_without_need(self, facet: _Facet, over: int, under: int) -> None:
        """With one capped facet, whoever lost weight has all that the caps allow."""
        bounds = [self._weight * over // under] if facet.cap["max_share"] is not None else []
        bounds += [facet.cap["max_weight_micro"]] if facet.cap["max_weight_micro"] is not None else []
        for value, weight in facet.weight.items():
            if weight < facet.judged[value] and (not bounds or weight < min(bounds)):
                self._report.found(
                    f"cap {facet.cap['facet']}: {_told(facet.cap['facet'], value)} lost weight without need; "
                    f"it has {weight} of {facet.judged[value]}"
                )


def _told(facet: str, value: str) -> str:
    if not value:
        return "everybody without a name"
    return f"the {facet.removeprefix('group:')} {value[len('id ') :]!a}"


def _fraction(text: str | None) -> tuple[int, int]:
    """A share as numerator and denominator; no share is the whole."""
    if text is None:
        return 1, 1
    over, _, under = text.partition("/")
    return int(over), int(under or 1)


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror or error}") from None


def _read(path: Path, report: SnapshotReport) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every row that can be read, with its number from 1; the others are findings."""
    with path.open("rb") as lines:
        while text := lines.readline(settings.MAX_LINE_BYTES + 1):
            report.rows += 1
            row = _row(text)
            if row is None:
                report.found(f"row {report.rows}: it cannot be read, or is not in canonical form")
            else:
                yield report.rows, row


def _row(text: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
        canonical = rfc8785.dumps(row) + b"\n" == text
        item = row["contribution"]
        sound = (
            canonical
            and row.keys() == _KEYS
            and all(type(row[name]) is int for name in _WHOLE)
            and isinstance(row["anonymous"], bool)
            and isinstance(item["id"], str)
            and isinstance(item["contributor"], str)
            and all(isinstance(name, str) for name in item.get("groups", {}).values())
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return row if sound else None


def _compare(directory: Path, report: SnapshotReport) -> None:
    """Hold the rows in Parquet against those in JSON."""
    pa = arrow()
    try:
        with pa.parquet.ParquetFile(directory / PARQUET) as file:
            pairs = zip_longest(_from_parquet(pa, file), _from_json(directory / JSONL))
            for number, (one, other) in enumerate(pairs, 1):
                if one is None or other is None:
                    report.found(f"row {number}: it is in one of the two files only")
                    return
                differing = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
                if differing:
                    report.found(f"row {number}: Parquet and JSON differ in {', '.join(differing)}")
    except (pa.ArrowException, OSError) as error:
        report.found(f"{PARQUET!r} cannot be read: {type(error).__name__}")


def _from_parquet(pa: Any, file: Any) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=GROUP):
        table = pa.Table.from_batches([batch])
        for name in ("at", "accepted_at"):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table[name].cast(pa.int64()))
        for row in table.to_pylist():
            row["groups"] = dict(row["groups"])
            row["metadata"] = json.loads(row["metadata"]) if row["metadata"] is not None else None
            yield {name: value for name, value in row.items() if value is not None}


def _from_json(path: Path) -> Iterable[dict[str, Any]]:
    from feedback_guard.clock import parse_iso8601

    with path.open("rb") as lines:
        for text in lines:
            row = _row(text)
            if row is None:
                continue
            item = row.pop("contribution")
            row["at"], row["accepted_at"] = parse_iso8601(item.pop("at")), row.pop("accepted_us")
            row["weight"] = row["weight_micro"] / _FULL
            item.setdefault("groups", {})
            yield {name: value for name, value in {**row, **item}.items() if value is not None}
