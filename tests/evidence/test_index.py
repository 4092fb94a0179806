"""The table of places says of every key where it is, whatever came and went before."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.evidence.index import NOWHERE, Index


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bits", [7, 64], ids=["keys that meet", "keys as they are"])
def test_it_is_a_dictionary(seed: int, bits: int) -> None:
    """Keys of few bits all look first among the same places, so many stand where they were pushed to."""
    rng = np.random.default_rng(seed)
    pool = np.unique(rng.integers(0, (1 << bits) - 1, 800, dtype=np.uint64, endpoint=True))
    pool = pool if bits == 64 else np.concatenate([pool + (np.uint64(1) << np.uint64(40 + each)) for each in range(8)])
    index, known = Index(), dict[int, int]()
    for step in range(400):
        absent = np.array([key for key in pool.tolist() if key not in known], dtype=np.uint64)
        new = rng.choice(absent, min(len(absent), int(rng.integers(0, 12))), replace=False)
        places = rng.integers(0, 2**31 - 2, len(new))
        old = rng.permutation(np.array(list(known), dtype=np.uint64))[:9]
        asked = rng.permutation(np.concatenate([new, old]))
        found, which = np.empty((2, len(asked)), dtype=np.int64)
        assert index.place(asked, places, found, which) == len(new)
        new = asked[which[: len(new)]]
        now = known | dict(zip(new.tolist(), places.tolist(), strict=True))
        assert found.tolist() == [now[key] for key in asked.tolist()]
        known.update(zip(new.tolist(), places.tolist(), strict=True))
        if step % 3 == 2:
            n_gone = int(rng.integers(0, len(known))) // 2
            gone = rng.choice(np.array(list(known), dtype=np.uint64), n_gone, replace=False)
            index.drop(gone)
            for key in gone.tolist():
                del known[key]
        assert len(index) == len(known)
        found, missing = index.find(pool)
        assert found.tolist() == [known.get(key, NOWHERE) for key in pool.tolist()]
        assert missing == len(pool) - len(known)
        assert [index.get(key) for key in pool.tolist()] == [known.get(key) for key in pool.tolist()]
    keys, places = index.items()
    assert dict(zip(keys.tolist(), places.tolist(), strict=True)) == known


def test_it_grows_and_loses_nothing() -> None:
    rng, index = np.random.default_rng(1), Index()
    keys = np.unique(rng.integers(0, 2**64, 50_000, dtype=np.uint64))
    for some in (keys[:5], keys[5:]):
        found, new = np.empty((2, len(some)), dtype=np.int64)
        assert index.place(some, np.arange(len(index), len(keys)), found, new) == len(some)
    found, missing = index.find(keys)
    assert (found.tolist(), missing) == (list(range(len(keys))), 0)
    assert index.get(int(keys[7])) == 7
