"""Directories that appear whole or not at all, files that are read up to a bound, and what the disk is to keep."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO


def read_bounded(path: Path, most: int) -> bytes:
    """Read a file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is larger than `most` bytes.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"{path.name} has {size:,} bytes; at most {most:,} are read")
        return file.read()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file of any size, in hexadecimal digits.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_directory(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new directory beside its place, flush them to the disk, and move it there.

    An earlier directory of that name is moved aside first and removed when the new one stands; if the new one cannot
    be moved in, the earlier one is put back.

    Raises
    ------
    OSError
        If it cannot be written; then nothing has changed.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        for name, content in files.items():
            with (made / name).open("wb") as file:
                file.write(content)
                flush(file)
        made.chmod(0o755)
        flush_folder(made)
        aside = made.with_name(f"{made.name}.old")
        if path.exists():
            path.rename(aside)
        try:
            made.rename(path)
        except OSError:
            if aside.exists():
                aside.rename(path)
            raise
        flush_folder(path.parent)
        if aside.exists():
            shutil.rmtree(aside)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def flush(file: IO[bytes]) -> None:
    """Have the disk keep what was written into a file."""
    if file.writable():
        file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Have the disk keep which names a folder has."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
