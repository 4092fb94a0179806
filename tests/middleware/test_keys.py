from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from feedback_guard import settings
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.middleware.keys import parse_key, ticket_of
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.policy.routes import OnHold, RoutePolicy
from feedback_guard.submission import Submission
from tests.middleware.direct import make_scope

MAX = settings.MAX_IDEMPOTENCY_KEY_CHARS
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=MAX)


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        (b'"a b"', b"a b"),
        (b'"a";v=1;w', b"a"),
        (b' "a" ', b"a"),
        (rb'"\"\\"', b'"\\'),
        (b"8e03978e-40d5-43e8-bc93-6894a57f9324", b"8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (b"stainless-python-retry-2f", b"stainless-python-retry-2f"),
        (b"YWJj/+==", b"YWJj/+=="),
        (b'"' + b"x" * MAX + b'"', b"x" * MAX),
        (b"x" * MAX, b"x" * MAX),
    ],
)
def test_keys(sent: bytes, key: bytes) -> None:
    assert parse_key([sent]) == key


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b'""',
        b'"',
        b'"a',
        b'a"',
        b"a b",
        b"a,b",
        b"a;b",
        b'"a" "b"',
        b'"a", "b"',
        b'"a\x00"',
        b'"\xc3\xa9"',
        b"\xc3\xa9",
        rb'"\x"',
        b'"a";V=1',
        b"(a)",
        b":YWJj:;" + b"x" * 3_000,
        b'"' + b"x" * (MAX + 1) + b'"',
        b"x" * (MAX + 1),
        b'"' + rb"\\" * (MAX + 1) + b'"',
        b'"' + b"x" * 100_000,
    ],
)
def test_what_is_no_key_is_400(sent: bytes) -> None:
    with pytest.raises(BadInputError) as raised:
        parse_key([sent])
    assert (raised.value.problem.status, raised.value.problem.code) == (400, "bad_key")


@given(PRINTABLE)
def test_every_printable_text_is_a_key_and_comes_back(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse_key([quoted.encode()]) == text.encode()


@hypothesis_settings(max_examples=500)
@given(st.binary(max_size=600))
def test_any_bytes_are_a_key_or_400(sent: bytes) -> None:
    try:
        key = parse_key([sent])
    except BadInputError:
        return
    assert key is not None
    assert 0 < len(key) <= MAX


def ticket(
    *,
    key: bytes | None = None,
    who: str = "ada",
    anonymous: bool = False,
    data: bytes = b"{}",
    route: str = "r",
    **scope: Any,
) -> Any:
    policy = RoutePolicy.model_validate({"name": route, "path": "/r", "duplicates": {"window": "30s"}})
    headers = [(b"idempotency-key", key)] if key is not None else []
    given = Submission(
        route, OnHold.HOLD, (Contribution("c", 0, who, Kind.LABEL, "x", label="y"),), anonymous=anonymous
    )
    return ticket_of(policy, make_scope("/r", headers=headers, **scope), data, given)


def test_what_makes_two_requests_the_same() -> None:
    one = ticket(key=b"k")
    assert one == ticket(key=b'"k"')
    assert one.by_client
    for other in (
        ticket(key=b"l"),
        ticket(key=b"k", who="eve"),
        ticket(key=b"k", who="network", anonymous=True),
        ticket(key=b"k", route="s"),
    ):
        assert other.key.scope_sha256 != one.key.scope_sha256
    for other in (
        ticket(key=b"k", data=b"[]"),
        ticket(key=b"k", method="PUT"),
        ticket(key=b"k", query_string=b"a"),
        ticket(key=b"k", data=b"{} "),
    ):
        assert other.key.scope_sha256 == one.key.scope_sha256
        assert other.key.fingerprint_sha256 != one.key.fingerprint_sha256


def test_parts_cannot_be_shifted_into_each_other() -> None:
    assert ticket(key=b"ab", who="c").key.scope_sha256 != ticket(key=b"b", who="ca").key.scope_sha256
    assert (
        ticket(query_string=b"a", data=b"b").key.fingerprint_sha256
        != ticket(query_string=b"", data=b"ab").key.fingerprint_sha256
    )


def test_without_a_key_the_body_and_whose_it_is_decide() -> None:
    one = ticket()
    assert not one.by_client
    assert one == ticket()
    assert (
        len({ticket(**other).key.scope_sha256 for other in ({}, {"who": "eve"}, {"data": b"[]"}, {"method": "PUT"})})
        == 4
    )
    assert ticket(anonymous=True) is None
    # A key that somebody chose is never taken for the digest of a body.
    assert ticket(key=b"k").key.scope_sha256 != one.key.scope_sha256


def test_those_whom_nobody_names_are_told_apart_by_network() -> None:
    one = ticket(key=b"k", anonymous=True, client=("192.0.2.7", 1))
    assert one == ticket(key=b"k", anonymous=True, client=("192.0.2.99", 2))
    assert one != ticket(key=b"k", anonymous=True, client=("198.51.100.7", 1))
