"""Words of texts in scripts with and without blanks between them."""

from __future__ import annotations

import itertools
import random

import pytest
import regex

from feedback_guard.text.words import tokens, words

BLOCKS = [(0x21, 0x7E), (0xC0, 0x24F), (0x300, 0x36F), (0x900, 0x97F), (0xE01, 0xE5B), (0x1780, 0x17E9)]
BLOCKS += [(0x3041, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F64F)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("卡在哪里", "卡 在 哪 里"),
        ("カードです。", "カ ー ド で す 。"),
        ("บัตรอยู่ที่ไหน", "บั ต ร อ ยู่ ที่ ไ ห น"),
        ("我的visa2卡", "我 的 visa2 卡"),
        ("카드가 어디에", "카드가 어디에"),
        ("कार्ड में", "कार्ड में"),
        ("naïve café", "naïve café"),
    ],
)
def test_letters_stand_for_words_where_no_blanks_do(text: str, said: str) -> None:
    assert tokens(text) == said.split()
    assert words(text) == said.split()


def test_signs_stay_with_words_where_blanks_part_them() -> None:
    assert words("where's 我的 card?") == ["where's", "我", "的", "card?"]


def test_ascii_is_read_as_it_is_beside_other_letters() -> None:
    """What counts as a blank or a letter is the same, whichever library looks for words."""
    for one, other in itertools.product(map(chr, range(128)), repeat=2):
        assert tokens(f"{one}{other}a") == tokens(f"{one}{other}a é")[:-1]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_left_out_and_nothing_stands_twice(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        blocks = [*rng.choices(BLOCKS, k=30), (0x20, 0x20)]
        text = "".join(chr(rng.randint(*rng.choice(blocks))) for _ in range(30))
        whole = regex.sub(r"\s", "", text)
        assert "".join(tokens(text)) == whole
        assert "".join(words(text)) == whole
