from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_guard import settings as bounds
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.middleware.strict_json import parse_strictly
from tests.costs import cheaper_than

REFUSED = {
    "empty": b"",
    "only spaces": b" \n\t",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32 without mark": '{"a": 1}'.encode("utf-32-le"),
    "latin-1": '{"a": "é"}'.encode("latin-1"),
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "duplicate key": b'{"a": 1, "a": 2}',
    "duplicate key, same value": b'{"a": 1, "a": 1}',
    "duplicate key, escaped": b'{"label": 1, "l\\u0061bel": 2}',
    "duplicate key, deep": b'[{"x": {"a": 1, "b": 2, "a": 3}}]',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "minus Infinity": b"[-Infinity]",
    "overflow to infinity": b'{"a": 1e999}',
    "overflow to minus infinity": b"[-1e999]",
    "trailing data": b'{"a": 1} {"a": 2}',
    "trailing comma": b'{"a": 1,}',
    "trailing bracket": b'{"a": 1}]',
    "comment": b'{"a": 1} // x',
    "single quotes": b"{'a': 1}",
    "no quotes": b"{a: 1}",
    "leading zero": b"[01]",
    "leading plus": b"[+1]",
    "hexadecimal": b"[0x1]",
    "bare dot": b"[.5]",
    "control character": b'["a\nb"]',
    "NUL byte": b'{"a": 1}\x00',
    "unfinished": b'{"a": ',
    "unfinished string": b'{"a": "b',
    "bad escape": b'["\\x41"]',
    "lone high surrogate": b'["\\ud800"]',
    "lone low surrogate": b'["\\udc00"]',
    "lone surrogate as key": b'{"\\uD83D": 1}',
    "surrogates in the wrong order": b'["\\udc00\\ud800"]',
    "too deep": b"[" * 33 + b"]" * 33,
    "too deep, mixed": b'{"a":' * 33 + b"1" + b"}" * 33,
    "far too deep": b"[" * 1_000_000,
    "far too deep, spaced": b"[ " * 500_000,
    "closed before opened": b"]" * 1_000 + b"[" * 1_030,
    "too many values": b"[" + b"1," * 10_000 + b"1]",
    "too many empty values": b"[" + b"[]," * 10_000 + b"1]",
    "too many keys": b"{" + b",".join(b'"%d":1' % n for n in range(10_001)) + b"}",
    "long integer": b"[" + b"9" * 65 + b"]",
    "long fraction": b"[0." + b"1" * 65 + b"]",
    "long exponent": b"[1e" + b"0" * 65 + b"1]",
    "very long integer": b"[" + b"9" * 1_000_000 + b"]",
}
TAKEN = {
    "object": b'{"a": 1}',
    "spaces around": b' \r\n\t{"a": 1}\n',
    "scalar": b"0",
    "text": b'"x"',
    "null": b"null",
    "escaped pair": b'["\\ud83d\\ude00"]',
    "escaped backslash before u": b'["\\\\ud800"]',
    "brackets in strings": b'["' + b"[{" * 1_000 + b'"]',
    "quotes in strings": b'["\\"[[[\\\\", "]]"]',
    "as deep as may be": b"[" * 32 + b"]" * 32,
    "as many as may be": b"[" + b"1," * 9_998 + b"1]",
    "as many empty ones as may be": b"[" + b"[ ]," * 9_998 + b"{}]",
    "as long as may be": b"[" + b"9" * 64 + b"]",
    "digits in strings": b'["' + b"9" * 1_000 + b'"]',
    "commas in strings": b'["' + b"," * 20_000 + b'"]',
    "same key in two objects": b'[{"a": 1}, {"a": 2}]',
    "minus zero": b"[-0, -0.0]",
    "underflow": b"[1e-400]",
    "non-characters": '["\uffff\U0001ffff"]'.encode(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_ambiguous_or_oversized_json_is_refused_quickly(name: str) -> None:
    with cheaper_than(10.0), pytest.raises(BadInputError) as caught:
        parse_strictly(REFUSED[name])
    assert caught.value.problem.status == 400
    assert caught.value.problem.detail.endswith(".")


@pytest.mark.parametrize("name", TAKEN)
def test_plain_json_is_taken_as_every_parser_takes_it(name: str) -> None:
    assert parse_strictly(TAKEN[name]) == json.loads(TAKEN[name])


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 2_000_000,
        b'["' * 1_000_000,
        b'{"a":' + b" " * 4_000_000,
        b"[" + b"\\" * 4_000_000,
        b"[" + (b" " * 400 + b"[") * 9_000,
        b"[]" * 2_000_000,
        b'"a",' * 1_000_000,
    ],
    ids=["escaped quotes", "quotes", "spaces", "backslashes", "spaced brackets", "pairs", "strings"],
)
def test_the_scan_is_linear_on_the_largest_body(body: bytes) -> None:
    with cheaper_than(20.0), pytest.raises(BadInputError):
        parse_strictly(body[: bounds.MAX_BODY_BYTES])


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@settings(max_examples=200, deadline=None)
@given(JSON_VALUES, st.booleans())
def test_what_is_written_is_read(value: object, ascii_only: bool) -> None:
    assert parse_strictly(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8")) == value


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet='[]{}",:\\ u0dD8e19-.nt\n', max_size=40))
def test_nothing_but_a_refusal_comes_of_any_text(text: str) -> None:
    try:
        value = parse_strictly(text.encode())
    except BadInputError:
        return
    assert value == json.loads(text)


def count(value: object) -> int:
    """How many values there are, counted the slow way."""
    if isinstance(value, dict):
        return 1 + sum(map(count, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    return 1


@settings(max_examples=200, deadline=None)
@given(value=JSON_VALUES, bound=st.integers(1, 40))
def test_the_count_without_parsing_is_exact(value: object, bound: int) -> None:
    data = json.dumps(value).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "MAX_JSON_NODES", bound)
        try:
            parse_strictly(data)
            refused = False
        except BadInputError as error:
            if "values" not in error.problem.detail:
                return
            refused = True
    assert refused == (count(value) > bound)
