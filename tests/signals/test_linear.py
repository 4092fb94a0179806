"""The classifier is multinomial logistic regression, and its n-grams know no vocabulary."""

from __future__ import annotations

import itertools
import zlib
from collections import Counter

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.signals import ngrams
from feedback_guard.signals.linear import Linear, each_fold, fit_linear, log_odds_against, stratified_folds
from feedback_guard.signals.ngrams import Weigher, count
from feedback_guard.signals.rows import unit_rows
from feedback_guard.text.words import words
from tests.signals.observations import label


def _data(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, n)
    dense = (rng.standard_normal((n, 8)) + np.eye(3, 8)[classes] * 2).astype(np.float32)
    sparse = (rng.random((n, 20)) < 0.1 + 0.3 * (classes == 1)[:, None]).astype(np.float32)
    return dense, sparse, classes


def test_it_is_the_model_that_scikit_learn_fits() -> None:
    dense, sparse, classes = _data()
    ours = fit_linear(dense, csr_matrix(sparse), classes, 3, strength=1.0)
    theirs = LogisticRegression(C=1.0, max_iter=1_000, tol=1e-8).fit(np.hstack([dense, sparse]), classes)
    logits = np.vstack(
        [
            ours.logits(dense[i : i + 1], np.flatnonzero(sparse[i]), np.ones(int(sparse[i].sum()), dtype=np.float32))
            for i in range(len(dense))
        ]
    )
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    got = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(got, theirs.predict_proba(np.hstack([dense, sparse])), atol=0.01)


def test_without_an_intercept_the_origin_is_undecided() -> None:
    dense, _, classes = _data()
    model = fit_linear(dense, None, classes, 3, intercept=False)
    nothing = model.logits(np.zeros((1, 8), dtype=np.float32), np.zeros(0, dtype=np.int64), np.zeros(0, np.float32))
    assert nothing.tolist() == [[0.0, 0.0, 0.0]]


def test_weights_survive_being_written_and_read() -> None:
    dense, sparse, classes = _data()
    model = fit_linear(dense, csr_matrix(sparse), classes, 3)
    again = Linear.from_arrays(model.arrays("label"), "label")
    assert all(np.array_equal(getattr(model, name), getattr(again, name)) for name in ("dense", "sparse", "intercept"))


def test_log_odds_are_against_the_best_other_class() -> None:
    assert log_odds_against(np.asarray([[1.0, 4.0, 2.0], [9.0, 4.0, 2.0]]), 1).tolist() == [-2.0, 5.0]


def test_folds_share_each_class_out_evenly_and_leave_each_row_out_once() -> None:
    classes = np.asarray([0] * 50 + [1] * 23 + [2] * 5)
    folds = stratified_folds(classes, 5, seed=1)
    for name, n in ((0, 50), (1, 23), (2, 5)):
        sizes = np.bincount(folds[classes == name], minlength=5)
        assert sizes.max() - sizes.min() <= 1, (name, n)
    left_out = np.concatenate([out for _, out in each_fold(folds)])
    assert sorted(left_out.tolist()) == list(range(78))
    assert all(not set(fitted) & set(out) for fitted, out in each_fold(folds))


def test_n_grams_are_the_same_everywhere_and_keep_no_word() -> None:
    buckets, counts = count("my card my card")
    assert buckets.tolist() == [1689, 2259, 3216, 3725]  # a baseline that was built elsewhere must fit here
    assert counts.tolist() == [2.0, 2.0, 1.0, 2.0]
    assert all(0 <= bucket < ngrams.BUCKETS for bucket in buckets)


@pytest.mark.parametrize(
    "text",
    ["", " ", "card", "is my card here", "card card card", "卡在哪里? visa", "\ud800 x", "ÿ" * 9, "a b " * 5_000],
)
def test_n_grams_are_counted_by_their_checksums(text: str) -> None:
    said = [word.encode("utf-8", "replace") for word in words(text)]
    grams = [*said, *(b" ".join(pair) for pair in itertools.pairwise(said))]
    found = Counter(zlib.crc32(gram) % ngrams.BUCKETS for gram in grams)
    buckets, counts = count(text)
    assert list(zip(buckets.tolist(), counts.tolist(), strict=True)) == sorted(found.items())


def test_weights_grow_with_counts_and_with_rarity() -> None:
    idf = np.random.default_rng(1).uniform(0.0, 8.0, ngrams.BUCKETS).astype(np.float32)
    buckets, counts = count("my card my card is not my card")
    wanted = (1.0 + np.log(counts)) * idf[buckets]
    kept, weights = Weigher(idf).weigh((buckets, counts))
    assert kept.tolist() == buckets.tolist()
    np.testing.assert_allclose(weights, wanted / np.linalg.norm(wanted), rtol=1e-6)


def test_logits_are_of_both_sorts_of_features() -> None:
    rng = np.random.default_rng(2)
    model = Linear(*(rng.standard_normal(shape).astype(np.float32) for shape in ((5, 8), (20, 5), (5,))))
    rows, buckets = rng.standard_normal((3, 8)).astype(np.float32), np.array([2, 7, 19])
    weights = rng.standard_normal(3).astype(np.float32)
    wanted = rows @ model.dense.T + model.intercept + weights @ model.sparse[buckets]
    np.testing.assert_allclose(model.logits(rows, buckets, weights), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dense", "sparse", "intercept"])
def test_weights_that_do_not_fit_each_other_are_refused(name: str) -> None:
    """Compiled code would read beyond them, and pass over what is no number."""
    dense, sparse, classes = _data()
    arrays = dict(fit_linear(dense, csr_matrix(sparse), classes, 3).arrays("label"))
    whole = arrays[f"label.{name}"]
    for broken in (whole[:2] if name == "dense" else whole[..., :2], np.full_like(whole, np.nan)):
        with pytest.raises(BaselineError, match="no one classifier"):
            Linear.from_arrays({**arrays, f"label.{name}": broken}, "label")


def test_what_stands_in_one_trusted_text_only_has_no_weight() -> None:
    weigher = Weigher.of([count("card lost"), count("card stolen"), count("fee")])
    buckets, weights = weigher.weigh(count("lost card fee"))
    assert weights[buckets == count("lost")[0][0]].tolist() == [0.0]
    assert float(weights @ weights) == pytest.approx(1.0)
    assert [len(each) for each in weigher.weigh(count("never seen"))] == [0, 0]


@pytest.mark.parametrize(
    "rows", [np.zeros((0, 4)), np.ones((1, 4)), np.full((1, 4), np.nan), np.ones(4), np.ones((1, 0))]
)
def test_rows_that_are_not_unit_vectors_are_refused(rows: np.ndarray) -> None:
    observation = label("a text", "a", rows.astype(np.float32))
    with pytest.raises(SignalError, match="vectors"):
        unit_rows(observation, "input")


def test_rows_of_another_dimension_are_refused() -> None:
    observation = label("a text", "a", np.eye(1, 4, dtype=np.float32))
    assert unit_rows(observation, "input", 4).shape == (1, 4)
    with pytest.raises(SignalError, match="not \\(1 or more, 8\\)"):
        unit_rows(observation, "input", 8)
