"""What a snapshot says of itself: canonical JSON without floats, from which its name is derived."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from feedback_guard.directory import read_bounded
from feedback_guard.errors import LedgerError, SnapshotError
from feedback_guard.ledger.canonical import canonical_text
from feedback_guard.store.rows import sha256_hex

FORMAT: Final = "feedback_guard/snapshot/1"
MANIFEST: Final = "manifest.json"
JSONL: Final = "contributions.jsonl"
PARQUET: Final = "contributions.parquet"
MAX_MANIFEST_BYTES: Final = 1024 * 1024
"""Largest manifest that is read, in bytes."""


def named(said: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with its name, which is derived from everything else in it."""
    return {**said, "id": name_of(said)}


def name_of(said: Mapping[str, Any]) -> str:
    """The name of a snapshot: `s-` and the first 24 hexadecimal digits of the digest of what its manifest says."""
    rest = {key: value for key, value in said.items() if key != "id"}
    return "s-" + sha256_hex(canonical_text(rest))[:24]


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read the manifest of a snapshot.

    Raises
    ------
    SnapshotError
        If there is none, it is of another format, or was changed so that its name no longer fits.
    """
    path = directory / MANIFEST
    try:
        said = json.loads(read_bounded(path, MAX_MANIFEST_BYTES))
    except FileNotFoundError:
        raise SnapshotError(f"{directory} has no {MANIFEST}; name a directory that `snapshot create` wrote") from None
    except (OSError, ValueError, RecursionError) as error:
        raise SnapshotError(f"{path} cannot be read: {error}") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        found = said.get("format") if isinstance(said, dict) else None
        raise SnapshotError(f"{path} is not the manifest of a snapshot: its format is {found!r}, not {FORMAT!r}")
    try:
        expected = name_of(said)
    except LedgerError as error:
        raise SnapshotError(f"{path} is not what was written: {error}") from None
    if said.get("id") != expected:
        raise SnapshotError(f"{path} was changed after it was written: what it says does not have the name it carries")
    return said
