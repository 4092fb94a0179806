"""The audit set: vetted contributions that neither the baseline nor any user has seen, to measure others against.

A contribution *speaks about* the audit item that its content is nearest to, if the two are near enough that vetted
contributions so near agree nine times in ten. Whether it agrees with what was vetted there moves the prediction of that
item by Bayes' rule; `limits.reputation` measures the change.

On disk it is a directory of two files, as a baseline is: a manifest with a digest that covers everything, and arrays.
It holds vectors, digests and chances, and no text.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import rfc8785
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from feedback_guard import settings
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.directory import read_bounded, write_directory
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.evidence.drift_reference import vector_of
from feedback_guard.limits.bankroll import MICRO, PICO
from feedback_guard.limits.reputation import UNKNOWN_BELIEF, Probe
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.lesson import LEAST_CHANCE

FORMAT: Final = 1
MANIFEST, TENSORS = "audit.json", "audit.safetensors"
MAX_AUDIT: Final = 20_000
"""Most items. Each contribution is compared with all of its kind: so many take about 2 ms."""
LEAST_AUDIT: Final = 50
"""Items of a kind below which that kind is not audited."""
AGREEMENT: Final = 0.9
"""Share of vetted neighbours that must agree; the reach is the least likeness at which they do."""
LEAST_PAIRS: Final = 20
"""Neighbours from which the agreement is believed."""
NEVER: Final = 2.0
"""A likeness that nothing has: the reach of a kind that cannot be audited."""
_FIELDS: Mapping[Kind, tuple[str, ...]] = {Kind.LABEL: ("input",), Kind.RATING: ("input", "output")}
"""Kinds that can be audited, and the texts that likeness is measured on. What teaches free text, or an order of two
answers, has no item to agree with: it is measured by moderators' decisions only."""


@dataclass(frozen=True, slots=True)
class Audited:
    """The audit items of one kind.

    Parameters
    ----------
    vectors
        Unit vectors, shape (n, d), float32.
    taught
        Digest of what was vetted for each.
    priors
        Chance that the anchored model gives to it, in pico-units.
    reach
        Least likeness (cosine) at which a contribution speaks about an item.
    agree, differ
        Likelihood ratios of a contribution that agrees, and of one that does not, in micro-units. They are the square
        roots of the ratios that were counted: the neighbour and the model read much of the same words, so that half
        of what she says was known.
    middle
        Ratings above it vote up.
    """

    vectors: Vectors
    taught: tuple[str, ...]
    priors: tuple[int, ...]
    reach: float
    agree: int
    differ: int
    middle: float = 0.0


@dataclass(frozen=True)
class AuditSet:
    """Vetted contributions to measure others against. Make one with `build`, keep it with `save` and `load`.

    Parameters
    ----------
    digest
        `sha256:` and the digest of the manifest, which covers the arrays.
    fingerprint
        Of the embedding model that made the vectors.
    baseline
        Digest of the baseline whose model gave the first predictions.
    kinds
        Items by kind.
    notes
        Sentences on what this set cannot measure.
    """

    digest: str
    fingerprint: str
    baseline: str
    kinds: Mapping[Kind, Audited] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def probe(self, observation: Observation) -> Probe | None:
        """The audit item that a contribution speaks about; None if there is none."""
        items = self.kinds.get(observation.contribution.kind)
        if items is None:
            return None
        vector = _place(observation)
        if vector is None or vector.shape != items.vectors.shape[1:]:
            return None
        likeness = np.round((items.vectors @ vector).astype(np.float64), 4)
        nearest = int(likeness.argmax())
        if likeness[nearest] < items.reach:
            return None
        agrees = items.taught[nearest] == taught_by(observation.contribution, items.middle)
        name = hashlib.sha256(f"{self.digest}/{observation.contribution.kind}/{nearest}".encode()).hexdigest()
        return Probe(name, items.priors[nearest], items.agree if agrees else items.differ)

    @property
    def information(self) -> float:
        """Units of information that the set can pay out at most: the loss of the first predictions."""
        return sum((1.0 - prior / PICO) ** 2 for items in self.kinds.values() for prior in items.priors)


