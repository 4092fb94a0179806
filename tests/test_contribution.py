"""The border: what is a contribution, and what is refused with a sentence that says why."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard import settings
from feedback_guard.contribution import Kind, parse_contribution
from feedback_guard.errors import ContributionError

COMMON = {"id": "c1", "at": "2026-03-02T00:01:43.625155+00:00", "contributor": "user-1"}
VALID = {
    Kind.LABEL: {"input": "where is my card?", "label": "card_arrival"},
    Kind.RATING: {"input": "q", "output": "a", "rating": "down"},
    Kind.CORRECTION: {"input": "q", "output": "a", "rejected": "b"},
    Kind.PREFERENCE: {"input": "q", "chosen": "a", "rejected": "b"},
    Kind.DEMONSTRATION: {"input": "q", "output": "a"},
}


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_goes_through_the_border_and_back(kind: Kind) -> None:
    parsed = parse_contribution({**COMMON, "kind": kind.value, **VALID[kind], "groups": {"tenant": "t1"}})
    assert parse_contribution(parsed.to_json()) == parsed
    assert parse_contribution(json.loads(parsed.canonical_bytes())) == parsed


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"label": None}, "", "needs label"),
        ({"output": "x"}, "", "has no output"),
        ({"labell": "x"}, "labell", "Extra inputs"),
        ({"kind": "labels"}, "kind", "'label'"),
        ({"at": "2026-03-02T00:00:00"}, "at", "no offset"),
        ({"at": "yesterday"}, "at", "yesterday"),
        ({"contributor": ""}, "contributor", "at least 1"),
        ({"contributor": "x" * (settings.MAX_ID_CHARS + 1)}, "contributor", "at most"),
        ({"input": "x" * (settings.MAX_TEXT_CHARS + 1)}, "input", "at most"),
        ({"input": "a \ud800 b"}, "input", ""),
        ({"label": "x" * (settings.MAX_LABEL_CHARS + 1)}, "label", "at most"),
        ({"metadata": {"x": "y" * settings.MAX_METADATA_BYTES}}, "", "metadata is larger"),
        ({"groups": {f"g{n}": "x" for n in range(settings.MAX_GROUPS + 1)}}, "groups", "at most"),
        ({"input": 7}, "input", "string"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field_and_a_reason(change: dict[str, object], field: str, says: str) -> None:
    value = {**COMMON, "kind": "label", **VALID[Kind.LABEL], **change}
    with pytest.raises(ContributionError) as caught:
        parse_contribution({key: item for key, item in value.items() if item is not None})
    assert caught.value.field == field
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("given_rating", "kept"), [("up", 1.0), ("down", 0.0), (True, 1.0), (False, 0.0), (4, 4.0), (0.5, 0.5)]
)
def test_thumbs_and_numbers_are_one_scale(given_rating: object, kept: float) -> None:
    assert (
        parse_contribution({**COMMON, "kind": "rating", "input": "q", "output": "a", "rating": given_rating}).rating
        == kept
    )


@pytest.mark.parametrize("rating", ["sideways", float("nan"), float("inf"), None, [1]])
def test_a_rating_that_is_no_number_is_refused(rating: object) -> None:
    with pytest.raises(ContributionError):
        parse_contribution({**COMMON, "kind": "rating", "input": "q", "output": "a", "rating": rating})


@pytest.mark.parametrize("value", [None, [], "text", 3, {"kind": "label"}])
def test_anything_but_the_contracts_object_is_refused(value: object) -> None:
    with pytest.raises(ContributionError):
        parse_contribution(value)


@given(st.text(max_size=200), st.text(min_size=1, max_size=40))
def test_digest_depends_on_every_character_that_is_taught(text: str, label: str) -> None:
    try:
        parsed = parse_contribution({**COMMON, "kind": "label", "input": text, "label": label})
    except ContributionError:
        with pytest.raises(UnicodeEncodeError):
            (text + label).encode()
        return
    other = parse_contribution({**COMMON, "kind": "label", "input": text + "\u200b", "label": label})
    assert parsed.digest() != other.digest()
    assert parsed.digest() == parse_contribution(parsed.to_json()).digest()
