"""Whether a policy can work over HTTP: by itself, and in front of this application."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from feedback_guard.metrics import Metrics
from feedback_guard.middleware.answers import Answers
from feedback_guard.middleware.extract import Extractor
from feedback_guard.middleware.identity import check_groups
from feedback_guard.middleware.routes import RouteTable, own_root_path, parameters
from feedback_guard.middleware.spelling import routes_exactly
from feedback_guard.policy.schema import Policy

log = logging.getLogger(__name__)


def check_routes(policy: Policy) -> None:
    """Compile paths, expressions and answers of a policy, as the middleware does when it is made.

    Parameters
    ----------
    policy
        Validated. A route without `extract` is taken to have a Python callable.

    Raises
    ------
    PolicyError
        Naming the route, if one cannot work.
    """
    RouteTable(policy.routes)
    check_groups(policy.identity)
    for route in policy.routes:
        params = parameters(route)
        Extractor(route, params, None if route.extract is not None else lambda _body, _scope: None)
        Answers(route, params, Metrics())


def warn_of_unfitting(app: Any, policy: Policy) -> None:
    """Log a warning for each route of the policy that fits no route of the application.

    A path with a letter too many guards nothing, and everything that was meant to be judged passes. Nothing is said
    of an application that cannot be looked into whole, such as a proxy. `doctor --app` looks further.

    Parameters
    ----------
    app
        What the middleware wraps, once it has started: it has all its routes then.
    policy
        Whose routes are looked for.
    """
    from feedback_guard.doors.cover import compare
    from feedback_guard.doors.frameworks import doors_of

    try:
        doors = doors_of(app)
    except Exception:  # a framework's next version may look different inside; that must not keep it from serving
        log.debug("the application's routes cannot be listed", exc_info=True)
        return
    if doors.dark:
        return
    named = policy.model_copy(update={"ignore": ()})
    found = compare(named, doors, root_path=own_root_path(app), exactly=partial(routes_exactly, app))
    for sentence in found.dead:
        log.warning(
            "%s, and what was meant passes unjudged; `feedback-guard doctor --app` lists what there is", sentence
        )
