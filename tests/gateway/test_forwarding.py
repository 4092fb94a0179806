"""Which fields the upstream gets, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from feedback_guard.errors import UsageError
from feedback_guard.gateway.forwarding import Forwarder
from feedback_guard.gateway.upstream import Upstream
from feedback_guard.middleware.replayed import REPLAY_KEY, Replay
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.policy.identity import IdentityPolicy

UPSTREAM = Upstream.parse("http://app.internal:5000")
CLIENT = ("192.0.2.7", 50_000)
PROXY = ("10.0.0.5", 50_000)
IDENTITY = IdentityPolicy.model_validate(
    {
        "header": {"header": "X-User", "hops": ["10.0.0.0/8"]},
        "groups": {"tenant": {"header": "X-Tenant", "hops": ["10.1.0.0/16", "unix"]}},
    }
)


def scope(*headers: tuple[str, str], client: Any = CLIENT) -> dict[str, Any]:
    fields = [(b"host", b"shop.example"), *((name.encode(), value.encode("latin-1")) for name, value in headers)]
    return {"type": "http", "headers": fields, "client": client, "scheme": "https"}


def forwarder(**options: Any) -> Forwarder:
    return Forwarder.of(UPSTREAM, IDENTITY, trusted=["10.0.0.0/8"], **options)


def sent(*headers: tuple[str, str], client: Any = CLIENT, **options: Any) -> dict[str, str]:
    fields = forwarder(**options).request(scope(*headers, client=client))
    names = [name for name, _ in fields]
    assert len(set(names)) == len(names), names
    return {name.decode(): value.decode("latin-1") for name, value in fields}


SET = {
    "host": "shop.example",
    "x-forwarded-for": "192.0.2.7",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "shop.example",
    "x-real-ip": "192.0.2.7",
    "forwarded": 'for=192.0.2.7;host="shop.example";proto=https',
    "via": "1.1 feedback-guard",
}


def test_the_upstream_learns_who_is_connected() -> None:
    assert sent() == SET


@pytest.mark.parametrize("separator", ["-", "_"])
@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-ssl",
        "x-real-ip",
        "forwarded",
        "x-original-url",
        "x-rewrite-url",
        "x-user",
        "x-tenant",
        "feedback-guard",
        "feedback-guard-replay",
        "feedback-guard-anything",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "content-length",
    ],
)
def test_what_a_client_claims_is_dropped(name: str, separator: str) -> None:
    spelt = name.replace("-", separator)
    if spelt in {"content_length", "transfer_encoding"}:
        return  # refused by `wire`
    value = "close" if name == "connection" else "evil"
    assert sent((spelt, value)) == SET


def test_a_trusted_proxy_is_believed_and_added_to() -> None:
    got = sent(
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "www.example"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("x-original-url", "/feedback"),
        ("x_forwarded_for", "evil"),
        client=PROXY,
    )
    assert got == {
        "host": "shop.example",
        "x-forwarded-for": "203.0.113.9, 10.0.0.5",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "www.example",
        "x-forwarded-port": "443",
        "x-real-ip": "203.0.113.9",
        "forwarded": 'for=203.0.113.9, for=10.0.0.5;host="shop.example";proto=https',
        "via": "1.1 feedback-guard",
    }


def test_several_fields_of_a_chain_become_one() -> None:
    got = sent(("x-forwarded-for", "203.0.113.9, 198.51.100.1"), ("x-forwarded-for", "10.9.9.9"), client=PROXY)
    assert got["x-forwarded-for"] == "203.0.113.9, 198.51.100.1, 10.9.9.9, 10.0.0.5"


def test_an_address_of_ipv6_is_quoted_where_the_rfc_says_so() -> None:
    got = sent(client=("2001:db8::1", 5))
    assert got["x-forwarded-for"] == "2001:db8::1"
    assert got["forwarded"].startswith('for="[2001:db8::1]";')


def test_a_client_without_an_address_is_unknown() -> None:
    assert sent(client=None)["x-forwarded-for"] == "unknown"


@pytest.mark.parametrize(
    ("client", "user", "tenant"),
    [
        (CLIENT, False, False),
        (PROXY, True, False),
        (("10.1.0.9", 5), True, True),
        (("::ffff:10.1.0.9", 5), True, True),
        (None, False, True),
    ],
)
def test_identities_go_through_from_their_hops_only(client: Any, user: bool, tenant: bool) -> None:
    got = sent(("x-user", "ada"), ("x-tenant", "acme"), client=client)
    assert ("x-user" in got, "x-tenant" in got) == (user, tenant)


def test_an_identity_with_underscores_goes_through_from_nobody() -> None:
    assert "x_user" not in sent(("x_user", "ada"), client=PROXY)


def test_a_replayed_request_says_whose_it_is() -> None:
    replay = Replay("s-1", "rate", 'Jos\u00e9 "\\ \u2028\x7f', {}, fence=3, attempt=2)
    given = scope(("feedback-guard-replay", '"s-2";contributor=%"root"')) | {REPLAY_KEY: replay}
    sent = [value for name, value in forwarder().request(given) if name == b"feedback-guard-replay"]
    expected = b'"s-1";route="rate";contributor=%"Jos%c3%a9 %22\\ %e2%80%a8%7f";attempt=2;fence=3'
    assert sent == [expected]
    anonymous = scope() | {REPLAY_KEY: Replay("s-1", "rate", None)}
    assert (b"feedback-guard-replay", b'"s-1";route="rate";attempt=1;fence=0') in forwarder().request(anonymous)


def test_the_operator_may_set_the_host() -> None:
    got = sent(host="app.internal")
    assert (got["host"], got["x-forwarded-host"]) == ("app.internal", "shop.example")
    without = forwarder().request({"type": "http", "headers": [], "client": CLIENT, "scheme": "http"})
    assert without[0] == (b"host", b"app.internal:5000")


@pytest.mark.parametrize("host", ["a b", "a/b", "a\r\nX: y", "a@b", "", "é"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="is not a host"):
        forwarder(host=host)


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(UsageError, match="neither an address nor a network"):
        Forwarder.of(UPSTREAM, IDENTITY, trusted=["proxy.internal"])


@pytest.mark.parametrize("named", ["close", "keep-alive, X-Mine", "Upgrade, HTTP2-Settings", "", "TE"])
def test_connection_may_name_what_belongs_to_it(named: str) -> None:
    forwarder().check(scope(("connection", named)))
    assert "x-mine" not in sent(("connection", named), ("x-mine", "1")) or "X-Mine" not in named


@pytest.mark.parametrize(
    "named",
    [
        "content-type",
        "Content-Length",
        "host",
        "authorization",
        "cookie",
        "content-encoding",
        "idempotency-key",
        "x-user",
        "X_User",
        "x-tenant",
        "x-forwarded-for",
        "x-forwarded-port",
        "close, content-type",
        "keep-alive,x-user",
    ],
)
def test_connection_may_not_take_away_what_has_a_meaning(named: str) -> None:
    with pytest.raises(BadInputError) as caught:
        forwarder().check(scope(("connection", named)))
    assert caught.value.problem.status == 400


def test_of_an_answer_the_coding_goes_before_the_length() -> None:
    both = [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked"), (b"ETag", b"x")]
    assert Forwarder.response(both) == [(b"ETag", b"x")]
    named = [(b"Content-Length", b"5"), (b"Connection", b"Content-Length, X-Hop"), (b"X-Hop", b"1")]
    assert Forwarder.response(named) == [(b"Content-Length", b"5")]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app:5000",
        "//app:5000",
        "ftp://app",
        "http://",
        "http://app/prefix",
        "http://app?x",
        "http://app#x",
        "http://user:secret@app",
        "http://app:0",
        "http://app:65536",
        "http://app:port",
        "http://[::1",
        "http://[zz::1]",
        "http://a b",
        "http://app\n",
        "http://app\\evil",
        "HTTP://app",
    ],
)
def test_an_upstream_that_is_not_host_and_port_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--upstream"):
        Upstream.parse(url)


@pytest.mark.parametrize(
    ("url", "authority", "port"),
    [
        ("http://app", b"app", 80),
        ("https://app/", b"app", 443),
        ("http://127.0.0.1:5000", b"127.0.0.1:5000", 5000),
        ("https://[2001:db8::1]:8443", b"[2001:db8::1]:8443", 8443),
        ("https://app:80", b"app:80", 80),
    ],
)
def test_an_upstream_is_a_scheme_a_host_and_a_port(url: str, authority: bytes, port: int) -> None:
    upstream = Upstream.parse(url)
    assert (upstream.authority, upstream.port) == (authority, port)
    assert str(upstream) == url.rstrip("/")
