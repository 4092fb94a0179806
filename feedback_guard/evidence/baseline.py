"""What is normal: computed once from the trusted set, frozen, named by a digest.

On disk a baseline is a directory of two files. `baseline.json` holds what is JSON: the manifest and the digest of
its canonical form. `state.safetensors` holds the arrays; the manifest has its SHA-256. So the digest covers
everything, and neither file can hold code.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.numpy
from safetensors import SafetensorError

from feedback_guard import settings
from feedback_guard.contribution import Kind
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.evidence.drift import DriftDetector
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.kinds.gather import fit_kinds
from feedback_guard.evidence.probes import PROBES, Probes
from feedback_guard.evidence.reach import notes_on
from feedback_guard.frozen import digest_of, read_frozen, require_pinned, write_frozen
from feedback_guard.policy.signals import SignalsPolicy
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation, State
from feedback_guard.signals.registry import SIGNALS

FORMAT = 3
"""Version of the files' layout; another one is refused."""
MANIFEST, TENSORS = "baseline.json", "state.safetensors"
DRIFT, EVIDENCE = "drift", "evidence"


@dataclass(frozen=True)
class Baseline:
    """A frozen picture of what is normal.

    Parameters
    ----------
    digest
        `sha256:` and the digest of the manifest, which covers the arrays.
    fingerprint
        Of the embedding model that made the vectors.
    n_trusted
        Trusted contributions that it was made from.
    created_at_us
        When, in microseconds since the epoch.
    states
        State of each signal, by name.
    drift
        State of the drift alarm.
    evidence
        What is known of phrases, for the adding up of evidence.
    labels
        Labels that the trusted set knows.
    counts
        Trusted contributions of each kind.
    label_counts
        Trusted contributions of each label.
    seed
        Whatever was drawn at random was drawn from it.
    versions
        Versions of what computed it, for the record.
    notes
        Sentences on what this trusted set cannot support.
    """

    digest: str
    fingerprint: str
    n_trusted: int
    created_at_us: int
    states: Mapping[str, State]
    drift: State
    evidence: State
    labels: frozenset[str] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)
    label_counts: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def resolution(self) -> dict[str, float]:
        """The smallest p-value that so many trusted contributions allow, by kind."""
        return {kind: 1.0 / (n + 1) for kind, n in self.counts.items()}


def build_baseline(
    observations: Sequence[Observation],
    *,
    fingerprint: str,
    created_at_us: int,
    seed: int = 0,
    on_progress: Callable[[str], None] | None = None,
) -> Baseline:
    """Fit every signal and the drift alarm on the trusted set.

    Parameters
    ----------
    observations
        The trusted set: contributions that somebody vetted, observed with one model.
    fingerprint
        Of that model.
    created_at_us
        Now, in microseconds since the epoch; part of the digest.
    seed
        The same observations and seed give the same states.
    on_progress
        Called with the name of each part before it is fitted.

    Raises
    ------
    BaselineError
        If the trusted set is empty, too large, names an id twice, or cannot support a part.
    """
    _check(observations)
    states: dict[str, State] = {}
    for name in (*SIGNALS, DRIFT):
        if on_progress is not None:
            on_progress(name)
        fit = DriftDetector.fit if name == DRIFT else SIGNALS[name].fit
        try:
            states[name] = fit(observations, seed=seed)
        except SignalError as error:
            raise BaselineError(f"{name} cannot read the trusted set: {error}") from error
    if on_progress is not None:
        on_progress(EVIDENCE)
    background = Background.fit(observations, seed=seed)
    reader = Disagreement.from_state(states[Disagreement.name])
    probes = Probes.fit(observations, background, reader, seed=seed)
    known, kinds = background.state(), fit_kinds(observations, seed=seed)
    contributions = [observation.contribution for observation in observations]
    counts = Counter(item.kind.value for item in contributions)
    labels = Counter(item.label for item in contributions if item.kind is Kind.LABEL and item.label is not None)
    baseline = Baseline(
        digest="",
        fingerprint=fingerprint,
        n_trusted=len(observations),
        created_at_us=created_at_us,
        states={name: state for name, state in states.items() if name != DRIFT},
        drift=states[DRIFT],
        evidence=State({**known.values, **kinds.values}, {**known.arrays, **probes.arrays(PROBES), **kinds.arrays}),
        labels=frozenset(labels),
        counts=dict(sorted(counts.items())),
        label_counts=dict(sorted(labels.items())),
        seed=seed,
        versions={name: version(name) for name in ("feedback-guard", "numpy", "river", "scipy")},
        notes=notes_on(counts, labels, SignalsPolicy()),
    )
    digest = digest_of(_manifest(baseline, _tensors(baseline)))
    return Baseline(**{**vars(baseline), "digest": digest})


