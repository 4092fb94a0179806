from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from starlette.authentication import BaseUser, SimpleUser, UnauthenticatedUser

from feedback_guard.contribution import ANONYMOUS
from feedback_guard.errors import PolicyError
from feedback_guard.middleware.identity import Identifier, network_of, peer_address
from feedback_guard.middleware.principal import Principal
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.policy.identity import IdentityPolicy
from tests.middleware.direct import make_scope

HOPS = ["10.0.0.0/8", "2001:db8::/32"]
USER = b"x-authenticated-user"


def identifier(**parts: Any) -> Identifier:
    policy = {"header": {"header": "X-Authenticated-User", "hops": HOPS}, "missing": "anonymous"} | parts
    return Identifier(IdentityPolicy.model_validate(policy))


def who_is(who: Identifier, scope: dict[str, Any]) -> Principal:
    return asyncio.run(who.identify(scope))


FORWARDED = [
    (),
    ((b"x-forwarded-for", b"10.0.0.1"),),
    ((b"x-forwarded-for", b"10.0.0.1, 198.51.100.9"),),
    ((b"x-forwarded-for", b"10.0.0.1"), (b"x-forwarded-for", b"10.0.0.2")),
    ((b"forwarded", b"for=10.0.0.1"),),
    ((b"x-real-ip", b"10.0.0.1"),),
    ((b"x-client-ip", b"10.0.0.1"), (b"true-client-ip", b"10.0.0.1"), (b"cf-connecting-ip", b"10.0.0.1")),
    ((b"via", b"1.1 10.0.0.1"), (b"x-forwarded-host", b"10.0.0.1")),
]
CLAIMS = [
    ((USER, b"admin"),),
    ((USER, b"admin"), (USER, b"admin")),
    ((USER, b"admin"), (USER, b"root")),
    ((USER, b""), (USER, b"admin")),
    ((b"x-authenticated-user ", b"admin"),),
    ((b"x_authenticated_user", b"admin"), (b"x-authenticated_user", b"admin")),
    ((b"x-tenant", b"acme"), (USER, b"admin")),
]
UNTRUSTED = [("198.51.100.9", 40_000), ("11.0.0.1", 1), ("2001:db9::1", 443), ("10.0.0.1.evil", 80), ("10.0.0.1", 0)]


@pytest.mark.parametrize(("client", "forwarded"), list(itertools.product(UNTRUSTED, FORWARDED)))
def test_headers_from_an_untrusted_peer_name_nobody(client: tuple[str, int], forwarded: tuple[Any, ...]) -> None:
    """560 permutations: address, forwarding headers, claimed names, and the order of the headers."""
    who = identifier(groups={"tenant": {"header": "X-Tenant", "hops": HOPS}})
    plain = who_is(who, make_scope(headers=[], client=client))
    for claims in CLAIMS:
        headers = [*forwarded, *claims]
        for order in (headers, headers[::-1]):
            assert who_is(who, make_scope(headers=order, client=client)) == plain
    assert plain.contributor == ANONYMOUS
    assert plain.anonymous
    assert "tenant" not in plain.groups


@pytest.mark.parametrize("forwarded", FORWARDED)
@pytest.mark.parametrize("client", [("10.9.8.7", 40_000), ("2001:db8::7", 443), ("::ffff:10.9.8.7", 5)])
def test_a_trusted_hop_names_the_contributor(client: tuple[str, int], forwarded: tuple[Any, ...]) -> None:
    headers = [*forwarded, (USER, b"ada"), (b"accept", b"*/*")]
    for order in (headers, headers[::-1]):
        found = who_is(identifier(), make_scope(headers=order, client=client))
        assert (found.contributor, found.anonymous) == ("ada", False)


@pytest.mark.parametrize("values", [(b"ada", b"ada"), (b"ada", b"bob"), (b"", b"ada"), (b"ada", b"")])
def test_a_trusted_header_that_stands_twice_is_refused(values: tuple[bytes, bytes]) -> None:
    scope = make_scope(headers=[(USER, value) for value in values], client=("10.0.0.1", 9))
    with pytest.raises(BadInputError) as caught:
        who_is(identifier(), scope)
    assert caught.value.problem.status == 400
    assert "X-Authenticated-User" in caught.value.problem.detail


def test_names_are_kept_byte_for_byte() -> None:
    names = [b"ada", b"Ada", b"ADA", b" ada", b"ada ", b"\xe9ve", b"e\xcc\x81ve", b"\xc3\xa9ve", b"a,b", b"a%20b", b"0"]
    found = {
        who_is(identifier(), make_scope(headers=[(USER, name)], client=("10.0.0.1", 9))).contributor for name in names
    }
    assert found == {name.decode("latin-1") for name in names}


@pytest.mark.parametrize("client", [None, ("testclient", 50_000), ("", 0), ("/run/app.sock", 0)])
def test_a_peer_without_an_address_is_not_trusted(client: Any) -> None:
    scope = make_scope(headers=[(USER, b"ada")], client=client)
    found = who_is(identifier(), scope)
    assert found.anonymous
    assert "network" not in found.groups


@pytest.mark.parametrize(
    ("server", "trusted"), [(("/run/app.sock", None), True), (None, True), (("127.0.0.1", 8000), False)]
)
def test_a_unix_socket_is_trusted_only_where_the_server_listens_on_one(server: Any, trusted: bool) -> None:
    who = identifier(header={"header": "X-Authenticated-User", "hops": ["unix"]})
    found = who_is(who, make_scope(headers=[(USER, b"ada")], client=None, server=server))
    assert found.anonymous is not trusted


