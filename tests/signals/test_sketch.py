"""Sketches: exact for short texts, close for long ones, worthless without the key, blind to disguises."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from feedback_guard.signals.hashing import SKETCH_SIZE, distil, hashes_of, similarity
from feedback_guard.signals.sketch import BANDS, SHINGLE, Sketcher
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


def counted(one: set[int], other: set[int]) -> float:
    """The share of common ones among both together, or among the smallest of both where one of them is full."""
    union = sorted(one | other)
    if SKETCH_SIZE in (len(one), len(other)):
        union = union[:SKETCH_SIZE]
    return len(one & other & set(union)) / len(union)


def test_sketches_are_compared_by_what_they_share() -> None:
    """Short, full and nearly full ones, disjoint ones, and some of which one is a part of the other."""
    rng, seen = random.Random(5), set[float]()
    sizes = (1, 2, 7, 60, SKETCH_SIZE - 1, SKETCH_SIZE)
    for _ in range(2_000):
        one = set(rng.sample(range(rng.choice([130, 300, 2**32])), rng.choice(sizes)))
        new = set(rng.sample(range(2**32), rng.choice(sizes)))
        other = set(rng.sample(sorted(one | new), min(SKETCH_SIZE, rng.choice(sizes), len(one | new))))
        arrays = [np.array(sorted(each), dtype=np.uint32) for each in (one, other)]
        assert similarity(*arrays) == counted(one, other)
        seen.add(counted(one, other))
    assert {0.0, 1.0} < seen
    assert len(seen) > 100


def test_the_line_itself_counts() -> None:
    """Two thirds of either are half of both together; of full sketches only the smallest hashes count."""
    for n, n_common in ((6, 4), (60, 40), (SKETCH_SIZE, SKETCH_SIZE // 2)):
        one = np.arange(n, dtype=np.uint32)
        other = np.concatenate([one[:n_common], np.arange(n_common, n, dtype=np.uint32) + np.uint32(1_000)])
        assert similarity(one, other) == 0.5


@pytest.mark.parametrize("text", ["", "where is my card?", "卡在哪里 👍", "card " * 900])
def test_hashing_is_the_same_uncompiled(text: str) -> None:
    sketcher = Sketcher(KEY)
    codes = np.frombuffer(f" {text} ".ljust(SHINGLE).encode("utf-32-le"), dtype=np.uint32)
    window, stretch, shift, join = sketcher._window, sketcher._stretch, sketcher._shift, sketcher._join
    with np.errstate(over="ignore"):  # what is too large for 64 bits is meant to be cut
        hashes = np.sort(hashes_of.py_func(codes, window))  # type: ignore[attr-defined]
        bands = np.zeros(BANDS, dtype=np.uint32)
        n = distil.py_func(hashes, stretch, shift, join, bands)  # type: ignore[attr-defined]
    found = sketcher.sketch(text)
    assert (found.hashes.tolist(), found.bands.tolist()) == (hashes[:n].tolist(), bands.tolist())
    assert n == min(SKETCH_SIZE, len(shingles(text)))


def test_the_first_bands_are_those_of_the_sketch() -> None:
    sketcher, rng = Sketcher(KEY), random.Random(7)
    for text in ("", "ok", "a a a a a a a a a", words(rng, 9), words(rng, 9) * 2, words(rng, 400)):
        assert sketcher.first_bands(text, 4).tolist() == sketcher.sketch(text).bands[:4].tolist()
