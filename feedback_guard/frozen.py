"""What is computed once and never changes, on disk: a manifest whose digest covers everything, and arrays beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from feedback_guard import settings
from feedback_guard.directory import read_bounded, write_directory
from feedback_guard.errors import BaselineError


@dataclass(frozen=True, slots=True)
class Frozen:
    """What was read, and found to be whole and unaltered.

    Parameters
    ----------
    digest
        `sha256:` and the digest of the manifest, which holds that of the arrays.
    manifest
        The manifest.
    tensors
        The arrays, in the safetensors format, not read yet.
    """

    digest: str
    manifest: Mapping[str, Any]
    tensors: bytes


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


def read_frozen(path: Path, names: tuple[str, str], *, version: int, noun: str, remedy: str) -> Frozen:
    """Read a directory that `write_frozen` wrote, and check that nothing of it was altered.

    Parameters
    ----------
    names
        Of the manifest and of the arrays.
    version
        The `format` that this version of the program reads.
    noun, remedy
        What it is, and the command that makes one: for messages.

    Raises
    ------
    BaselineError
        Saying what is wrong and what to do.
    """
    try:
        whole = json.loads(read_bounded(path / names[0], settings.MAX_BASELINE_BYTES))
        tensors = read_bounded(path / names[1], settings.MAX_BASELINE_BYTES)
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise BaselineError(f"{path} has no {missing}; make one with `{remedy}`") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BaselineError(f"{path} cannot be read: {error}") from None
    if not isinstance(whole, dict) or not isinstance(manifest := whole.get("manifest"), dict):
        raise BaselineError(f"{path / names[0]} is not the manifest of {noun}")
    if manifest.get("format") != version:
        raise BaselineError(
            f"{path} has the format {manifest.get('format')!r}; this version reads {version}. Make it again with "
            f"`{remedy}`"
        )
    found = digest_of(manifest)
    if whole.get("digest") != found or manifest.get("tensors_sha256") != hashlib.sha256(tensors).hexdigest():
        raise BaselineError(f"{path} was altered or damaged after it was made: its content does not have its digest")
    return Frozen(found, manifest, tensors)


def require_pinned(path: Path, frozen: Frozen, digest: str | None) -> None:
    """Check that it is the one that a policy pins; None takes any.

    Raises
    ------
    BaselineError
        If it is another one.
    """
    if digest is not None and digest.removeprefix("sha256:") != frozen.digest.removeprefix("sha256:"):
        raise BaselineError(
            f"{path} has the digest {frozen.digest}; the policy pins {digest}. Use the one that was vetted"
        )
