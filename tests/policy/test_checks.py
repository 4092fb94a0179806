from __future__ import annotations

from typing import Any

import pytest

from feedback_guard.contribution import Kind
from feedback_guard.evidence.reach import price
from feedback_guard.policy.checks import check_policy, needed_trusted, reach
from feedback_guard.policy.loader import load_policy
from feedback_guard.policy.schema import Policy

ROUTE = {"name": "feedback", "path": "/feedback", "extract": "@"}
WEIGHT = {"name": "life", "facet": "contributor", "measure": "weight", "amount": 100}
SOUND: dict[str, Any] = {
    "baseline": {"path": "baseline"},
    "routes": [ROUTE],
    "limits": [WEIGHT],
    "review": {"moderators": [{"name": "ana", "token_sha256": "a" * 64}]},
}


def warnings(**changes: Any) -> list[str]:
    return check_policy(Policy.model_validate({**SOUND, **changes}))


def test_a_sound_policy_has_no_warnings() -> None:
    assert warnings() == []
    assert reach(Policy.model_validate(SOUND), {"label": 1_333}, {"a": 1_333}) == []


@pytest.mark.parametrize("preset", ["balanced", "strict"])
def test_presets_lack_only_what_the_operator_has_to_give(preset: str) -> None:
    found = [warning.split(":")[0] for warning in check_policy(load_policy(preset).policy)]
    assert found == ["baseline.path", "routes", "review.moderators"]


OPEN: dict[str, tuple[dict[str, Any], str]] = {
    "no cap on contributors in a snapshot": (
        {"snapshot": {"caps": []}},
        "snapshot.caps: none is on contributors",
    ),
    "a share alone in a snapshot": (
        {"snapshot": {"caps": [{"facet": "contributor", "max_share": 0.01}]}},
        "snapshot.caps: the cap on contributors is a share alone",
    ),
    "a capped group that nobody has": (
        {"snapshot": {"caps": [{"facet": "contributor", "max_weight": 9}, {"facet": "group:team", "max_share": 0.5}]}},
        "snapshot.caps[1].facet: no contribution over HTTP has the group 'team'",
    ),
    "no baseline": (
        {"baseline": {}},
        "baseline.path: none is set, so the guard only observes although mode is enforce",
    ),
    "fail open": ({"failure": {"fail_open": True}}, "failure.fail_open: true lets through"),
    "hashing": ({"embedding": {"backend": "unsafe-hashing-for-tests"}}, "embedding.backend: unsafe-hashing-for-tests"),
    "no staging": ({"staging": {"mature_after": "0s"}}, "staging.mature_after: 0s learns at once"),
    "no limits": ({"limits": []}, "limits: there are none"),
    "no weight": ({"limits": [{**WEIGHT, "measure": "count"}]}, "limits: no contributor has a weight limit"),
    "no lifetime": ({"limits": [{**WEIGHT, "per": "1d"}]}, "limits: no contributor has a lifetime limit"),
    "anonymous": ({"identity": {"missing": "anonymous"}}, "limits: identity.missing lets contributions in"),
    "group that nobody has": (
        {"limits": [WEIGHT, {**WEIGHT, "name": "t", "facet": "group:tenant"}]},
        "limits[1].facet: no contribution over HTTP has the group 'tenant'; those that identity sets are network",
    ),
    "burst below one": (
        {"limits": [WEIGHT, {**WEIGHT, "name": "b", "per": "1d", "burst": 0.5}]},
        "limits[1].burst: below 1",
    ),
    "amount below one": ({"limits": [{**WEIGHT, "amount": 0.5}]}, "limits[0].amount: below 1"),
    "nobody named": ({"identity": {"user": False}}, "identity: no source names the contributor"),
    "tokens for anybody": (
        {"identity": {"jwt": {"issuer": "x", "jwks_url": "https://x.example/"}}},
        "identity.jwt.audience: there is none",
    ),
    "a group of another source": (
        {
            "identity": {"callable": {"groups": ["team"]}},
            "limits": [WEIGHT, {**WEIGHT, "name": "t", "facet": "group:tenant"}],
        },
        "limits[1].facet: no contribution over HTTP has the group 'tenant'; those that identity sets are network, team",
    ),
    "the whole internet": (
        {"identity": {"header": {"header": "X-User", "hops": ["10.0.0.1", "unix", "0.0.0.0/0"]}}},
        "identity.header.hops: 0.0.0.0/0 trusts the whole internet",
    ),
    "the whole internet for a group": (
        {"identity": {"groups": {"tenant": {"header": "X-Tenant", "hops": ["::/0"]}}}},
        "identity.groups.tenant.hops: ::/0 trusts the whole internet",
    ),
    "no routes": ({"routes": []}, "routes: there are none"),
    "uniform, but observing": (
        {
            "mode": "observe",
            "routes": [{**ROUTE, "acknowledge": "uniform", "held_answer": {"status": 200, "body": "@"}}],
        },
        "routes: feedback: acknowledge: uniform hides nothing",
    ),
    "a window for those whom nobody names": (
        {
            "routes": [{**ROUTE, "duplicates": {"window": "30s"}}],
            "identity": {"missing": "anonymous"},
            "limits": [WEIGHT, {**WEIGHT, "name": "a", "facet": "anonymous"}],
        },
        "routes: feedback: duplicates.window does not apply",
    ),
    "no moderators": ({"review": {}}, "review.moderators: there are none"),
    "insecure cookies": (
        {"review": {**SOUND["review"], "secure_cookies": False}},
        "review.secure_cookies: false",
    ),
}


