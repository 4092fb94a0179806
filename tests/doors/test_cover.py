"""What no route of the policy covers is named, with what to do about it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from feedback_guard.doors.cover import Coverage, compare
from feedback_guard.doors.interface import Door, Doors
from feedback_guard.policy.schema import Policy

RATE = {"name": "rate", "path": "/api/2.0/rate/{id}", "extract": "@"}


def compared(*doors: str, routes: Any = (RATE,), ignore: tuple[str, ...] = (), dark: Any = None) -> Coverage:
    policy = Policy.model_validate({"routes": list(routes), "ignore": list(ignore)})
    return compare(policy, Doors({Door(*door.split()) for door in doors}, dark or {}))


def test_covered_doors_are_sound() -> None:
    coverage = compared("POST /api/2.0/rate/{x}")
    assert coverage.sound
    assert [(str(door), name) for door, name in coverage.covered] == [("POST /api/2.0/rate/{x}", "rate")]


@pytest.mark.parametrize(
    ("door", "advice"),
    [
        ("POST /ajax-api/2.0/rate/{x}", "the same endpoint as /api/2.0/rate/{x}, under another prefix? Add it to"),
        ("PATCH /api/2.0/rate/{x}", "takes only POST: add PATCH to its `methods`"),
        ("DELETE /api/2.0/rate/{x}/note/{n}", "below /api/2.0/rate/{x}"),
        ("POST /graphql", "does it take feedback?"),
        ("POST /{a}/{b}", "does it take feedback?"),
        ("POST /api/2.0/rate/{rest:path}", "does it take feedback?"),
    ],
)
def test_an_open_door_has_advice(door: str, advice: str) -> None:
    coverage = compared("POST /api/2.0/rate/{x}", door)
    assert [str(side.door) for side in coverage.open] == [door]
    assert advice in coverage.open[0].advice


def test_a_literal_in_the_policy_covers_no_parameter() -> None:
    routes = [RATE, {"name": "one", "path": "/items/7", "extract": "@"}]
    coverage = compared("POST /api/2.0/rate/{x}", "POST /items/{item}", routes=routes)
    assert [str(side.door) for side in coverage.open] == ["POST /items/{item}"]
    assert "'one' (POST /items/7) fits no route" in coverage.dead[0]


def test_doors_are_waived_by_name_and_pattern() -> None:
    doors = ("POST /api/2.0/rate/{x}", "POST /login", "PUT /login", "DELETE /admin/users/{id}", "POST /a[b]?")
    coverage = compared(*doors, ignore=("POST /login", "/admin/*", "POST /a[b]?"))
    assert [str(side.door) for side in coverage.open] == ["PUT /login"]
    assert len(coverage.waived) == 3
    assert not coverage.dead


def test_a_waiver_that_fits_nothing_is_named_and_so_is_one_of_a_covered_door() -> None:
    coverage = compared("POST /api/2.0/rate/{x}", ignore=("/gone", "POST /api/2.0/rate/*"))
    assert len(coverage.dead) == 2
    assert not coverage.sound


def test_what_could_not_be_looked_into_is_a_finding_until_it_is_waived() -> None:
    dark = {"/dark": "does not tell its routes"}
    assert compared("POST /api/2.0/rate/{x}", dark=dark).dark == ("/dark: does not tell its routes",)
    coverage = compared("POST /api/2.0/rate/{x}", "POST /dark/known", dark=dark, ignore=("/dark/*",))
    assert coverage.sound


@pytest.mark.parametrize("waiver", ["login", "GET /x", "POST  /x", "POST /a b", "/" + "x" * 600])
def test_a_waiver_that_cannot_be_meant_is_refused(waiver: str) -> None:
    with pytest.raises(ValidationError):
        compared(ignore=(waiver,))
