"""Contributions from a JSONL file, plain or compressed with gzip: bounded, strict, and every error names its line."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from feedback_guard import settings
from feedback_guard.contribution import Contribution, parse_contribution
from feedback_guard.errors import ContributionError

EXAMPLE = (
    '{"id": "c1", "at": "2026-03-02T00:01:43Z", "contributor": "staff", "kind": "label", "input": "where is my card?", '
    '"label": "card_arrival"}'
)
"""What a line of a file looks like."""


def read_contributions(
    path: Path,
    *,
    max_lines: int | None = None,
    max_bytes: int = settings.MAX_FILE_BYTES,
) -> Iterator[Contribution]:
    """Read contributions one by one, in the order of the file. Blank lines are skipped.

    Parameters
    ----------
    path
        A file of one JSON object a line; compressed if its name ends in `.gz`.
    max_lines
        Most lines; None for no bound.
    max_bytes
        Most bytes, after decompression: a small file may unpack to a huge one.

    Yields
    ------
    Contribution

    Raises
    ------
    ContributionError
        If the file cannot be read, a bound is passed, or a line is not a contribution. The message begins with
        file and line.
    """
    number = size = 0
    try:
        with _open(path) as lines:
            while line := lines.readline(settings.MAX_LINE_BYTES + 1):
                number += 1
                size += len(line)
                if len(line) > settings.MAX_LINE_BYTES:
                    raise _wrong(path, number, f"the line is longer than {settings.MAX_LINE_BYTES:,} bytes")
                if size > max_bytes:
                    raise _wrong(path, number, f"the file is larger than {max_bytes:,} bytes; cut it in parts")
                if max_lines is not None and number > max_lines:
                    raise _wrong(path, number, f"the file has more than {max_lines:,} lines; cut it in parts")
                if line.strip():
                    yield _parse(path, number, line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _wrong(path, number + 1, f"the compressed file is damaged or cut off ({error})") from None
    except OSError as error:
        raise ContributionError(f"{path} cannot be read: {error.strerror or error}") from None


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _hint(line: bytes) -> str:
    """What a line that is not JSON probably is."""
    if line.startswith(codecs.BOM_UTF8):
        return "; save the file without a byte order mark"
    if line.lstrip()[:1] != b"{":
        return "; each line is a JSON object such as " + EXAMPLE
    return "; a JSON object stands on one line" if not line.rstrip().endswith(b"}") else ""


def _parse(path: Path, number: int, line: bytes) -> Contribution:
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse)
        if not isinstance(value, dict):
            kind = "a list" if isinstance(value, list) else "no object"
            raise ContributionError(f"this is {kind}; each line is a JSON object such as {EXAMPLE}")
        return parse_contribution(value)
    except UnicodeDecodeError as error:
        raise _wrong(path, number, f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _wrong(path, number, f"not JSON at character {error.pos}: {error.msg}{_hint(line)}") from None
    except RecursionError:
        raise _wrong(path, number, "nested too deep") from None
    except (ValueError, ContributionError) as error:
        raise _wrong(path, number, str(error)) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _wrong(path: Path, number: int, what: str) -> ContributionError:
    return ContributionError(f"{path}:{number}: {what}")
