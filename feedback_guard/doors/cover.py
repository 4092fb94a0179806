"""Compares an application's doors with a policy: which of them does the guard not see?"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from feedback_guard.doors.interface import Door, Doors, example
from feedback_guard.middleware.routes import RouteTable
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.policy.schema import Policy

_FEWEST_SHARED = 2
"""So many segments at the end make two paths look like one endpoint under two prefixes."""


@dataclass(frozen=True, slots=True)
class SideDoor:
    """A route of the application that the guard does not see, and what to do about it."""

    door: Door
    advice: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the comparison found."""

    covered: tuple[tuple[Door, str], ...]
    """Doors that a route of the policy takes, and its name."""
    waived: tuple[Door, ...]
    """Doors that the policy's `ignore` names."""
    open: tuple[SideDoor, ...]
    """Doors that the guard does not see."""
    dead: tuple[str, ...]
    """Sentences about routes and waivers of the policy that fit nothing in the application."""
    dark: tuple[str, ...]
    """Sentences about what could not be looked into."""

    @property
    def sound(self) -> bool:
        """Whether nothing is open, dead or dark."""
        return not (self.open or self.dead or self.dark)


def compare(
    policy: Policy, doors: Doors, *, root_path: str = "", exactly: Callable[[], bool] = lambda: False
) -> Coverage:
    """Say which doors of an application a policy covers.

    Parameters
    ----------
    policy
        What the guard sees, and what need not be seen.
    doors
        What the application has.
    root_path, exactly
        As for `RouteTable`.

    Examples
    --------
    >>> policy = Policy.model_validate({"routes": [{"name": "rate", "path": "/api/rate/{id}", "extract": "@"}]})
    >>> found = Doors({Door("POST", "/api/rate/{id}"), Door("POST", "/ajax-api/rate/{id}")})
    >>> compare(policy, found).open[0].advice
    "the same endpoint as /api/rate/{id}, under another prefix? Add it to `paths` of the route 'rate'"
    """
    table = RouteTable(policy.routes, root_path=root_path, exactly=exactly)
    covered: list[tuple[Door, str]] = []
    rest: list[Door] = []
    for door in sorted(doors.doors, key=lambda door: (door.path, door.method)):
        match = table.match({"type": "http", "method": door.method, "path": example(door.path)})
        if match is None:
            rest.append(door)
        else:
            covered.append((door, match.route.name))
    waived = [door for door in rest if any(_fits(entry, door) for entry in policy.ignore)]
    open_doors = [SideDoor(door, _advice(door, covered, policy)) for door in rest if door not in waived]
    return Coverage(
        tuple(covered),
        tuple(waived),
        tuple(open_doors),
        tuple(_dead(policy, covered, rest)),
        tuple(f"{prefix}: {why}" for prefix, why in sorted(doors.dark.items()) if not _dark_is_waived(policy, prefix)),
    )


def _dead(policy: Policy, covered: list[tuple[Door, str]], rest: list[Door]) -> Iterator[str]:
    used = {name for _, name in covered}
    for route in policy.routes:
        if route.name not in used and set(route.methods) - {"GET"}:
            where = f"{', '.join(route.methods)} {', '.join(route.all_paths)}"
            yield f"the route {route.name!r} ({where}) fits no route of the application: it guards nothing"
    for entry in policy.ignore:
        if not any(_fits(entry, door) for door in rest):
            yield f"ignore: {entry!r} fits no route that is left uncovered; remove it"


def _fits(entry: str, door: Door) -> bool:
    method, _, path = entry.rpartition(" ")
    return (not method or method == door.method) and fnmatch.fnmatchcase(door.path, _glob(path))


def _dark_is_waived(policy: Policy, prefix: str) -> bool:
    return f"{prefix.rstrip('/')}/*" in policy.ignore


def _glob(path: str) -> str:
    """Only `*` has a meaning; brackets stand for themselves."""
    return path.replace("[", "[[]").replace("?", "[?]")


def _advice(door: Door, covered: list[tuple[Door, str]], policy: Policy) -> str:
    for other, name in covered:
        if other.path == door.path:
            taken = ", ".join(_route(policy, name).methods)
            return f"the route {name!r} takes only {taken}: add {door.method} to its `methods`"
    for other, name in covered:
        if other.method == door.method and _shared(other.path, door.path) >= _FEWEST_SHARED:
            return f"the same endpoint as {other.path}, under another prefix? Add it to `paths` of the route {name!r}"
    for other, name in covered:
        if door.path.startswith(other.path.rstrip("/") + "/"):
            return f"below {other.path}, which the route {name!r} guards: does it edit what was given there?"
    return "does it take feedback? Then it needs a route"


def _route(policy: Policy, name: str) -> RoutePolicy:
    return next(route for route in policy.routes if route.name == name)


def _shared(one: str, other: str) -> int:
    """How many segments two paths share at their ends, at least one of them a word."""
    ends = list(zip(reversed(one.split("/")), reversed(other.split("/")), strict=False))
    shared = 0
    for left, right in ends:
        if (
            not left
            or ":path}" in left + right
            or (left != right and not (left.startswith("{") and right.startswith("{")))
        ):
            break
        shared += 1
    words = any(left and not left.startswith("{") for left, _ in ends[:shared])
    return shared if words else 0
