"""Kept requests that a policy's guards will never give to the application, because a name was changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from feedback_guard.policy.schema import Policy
from feedback_guard.store.records import KeptRequests


@dataclass(frozen=True, slots=True)
class Stranded:
    """Some requests, and what to do about them."""

    message: str
    certain: bool
    """False where another application on the same store may well be there for them."""


def stranded_requests(kept: Iterable[KeptRequests], policy: Policy) -> Iterator[Stranded]:
    """Find what is held, or approved and waits, for names that a policy does not have.

    Parameters
    ----------
    kept
        What the store has.
    policy
        Whose names count.

    Examples
    --------
    >>> kept = [KeptRequests("help", "feedback", False, 3)]
    >>> [found.message for found in stranded_requests(kept, Policy.model_validate({"application": "desk"}))]
    ["3 held requests are for the application 'help', and this is 'desk'; if it only has another name now, set \
`application: help`"]
    """
    mine, routes = policy.application_name, {route.name for route in policy.routes}
    elsewhere: Counter[tuple[str, bool]] = Counter()
    nowhere: Counter[tuple[str, bool]] = Counter()
    own = False
    for each in kept:
        if each.application not in (None, mine):
            elsewhere[str(each.application), each.approved] += each.count
            continue
        own = own or each.application == mine
        if each.route not in routes:
            nowhere[each.route, each.approved] += each.count
    for (route, approved), count in nowhere.items():
        yield Stranded(
            f"{_counted(count, approved)} for the route {route!r}, which the policy does not have any more, so the "
            "application never gets them; give a route this name",
            certain=True,
        )
    for (application, approved), count in elsewhere.items():
        yield Stranded(
            f"{_counted(count, approved)} for the application {application!r}, and this is {mine!r}; if it only has "
            f"another name now, set `application: {application}`",
            certain=approved or not own,
        )


def _counted(count: int, approved: bool) -> str:
    if count == 1:
        return "1 approved request waits" if approved else "1 held request is"
    return f"{count} approved requests wait" if approved else f"{count} held requests are"
