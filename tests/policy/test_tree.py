from __future__ import annotations

import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_guard.policy.describe import write_yaml
from feedback_guard.policy.tree import Mapping, Mark, Problem, Unreadable, locate, merge, parse, plain
from tests.costs import cheaper_than


def read(text: str) -> object:
    tree, problems = parse(text, "p.yaml")
    assert problems == []
    return plain(tree)


def refused(text: str) -> Problem:
    with pytest.raises(Unreadable) as caught:
        parse(text, "p.yaml")
    return caught.value.problem


def found(text: str) -> list[str]:
    return [str(problem) for problem in parse(text, "p.yaml")[1]]


SCALARS: dict[str, object] = {
    "no": "no",
    "on": "on",
    "Yes": "Yes",
    "off": "off",
    "y": "y",
    "true": True,
    "False": False,
    "": None,
    "~": None,
    "null": None,
    "1:30": "1:30",
    "22:22:22": "22:22:22",
    "2026-03-02": "2026-03-02",
    "1_000": "1_000",
    "<<": "<<",
    "=": "=",
    "12": 12,
    "-3": -3,
    "0": 0,
    "1.5": 1.5,
    ".5": 0.5,
    "1e3": 1000.0,
    "30s": "30s",
    "'12'": "12",
    '"true"': "true",
    "| \n  12\n": "12\n",
}


@pytest.mark.parametrize(("text", "value"), SCALARS.items(), ids=repr)
def test_scalars_are_read_as_yaml_1_2_has_them(text: str, value: object) -> None:
    assert read(f"key: {text}\n") == {"key": value}
    assert isinstance(read(f"key: {text}\n")["key"], type(value))  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "0123": "could be decimal or not",
        "-07": "could be decimal or not",
        "0x1f": "could be decimal or not",
        "0o17": "could be decimal or not",
        ".inf": "no finite number",
        "-.INF": "no finite number",
        ".nan": "no finite number",
        "1e999": "too long or too large",
        "9" * 5_000: "too long or too large",
    }.items(),
)
def test_numbers_that_are_not_plain_are_named(text: str, message: str) -> None:
    (problem,) = found(f"a: 1\nkey: {text}\n")
    assert problem.startswith("p.yaml:2: key: ")
    assert message in problem
    assert len(problem) < 120


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + below] * 9)}]\n" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text", [BOMB, "a: &x 1", "a: *x", "a: &x {b: *x}", "base: &b {x: 1}\n<<: *b", "&x a: 1", "- &a a\n- *a"]
)
def test_anchors_and_aliases_are_refused_at_once(text: str) -> None:
    with cheaper_than(0.05):
        assert "anchors (&) and aliases (*) are refused" in refused(text).message


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system [echo]",
        "!!python/name:os.system ''",
        "!!python/object:feedback_guard.clock.SystemClock {}",
        "!!binary aGVsbG8=",
        "!!set {a}",
        "!own 1",
        "!!str 1",
        "! 1",
    ],
)
def test_tags_are_refused(tag: str) -> None:
    (problem, *_) = found(f"a: 1\nb:\n  c: {tag}\n")
    assert problem.startswith("p.yaml:3: b.c: tags such as !")
    assert "are refused" in problem


def test_every_problem_is_found() -> None:
    assert found("a: 1\na: 2\n1: x\ntrue: y\n? [k]\n: z\nb: {c: !t 1, c: 2}\nnull: 3\n") == [
        "p.yaml:2: a: the key stands twice, first in line 1; keep one",
        "p.yaml:3: a key is a number 1; keys are texts, put it in quotes",
        "p.yaml:4: a key is a boolean true; keys are texts, put it in quotes",
        "p.yaml:5: a key is a list; keys are texts, put it in quotes",
        "p.yaml:7: b.c: tags such as !t are refused; leave it out",
        "p.yaml:7: b.c: the key stands twice, first in line 7; keep one",
        "p.yaml:8: a key is nothing null; keys are texts, put it in quotes",
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("---\n", 2, "a policy is a mapping of keys to values, not nothing"),
        ("- a\n", 1, "not a list"),
        ("just words", 1, "not a text"),
        ("a: 1\n---\nb: 2\n", 2, "a second document starts"),
        ("a: 1\nb: [1, 2\n", 3, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ('a: "unclosed\n', 2, "not YAML"),
        ("a: \x00\n", 1, "not YAML"),
        ("a: 1\nb: " + "[" * 200 + "]" * 200, 2, "nested more than 24 deep"),
        ("a: 1\nb: " + "{x: " * 200 + "}" * 200, 2, "nested more than 24 deep"),
    ],
)
def test_what_cannot_be_read_on_is_said_with_its_line(text: str, line: int, message: str) -> None:
    problem = refused(text)
    assert message in problem.message
    assert problem.mark.line == line


def test_a_wall_of_brackets_is_refused_quickly() -> None:
    started = time.process_time()
    refused("a: " + "[" * 250_000)
    assert time.process_time() - started < 0.5


def test_every_value_knows_its_place() -> None:
    tree, _ = parse("a:\n  - x\n  - b: 1\n    c: 2\n", "p.yaml")
    assert locate(tree, ("a", 1, "c")) == Mark("p.yaml", 4, 5)
    assert locate(tree, ("a", 1, "missing")).line == 3
    assert locate(tree, ("a", 7)).line == 1
    assert locate(tree, ("nowhere", "at", "all")).line == 1


def test_mappings_merge_and_everything_else_is_replaced() -> None:
    below, _ = parse("a: {x: 1, y: {z: 2}}\nl: [1, 2]\ns: {k: 1}\n", "below")
    above, _ = parse("a:\n  y: {w: 3}\nl: [9]\ns: 5\n", "above")
    merged = merge(below, above)
    assert plain(merged) == {"a": {"x": 1, "y": {"z": 2, "w": 3}}, "l": [9], "s": 5}
    assert locate(merged, ("a", "x")).file == "below"
    assert locate(merged, ("a", "y", "w")) == Mark("above", 2, 7)
    assert isinstance(below, Mapping)
    assert plain(below) == {"a": {"x": 1, "y": {"z": 2}}, "l": [1, 2], "s": {"k": 1}}


words = st.one_of(
    st.text(string.ascii_letters + string.digits + "_.:~-+ #&*!|>'\"%@`{}[],?\n\té", max_size=12),
    st.sampled_from(["no", "on", "true", "null", "~", "1e3", "0x1f", "0o7", "1:30", ".inf", "=", "<<", "2026-01-01"]),
)
values = st.recursive(
    st.one_of(words, st.booleans(), st.none(), st.integers(-(10**15), 10**15), st.floats(-1e9, 1e9)),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(words, below, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(words, values, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back(tree: dict[str, object]) -> None:
    assert read(write_yaml(tree)) == tree


@given(st.text(string.printable, max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tree, _ = parse(text, "p.yaml")
    except Unreadable:
        return
    assert isinstance(plain(tree), dict)
