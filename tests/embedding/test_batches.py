"""The rule by which texts are put into batches."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from feedback_guard.embedding.batches import BATCH_BYTES, PADDING_BYTES, PATIENCE_SECONDS, Batch, Item, Pool, n_bytes
from feedback_guard.errors import EmbeddingError


class Caller:
    """Somebody who waits."""

    def __init__(self) -> None:
        self.over = False
        self.errors: list[EmbeddingError] = []

    def complete(self, item: Item) -> None:
        raise AssertionError("a pool completes nothing")

    def fail(self, error: EmbeddingError) -> None:
        self.over = True
        self.errors.append(error)


def by_hundred(text: str) -> list[str]:
    return [text[at : at + 100] for at in range(0, len(text), 100)] or [""]


def items(*texts: str, arrived: float = 0.0) -> list[Item]:
    return [Item(text, Caller(), number, arrived) for number, text in enumerate(texts)]


def pool(*texts: str, max_batch: int = 8, patience: float | None = PATIENCE_SECONDS) -> Pool:
    made = Pool(by_hundred, max_batch=max_batch, patience=patience)
    made.add(items(*texts))
    return made


def texts_of(batch: Batch) -> list[str]:
    return [(item.pieces or [])[number] for item, number in batch]


def all_batches(made: Pool, now: float = 0.0) -> list[list[str]]:
    batches = []
    while batch := made.take(now):
        batches.append(texts_of(batch))
    return batches


def test_an_empty_pool_gives_nothing() -> None:
    assert pool().take(0.0) == []


def test_every_window_is_taken_once() -> None:
    texts = [chr(97 + n % 26) * (n * 37 % 700) for n in range(80)]
    taken = [piece for batch in all_batches(pool(*texts)) for piece in batch]
    assert sorted(taken) == sorted(piece for text in texts for piece in by_hundred(text))


def test_windows_of_a_text_are_taken_in_order() -> None:
    made = pool("x" * 950)
    numbers = []
    while batch := made.take(0.0):
        numbers += [number for _, number in batch]
    assert numbers == list(range(10))


def test_batches_are_bounded_in_number() -> None:
    sizes = [len(batch) for batch in all_batches(pool(*["same"] * 20, max_batch=8))]
    assert sizes == [8, 8, 4]


def test_batches_are_bounded_in_bytes_after_padding() -> None:
    texts = [f"{n:03}" + "y" * (n * 11 % 97) for n in range(300)]
    for batch in all_batches(pool(*texts, max_batch=1_000)):
        assert len(batch) * max(map(n_bytes, batch)) <= BATCH_BYTES


def test_padding_is_bounded() -> None:
    texts = [f"{n:03}" + "y" * (n * 11 % 97) for n in range(300)]
    batches = all_batches(pool(*texts, max_batch=1_000))
    for batch in batches:
        sizes = list(map(n_bytes, batch))
        assert len(batch) * max(sizes) - sum(sizes) <= PADDING_BYTES
    assert len(batches) < 60


def unpadded(*texts: str, max_batch: int = 1_000) -> Pool:
    made = Pool(lambda text: [text], max_batch=max_batch, patience=None, padded=False)
    made.add(items(*texts))
    return made


def test_without_padding_texts_of_any_ordinary_length_go_together() -> None:
    texts = [f"{n:03}" + "y" * (n * 11 % 97) for n in range(100)]
    (batch,) = all_batches(unpadded(*texts))
    assert sorted(batch) == sorted(texts)


def test_without_padding_batches_are_bounded_in_bytes_and_number() -> None:
    texts = ["y" * 100] * 300
    sizes = [len(batch) for batch in all_batches(unpadded(*texts))]
    assert sizes == [81, 81, 81, 57]
    assert [len(batch) for batch in all_batches(unpadded(*texts[:20], max_batch=8))] == [8, 8, 4]


def test_without_padding_short_texts_still_do_not_wait_for_long_ones() -> None:
    first, second = all_batches(unpadded("L" * 1_000, "s1", "M" * 900, "s2"))
    assert (sorted(first), sorted(second)) == (["s1", "s2"], ["L" * 1_000, "M" * 900])


def test_one_text_beyond_the_bytes_still_goes() -> None:
    made = Pool(lambda text: [text], max_batch=8, patience=None)
    made.add(items("z" * (2 * BATCH_BYTES), "z" * (2 * BATCH_BYTES)))
    assert [len(batch) for batch in all_batches(made)] == [1, 1]


def test_texts_of_like_length_go_together() -> None:
    first, second = all_batches(pool("a", "b" * 99, "c", "d" * 98, "e"))
    assert first == ["a", "c", "e"]
    assert sorted(second) == ["b" * 99, "d" * 98]


def test_short_texts_pass_a_long_one_that_came_first() -> None:
    made = pool("L" * 3_000, max_batch=4)
    made.add(items("s1", "s2"))
    assert texts_of(made.take(0.01)) == ["s1", "s2"]
    assert texts_of(made.take(0.01)) == ["L" * 100] * 4


def test_without_padding_what_one_window_holds_goes_in_its_order_of_arrival() -> None:
    """Where more waits than a batch holds, somewhat longer texts would otherwise only get every second batch."""
    made = Pool(lambda text: [text], max_batch=4, patience=PATIENCE_SECONDS, padded=False)
    for turn in range(6):
        made.add(items(*(f"{turn}{n}" + "y" * (300 - 50 * turn) for n in range(8)), arrived=float(turn)))
    assert [{text[0] for text in batch} for batch in all_batches(made, 9.0)] == [
        {str(number // 2)} for number in range(12)
    ]


def test_without_padding_a_text_of_many_windows_still_lets_others_pass() -> None:
    made = Pool(by_hundred, max_batch=4, patience=PATIENCE_SECONDS, padded=False)
    made.add(items("L" * 3_000))
    made.add(items("s1", "s2", arrived=1.0))
    assert texts_of(made.take(0.01)) == ["s1", "s2"]
    assert texts_of(made.take(0.01)) == ["L" * 100] * 4


def test_a_long_text_is_not_starved_by_a_stream_of_short_ones() -> None:
    made = pool("L" * 800, max_batch=4)
    long_ones = []
    for turn in range(8):
        made.add(items(*(f"s{turn}{n}" for n in range(4)), arrived=1.0))
        long_ones.append("L" in texts_of(made.take(1.0))[0])
    assert long_ones == [True, False, True, False, False, False, False, False]


def test_without_patience_the_shortest_always_comes_first() -> None:
    made = pool("L" * 800, max_batch=4, patience=None)
    made.add(items("s", arrived=0.0))
    assert texts_of(made.take(1e9)) == ["s"]


def test_a_long_text_is_cut_only_when_its_turn_comes() -> None:
    cut: list[str] = []

    def split(text: str) -> Sequence[str]:
        cut.append(text[0])
        return by_hundred(text)

    made = Pool(split, max_batch=8, patience=PATIENCE_SECONDS)
    made.add(items("L" * 3_000, "M" * 3_000, "s"))
    made.take(0.0)
    assert cut == ["s"]
    made.take(0.0)
    assert cut == ["s", "L"]


def test_what_nobody_waits_for_is_dropped() -> None:
    gone, kept = items("gone", "kept")
    made = Pool(by_hundred, max_batch=8, patience=None)
    made.add([gone, kept])
    gone.waiting.fail(EmbeddingError("left"))
    assert texts_of(made.take(0.0)) == ["kept"]
    assert len(made) == 0


def test_the_rest_of_a_long_text_is_dropped_too() -> None:
    made = pool("L" * 800, max_batch=4)
    ((item, _), *_) = made.take(0.0)
    item.waiting.fail(EmbeddingError("left"))
    assert made.take(0.0) == []


@pytest.mark.parametrize("error", [ValueError("holds the text itself"), EmbeddingError("too many windows")])
def test_a_text_that_cannot_be_cut_fails_alone(error: Exception) -> None:
    def split(text: str) -> Sequence[str]:
        if text == "bad":
            raise error
        return [text]

    bad, good = items("bad", "good")
    made = Pool(split, max_batch=8, patience=None)
    made.add([bad, good])
    assert texts_of(made.take(0.0)) == ["good"]
    assert isinstance(bad.waiting, Caller)
    (failure,) = bad.waiting.errors
    assert str(failure).startswith("text 0: ")
    assert "holds the text" not in str(failure)
    assert failure.__cause__ is error


def test_a_text_cut_into_nothing_fails() -> None:
    (item,) = items("bad")
    made = Pool(lambda _: [], max_batch=8, patience=None)
    made.add([item])
    assert made.take(0.0) == []
    assert item.waiting.over


def test_bytes_are_counted_and_not_characters() -> None:
    assert [n_bytes(text) for text in ("", "abc", "é", "漢", "😀", "\ud800")] == [0, 3, 2, 3, 4, 3]
