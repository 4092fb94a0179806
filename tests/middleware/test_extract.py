from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import JsonValue

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import ContributionError, PolicyError, UsageError
from feedback_guard.middleware.extract import Extractor
from feedback_guard.middleware.interface import ExtractorCallable
from feedback_guard.middleware.principal import Principal
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.policy.routes import RoutePolicy
from tests.middleware.direct import make_scope
from tests.middleware.fakes import EXTRACT, NOW_US

ADA = Principal("ada", {"tenant": "acme"})


def extract(
    body: JsonValue,
    expression: str | None = EXTRACT,
    *,
    function: ExtractorCallable | None = None,
    params: Mapping[str, str] | None = None,
    **route: Any,
) -> tuple[Contribution, ...]:
    ids = (f"id-{n}" for n in itertools.count(1))
    policy = RoutePolicy(name="feedback", path="/feedback", extract=expression, **route)
    extractor = Extractor(policy, list(params or {}), function)
    found = extractor.find(body, params or {}, make_scope())
    return extractor.contributions(found, principal=ADA, at_us=NOW_US, new_id=lambda: next(ids))


def refusal(body: JsonValue, expression: str | None = EXTRACT, **options: Any) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        extract(body, expression, **options)
    assert caught.value.problem.status == 422
    return caught.value


def test_an_object_becomes_a_contribution_of_the_principal() -> None:
    (found,) = extract({"input": "where is my card?", "label": "card_arrival", "noise": [1, 2]})
    assert found == Contribution(
        id="id-1",
        at_us=NOW_US,
        contributor="ada",
        kind=Kind.LABEL,
        input="where is my card?",
        label="card_arrival",
        groups={"tenant": "acme"},
    )


def test_a_list_becomes_several_and_each_has_its_own_id() -> None:
    body: JsonValue = {"items": [{"q": "a", "c": "x"}, {"q": "b", "c": "y"}]}
    found = extract(body, "items[].{kind: 'label', input: q, label: c}")
    assert [(item.id, item.input, item.label) for item in found] == [("id-1", "a", "x"), ("id-2", "b", "y")]


def test_what_the_body_claims_of_id_time_and_contributor_is_kept_as_a_claim() -> None:
    claims: dict[str, JsonValue] = {
        "id": "mine",
        "at": "1999-01-01T00:00:00Z",
        "contributor": "bob",
        "groups": {"tenant": "evil"},
    }
    (found,) = extract({"kind": "label", "input": "a", "label": "b", "metadata": {"k": 1}, **claims}, "@")
    assert (found.id, found.at_us, found.contributor, found.groups) == ("id-1", NOW_US, "ada", {"tenant": "acme"})
    assert found.metadata == {"k": 1} | {f"claimed_{name}": value for name, value in claims.items()}


def test_zero_false_and_empty_text_are_values() -> None:
    """In JMESPath 0 is true and "" is false: an `a || b` in an expression must not meet a second such rule here."""
    rating = "{kind: 'rating', input: q, output: a, rating: r}"
    for value, expected in ((0, 0.0), (0.0, 0.0), (False, 0.0), (True, 1.0), ("down", 0.0), (-1, -1.0)):
        (found,) = extract({"q": "", "a": "", "r": value}, rating)
        assert found.rating == expected
    (found,) = extract({"input": "a", "label": 0})
    assert found.label == "0"
    (found,) = extract({"input": "a", "label": False})
    assert found.label == "false"


def test_parameters_of_the_path_are_at_hand() -> None:
    (found,) = extract({"label": "x"}, "{kind: 'label', input: path('item'), label: label}", params={"item": "7 é"})
    assert found.input == "7 é"


