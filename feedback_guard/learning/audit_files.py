"""An audit set on disk: a directory of two files, as a baseline is.

A manifest has a digest that covers everything, beside it are the arrays. It holds vectors, digests and chances, and
no text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from feedback_guard.contribution import Kind
from feedback_guard.errors import BaselineError
from feedback_guard.frozen import digest_of, read_frozen, require_pinned, write_frozen
from feedback_guard.learning.audit import Audited, AuditSet

FORMAT: Final = 1
MANIFEST, TENSORS = "audit.json", "audit.safetensors"


def audit_digest(audit: AuditSet) -> str:
    """The digest that an audit set will have on disk."""
    return digest_of(_manifest(audit, _tensors(audit)))


def save(audit: AuditSet, path: Path) -> None:
    """Write an audit set as a directory: whole or not at all.

    Raises
    ------
    BaselineError
        If something is in the way, or it cannot be written.
    """
    if path.exists():
        raise BaselineError(f"{path} exists; name another directory")
    tensors = _tensors(audit)
    write_frozen(path, (MANIFEST, TENSORS), _manifest(audit, tensors), tensors)


def load(path: Path, *, fingerprint: str | None, digest: str | None) -> AuditSet:
    """Read an audit set and check that it is whole, unaltered and of this model.

    Raises
    ------
    BaselineError
        Saying what is wrong and what to do.
    """
    frozen = read_frozen(
        path, (MANIFEST, TENSORS), version=FORMAT, noun="an audit set", remedy="feedback-guard reputation audit"
    )
    require_pinned(path, frozen, digest)
    manifest = frozen.manifest
    try:
        arrays = safetensors.numpy.load(frozen.tensors)
        kinds = {Kind(name): _read(name, about, arrays) for name, about in manifest["kinds"].items()}
        audit = AuditSet(
            frozen.digest, str(manifest["fingerprint"]), str(manifest["baseline"]), kinds, tuple(manifest["notes"])
        )
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BaselineError(f"{path} cannot be read as an audit set: {error!r}") from None
    if fingerprint is not None and audit.fingerprint != fingerprint:
        raise BaselineError(
            f"{path} was made with the model {audit.fingerprint}, but {fingerprint} is in use; make it again"
        )
    return audit


def _tensors(audit: AuditSet) -> bytes:
    arrays: dict[str, NDArray[np.generic]] = {}
    for kind, items in audit.kinds.items():
        arrays[f"{kind.value}.vectors"] = items.vectors.astype(np.float16)
        arrays[f"{kind.value}.priors"] = np.asarray(items.priors, dtype=np.int64)
    return safetensors.numpy.save({name: arrays[name] for name in sorted(arrays)})


def _manifest(audit: AuditSet, tensors: bytes) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "fingerprint": audit.fingerprint,
        "baseline": audit.baseline,
        "notes": list(audit.notes),
        "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
        "kinds": {
            kind.value: {
                "taught": list(items.taught),
                "reach": items.reach,
                "agree": items.agree,
                "differ": items.differ,
                "middle": items.middle,
            }
            for kind, items in audit.kinds.items()
        },
    }


def _read(name: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Audited:
    vectors = np.asarray(arrays[f"{name}.vectors"], dtype=np.float32)
    priors = tuple(int(each) for each in arrays[f"{name}.priors"].tolist())
    taught = tuple(str(each) for each in about["taught"])
    if vectors.ndim != 2 or not len(vectors) == len(priors) == len(taught):
        raise ValueError("the arrays and the manifest do not fit together")
    return Audited(
        vectors,
        taught,
        priors,
        float(about["reach"]),
        int(about["agree"]),
        int(about["differ"]),
        float(about["middle"]),
    )
