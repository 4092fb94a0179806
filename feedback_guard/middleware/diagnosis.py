"""What `doctor` says of the middleware: whether its routes can work, and whether the keys of tokens can be had."""

from __future__ import annotations

from collections.abc import Iterator

from feedback_guard.diagnosis import Diagnosis, Health
from feedback_guard.errors import GuardError
from feedback_guard.middleware.fitting import check_routes
from feedback_guard.middleware.sources import fetch_keys
from feedback_guard.policy.schema import Policy


def diagnose_routes(policy: Policy) -> Iterator[Diagnosis]:
    """Compile what the middleware would compile; nothing if all of it can work."""
    try:
        check_routes(policy)
    except GuardError as error:
        yield Diagnosis("routes", Health.FAILURE, str(error))


def diagnose_tokens(policy: Policy) -> Iterator[Diagnosis]:
    """Fetch the issuer's keys, and look for one for each algorithm; nothing for a policy without tokens."""
    jwt = policy.identity.jwt
    if jwt is None:
        return
    try:
        keys = fetch_keys(jwt)
    except GuardError as error:
        yield Diagnosis("tokens", Health.FAILURE, str(error))
        return
    yield Diagnosis("tokens", Health.OK, f"keys of the issuer's that verify signatures: {len(keys)}")
    for algorithm in jwt.algorithms:
        if not any(key.fits(algorithm) for key in keys):
            message = f"identity.jwt.algorithms: the issuer has no key for {algorithm}; remove it"
            yield Diagnosis("tokens", Health.WARNING, message)
