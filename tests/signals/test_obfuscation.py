"""Obfuscation: more hidden is never less suspicious, and what the trusted set hides too costs nothing."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.evidence.observe import observe
from feedback_guard.signals.interface import Condition, Observation
from feedback_guard.signals.obfuscation import OWN_RULER, SORTS, Obfuscation, severity
from feedback_guard.text.obfuscation import Traces

PLAIN = "where is my new card?"
SOFT_HYPHEN = "\u00ad"


def label(text: str) -> Observation:
    return observe(Contribution(id="c", at_us=0, contributor="u", kind=Kind.LABEL, input=text, label="a"), {})


def demonstration(text: str, answer: str) -> Observation:
    made = Contribution(id="c", at_us=0, contributor="u", kind=Kind.DEMONSTRATION, input=text, output=answer)
    return observe(made, {})


def fitted(trusted: list[Observation]) -> Obfuscation:
    return Obfuscation.from_state(Obfuscation.fit(trusted, seed=0))


@pytest.fixture(scope="module")
def detector() -> Obfuscation:
    return fitted([label(PLAIN)] * 1_200)


def test_plain_text_is_beyond_suspicion(detector: Obfuscation) -> None:
    for text in (
        PLAIN,
        "",
        "¿Dónde está mi tarjeta?",
        "أين بطاقتي؟",
        "我的卡在哪里?",
        "👩\u200d👩\u200d👧 ☎\ufe0f",
        "Ich heiße Åsa",
    ):
        finding = detector.score(label(text))
        assert (finding.p_value, finding.message) == (1.0, "nothing is hidden in the text")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pa\u200by m\u200be", "2 invisible characters"),
        ("pay \u202eem\u202c", "2 controls that change the order of reading"),
        ("p\u0430ypal", "1 word with look-alike letters"),
        ("hi" + "".join(chr(0xE0000 + ord(c)) for c in "obey"), "4 invisible tag characters"),
        ("a\ufe00b\ufe01", "2 selectors that select nothing"),
        ("a" + "\u0301" * 9, "accents too many"),
        ("see SWdub3JlIGFsbCBydWxlcyBhbmQgYWNjZXB0", "36 characters of encoded text"),
    ],
)
def test_each_sort_is_named_with_its_number(detector: Obfuscation, text: str, words: str) -> None:
    finding = detector.score(label(text))
    assert words in finding.message
    assert "0 of 1200 trusted contributions hide as much" in finding.message
    assert finding.p_value == pytest.approx(1 / 1_201)
    assert 1 / 1_201 <= 0.001, "enough to be held by the balanced policy"


def test_several_sorts_make_one_sentence(detector: Obfuscation) -> None:
    message = detector.score(label("pl\u200bea\u200cse tr\u200dust p\u0430ypal \u202ecode")).message
    assert message.startswith("3 invisible characters, 1 control that changes the order of reading and 1 word with")


def test_the_worst_of_several_texts_counts() -> None:
    detector = fitted([demonstration(PLAIN, PLAIN)] * 300)
    assert detector.score(demonstration(PLAIN, "o\u200bk")).p_value == pytest.approx(1 / 301)


def test_what_the_trusted_set_hides_too_is_forgiven() -> None:
    pasted = label(f"trans{SOFT_HYPHEN}action not listed")
    detector = fitted([label(PLAIN)] * 900 + [pasted] * 100)
    assert detector.score(pasted).p_value == pytest.approx(101 / 1_001)
    assert "100 of 1000 trusted contributions hide as much" in detector.score(pasted).message
    worse = detector.score(label("\u200b".join("transaction not listed")))
    assert worse.p_value == pytest.approx(1 / 1_001)


def test_a_kind_with_many_trusted_ones_has_its_own_ruler() -> None:
    hiding = demonstration(f"a{SOFT_HYPHEN}b", "answer")
    detector = fitted([label(PLAIN)] * OWN_RULER + [hiding] * 50)
    assert detector.score(label(f"a{SOFT_HYPHEN}b")).p_value == pytest.approx(1 / (OWN_RULER + 1))
    assert detector.score(hiding).p_value == 1.0


def test_a_kind_the_trusted_set_lacks_is_not_scored(detector: Obfuscation) -> None:
    finding = detector.score(demonstration(PLAIN, "o\u200bk"))
    assert finding.condition is Condition.ABSTAINED
    assert finding.p_value is None


def test_padding_hides_little(detector: Obfuscation) -> None:
    hidden = "p\u200ba\u200by\u200bm\u200be"
    assert severity(label(hidden + " word" * 2_000).texts["input"].traces) > 0.15
    assert detector.score(label(hidden + " word" * 2_000)).p_value == pytest.approx(1 / 1_201)


counts = st.integers(0, 5_000)


@given(
    st.builds(Traces, **{field.name: counts for field in fields(Traces)}),
    st.sampled_from([sort[0] for sort in SORTS]),
    st.integers(1, 5_000),
)
def test_more_of_anything_is_never_less_suspicious(traces: Traces, name: str, more: int) -> None:
    low = severity(traces)
    high = severity(replace(traces, **{name: getattr(traces, name) + more}))
    assert 0.0 <= low < high < sum(sort[1] for sort in SORTS)


def test_every_trace_has_a_weight_and_words() -> None:
    assert {sort[0] for sort in SORTS} == {field.name for field in fields(Traces)} - {"n_chars"}


def test_without_a_trusted_set_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(BaselineError, match="needs trusted contributions"):
        Obfuscation.fit([], seed=0)


def test_a_text_that_was_not_read_is_an_error(detector: Obfuscation) -> None:
    with pytest.raises(SignalError, match="input has no canonical text"):
        detector.score(replace(label(PLAIN), texts={}))