MISSING: dict[str, tuple[JsonValue, str, str]] = {
    "label": ({"input": "a"}, EXTRACT, "a label needs label"),
    "input": ({"label": "a"}, EXTRACT, "input: "),
    "both": ({}, EXTRACT, "input: "),
    "null": ({"input": None, "label": "a"}, EXTRACT, "input: "),
    "empty label": ({"input": "a", "label": ""}, EXTRACT, "label: "),
    "kind": ({"input": "a", "label": "b"}, "merge({input: input}, {label: label})", "kind: "),
    "unknown kind": ({"k": "x", "input": "a"}, "{kind: k, input: input}", "kind: "),
    "unknown field": ({"x": {"extra": 1}}, "merge({kind: 'label', input: 'a', label: 'b'}, x)", "extra: "),
    "wrong type": ({"input": ["a"], "label": "b"}, EXTRACT, "input: "),
    "field of another kind": ({"x": "c"}, "{kind: 'label', input: 'a', label: 'b', chosen: x}", "has no chosen"),
    "text too long": ({"input": "a" * 32_769, "label": "b"}, EXTRACT, "input: "),
    "rating not a number": ({"r": "good"}, "{kind: 'rating', input: 'a', output: 'b', rating: r}", "rating: "),
    "metadata not an object": ({"m": 1}, "{kind: 'label', input: 'a', label: 'b', id: 'x', metadata: m}", "metadata"),
    "metadata too large": (
        {"m": {"x": "y" * 17_000}},
        "{kind: 'label', input: 'a', label: 'b', metadata: m}",
        "metadata is larger",
    ),
    "claim too large": ({"i": "y" * 17_000}, "{kind: 'label', input: 'a', label: 'b', id: i}", "metadata is larger"),
    "second of several": (
        [{"input": "a", "label": "b"}, {"input": "a"}],
        "[].{kind: 'label', input: input, label: label}",
        "Contribution 1: a label needs label",
    ),
    "text for an object": (["x"], "@", "not an object"),
    "number for an object": ([1], "@", "not an object"),
    "scalar": (7, "@", "neither an object"),
    "wrong type for a function": ({"x": 1}, "length(x)", "In length(): a value is number"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_body_that_does_not_fit_is_refused_with_the_field(name: str) -> None:
    body, expression, sentence = MISSING[name]
    assert sentence in refusal(body, expression).problem.detail


def test_a_refusal_never_repeats_contributed_text() -> None:
    secret = "what the user wrote"
    cases: list[tuple[JsonValue, str]] = [
        ({"input": [secret], "label": "b"}, EXTRACT),
        ({"input": "a", "label": {"x": secret}}, EXTRACT),
        ({"k": secret}, "{kind: k, input: 'a'}"),
        ({"r": secret}, "{kind: 'rating', input: 'a', output: 'b', rating: r}"),
        ({"x": secret}, "abs(x)"),
        ({"x": {"y": secret}}, "starts_with(x, 'a')"),
    ]
    for body, expression in cases:
        assert secret not in refusal(body, expression).problem.reply().body.decode()


@pytest.mark.parametrize(
    ("body", "expression"),
    [({}, "items"), ({"items": []}, "items"), ({}, "items[].{kind: 'label', input: b, label: c}")],
)
def test_a_body_without_contributions_is_refused_or_passes_as_the_route_says(body: JsonValue, expression: str) -> None:
    error = refusal(body, expression)
    looked_for = error.problem.extra["looked_for"]
    assert isinstance(looked_for, list)
    assert looked_for[0] == "items"
    assert extract(body, expression, require_contribution=False) == ()


def test_a_request_holds_a_bounded_number_of_contributions() -> None:
    items: list[JsonValue] = [{"input": "a", "label": "b"}] * 100
    assert len(extract(items, "[].{kind: 'label', input: input, label: label}")) == 100
    assert "at most 100" in refusal([*items, items[0]], "[].{kind: 'label', input: input, label: label}").problem.detail


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("nothing(@)", "there is no function nothing()"),
        ("a[?unknown(b)].c", "there is no function unknown()"),
        ("{a: path('other')}", "known: item"),
        ("{kind: 'label', input: a, lable: b}", "no contribution has a field 'lable'; did you mean 'label'?"),
        ("{knd: 'label', input: a, label: b}", "no contribution has a field 'knd'; did you mean 'kind'?"),
        ("{input: a, label: b}", "the object has no `kind`; write one of rating, label, correction"),
        ("{kind: 'lable', input: a, label: b}", "'lable' is no kind of contribution; there are rating, label"),
        ("{kind: `1`, input: a, label: b}", "1 is no kind of contribution"),
        ("{kind: 'rating', input: a, label: b}", "a rating needs output, rating, which the object does not have"),
        ("rows[?good].{kind: 'label', input: a}", "a label needs label"),
        ("feedback && {kind: 'label', input: a} || `null`", "a label needs label"),
        ("rows[*] | [].{kind: 'preference', input: a, chosen: b}", "a preference needs rejected"),
        ("{a: path(x)}", "single quotes"),
        ("{a: path(item)}", "single quotes"),
    ],
)
def test_an_expression_that_cannot_work_is_refused_at_start(expression: str, sentence: str) -> None:
    route = RoutePolicy(name="feedback", path="/f/{item}", extract=expression)
    with pytest.raises(PolicyError, match=re.escape(sentence)):
        Extractor(route, ["item"], None)


def test_a_callable_gets_body_and_scope_and_returns_one_several_or_none() -> None:
    def function(body: JsonValue, scope: Any) -> list[dict[str, Any]] | dict[str, Any] | None:
        assert isinstance(body, dict)
        if body.get("n") == 0:
            return None
        one = {"kind": "label", "input": scope["path_params"]["item"], "label": scope["method"]}
        return one if body.get("n") == 1 else [one, one]

    def run(n: int) -> list[tuple[str, str | None]]:
        found = extract({"n": n}, None, function=function, params={"item": "7"}, require_contribution=False)
        return [(item.input, item.label) for item in found]

    assert [run(0), run(1), run(2)] == [[], [("7", "POST")], [("7", "POST")] * 2]


def test_a_callable_that_fails_refuses_the_body_and_the_log_does_not_repeat_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def function(body: JsonValue, scope: Any) -> dict[str, Any]:
        assert isinstance(body, dict)
        raise KeyError(body["text"])

    with caplog.at_level(logging.DEBUG):
        refusal({"text": "what the user wrote"}, None, function=function)
    assert "KeyError at " in caplog.text
    assert "what the user wrote" not in caplog.text


def test_a_callable_may_say_what_is_wrong() -> None:
    def function(body: JsonValue, scope: Any) -> dict[str, Any]:
        raise ContributionError("choose one of the answers", field="chosen")

    problem = refusal({}, None, function=function).problem
    assert (problem.detail, problem.extra["field"]) == ("chosen: choose one of the answers.", "chosen")


def test_a_route_has_exactly_one_way_of_extraction() -> None:
    def function(body: JsonValue, scope: Any) -> None:
        return None

    with pytest.raises(UsageError, match="has no expression"):
        extract({}, None)
    with pytest.raises(UsageError, match="both"):
        extract({}, EXTRACT, function=function)
