from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_guard.errors import LedgerError
from feedback_guard.ledger.canonical import MAX_DEPTH, MAX_INTEGER, canonical_json, canonical_text

names = st.text(st.characters(max_codepoint=127), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(names, values, max_size=5))
def test_it_is_rfc_8785(record: dict[str, Any]) -> None:
    assert canonical_text(record).encode() == rfc8785.dumps(record)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=6), values | st.floats(allow_nan=False, allow_infinity=False), max_size=5))
def test_beside_the_ledger_it_is_rfc_8785_too(record: dict[str, Any]) -> None:
    assert canonical_json(record).encode() == rfc8785.dumps(record)


@pytest.mark.parametrize(
    "record",
    [
        {"a": 0.0},
        {"a": [1, [2.5]]},
        {"a": float("nan")},
        {"a": MAX_INTEGER + 1},
        {"a": -MAX_INTEGER - 1},
        {"a": "\ud800"},
        {"\u00e9": 1},
        {"a": {1: 2}},
        {"a": b"bytes"},
        {"a": {1, 2}},
    ],
)
def test_what_could_read_back_otherwise_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(LedgerError):
        canonical_text(record)


def test_nesting_has_a_bound() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    canonical_text({"a": deep})
    with pytest.raises(LedgerError, match="deep"):
        canonical_text({"a": [deep]})


def test_beside_the_ledger_floats_are_allowed_but_not_nan() -> None:
    assert canonical_json({"b": 0.1, "a": [1e21]}) == '{"a":[1e+21],"b":0.1}'
    for bad in (float("nan"), float("inf"), 2**60, "\ud800"):
        with pytest.raises(LedgerError):
            canonical_json({"a": bad})