@pytest.mark.parametrize(("changes", "expected"), OPEN.values(), ids=OPEN.keys())
def test_what_is_left_open_is_said(changes: dict[str, Any], expected: str) -> None:
    (warning,) = warnings(**changes)
    assert warning.startswith(expected)


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("/items/{item}", "/items/new", True),
        ("/items/{a}/x", "/items/{b}/{c}", True),
        ("/items/{a}", "/items/{a}/x", False),
        ("/items/{a}/up", "/items/{b}/down", False),
        ("/a", "/b", False),
        ("/a", "/a/", False),
    ],
)
def test_overlapping_paths(first: str, second: str, overlap: bool) -> None:
    routes = [{**ROUTE, "name": "one", "path": first}, {**ROUTE, "name": "two", "path": second}]
    assert bool(warnings(routes=routes)) is overlap
    routes[1]["methods"] = ["PUT"]  # type: ignore[assignment]
    assert warnings(routes=routes) == []


def test_a_small_trusted_set_supports_only_large_shares() -> None:
    policy = Policy.model_validate(SOUND)
    needed = needed_trusted(policy)
    assert needed == {"disagreement": 199, "novelty": 666, "anomaly": 1_333, "obfuscation": 999}
    silent = {
        1_333: [],
        1_332: ["anomaly"],
        998: ["anomaly", "obfuscation"],
        198: ["anomaly", "disagreement", "novelty", "obfuscation"],
    }
    for n, signals in silent.items():
        assert [note for note in reach(policy, {"label": n}, {"a": n}) if "too few" not in note] == [
            note
            for signal in signals
            for note in reach(policy, {"label": n}, {"a": n})
            if f"{signal} alone cannot hold one" in note and note.endswith(f"; {needed[signal]} are needed")
        ]
    # At the number that is asked for, the smallest p-value reaches the signal's own level, and just below it does not.
    for name, n in needed.items():
        level = 0.01 * policy.signals.shares[name]
        assert price(name, Kind.LABEL) / (n + 1) <= level + 1e-12
        assert price(name, Kind.LABEL) / n > level


def test_a_preference_has_three_texts_and_needs_three_times_as_many_for_novelty() -> None:
    assert needed_trusted(Policy(), Kind.PREFERENCE)["novelty"] == 3 * 667 - 2


def test_a_signal_that_is_off_needs_nothing() -> None:
    shares = {"disagreement": {"share": 1.0}} | {
        name: {"share": 0.0} for name in ("novelty", "anomaly", "near_duplicate", "obfuscation")
    }
    assert needed_trusted(Policy.model_validate({"signals": shares})) == {"disagreement": 99}


def test_ways_with_held_requests_on_a_route_that_holds_none_are_warned_of() -> None:
    route = {"name": "r", "path": "/r", "extract": "@", "on_hold": "pass", "idempotent": True}
    warnings = check_policy(Policy.model_validate({"routes": [route]}))
    assert any(text.startswith("routes.r.idempotent: nothing is held") for text in warnings)
    service = {**route, "credentials": "service", "service": {"env": "A"}}
    warnings = check_policy(Policy.model_validate({"routes": [service]}))
    assert any(text.startswith("routes.r.credentials: nothing is held") for text in warnings)