def _check(observations: Sequence[Observation]) -> None:
    if not observations:
        raise BaselineError("the trusted set is empty; vet some contributions first")
    if len(observations) > settings.MAX_TRUSTED:
        raise BaselineError(
            f"the trusted set has {len(observations):,} contributions; at most {settings.MAX_TRUSTED:,} are read"
        )
    ids = Counter(observation.contribution.id for observation in observations)
    name, most = ids.most_common(1)[0]
    if most > 1:
        raise BaselineError(f"the id {name!r} stands {most} times in the trusted set; each contribution counts once")


def save(baseline: Baseline, path: Path, *, replace: bool = False) -> None:
    """Write a baseline as a directory: whole or not at all.

    Parameters
    ----------
    baseline
        As `build_baseline` or `load` made it.
    path
        The directory. Its parent is made if it is missing.
    replace
        True takes the place of an earlier baseline; false refuses to.

    Raises
    ------
    BaselineError
        If something is in the way, or it cannot be written.
    """
    tensors = _tensors(baseline)
    manifest = _manifest(baseline, tensors)
    if digest_of(manifest) != baseline.digest:
        raise BaselineError(f"the baseline is not the one that its digest {baseline.digest} names; it was changed")
    if path.exists() and not (replace and (path / MANIFEST).is_file()):
        raise BaselineError(
            f"{path} exists; name another directory"
            + ("" if replace else ", or say that the baseline there is to be replaced")
        )
    write_frozen(path, (MANIFEST, TENSORS), manifest, tensors)


def load(path: Path, *, fingerprint: str | None, digest: str | None) -> Baseline:
    """Read a baseline and check that it is whole, unaltered and of this model.

    Parameters
    ----------
    path
        The directory.
    fingerprint
        Of the model in use; None skips this check.
    digest
        The one it must have, with or without `sha256:`; None takes any that fits its content.

    Raises
    ------
    BaselineError
        Saying what is wrong and what to do.
    """
    frozen = read_frozen(
        path, (MANIFEST, TENSORS), version=FORMAT, noun="a baseline", remedy="feedback-guard baseline build"
    )
    require_pinned(path, frozen, digest)
    try:
        baseline = _read(frozen.manifest, frozen.digest, frozen.tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BaselineError(f"{path} cannot be understood: {error!r}. Build the baseline again") from None
    if fingerprint is not None and baseline.fingerprint != fingerprint:
        raise BaselineError(
            f"{path} was made with the model {baseline.fingerprint}, but {fingerprint} is in use; vectors of different "
            f"models cannot be compared. Build the baseline again, or set embedding.model back"
        )
    return baseline


def _tensors(baseline: Baseline) -> bytes:
    arrays = {f"{name}/{key}": array for name, state in _named(baseline) for key, array in state.arrays.items()}
    return safetensors.numpy.save({name: arrays[name].copy(order="C") for name in sorted(arrays)})


def _manifest(baseline: Baseline, tensors: bytes) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "fingerprint": baseline.fingerprint,
        "n_trusted": baseline.n_trusted,
        "created_at_us": baseline.created_at_us,
        "seed": baseline.seed,
        "counts": dict(baseline.counts),
        "labels": dict(baseline.label_counts),
        "versions": dict(baseline.versions),
        "notes": list(baseline.notes),
        "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
        "values": {name: dict(state.values) for name, state in _named(baseline)},
    }


def _named(baseline: Baseline) -> list[tuple[str, State]]:
    return [*baseline.states.items(), (DRIFT, baseline.drift), (EVIDENCE, baseline.evidence)]


def _read(manifest: Mapping[str, Any], digest: str, tensors: bytes) -> Baseline:
    arrays = safetensors.numpy.load(tensors)
    states = {
        name: State(
            values,
            {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")},
        )
        for name, values in manifest["values"].items()
    }
    return Baseline(
        digest=digest,
        fingerprint=str(manifest["fingerprint"]),
        n_trusted=int(manifest["n_trusted"]),
        created_at_us=int(manifest["created_at_us"]),
        states={name: state for name, state in states.items() if name not in (DRIFT, EVIDENCE)},
        drift=states[DRIFT],
        evidence=states[EVIDENCE],
        labels=frozenset(manifest["labels"]),
        counts=manifest["counts"],
        label_counts=manifest["labels"],
        seed=int(manifest["seed"]),
        versions=manifest["versions"],
        notes=tuple(manifest["notes"]),
    )
