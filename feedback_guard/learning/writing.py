"""The files of a snapshot: what is mature is added up once, then written with the weights under which all caps hold."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection

from feedback_guard.clock import format_iso8601
from feedback_guard.directory import flush
from feedback_guard.errors import SnapshotError
from feedback_guard.learning.allotment import Allotment, Outcome, Teacher
from feedback_guard.learning.manifest import FORMAT, JSONL, PARQUET, named
from feedback_guard.learning.partition import Partitions
from feedback_guard.learning.rows import ParquetWriter, SnapshotRow, line
from feedback_guard.policy.schema import Policy
from feedback_guard.store import reads, snapshots
from feedback_guard.store.rows import parse_payload
from feedback_guard.store.snapshots import Accepted
from feedback_guard.store.states import Delivery, Learning

MAX_JUDGED_UNDER: Final = 1_000
"""Most pairs of policy and baseline that a manifest lists."""
_ARRIVED: Final = frozenset({Delivery.NONE.value, Delivery.DELIVERED.value})
"""There was no request, or the application took it."""
_WAITING: Final = {
    Learning.HELD: "held",
    Learning.DENIED: "denied",
    Learning.LIMITED: "limited",
    Learning.REJECTED: "rejected",
}


@dataclass(frozen=True, slots=True)
class Cut:
    """What a snapshot is cut by.

    Parameters
    ----------
    policy, digest
        The policy and its digest.
    baseline
        Digest of the baseline; None without one.
    as_of_us
        The time by which a contribution must be mature.
    parquet
        Whether Parquet is written beside JSON lines.
    partitions
        Deals contributors to partitions; None without a certificate.
    """

    policy: Policy
    digest: str
    baseline: str | None
    as_of_us: int
    parquet: bool = True
    partitions: Partitions | None = None


class Writing:
    """The files of one snapshot, from one state of the store."""

    def __init__(self, connection: Connection, cut: Cut, folder: Path, tell: Callable[[str, int], None]) -> None:
        self._connection = connection
        self._cut = cut
        self._folder = folder
        self._tell = tell
        self._head = reads.head(connection, 0)
        self._before = snapshots.followed_by(connection, cut.policy.snapshot.mature_after_count, cut.as_of_us)
        self._left_out: Counter[str] = Counter()
        self._judged_under: Counter[tuple[str, str | None]] = Counter()
        self.members = array("q")
        """Position in the ledger and weight of each row, one after the other."""

    def write(self) -> dict[str, Any]:
        """Write the files; returns the manifest."""
        allotment = Allotment.of(self._cut.policy.snapshot)
        for _, teacher, weight in self._mature("adding up"):
            allotment.add(teacher, weight)
        outcome = allotment.settle()
        self._left_out.clear()
        with ExitStack() as stack:
            lines = stack.enter_context((self._folder / JSONL).open("wb"))
            parquet = ParquetWriter(self._folder / PARQUET) if self._cut.parquet else None
            if parquet is not None:
                stack.callback(parquet.close)
            n_rows = self._rows(allotment, lines, parquet)
            flush(lines)
        names = [JSONL, PARQUET] if parquet is not None else [JSONL]
        for learning, count in snapshots.count_by_learning(self._connection).items():
            if learning in _WAITING:
                self._left_out[_WAITING[learning]] = count
        return self._manifest(outcome, n_rows, [_file(self._folder / name, n_rows) for name in names], parquet)

    def _mature(self, doing: str) -> Iterator[tuple[Accepted, Teacher, int]]:
        """What may be learnt and is mature; counts what is not."""
        cut, told = self._cut, 0
        young_after = cut.as_of_us - cut.policy.staging.mature_after
        for item in snapshots.accepted(self._connection, self._head.seq):
            told += 1
            if told == snapshots.STREAM:
                self._tell(doing, told)
                told = 0
            if item.weight_micro <= 0:
                self._left_out["without_weight"] += 1
            elif item.delivery not in _ARRIVED:
                self._left_out["not_delivered"] += 1
            elif item.accepted_us > young_after:
                self._left_out["too_young"] += 1
            elif self._before is None or item.seq >= self._before:
                self._left_out["too_few_judged_after"] += 1
            else:
                payload = json.loads(item.payload)
                teacher = Teacher(payload["contributor"], payload.get("groups", {}), bool(item.anonymous))
                yield item, teacher, item.weight_micro
        self._tell(doing, told)

    def _rows(self, allotment: Allotment, lines: IO[bytes], parquet: ParquetWriter | None) -> int:
        partitions, n_rows = self._cut.partitions, 0
        for item, teacher, weight in self._mature("writing"):
            given = allotment.give(teacher, weight)
            if given is None:
                self._left_out["over_count"] += 1
                continue
            if not given.weight:
                self._left_out["capped_to_nothing"] += 1
                continue
            row = SnapshotRow(
                seq=item.seq,
                accepted_us=item.accepted_us,
                contribution=parse_payload(item.payload),
                anonymous=teacher.anonymous,
                route=item.route,
                judged_micro=weight,
                own_micro=given.own,
                weight_micro=given.weight,
                partition=None
                if partitions is None
                else partitions.of(teacher.contributor, anonymous=teacher.anonymous),
            )
            lines.write(line(row, item.payload).encode("utf-8"))
            if parquet is not None:
                parquet.add(row)
            self.members.extend((row.seq, row.weight_micro))
            self._note_verdict(item)
            n_rows += 1
        return n_rows

    def _note_verdict(self, item: Accepted) -> None:
        verdict = json.loads(item.verdict)
        under = verdict["policy"], verdict["baseline"]
        if under not in self._judged_under and len(self._judged_under) >= MAX_JUDGED_UNDER:
            under = "others", None
        self._judged_under[under] += 1

    def _manifest(
        self, outcome: Outcome, n_rows: int, files: list[dict[str, JsonValue]], parquet: ParquetWriter | None
    ) -> dict[str, Any]:
        cut, policy = self._cut, self._cut.policy
        weights = self.members[1::2]
        if sum(weights) != outcome.after:
            raise SnapshotError("the weights that were written are not those that were computed; please report this")
        return named(
            {
                "format": FORMAT,
                "as_of_us": cut.as_of_us,
                "as_of": format_iso8601(cut.as_of_us),
                "policy": cut.digest,
                "policy_name": policy.name,
                "baseline": cut.baseline,
                "judged_under": [
                    {"policy": of, "baseline": baseline, "contributions": count}
                    for (of, baseline), count in sorted(
                        self._judged_under.items(), key=lambda each: (each[0][0], each[0][1] or "")
                    )
                ],
                "ledger": {"seq": self._head.seq, "hash": self._head.hash},
                "staging": {
                    "mature_after_us": policy.staging.mature_after,
                    "mature_after_count": policy.snapshot.mature_after_count,
                },
                "contributions": n_rows,
                "contributors": outcome.contributors,
                "weight_micro": outcome.after,
                "judged_micro": outcome.before,
                "empty": outcome.why_empty() or (None if n_rows else "nothing is accepted, delivered and mature"),
                "left_out": {reason: self._left_out[reason] for reason in sorted(self._left_out)},
                "caps": [
                    {
                        "facet": share.cap.facet,
                        "max_share": None if share.cap.share is None else str(share.cap.share),
                        "max_weight_micro": share.cap.weight_micro,
                        "max_count": share.cap.count,
                        "needed": share.cap.needed,
                        "took_part": share.values,
                        "covers_all": share.covered,
                        "reduced": share.reduced,
                        "largest_micro": share.largest,
                    }
                    for share in outcome.shares
                ],
                "certificate": None
                if cut.partitions is None
                else {"partitions": cut.partitions.count, "key_id": cut.partitions.key_id},
                "members_sha256": members_digest(zip(self.members[0::2], weights, strict=True)),
                "files": files,
                "written_by": {
                    "feedback_guard": version("feedback-guard"),
                    "pyarrow": None if parquet is None else parquet.version,
                },
            }
        )


def members_digest(members: Iterator[tuple[int, int]]) -> str:
    """SHA-256 over a line `SEQ WEIGHT` for each member of a snapshot, in the order of the ledger."""
    digest = hashlib.sha256()
    for seq, weight in members:
        digest.update(b"%d %d\n" % (seq, weight))
    return digest.hexdigest()


def _file(path: Path, rows: int) -> dict[str, JsonValue]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        flush(file)
        size = file.tell()
    return {"name": path.name, "bytes": size, "sha256": digest, "rows": rows}
