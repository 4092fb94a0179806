"""Cut a snapshot: what is accepted, mature, delivered and not taken back, with weights under which all caps hold.

Everything is read from one state of the store, twice: once to add up, once to write. The files are written into a
directory beside their place, flushed, recorded in the store and the ledger, and only then moved to their place: a
directory of that name is whole, and what it holds can be found again. The same state of the store, and the same
`as_of`, give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection

from feedback_guard.clock import format_iso8601
from feedback_guard.errors import SnapshotError, UsageError
from feedback_guard.learning.allotment import Allotment, Outcome, Teacher
from feedback_guard.learning.manifest import FORMAT, JSONL, MANIFEST, PARQUET, named
from feedback_guard.learning.partition import Partitions
from feedback_guard.learning.rows import ParquetWriter, SnapshotRow, line
from feedback_guard.ledger.canonical import canonical_text
from feedback_guard.ledger.chain import Checkpoint
from feedback_guard.policy.schema import Policy
from feedback_guard.store import reads, snapshots
from feedback_guard.store.database import Store
from feedback_guard.store.rows import parse_payload, sha256_hex
from feedback_guard.store.snapshots import Accepted, Recorded, TakenBackError
from feedback_guard.store.states import Delivery, Learning

ATTEMPTS: Final = 3
"""How often a snapshot is cut anew when something in it is taken back meanwhile."""
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


def create(
    store: Store,
    cut: Cut,
    out: Path,
    *,
    now_us: int,
    on_progress: Callable[[str, int], None] | None = None,
) -> dict[str, Any]:
    """Cut a snapshot, record it, and put it in its place.

    Parameters
    ----------
    store
        Where the contributions are.
    cut
        What it is cut by.
    out
        The directory, which must not be there yet.
    now_us
        The time by the store's clock.
    on_progress
        Called with what is being done and the number of contributions since the last call.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    UsageError
        If the directory is there, or `as_of_us` lies in the future.
    SnapshotError
        If it cannot be written. A snapshot that is recorded and is not in its place was read by nobody.
    StoreError
        If the store cannot be read or written.
    """
    if os.path.lexists(out):
        raise UsageError(f"{out} exists; a snapshot is never written over anything: name another directory")
    if cut.as_of_us > now_us:
        raise UsageError(
            f"--as-of {format_iso8601(cut.as_of_us)} lies in the future, when more would be mature than now is; "
            "the latest is the present"
        )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _create(store, cut, out.absolute(), now_us, on_progress or _silent)
        except TakenBackError:
            if attempt == ATTEMPTS:
                raise
        except OSError as error:
            raise SnapshotError(f"{out} cannot be written: {error.strerror or error}") from error
    raise AssertionError("the last attempt returns or raises")


def _create(store: Store, cut: Cut, out: Path, now_us: int, tell: Callable[[str, int], None]) -> dict[str, Any]:
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        with store.reading() as connection:
            writing = _Writing(connection, cut, made, tell)
            manifest = writing.write()
        text = canonical_text(manifest)
        with (made / MANIFEST).open("wb") as file:
            file.write(text.encode("utf-8") + b"\n")
            _flush(file)
        made.chmod(0o755)
        _flush_folder(made)
        _record(store, manifest, text, writing.members, now_us, tell)
        # An empty directory that appeared meanwhile is replaced; anything else is left alone, and this fails.
        made.rename(out)
        _flush_folder(out.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return manifest


class _Writing:
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
            _flush(lines)
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


def ledger_body(manifest: dict[str, Any], text: str) -> dict[str, JsonValue]:
    """What the ledger says of a snapshot: enough to know its manifest, and its members, again."""
    return {
        "manifest_sha256": sha256_hex(text),
        "members_sha256": manifest["members_sha256"],
        "as_of_us": manifest["as_of_us"],
        "ledger": manifest["ledger"],
        "contributions": manifest["contributions"],
        "weight_micro": manifest["weight_micro"],
        "policy": manifest["policy"],
        "baseline": manifest["baseline"],
    }


def _record(
    store: Store,
    manifest: dict[str, Any],
    text: str,
    members: array[int],
    now_us: int,
    tell: Callable[[str, int], None],
) -> None:
    head = Checkpoint(manifest["ledger"]["seq"], manifest["ledger"]["hash"])
    recorded = Recorded(
        id=manifest["id"],
        created_us=now_us,
        as_of_us=manifest["as_of_us"],
        contributions=manifest["contributions"],
        weight_micro=manifest["weight_micro"],
        manifest=text,
    )
    number = store.submit(lambda tx: snapshots.begin(tx, recorded, head.seq, now_us)).result()
    try:
        for start in range(0, len(members), 2 * snapshots.PORTION):
            part = members[start : start + 2 * snapshots.PORTION]
            portion = list(zip(part[0::2], part[1::2], strict=True))
            store.submit(partial(snapshots.add_members, number=number, members=portion)).result()
            tell("recording", len(portion))
        body = ledger_body(manifest, text)
        store.submit(lambda tx: snapshots.complete(tx, number, head.seq, body, now_us)).result()
    except BaseException:
        store.submit(lambda tx: snapshots.forget(tx, number)).result()
        raise


def _file(path: Path, rows: int) -> dict[str, JsonValue]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
        _flush(file)
        size = file.tell()
    return {"name": path.name, "bytes": size, "sha256": digest.hexdigest(), "rows": rows}


def _flush(file: IO[bytes]) -> None:
    if file.writable():
        file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _silent(_doing: str, _count: int) -> None:
    """Nobody wants to know."""
