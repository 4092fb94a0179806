from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.middleware.envelope import Envelope, EnvelopeError
from tests.middleware.direct import make_scope

SCOPES = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["POST", "PUT", "post"]),
        "path": st.text(st.characters()),
        "raw_path": st.none() | st.binary(),
        "query_string": st.binary(),
        "root_path": st.text(),
        "scheme": st.sampled_from(["http", "https"]),
        "http_version": st.sampled_from(["1.0", "1.1", "2", "3"]),
        "headers": st.lists(st.tuples(st.binary(), st.binary())),
        "client": st.none() | st.tuples(st.text(), st.integers(0, 65_535)),
        "server": st.none() | st.tuples(st.text(), st.none() | st.integers(0, 65_535)),
    }
)


@given(SCOPES, st.binary())
def test_every_byte_comes_back(parts: dict[str, Any], body: bytes) -> None:
    envelope = Envelope.of(make_scope(**parts), parts["headers"], body)
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope
    scope = Envelope.from_bytes(envelope.to_bytes()).scope()
    for name, value in parts.items():
        if name == "raw_path" and value is None:
            assert "raw_path" not in scope
        else:
            assert scope[name] == value, name
    assert envelope.body == body


def test_a_mount_is_replayed_from_outside() -> None:
    scope = make_scope("/api/sub/feedback", root_path="/api/sub", app_root_path="/api")
    assert Envelope.of(scope, [], b"").scope()["root_path"] == "/api"


def test_each_scope_is_fresh() -> None:
    envelope = Envelope.of(make_scope(state={"a": 1}, app=object(), user="ada"), [(b"a", b"b")], b"")
    one, two = envelope.scope(), envelope.scope()
    one["headers"].append((b"x", b"y"))
    assert two["headers"] == [(b"a", b"b")]
    assert not {"state", "app", "user"} & one.keys()


GOOD = json.loads(Envelope.of(make_scope(), [(b"a", b"b")], b"{}").to_bytes())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        json.dumps(GOOD | {"version": 2}).encode(),
        json.dumps(GOOD | {"body": "not base64!"}).encode(),
        json.dumps(GOOD | {"body": 7}).encode(),
        json.dumps(GOOD | {"headers": [["YQ=="]]}).encode(),
        json.dumps(GOOD | {"client": ["x"]}).encode(),
        json.dumps({name: value for name, value in GOOD.items() if name != "method"}).encode(),
    ],
)
def test_anything_else_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(EnvelopeError, match=r"kept request"):
        Envelope.from_bytes(data)
