"""Evidence in a script without blanks between words: the made-up texts, each word written in Chinese letters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import pytest

from feedback_guard.contribution import Contribution
from feedback_guard.evidence import facets, phrases
from feedback_guard.evidence.accumulator import Evidence
from feedback_guard.evidence.facets import Background
from feedback_guard.signals import ngrams
from feedback_guard.signals.disagreement import Disagreement
from tests.evidence.test_accumulator import follow, mixed, names, observe, triggered
from tests.guards import labelled


def written(items: Iterable[Contribution]) -> list[Contribution]:
    """Each word as one to three letters of 2,000, always the same ones, and no blanks."""
    found = []
    for item in items:
        letters = ""
        for word in str(item.input).split():
            digest = hashlib.blake2b(word.encode(), digest_size=6).digest()
            places = [int.from_bytes(digest[i : i + 2], "big") % 2_000 for i in (0, 2, 4)]
            letters += "".join(chr(0x4E00 + place) for place in places[: 1 + len(word) // 4])
        found.append(replace(item, input=letters))
    return found


def evidence_of(trusted: list[Contribution]) -> Evidence:
    observed = observe(trusted)
    background, reader = Background.fit(observed, seed=0), Disagreement.fit(observed, seed=0)
    return Evidence(Background.from_state(background.state()), Disagreement.from_state(reader), 0.1)


def found(bad: list[Contribution], honest: list[Contribution]) -> set[str]:
    evidence = evidence_of(written(labelled(400, seed=9, prefix="t")))
    _, named = follow(evidence, mixed(honest, bad))
    return named


def test_a_trigger_is_found() -> None:
    bad, honest = written(triggered(30, accounts=1_000)), written(labelled(500, seed=3))
    named = found(bad, honest)
    assert named & names(honest) == set()
    assert len(named) >= 28


def test_whole_runs_of_letters_as_words_would_not_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: words end at blanks."""
    monkeypatch.setattr(facets, "tokens", str.split)
    monkeypatch.setattr(phrases, "tokens", str.split)
    monkeypatch.setattr(ngrams, "words", str.split)
    phrases.said.cache_clear()
    bad, honest = written(triggered(30, accounts=1_000)), written(labelled(500, seed=3))
    named = found(bad, honest)
    phrases.said.cache_clear()
    assert len(named & names(bad)) < 15
