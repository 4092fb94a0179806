"""What is said becomes counters: which words are charged, that none is skipped, and that no word is stored."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.assessment import Content
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.limits import contents
from feedback_guard.limits.contents import BUCKETS, MAX_RARE, Contents
from feedback_guard.policy.limits import WORDED, LimitPolicy
from feedback_guard.signals.interface import Observation


def seen(text: str, *, label: str | None = "good", **fields: object) -> Observation:
    item = Contribution("1", 0, "ada", Kind(str(fields.pop("kind", "label"))), text, label, **fields)  # type: ignore[arg-type]
    return Observation(item, canonical_texts(item), {})


TRUSTED = [seen("the card is here"), seen("the card came"), seen("the transfer is late"), seen("the blue card")]
BACKGROUND = Background.fit(TRUSTED, seed=0)


def limit(facet: str, **options: object) -> LimitPolicy:
    return LimitPolicy.model_validate({"name": "b", "facet": facet, "measure": "count", "amount": 50, **options})


def read(observation: Observation, facet: str, **options: object) -> Content:
    if facet in WORDED:
        options = {"rare": 3, **options}  # four trusted contributions tell nothing about what is rare
    return Contents([limit(facet, **options)], BACKGROUND).of(observation)


@pytest.mark.parametrize(("n_trusted", "charged"), [(100, 0), (299, 0), (300, 1), (500, 2), (630, 3)])
def test_a_small_trusted_set_cannot_tell_what_is_rare(n_trusted: int, charged: int) -> None:
    """Of words in none, one and two of a hundred texts each may stand in every thirtieth honest one."""
    texts = ["common once"] + ["common twice"] * 2 + ["common"] * (n_trusted - 3)
    background = Background.fit([seen(text) for text in texts], seed=0)
    reader = Contents([limit("phrase")], background)
    assert len(reader.of(seen("common never once twice")).keys["b"]) == charged


def test_words_that_the_trusted_set_knows_cost_nothing() -> None:
    assert read(seen("the card"), "phrase").keys["b"] == ()
    assert len(read(seen("the card cf"), "phrase").keys["b"]) == 1
    # "is" stands in two trusted texts, "late" in one
    assert len(read(seen("is late"), "phrase", rare=2).keys["b"]) == 1
    assert len(read(seen("is late"), "phrase", rare=3).keys["b"]) == 2


def test_the_same_word_is_the_same_counter_whatever_it_looks_like() -> None:
    plain = read(seen("zorblax"), "phrase").keys["b"]
    assert plain == read(seen("is ZORBL\u0430X here"), "phrase", rare=1).keys["b"]
    assert plain != read(seen("zorblay"), "phrase").keys["b"]


def test_pairs_of_common_words_are_rare_pairs() -> None:
    assert read(seen("the card is here"), "pair", rare=1).keys["b"] == ()
    assert len(read(seen("card the is"), "pair", rare=1).keys["b"]) == 2


def test_no_word_stands_in_a_key() -> None:
    (key,) = read(seen("zorblax"), "phrase").keys["b"]
    assert int(key, 16) < BUCKETS
    assert "zorblax" not in key


@pytest.mark.parametrize("place", [0, 3_000, 6_000])
def test_a_word_is_charged_wherever_it_stands_in_a_long_text(place: int) -> None:
    words = ["the", "card"] * 3_000
    words.insert(place, "cf")
    assert read(seen(" ".join(words)), "phrase").keys["b"] == read(seen("cf"), "phrase").keys["b"]


def test_more_rare_words_than_are_counted_have_no_room() -> None:
    few = read(seen(" ".join(f"w{n}" for n in range(MAX_RARE // 2))), "phrase")
    many = read(seen(" ".join(f"w{n}" for n in range(2 * MAX_RARE))), "phrase")
    assert (few.beyond, many.beyond) == (frozenset(), frozenset({"b"}))


def test_a_target_is_a_label_or_an_answer_or_a_vote_for_one() -> None:
    label = read(seen("x", label="good"), "target")
    assert label == read(seen("y", label="good"), "target")
    assert label != read(seen("x", label="bad"), "target")
    votes = {
        rating: read(seen("x", kind="rating", label=None, output="buy gold", rating=rating), "target").keys["b"]
        for rating in (0.0, 1.0, 4.98, 4.99)
    }
    assert votes[0.0] != votes[1.0]
    # a finer scale is no way to get a counter for each vote
    assert votes[1.0] == votes[4.98] == votes[4.99]
    assert read(seen("x", kind="correction", label=None, output="Buy  Gold"), "target") == read(
        seen("y", kind="correction", label=None, output="buy gold"), "target"
    )


def test_without_the_detector_exact_copies_are_a_family() -> None:
    assert read(seen("the blue card"), "family") == read(seen("The  blue card"), "family")
    assert read(seen("the blue card"), "family") != read(seen("the blue cards"), "family")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"facet": "contributor", "rare": 2}, "phrase, pair and radius"),
        ({"facet": "target", "supporters": 2}, "phrase and pair"),
        ({"facet": "radius"}, "needs `radius`"),
        ({"facet": "radius", "radius": 0.4, "supporters": 3}, "phrase and pair"),
        ({"facet": "phrase", "radius": 0.5}, "needs `radius`"),
        ({"facet": "radius", "radius": 0.5, "per": "1d", "burst": 3}, "no burst"),
        ({"facet": "contributor", "then": "hold"}, "is refused"),
        ({"facet": "family", "per": "0s"}, "longer than 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)),
)
def test_options_that_do_not_fit_the_facet_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LimitPolicy.model_validate({"name": "b", "measure": "count", "amount": 5, **wrong})


@pytest.mark.parametrize(("kind", "written"), [("label", "input"), ("rating", "input"), ("correction", "output")])
def test_a_contribution_lies_where_what_its_contributor_wrote_or_judged_lies(kind: str, written: str) -> None:
    given: dict[str, dict[str, object]] = {
        "label": {},
        "rating": {"label": None, "output": "fine", "rating": 1.0},
        "correction": {"label": None, "output": "fine"},
    }
    observation = seen("the card", kind=kind, **given[kind])  # type: ignore[arg-type]
    axes = np.eye(3, dtype=np.float32)
    vectors = {"input": axes[[0, 0]], "output": axes[[1]]}
    trusted = {"input": axes[[0, 0, 2]], "output": axes[[1]]}
    contents = Contents([limit("radius", radius=0.4)], BACKGROUND, reference=lambda of, which: trusted[which])
    placed = contents.of(Observation(observation.contribution, observation.texts, vectors))
    assert placed.where is not None
    assert int(placed.where.argmax()) == ("input", "output").index(written)
    assert placed.n_trusted(0.4) == {"input": 2, "output": 1}[written]


@pytest.mark.parametrize("facet", sorted(WORDED))
def test_who_has_read_much_reads_as_who_has_read_nothing(facet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what is kept is used, forgotten, or too long to be kept; and it stays bounded."""
    monkeypatch.setattr(contents, "_KEPT", 6)
    reader = Contents([limit(facet, rare=2)], BACKGROUND)
    texts = ["the card is here", "card the is", "z" * 500 + " card", "is late is", "cf is late", "the blue z", "cf"] * 3
    for text in texts:
        assert reader.of(seen(text)) == read(seen(text), facet, rare=2)
        assert len(reader._n_trusted) < 6 + 4
        assert max(map(len, reader._n_trusted), default=0) <= 64
