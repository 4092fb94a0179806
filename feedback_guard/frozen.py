"""What is computed once and never changes, on disk: a manifest whose digest covers everything, and arrays beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rfc8785

from feedback_guard.directory import write_directory
from feedback_guard.errors import BaselineError


def digest_of(manifest: Mapping[str, Any]) -> str:
    """`sha256:` and the digest of the canonical form (RFC 8785) of a manifest.

    Raises
    ------
    BaselineError
        If it has none.
    """
    try:
        return "sha256:" + hashlib.sha256(rfc8785.dumps(dict(manifest))).hexdigest()
    except rfc8785.CanonicalizationError as error:
        raise BaselineError(f"the manifest has no canonical form: {error}") from None


def write_frozen(path: Path, names: tuple[str, str], manifest: Mapping[str, Any], tensors: bytes) -> None:
    """Write a directory of the two files, whole or not at all.

    Parameters
    ----------
    names
        Of the manifest and of the arrays.

    Raises
    ------
    BaselineError
        If it cannot be written.
    """
    whole = {"digest": digest_of(manifest), "manifest": manifest}
    text = json.dumps(whole, ensure_ascii=False, indent=1, sort_keys=True)
    try:
        write_directory(path, {names[0]: text.encode("utf-8") + b"\n", names[1]: tensors})
    except OSError as error:
        raise BaselineError(f"{path} cannot be written: {error.strerror or error}") from error
