"""Cut a snapshot: what is accepted, mature, delivered and not taken back, with weights under which all caps hold.

Everything is read from one state of the store, twice: once to add up, once to write. The files are written into a
directory beside their place, flushed, recorded in the store and the ledger, and only then moved to their place: a
directory of that name is whole, and what it holds can be found again. The same state of the store, and the same
`as_of`, give the same bytes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from array import array
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from feedback_guard.clock import format_iso8601
from feedback_guard.directory import flush, flush_folder
from feedback_guard.errors import SnapshotError, UsageError
from feedback_guard.learning.manifest import MANIFEST
from feedback_guard.learning.writing import Cut, Writing
from feedback_guard.ledger.canonical import canonical_text
from feedback_guard.ledger.chain import Checkpoint
from feedback_guard.store import snapshots
from feedback_guard.store.database import Store
from feedback_guard.store.rows import sha256_hex
from feedback_guard.store.snapshots import Recorded, TakenBackError

ATTEMPTS: Final = 3
"""How often a snapshot is cut anew when something in it is taken back meanwhile."""


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
            writing = Writing(connection, cut, made, tell)
            manifest = writing.write()
        text = canonical_text(manifest)
        with (made / MANIFEST).open("wb") as file:
            file.write(text.encode("utf-8") + b"\n")
            flush(file)
        made.chmod(0o755)
        flush_folder(made)
        _record(store, manifest, text, writing.members, now_us, tell)
        # An empty directory that appeared meanwhile is replaced; anything else is left alone, and this fails.
        made.rename(out)
        flush_folder(out.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return manifest


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


def _silent(_doing: str, _count: int) -> None:
    """Nobody wants to know."""
