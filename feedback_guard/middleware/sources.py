"""Sets up the sources of contributors that need more than the policy: a clock, a library, a function."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from feedback_guard.clock import Clock
from feedback_guard.errors import IdentityError, PolicyError, UsageError
from feedback_guard.middleware.callables import Called, IdentifyCallable
from feedback_guard.middleware.identity import Identifier, Named
from feedback_guard.policy.identity import IdentityPolicy, JwtPolicy, Source

if TYPE_CHECKING:
    from feedback_guard.middleware.jwks import Key


def make_identifier(policy: IdentityPolicy, clock: Clock, identify: IdentifyCallable | None = None) -> Identifier:
    """Make what finds the principal of a request.

    Parameters
    ----------
    policy
        Where to look, and in which order.
    clock
        For tokens.
    identify
        The function that `identity.callable` speaks of.

    Raises
    ------
    PolicyError
        If groups cannot all be kept, or a file of keys cannot be read.
    UsageError
        If the policy and the function do not go together, or a library is missing.
    """
    sources: dict[Source, Named] = {}
    if policy.jwt is not None:
        sources[Source.JWT] = _tokens(policy.jwt, clock)
    if policy.callable is not None:
        if identify is None:
            raise UsageError("identity.callable is set up, but there is no function; pass identify=function")
        sources[Source.CALLABLE] = Called(policy.callable, identify)
    elif identify is not None:
        raise UsageError("identify=function is given, but the policy does not ask it; set `identity.callable: {}`")
    return Identifier(policy, sources)


def fetch_keys(policy: JwtPolicy) -> Sequence[Key]:
    """Fetch an issuer's keys now, as `doctor` does; not for an event loop.

    Raises
    ------
    IdentityError
        If they cannot be had.
    UsageError
        If a library is missing.
    """
    _check_library()
    from feedback_guard.middleware.jwks import loader, read_keys

    async def load() -> bytes:
        return await loader(policy)()

    return read_keys(asyncio.run(load()))


def _tokens(policy: JwtPolicy, clock: Clock) -> Named:
    _check_library()
    from feedback_guard.middleware.jwks import read_file, read_keys
    from feedback_guard.middleware.tokens import Tokens

    if policy.jwks_file is not None:
        # A file that is wrong is known at the start; a URL may be down for a moment.
        try:
            read_keys(read_file(Path(policy.jwks_file)))
        except IdentityError as error:
            raise PolicyError(f"identity.jwt.jwks_file: {error}") from None
    return Tokens(policy, clock)


def _check_library() -> None:
    try:
        import joserfc.jws  # noqa: F401 - an optional dependency
    except ModuleNotFoundError:
        raise UsageError("identity.jwt needs joserfc; install it with `pip install feedback-guard[jwt]`") from None
