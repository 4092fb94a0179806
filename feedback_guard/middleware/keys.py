"""What makes two requests the same: an `Idempotency-Key`, or the same body from the same contributor."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from feedback_guard import settings
from feedback_guard.middleware.identity import network_of, peer_address
from feedback_guard.middleware.interface import Scope
from feedback_guard.middleware.replies import bad_input
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.store.repeats import RepeatKey
from feedback_guard.submission import Submission

_HEADER: Final = b"idempotency-key"
# RFC 9651, section 3.3.3: a String, with the parameters that any Item may carry; they mean nothing here.
_STRING: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"(?: *;[a-z*][a-z0-9_.*-]*(?:=[!#-+\--:<-~]*)?)*')
# What many clients send instead: the bare characters of a UUID, of base64 or of a token.
_BARE: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~:/=-]+")
_ESCAPED: Final = re.compile(rb'\\(["\\])')


@dataclass(frozen=True, slots=True)
class Ticket:
    """By what a request is recognised when it comes again.

    Parameters
    ----------
    key
        For the store.
    by_client
        True if the client sent a key and knows what a conflict means; False if the guard only compared bodies.
    """

    key: RepeatKey
    by_client: bool


def ticket_of(
    route: RoutePolicy, scope: Scope, data: bytes, submission: Submission, *, application: str | None = None
) -> Ticket | None:
    """Recognise a request; None if it may come as often as it likes.

    Parameters
    ----------
    application
        As the policy names it. The same request to another application is another request.

    Raises
    ------
    BadInputError
        400: the key is malformed, or the route requires one and there is none.
    """
    key = None
    if route.idempotency.key != "ignore":
        key = parse_key(value for name, value in scope["headers"] if name == _HEADER)
        if key is None and route.idempotency.key == "required":
            raise bad_input(
                400, "key_missing", "This operation takes an Idempotency-Key; send one, new for each contribution."
            )
    request = (scope["method"].upper().encode("latin-1"), _path(scope), scope.get("query_string", b""), data)
    fingerprint = _digest(request)
    where = (*((b"application", application.encode()) if application else ()), route.name.encode())
    if key is not None:
        own = _digest((b"key", *where, *_whose(scope, submission), key))
        return Ticket(RepeatKey(own, fingerprint, route.name, route.idempotency.retain), by_client=True)
    if route.duplicates.window and not submission.anonymous:
        own = _digest((b"body", *where, *_whose(scope, submission), *request))
        return Ticket(RepeatKey(own, fingerprint, route.name, route.duplicates.window), by_client=False)
    return None


def parse_key(values: Iterable[bytes]) -> bytes | None:
    r"""Read the values of `Idempotency-Key`; None if there is none.

    The draft wants a String of structured fields, in double quotes. Many clients send a bare UUID, and that is taken
    for the same key.

    Raises
    ------
    BadInputError
        400: it stands twice, is empty, too long, or holds characters that a key cannot have.

    Examples
    --------
    >>> parse_key([b'"8e03978e-40d5-43e8-bc93-6894a57f9324"']) == parse_key([b"8e03978e-40d5-43e8-bc93-6894a57f9324"])
    True
    """
    found = list(values)
    if not found:
        return None
    if len(found) > 1:
        raise bad_input(400, "bad_key", "Idempotency-Key stands more than once.")
    value = found[0].strip(b" \t")
    # A quoted key may be escaped and have parameters; past this it is too long in any case.
    if len(value) > 4 * settings.MAX_IDEMPOTENCY_KEY_CHARS:
        raise _too_long()
    quoted = _STRING.fullmatch(value)
    if quoted is not None:
        key = _ESCAPED.sub(rb"\1", quoted[1])
    elif _BARE.fullmatch(value) is not None:
        key = value
    else:
        raise bad_input(
            400, "bad_key", 'Idempotency-Key is no key; send printable ASCII in double quotes, such as "…".'
        )
    if not key:
        raise bad_input(400, "bad_key", "Idempotency-Key is empty.")
    if len(key) > settings.MAX_IDEMPOTENCY_KEY_CHARS:
        raise _too_long()
    return key


def _too_long() -> Exception:
    return bad_input(400, "bad_key", f"Idempotency-Key is longer than {settings.MAX_IDEMPOTENCY_KEY_CHARS} characters.")


def _whose(scope: Scope, submission: Submission) -> Sequence[bytes]:
    """Whose request it is: nobody may see, or block, what somebody else was answered.

    Those whom nobody names are told apart by their network, as far as that goes.
    """
    if submission.anonymous:
        return (b"network", str(network_of(peer_address(scope))).encode())
    return (b"name", submission.contributions[0].contributor.encode("utf-8", "surrogatepass"))


def _path(scope: Scope) -> bytes:
    path: str = scope["path"]
    return path.encode("utf-8", "surrogateescape")


def _digest(parts: Iterable[bytes]) -> str:
    """Hash parts with their lengths, so that no two lists of parts give the same bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
