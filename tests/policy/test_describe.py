from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.errors import PolicyError
from feedback_guard.policy.base import parse_duration
from feedback_guard.policy.describe import allowed, as_file, format_duration, json_schema, keys_at, walk, write_yaml
from feedback_guard.policy.loader import load_policy, presets
from feedback_guard.policy.schema import Policy


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_is_json() -> None:
    assert json.loads(json.dumps(json_schema())) == json_schema()
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_pass_the_editors_schema(name: str, validator: Any) -> None:
    validator.validate(yaml.safe_load(presets()[name].read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "mode: x",
        "stor: {}",
        "store: {hold_capacity: many}",
        "signals: {false_hold_rate: 0.9}",
        "staging: {mature_after: 30}",
        "staging: {mature_after: 2w}",
        "limits: [{name: a}]",
        "extends: [balanced]",
        "version: 2",
    ],
)
def test_the_editors_schema_and_the_loader_refuse_the_same(text: str, validator: Any, tmp_path: Any) -> None:
    assert not validator.is_valid(yaml.safe_load(text))
    file = tmp_path / "p.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PolicyError):
        load_policy(file)


def test_every_key_is_described() -> None:
    undescribed = [path for path, fragment, _ in walk() if not fragment.get("description")]
    assert undescribed == []


def test_every_key_says_what_is_allowed() -> None:
    assert all(allowed(fragment) for _, fragment, _ in walk())
    assert keys_at(("limits", 0)) == [
        "name",
        "facet",
        "measure",
        "amount",
        "per",
        "burst",
        "then",
        "rare",
        "supporters",
        "radius",
    ]
    assert keys_at(("identity", "groups", "tenant")) == ["header", "hops"]


@given(st.integers(0, 3_660 * 86_400 * 1_000_000))
def test_durations_are_written_as_they_are_read(us: int) -> None:
    assert parse_duration(format_duration(us)) == us


@pytest.mark.parametrize("name", sorted(presets()))
def test_the_whole_policy_reads_back_as_itself(name: str, tmp_path: Any) -> None:
    loaded = load_policy(name)
    file = tmp_path / "whole.yaml"
    file.write_text(write_yaml(as_file(loaded.policy)), encoding="utf-8")
    assert load_policy(file).digest == loaded.digest


def test_defaults_are_shown_with_units() -> None:
    shown = as_file(Policy())
    assert shown["store"]["busy_timeout"] == "5s"
    assert shown["embedding"]["max_wait"] == "2ms"
    assert shown["staging"]["mature_after"] == "1d"