def taught_by(contribution: Contribution, middle: float) -> str:
    """Digest of what a contribution teaches: its label, or whether it votes up."""
    votes_up = (contribution.rating or 0.0) > middle
    said = contribution.label or "" if contribution.kind is Kind.LABEL else "up" if votes_up else "down"
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def belief_in(reader: Disagreement, observation: Observation) -> int:
    """Chance of what a contribution teaches, as the anchored model reads its content, in pico-units.

    Where the model cannot tell it is one half; beyond 49 to 1 it is not believed.
    """
    try:
        lesson = reader.lesson(observation)
    except SignalError:
        return UNKNOWN_BELIEF
    if lesson is None or lesson.which < 0:
        return UNKNOWN_BELIEF
    if lesson.shares is not None:
        chance = float(lesson.shares[lesson.which])
    else:
        chance = 1.0 / (1.0 + float(np.exp(lesson.log_ratio)))
    return round(min(1.0 - LEAST_CHANCE, max(LEAST_CHANCE, chance)) * MICRO) * (PICO // MICRO)


def belongs_to_audit(contribution: str, key: bytes, share: float) -> bool:
    """Whether a vetted contribution is held out, by a keyed digest of its name: nobody without the key can tell.

    Examples
    --------
    >>> sum(belongs_to_audit(f"c{n}", b"a key of your own", 0.25) for n in range(1000))
    248
    """
    drawn = hmac.new(key, contribution.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return int.from_bytes(drawn[:8], "big") < share * 2.0**64


def build(observations: Sequence[Observation], reader: Disagreement, *, fingerprint: str, baseline: str) -> AuditSet:
    """Make an audit set.

    Parameters
    ----------
    observations
        Vetted contributions that the baseline was made without.
    reader
        The baseline's model, which gives the first prediction of each.
    fingerprint, baseline
        Of the embedding model and of the baseline.

    Raises
    ------
    BaselineError
        If there are too many, an id stands twice, or no kind can be audited.
    """
    if len(observations) > MAX_AUDIT:
        raise BaselineError(f"an audit set has at most {MAX_AUDIT:,} contributions, not {len(observations):,}")
    if len({each.contribution.id for each in observations}) < len(observations):
        raise BaselineError("an id stands twice in the audit set; each contribution counts once")
    kinds: dict[Kind, Audited] = {}
    notes: list[str] = []
    for kind in Kind:
        members = [each for each in observations if each.contribution.kind is kind]
        placed = [(each, place) for each in members if (place := _place(each)) is not None]
        if not members:
            continue
        if kind not in _FIELDS:
            notes.append(f"a {kind.value} has no item to agree with; it is measured by moderators' decisions only")
        elif len(placed) < LEAST_AUDIT:
            notes.append(f"{len(placed)} items of kind {kind.value}; {LEAST_AUDIT} are needed to audit it")
        else:
            kinds[kind] = _audited(placed, reader)
            if kinds[kind].reach >= NEVER:
                notes.append(f"neighbours of kind {kind.value} do not agree nine times in ten; it cannot be audited")
    if not any(items.reach < NEVER for items in kinds.values()):
        raise BaselineError("this set can audit nothing: " + ("; ".join(notes) or "it is empty"))
    made = AuditSet("", fingerprint, baseline, kinds, tuple(notes))
    return replace(made, digest=_digest(_manifest(made, _tensors(made))))


def _place(observation: Observation) -> Vectors | None:
    """Where a contribution lies: one unit vector for all the texts that likeness is measured on."""
    fields = _FIELDS.get(observation.contribution.kind)
    if fields is None:
        return None
    parts = [vector_of(observation, name) for name in fields]
    if any(part is None for part in parts):
        return None
    whole = np.concatenate([part for part in parts if part is not None]) / np.sqrt(len(parts))
    return np.asarray(whole, dtype=np.float32)


def _audited(placed: Sequence[tuple[Observation, Vectors]], reader: Disagreement) -> Audited:
    # As they will be read back: in half precision.
    vectors = np.asarray([place for _, place in placed], dtype=np.float16).astype(np.float32)
    votes = [each.contribution.rating for each, _ in placed if each.contribution.rating is not None]
    middle = (min(votes) + max(votes)) / 2.0 if votes else 0.0
    taught = tuple(taught_by(each.contribution, middle) for each, _ in placed)
    reach, hits, n = _reach(vectors, taught)
    n_taught = max(2, len(set(taught)))
    right = (hits + 1) / (n + 2)
    wrong = max(0.01, (1.0 - right) / (n_taught - 1))
    return Audited(
        vectors=vectors,
        taught=taught,
        priors=tuple(belief_in(reader, each) for each, _ in placed),
        reach=reach,
        agree=round(float(np.sqrt(right / wrong)) * MICRO),
        differ=round(float(np.sqrt((1.0 - right) / (1.0 - wrong))) * MICRO),
        middle=middle,
    )


def _reach(vectors: Vectors, taught: Sequence[str]) -> tuple[float, int, int]:
    """The least likeness at which nearest neighbours agree often enough; with how many do, of how many."""
    nearest: list[tuple[float, bool]] = []
    for start in range(0, len(vectors), 1_024):
        likeness = vectors[start : start + 1_024] @ vectors.T
        for row in range(len(likeness)):
            likeness[row, start + row] = -NEVER
        for row, other in enumerate(likeness.argmax(axis=1).tolist()):
            nearest.append((round(float(likeness[row, other]), 4), taught[start + row] == taught[other]))
    nearest.sort(reverse=True)
    best, hits = (NEVER, 0, 0), 0
    for n, (likeness_, agrees) in enumerate(nearest, start=1):
        hits += agrees
        if n >= LEAST_PAIRS and hits >= AGREEMENT * n:
            best = (likeness_, hits, n)
    return best


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


def _digest(manifest: Mapping[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(rfc8785.dumps(dict(manifest))).hexdigest()


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
    text = json.dumps({"digest": audit.digest, "manifest": _manifest(audit, tensors)}, indent=1, sort_keys=True)
    try:
        write_directory(path, {MANIFEST: text.encode("utf-8") + b"\n", TENSORS: tensors})
    except OSError as error:
        raise BaselineError(f"{path} cannot be written: {error.strerror or error}") from error


def load(path: Path, *, fingerprint: str | None, digest: str | None) -> AuditSet:
    """Read an audit set and check that it is whole, unaltered and of this model.

    Raises
    ------
    BaselineError
        Saying what is wrong and what to do.
    """
    try:
        whole = json.loads(read_bounded(path / MANIFEST, settings.MAX_BASELINE_BYTES))
        tensors = read_bounded(path / TENSORS, settings.MAX_BASELINE_BYTES)
        manifest = whole["manifest"]
        found = _digest(manifest)
        if whole["digest"] != found or manifest["tensors_sha256"] != hashlib.sha256(tensors).hexdigest():
            raise BaselineError(f"{path} was altered or damaged after it was made: its content has another digest")
        if manifest["format"] != FORMAT:
            raise BaselineError(f"{path} has the format {manifest['format']!r}, this version reads {FORMAT}")
        arrays = safetensors.numpy.load(tensors)
        kinds = {Kind(name): _read(name, about, arrays) for name, about in manifest["kinds"].items()}
        audit = AuditSet(
            found, str(manifest["fingerprint"]), str(manifest["baseline"]), kinds, tuple(manifest["notes"])
        )
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise BaselineError(f"{path} has no {missing}; make one with `feedback-guard reputation audit`") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise BaselineError(f"{path} cannot be read as an audit set: {error!r}") from None
    if digest is not None and digest.removeprefix("sha256:") != found.removeprefix("sha256:"):
        raise BaselineError(f"{path} has the digest {found}; the policy pins {digest}")
    if fingerprint is not None and audit.fingerprint != fingerprint:
        raise BaselineError(
            f"{path} was made with the model {audit.fingerprint}, but {fingerprint} is in use; make it again"
        )
    return audit


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
