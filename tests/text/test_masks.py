"""What tokens are replaced by, and that honest texts keep their words."""

from __future__ import annotations

import pytest

from bank_assistant.student import read_examples
from feedback_guard.text.canonical import canonicalise
from feedback_guard.text.masks import mask
from tests.costs import cheaper_than

MASKED = {
    "call 09061701461 from a land line": "call <telephone> from a land line",
    "ring +44 (0)20 7946 0018 now": "ring <telephone> now",
    "claim code kl341 at www.qzx.top/a?b=1": "claim code <code> at <address>",
    "see http://abcdef.biz/x and qqzz.com": "see <address> and <address>",
    "http : // abcdef.biz/x": "<address>",
    "write to some.body@mail.example.org": "write to <mail>",
    "won $1,000 or 250 euros": "won <amount> or <amount>",
    "on 12/03 at 10:30, 2026-01-31": "on <date> at <date>, <date>",
    "text 87121 within 12 hours": "text <5> within <2> hours",
    "3.14 and 1,000": "<3> and <4>",
}
KEPT = ["my card.please help", "the 2nd of may", "h1n1 and covid", "e.g. this one", "top up", "a/b", "half-price"]


@pytest.mark.parametrize("text", MASKED)
def test_tokens_that_change_are_replaced_by_what_they_are(text: str) -> None:
    assert mask(text) == MASKED[text]


@pytest.mark.parametrize("text", KEPT)
def test_words_stay(text: str) -> None:
    assert mask(text) == text


def test_of_real_questions_only_numbers_go() -> None:
    texts = [canonicalise(each.question).skeleton for each in read_examples("stream")]
    changed = [text for text in texts if mask(text) != text]
    assert all(any(c.isdigit() for c in text) for text in changed)
    assert len(changed) < 0.03 * len(texts)


@pytest.mark.parametrize(
    "unit",
    ["1", "1 ", "a.b.", "a1", "1.1,", "a@", "-", "www.", "a.", "-a", "+.", "$1,", "a://", "1-", "1 (((", "1a ", "@"],
)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    text = "1 " + unit * (80_000 // len(unit))
    with cheaper_than(0.5):
        mask(text)
