"""Snapshots as a training job reads them: contributions with weights, checked against the manifest.

Examples
--------
>>> from pathlib import Path
>>> def train(directory):
...     snapshot = Snapshot.open(Path(directory))
...     return [(row.contribution.input, row.contribution.label, row.weight) for row in snapshot]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from feedback_guard import settings
from feedback_guard.directory import file_sha256
from feedback_guard.errors import SnapshotError
from feedback_guard.learning.manifest import JSONL, read_manifest
from feedback_guard.learning.rows import SnapshotRow, parse_line

__all__ = ["Snapshot", "SnapshotRow"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An opened snapshot. Iterating reads its rows from the disk, one by one, in the order of acceptance.

    Parameters
    ----------
    directory
        Where it is.
    manifest
        What it says of itself.
    """

    directory: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, directory: Path, *, ident: str | None = None, check: bool = True) -> Self:
        """Open a snapshot.

        Parameters
        ----------
        directory
            As `feedback-guard snapshot create` wrote it.
        ident
            The snapshot it must be, such as the one that was reviewed; None takes any.
        check
            True reads the rows once to see that they are those that were written.

        Raises
        ------
        SnapshotError
            If it is no snapshot, another one, or was changed or cut off after it was written.
        """
        manifest = read_manifest(directory)
        if ident is not None and manifest["id"] != ident:
            raise SnapshotError(f"{directory} is the snapshot {manifest['id']}, not {ident}")
        if check:
            _check(directory / JSONL, manifest)
        return cls(directory, manifest)

    @property
    def id(self) -> str:
        """Its name; note it beside the model that was trained on it, so that a recall finds that model."""
        return str(self.manifest["id"])

    def __len__(self) -> int:
        return int(self.manifest["contributions"])

    def __iter__(self) -> Iterator[SnapshotRow]:
        path = self.directory / JSONL
        number = 0
        try:
            with path.open("rb") as lines:
                while text := lines.readline(settings.MAX_LINE_BYTES + 1):
                    number += 1
                    if len(text) > settings.MAX_LINE_BYTES:
                        raise SnapshotError(f"{path}:{number} is longer than {settings.MAX_LINE_BYTES:,} bytes")
                    yield parse_line(text, f"{path}:{number}")
        except OSError as error:
            raise SnapshotError(f"{path} cannot be read: {error.strerror or error}") from error
        if number != len(self):
            raise SnapshotError(f"{path} has {number:,} rows, the manifest says {len(self):,}")


def _check(path: Path, manifest: Mapping[str, Any]) -> None:
    said = next((file for file in manifest["files"] if file["name"] == JSONL), None)
    if said is None:
        raise SnapshotError(f"the manifest beside {path} does not name it")
    try:
        found = file_sha256(path)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror or error}") from error
    if found != said["sha256"]:
        raise SnapshotError(f"{path} was changed or cut off after it was written: it does not have its digest")
