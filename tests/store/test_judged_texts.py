"""What is put together from its values is, byte for byte, what a library writes of the object."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import LedgerError
from feedback_guard.ledger.canonical import MAX_INTEGER, canonical_json, canonical_text
from feedback_guard.store.judged_texts import judged_text, payload_text, verdict_text
from feedback_guard.store.new_rows import ContributionRow, Objects, micro
from feedback_guard.store.rows import Surroundings, judged_body
from feedback_guard.verdict import Decision, Reason, Verdict

TEXTS = st.text(max_size=24)
NAMES = st.text(min_size=1, max_size=12)
SHARES = st.floats(0.0, 1.0)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXTS | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
CONTRIBUTIONS = st.builds(
    Contribution,
    id=NAMES,
    at_us=st.integers(0, 4_102_444_800_000_000),
    contributor=NAMES,
    kind=st.sampled_from(Kind),
    input=TEXTS,
    label=st.none() | TEXTS,
    output=st.none() | TEXTS,
    chosen=st.none() | TEXTS,
    rejected=st.none() | TEXTS,
    rating=st.none() | NUMBERS | st.integers(-9, 9).map(float),
    groups=st.dictionaries(NAMES, NAMES, max_size=3),
    interaction=st.none() | NAMES,
    model=st.none() | NAMES,
    metadata=st.dictionaries(TEXTS, JSON, max_size=3),
)
REASONS = st.builds(Reason, signal=NAMES, message=TEXTS, p_value=st.none() | SHARES, facet=st.none() | TEXTS)
VERDICTS = st.builds(
    Verdict,
    id=NAMES,
    decision=st.just(Decision.ACCEPT),
    weight=SHARES,
    suspicion=SHARES,
    reasons=st.lists(REASONS, max_size=3).map(tuple),
    policy=NAMES,
    baseline=st.none() | NAMES,
    campaign=st.none() | NAMES,
    retry_after_us=st.none() | st.integers(0, MAX_INTEGER),
    observed=st.booleans(),
    unscored=st.booleans(),
)
SURROUNDINGS = st.builds(
    Surroundings,
    submission=NAMES,
    route=TEXTS,
    at_us=st.integers(0, MAX_INTEGER),
    anonymous=st.booleans(),
    request_sha256=st.none() | NAMES,
    delivery=st.sampled_from(["none", "held"]),
    body_sha256=st.none() | NAMES,
    application=st.none() | NAMES,
)


def as_stored(verdict: Verdict) -> dict[str, Any]:
    return verdict.to_json() | {
        "retry_after_us": verdict.retry_after_us,
        "observed": verdict.observed,
        "unscored": verdict.unscored,
    }


@settings(max_examples=400, deadline=None)
@given(CONTRIBUTIONS)
def test_a_payload_is_the_canonical_json_of_its_contribution(item: Contribution) -> None:
    assert payload_text(item) == canonical_json(item.to_json())


@settings(max_examples=300, deadline=None)
@given(VERDICTS)
def test_a_verdict_is_written_as_json_writes_it(verdict: Verdict) -> None:
    written = json.dumps(as_stored(verdict), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    assert verdict_text(verdict) == written


@settings(max_examples=300, deadline=None)
@given(CONTRIBUTIONS, VERDICTS, SURROUNDINGS, st.binary(max_size=8), st.integers(0, 99))
def test_an_entry_is_the_canonical_json_of_what_the_row_says(
    item: Contribution, verdict: Verdict, around: Surroundings, vectors: bytes, position: int
) -> None:
    row = ContributionRow(
        item.id,
        around.submission,
        position,
        payload_text(item),
        verdict_text(verdict),
        verdict.decision.value,
        "accepted",
        micro(verdict.weight),
        micro(verdict.suspicion),
        micro(verdict.weight),
        vectors,
    )
    objects = Objects(json.loads(row.payload), json.loads(row.verdict))
    assert judged_text(row, item, verdict, around) == canonical_text(judged_body(row, row.learning, around, objects))


def test_a_number_of_numpys_is_written_like_any_other() -> None:
    reason = Reason("novelty", "far away", np.float64(0.012_5))
    text = verdict_text(Verdict("a", Decision.ACCEPT, np.float64(0.75), 0.5, (reason,), "p", None))
    assert '"weight":0.75,"suspicion":0.5,' in text
    assert '"p_value":0.0125,' in text


@pytest.mark.parametrize("p_value", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_recorded(p_value: float) -> None:
    with pytest.raises(ValueError, match="no number"):
        verdict_text(Verdict("a", Decision.ACCEPT, 0.5, 0.5, (Reason("s", "m", p_value),), "p", None))


@pytest.mark.parametrize(
    "changed",
    [
        {"input": "\ud800"},
        {"rating": float("nan")},
        {"metadata": {"n": 2**60}},
        {"metadata": {"t": "\udfff"}},
        {"groups": {"\ud800": "x"}},
    ],
    ids=["text", "rating", "integer", "metadata", "group"],
)
def test_what_has_no_canonical_form_is_refused(changed: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"input": "where is my card?", **changed}
    with pytest.raises(LedgerError, match="canonical JSON"):
        payload_text(Contribution("a", 0, "ada", Kind.LABEL, **fields))
