"""Sketches: exact for short texts, close for long ones, worthless without the key, blind to disguises."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from feedback_guard.signals.sketch import BANDS, SHINGLE, SKETCH_SIZE, Sketcher, similarities, similarity
from feedback_guard.text.canonical import canonicalise

KEY = b"a key for tests, kept nowhere"


def shingles(text: str) -> set[str]:
    padded = f" {text} ".ljust(SHINGLE)
    return {padded[at : at + SHINGLE] for at in range(len(padded) - SHINGLE + 1)}


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def words(rng: random.Random, n: int) -> str:
    return " ".join("".join(rng.choices("abcdefghij", k=rng.randint(2, 7))) for _ in range(n))


def vary(rng: random.Random, text: str, share: float) -> str:
    return " ".join(words(rng, 1) if rng.random() < share else word for word in text.split())


@pytest.mark.parametrize("seed", range(20))
def test_short_texts_are_compared_exactly(seed: int) -> None:
    rng = random.Random(seed)
    sketcher = Sketcher(KEY)
    one = words(rng, rng.randint(1, 14))
    other = vary(rng, one, 0.3)
    assert similarity(sketcher.sketch(one).hashes, sketcher.sketch(other).hashes) == pytest.approx(jaccard(one, other))


@pytest.mark.parametrize("seed", range(20))
def test_long_texts_are_compared_closely(seed: int) -> None:
    rng = random.Random(seed)
    sketcher = Sketcher(KEY)
    one = words(rng, 600)
    other = vary(rng, one, rng.random() * 0.4)
    sketches = sketcher.sketch(one).hashes, sketcher.sketch(other).hashes
    assert [len(sketch) for sketch in sketches] == [SKETCH_SIZE, SKETCH_SIZE]
    assert similarity(*sketches) == pytest.approx(jaccard(one, other), abs=0.16)


def test_a_short_text_is_compared_with_a_long_one() -> None:
    rng = random.Random(3)
    sketcher = Sketcher(KEY)
    long = words(rng, 400)
    short = " ".join(long.split()[:12])
    assert similarity(sketcher.sketch(short).hashes, sketcher.sketch(long).hashes) < 0.2
    assert similarity(sketcher.sketch(long).hashes, sketcher.sketch(long).hashes) == 1.0


@pytest.mark.parametrize("text", ["", "a", "ok", "👍", "卡在哪里"])
def test_the_shortest_texts_have_a_sketch(text: str) -> None:
    sketcher = Sketcher(KEY)
    assert similarity(sketcher.sketch(text).hashes, sketcher.sketch(text).hashes) == 1.0
    assert similarity(sketcher.sketch(text).hashes, sketcher.sketch("something else").hashes) == 0.0


def test_texts_that_share_half_agree_in_a_band_and_strangers_hardly_ever() -> None:
    rng = random.Random(4)
    sketcher = Sketcher(KEY)
    close = far = n_close = n_far = 0
    for _ in range(400):
        one = words(rng, 10)
        for other in (vary(rng, one, 0.15), words(rng, 10)):
            (a, ours), (b, theirs) = sketcher.sketch(one), sketcher.sketch(other)
            meet = bool((ours == theirs).any())
            if similarity(a, b) >= 0.5:
                close, n_close = close + meet, n_close + 1
            elif similarity(a, b) < 0.1:
                far, n_far = far + meet, n_far + 1
    assert close >= 0.94 * n_close
    assert far <= 0.02 * n_far
    assert min(n_close, n_far) > 100


def test_another_key_knows_nothing_of_the_collisions() -> None:
    """Texts that collide in a band under one key are found by trying; under another key they are strangers."""
    rng = random.Random(5)
    known, secret = Sketcher(KEY), Sketcher(b"another key that nobody knows..")
    by_band: dict[tuple[int, int], str] = {}
    collisions = []
    for _ in range(6_000):
        text = words(rng, 6)
        for band, key in enumerate(known.sketch(text).bands.tolist()):
            if (band, key) in by_band:
                collisions.append((by_band[band, key], text))
            by_band[band, key] = text
    crafted = [pair for pair in collisions if jaccard(*pair) < 0.2]
    assert len(crafted) >= 20
    still = sum(bool((secret.sketch(one).bands == secret.sketch(other).bands).any()) for one, other in crafted)
    assert still <= 0.1 * len(crafted)


DISGUISES: dict[str, Callable[[str], str]] = {
    "case": str.upper,
    "zero width": lambda text: "\u200b".join(text),
    "soft hyphens": lambda text: text.replace("e", "e\u00ad"),
    "look-alikes": lambda text: text.translate(str.maketrans("aceop", "\u0430\u0441\u0435\u043e\u0440")),
    "fullwidth": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "accents": lambda text: text.replace("o", "o\u0301").replace("e", "e\u0302"),
    "spaces": lambda text: text.replace(" ", " \u00a0\t "),
    "tags": lambda text: text + "".join(chr(0xE0000 + ord(c)) for c in "ignore"),
    "bidi": lambda text: f"\u202a{text}\u202c",
    "selectors": lambda text: text.replace("a", "a\ufe0e"),
    "mathematical": lambda text: text.translate({ord("a") + i: 0x1D41A + i for i in range(26)}),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_copy_is_a_copy(disguise: str) -> None:
    sketcher = Sketcher(KEY)
    found = 0
    for seed in range(200):
        text = words(random.Random(seed), 9)
        plain, hidden = (canonicalise(t).skeleton for t in (text, DISGUISES[disguise](text)))
        found += similarity(sketcher.sketch(plain).hashes, sketcher.sketch(hidden).hashes) >= 0.5
    assert found >= 198


def test_bands_are_of_the_stated_number() -> None:
    sketcher = Sketcher(KEY)
    assert sketcher.sketch("where is my card?").bands.shape == (BANDS,)


def test_many_at_once_are_compared_as_one_by_one() -> None:
    """Short, long and empty-ended ones, whatever is behind the end of the shorter."""
    sketcher, rng = Sketcher(KEY), np.random.default_rng(5)
    words = ["card", "refund", "why", "is", "my", "transfer", "late", "?", "漢字"]
    texts = [" ".join(rng.choice(words, size=int(rng.integers(1, 90)))) for _ in range(60)]
    sketches = [sketcher.sketch(text).hashes for text in texts]
    table = np.full((len(texts), SKETCH_SIZE), sketches[0][0], dtype=np.uint32)
    for row, hashes in zip(table, sketches, strict=True):
        row[: len(hashes)] = hashes
    lengths = np.array([len(hashes) for hashes in sketches], dtype=np.uint8)
    assert {True, False} == {length == SKETCH_SIZE for length in lengths.tolist()}
    for one in sketches:
        assert similarities(one, table, lengths) == [similarity(one, other) for other in sketches]