def test_an_ignored_header_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    who = identifier()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            who_is(who, make_scope(headers=[(USER, b"secret-name")], client=("198.51.100.9", 9)))
    assert len(caplog.records) == 1
    assert "secret-name" not in caplog.text


NOBODY = [
    ({"header": None}, ["scope['user']"]),
    ({"header": None, "missing": "refuse"}, ["refused with 401"]),
    ({"header": None, "user": False, "scope": ["session", "id"]}, ["scope['session']"]),
    ({"header": None, "scope": ["session", "id"]}, ["scope['session'] and scope['user']"]),
]


@pytest.mark.parametrize(("parts", "said"), NOBODY)
def test_a_guard_that_nobody_ever_names_says_so_once(
    parts: dict[str, Any], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is the first thing that goes wrong: no authentication around the guard, or on its wrong side."""
    who = identifier(**parts)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with contextlib.suppress(BadInputError):
                who_is(who, make_scope(headers=[]))
    (record,) = caplog.records
    assert all(text in record.getMessage() for text in [*said, "further in than your authentication"])


def test_a_guard_that_somebody_could_name_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        who_is(identifier(), make_scope(headers=[], client=("10.0.0.1", 9)))
        who_is(identifier(header=None), make_scope(headers=[], user=UnauthenticatedUser()))
        who_is(identifier(header=None, user=False, scope=["session", "id"]), make_scope(headers=[], session={}))
    assert not caplog.records


def test_groups_come_from_trusted_hops_and_the_network_from_the_connection() -> None:
    who = identifier(groups={"tenant": {"header": "X-Tenant", "hops": ["10.0.0.1"]}})
    scope = make_scope(headers=[(USER, b"ada"), (b"x-tenant", b"acme")], client=("10.0.0.1", 9))
    assert who_is(who, scope).groups == {"tenant": "acme", "network": "10.0.0.0/24"}
    elsewhere = make_scope(headers=[(USER, b"ada"), (b"x-tenant", b"acme")], client=("10.0.1.1", 9))
    assert who_is(who, elsewhere).groups == {"network": "10.0.1.0/24"}


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.255", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("nonsense", None),
    ],
)
def test_networks(host: str, network: str | None) -> None:
    assert network_of(peer_address({"client": (host, 1)})) == network


class OnlyName(BaseUser):
    """A user that gives only what an older Starlette asked for."""

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return "only"


USERS = {
    "starlette": (SimpleUser("ada"), "ada"),
    "only a display name": (OnlyName(), "only"),
    "identity before username": (SimpleNamespace(is_authenticated=True, identity="i", username="u"), "i"),
    "empty identity": (SimpleNamespace(is_authenticated=True, identity="", username="u"), "u"),
    "number zero": (SimpleNamespace(is_authenticated=True, identity=0), "0"),
    "UUID": (SimpleNamespace(is_authenticated=True, identity=UUID(int=1)), str(UUID(int=1))),
    "method": (SimpleNamespace(is_authenticated=lambda: True, identity="m"), "m"),
    "method that says no": (SimpleNamespace(is_authenticated=lambda: False, identity="m"), None),
    "unauthenticated": (UnauthenticatedUser(), None),
    "no flag": (SimpleNamespace(identity="x"), None),
    "flag that is only truthy": (SimpleNamespace(is_authenticated="yes", identity="x"), None),
    "name that is a flag": (SimpleNamespace(is_authenticated=True, identity=True), None),
    "name that is a list": (SimpleNamespace(is_authenticated=True, identity=["x"]), None),
    "dictionary": ({"is_authenticated": True, "identity": "x"}, None),
    "text": ("ada", None),
    "none": (None, None),
}


@pytest.mark.parametrize("name", USERS)
def test_an_authenticated_user_is_the_contributor(name: str) -> None:
    user, expected = USERS[name]
    found = who_is(identifier(), make_scope(user=user))
    assert found.contributor == (expected or ANONYMOUS)
    assert found.anonymous is (expected is None)


def test_the_user_is_not_looked_at_when_the_policy_says_so() -> None:
    assert who_is(identifier(user=False), make_scope(user=SimpleUser("ada"))).anonymous


def test_the_header_of_a_trusted_hop_goes_before_the_user() -> None:
    scope = make_scope(headers=[(USER, b"header")], client=("10.0.0.1", 9), user=SimpleUser("user"))
    assert who_is(identifier(), scope).contributor == "header"
    scope["client"] = ("198.51.100.9", 9)
    assert who_is(identifier(), scope).contributor == "user"


@pytest.mark.parametrize("name", ["x" * 257, ANONYMOUS, "a\x00b", "\ud800"])
def test_a_name_that_cannot_be_kept_is_refused(name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        who_is(identifier(), make_scope(user=SimpleUser(name)))
    assert caught.value.problem.status == 401


def test_a_missing_contributor_is_refused_or_anonymous_as_the_policy_says() -> None:
    with pytest.raises(BadInputError) as caught:
        who_is(identifier(missing="refuse"), make_scope())
    assert caught.value.problem.status == 401
    assert who_is(identifier(missing="anonymous"), make_scope()).anonymous


def test_groups_that_cannot_all_be_kept_are_refused_at_start() -> None:
    hops = {"header": "X-G", "hops": ["10.0.0.1"]}
    with pytest.raises(PolicyError, match="taken by network_group"):
        identifier(groups={"network": hops})
    with pytest.raises(PolicyError, match="at most 8"):
        identifier(groups={f"g{n}": hops for n in range(8)})
    identifier(groups={f"g{n}": hops for n in range(8)}, network_group=False)
