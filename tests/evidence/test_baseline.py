"""A baseline is data with a digest: whole, unaltered, of this model, or refused with a sentence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from feedback_guard import settings
from feedback_guard.contribution import Kind
from feedback_guard.errors import BaselineError
from feedback_guard.evidence.baseline import DRIFT, EVIDENCE, Baseline, build_baseline, load, save
from feedback_guard.signals import material
from feedback_guard.signals.checks import same_state
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.registry import SIGNALS

MODEL = "made-up:1"


@pytest.fixture(scope="module")
def trusted() -> list[Observation]:
    return material.stream((Kind.LABEL, Kind.RATING), 120, seed=1)


@pytest.fixture(scope="module")
def baseline(trusted: list[Observation]) -> Baseline:
    return build_baseline(trusted, fingerprint=MODEL, created_at_us=1_000_000)


@pytest.fixture
def saved(baseline: Baseline, tmp_path: Path) -> Path:
    save(baseline, tmp_path / "baseline")
    return tmp_path / "baseline"


def reload(path: Path, **how: Any) -> Baseline:
    return load(path, **{"fingerprint": MODEL, "digest": None, **how})


def test_what_is_loaded_is_what_was_saved_and_the_signals_say_the_same(baseline: Baseline, saved: Path) -> None:
    again = reload(saved)
    for name in ("digest", "fingerprint", "n_trusted", "created_at_us", "labels", "counts", "seed", "notes"):
        assert getattr(again, name) == getattr(baseline, name), name
    assert set(again.states) == set(SIGNALS)
    assert same_state(again.drift, baseline.drift)
    for name, signal in SIGNALS.items():
        assert same_state(again.states[name], baseline.states[name]), name
        one, other = (signal.from_state(each.states[name]) for each in (baseline, again))
        for observation in material.stream((Kind.LABEL, Kind.RATING), 10, seed=2):
            assert one.score(observation) == other.score(observation)


def test_it_says_what_it_was_made_from(baseline: Baseline) -> None:
    assert baseline.n_trusted == 240
    assert baseline.counts == {"label": 120, "rating": 120}
    assert baseline.labels == frozenset(material.TOPICS)
    assert sum(baseline.label_counts.values()) == 120
    assert any("novelty alone cannot hold" in note for note in baseline.notes)


def test_the_same_trusted_set_seed_and_time_give_the_same_digest(
    trusted: list[Observation], baseline: Baseline, tmp_path: Path
) -> None:
    again = build_baseline(trusted, fingerprint=MODEL, created_at_us=1_000_000)
    assert again.digest == baseline.digest
    save(baseline, tmp_path / "one")
    save(again, tmp_path / "two")
    for name in ("baseline.json", "state.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_another_trusted_set_seed_time_or_model_gives_another_digest(
    trusted: list[Observation], baseline: Baseline
) -> None:
    made = [
        build_baseline(trusted[:-1], fingerprint=MODEL, created_at_us=1_000_000),
        build_baseline(trusted, fingerprint=MODEL, created_at_us=1_000_000, seed=1),
        build_baseline(trusted, fingerprint=MODEL, created_at_us=1_000_001),
        build_baseline(trusted, fingerprint="another", created_at_us=1_000_000),
    ]
    assert len({baseline.digest, *(each.digest for each in made)}) == 5


def test_it_is_two_files_of_data_and_no_code(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["baseline.json", "state.safetensors"]
    json.loads((saved / "baseline.json").read_text(encoding="utf-8"))
    safetensors.numpy.load((saved / "state.safetensors").read_bytes())


def _edit(change: Callable[[dict[str, Any]], object], *, mend: bool = False) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        whole = json.loads((path / "baseline.json").read_text(encoding="utf-8"))
        change(whole["manifest"])
        if mend:
            whole["digest"] = "sha256:" + "0" * 64
        (path / "baseline.json").write_text(json.dumps(whole), encoding="utf-8")

    return edit


def _flip(path: Path) -> None:
    raw = bytearray((path / "state.safetensors").read_bytes())
    raw[-1] ^= 1
    (path / "state.safetensors").write_bytes(raw)


def _swap(path: Path) -> None:
    """Other arrays, with a hash in the manifest that fits them."""
    tensors = safetensors.numpy.save({"novelty/x": np.zeros(3)})
    (path / "state.safetensors").write_bytes(tensors)
    _edit(lambda manifest: manifest.update(tensors_sha256=hashlib.sha256(tensors).hexdigest()))(path)


ALTERATIONS: dict[str, Callable[[Path], object]] = {
    "a bit of the arrays": _flip,
    "other arrays and their hash": _swap,
    "a signal's value": _edit(lambda m: m["values"]["disagreement"]["label"].update(middle=9.0)),
    "a signal less": _edit(lambda m: m["values"].pop("novelty")),
    "the model's name": _edit(lambda m: m.update(fingerprint="another")),
    "the size of the trusted set": _edit(lambda m: m.update(n_trusted=10**6)),
    "a note less": _edit(lambda m: m["notes"].pop()),
    "the digest itself": _edit(lambda m: None, mend=True),
    "a label more": _edit(lambda m: m["labels"].update(fraud=1)),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_whatever_is_altered_is_noticed(saved: Path, alteration: str) -> None:
    ALTERATIONS[alteration](saved)
    with pytest.raises(BaselineError, match="altered or damaged"):
        load(saved, fingerprint=None, digest=None)


def test_a_pinned_digest_is_required_with_and_without_its_prefix(baseline: Baseline, saved: Path) -> None:
    assert reload(saved, digest=baseline.digest).digest == baseline.digest
    assert reload(saved, digest=baseline.digest.removeprefix("sha256:")).digest == baseline.digest
    with pytest.raises(BaselineError, match="the policy pins"):
        reload(saved, digest="0" * 64)


def test_a_baseline_of_another_model_is_refused(saved: Path) -> None:
    with pytest.raises(BaselineError, match="was made with the model made-up:1, but made-up:2 is in use"):
        reload(saved, fingerprint="made-up:2")


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda path: (path / "baseline.json").unlink(), "has no baseline.json"),
        (lambda path: (path / "state.safetensors").unlink(), "has no state.safetensors"),
        (lambda path: (path / "baseline.json").write_text("{"), "cannot be read"),
        (lambda path: (path / "baseline.json").write_text("[" * 100_000), "cannot be read"),
        (lambda path: (path / "baseline.json").write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda path: (path / "baseline.json").write_text("[]"), "is not the manifest"),
        (_edit(lambda m: m.update(format=99)), "has the format 99; this version reads 3"),
        (lambda path: (path / "state.safetensors").write_bytes(b""), "altered or damaged"),
    ],
    ids=["no manifest", "no arrays", "half a manifest", "deep", "no text", "a list", "another format", "empty arrays"],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(
    saved: Path, break_it: Callable[[Path], object], says: str
) -> None:
    break_it(saved)
    with pytest.raises(BaselineError, match=says):
        reload(saved)


def test_a_missing_directory_says_how_to_make_a_baseline(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="feedback-guard baseline build"):
        reload(tmp_path / "nowhere")


def test_files_beyond_the_bound_are_not_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_BASELINE_BYTES", 100)
    with pytest.raises(BaselineError, match="at most 100 are read"):
        reload(saved)


def test_an_earlier_baseline_is_replaced_only_when_told_to(baseline: Baseline, saved: Path) -> None:
    with pytest.raises(BaselineError, match="exists"):
        save(baseline, saved)
    save(baseline, saved, replace=True)
    assert reload(saved).digest == baseline.digest


def test_what_is_not_a_baseline_is_never_replaced(baseline: Baseline, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(BaselineError, match="exists"):
        save(baseline, tmp_path / "thesis", replace=True)
    assert (tmp_path / "thesis" / "chapter1.txt").exists()


def test_a_baseline_that_was_changed_in_memory_is_not_saved(baseline: Baseline, tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="was changed"):
        save(replace(baseline, n_trusted=1), tmp_path / "b")


def test_a_folder_that_cannot_be_written_is_a_sentence(baseline: Baseline, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BaselineError, match="cannot be written"):
        save(baseline, tmp_path / "file" / "b")


def test_an_empty_trusted_set_is_refused() -> None:
    with pytest.raises(BaselineError, match="the trusted set is empty"):
        build_baseline([], fingerprint=MODEL, created_at_us=0)


def test_an_id_that_stands_twice_is_refused(trusted: list[Observation]) -> None:
    with pytest.raises(BaselineError, match="stands 2 times"):
        build_baseline([*trusted, trusted[3]], fingerprint=MODEL, created_at_us=0)


def test_more_than_the_bound_is_refused(trusted: list[Observation], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_TRUSTED", 10)
    with pytest.raises(BaselineError, match="at most 10 are read"):
        build_baseline(trusted, fingerprint=MODEL, created_at_us=0)


def test_vectors_that_are_broken_are_named_and_not_fitted(trusted: list[Observation]) -> None:
    broken = replace(trusted[0], vectors={"input": np.full((1, material.DIMENSION), np.nan, dtype=np.float32)})
    with pytest.raises(BaselineError, match="disagreement cannot read the trusted set"):
        build_baseline([broken, *trusted[1:]], fingerprint=MODEL, created_at_us=0)


def test_each_part_is_announced(trusted: list[Observation]) -> None:
    parts: list[str] = []
    build_baseline(trusted, fingerprint=MODEL, created_at_us=0, on_progress=parts.append)
    assert parts == [*SIGNALS, DRIFT, EVIDENCE]
