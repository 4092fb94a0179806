"""Who offers a contribution, and what may be such a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from feedback_guard import settings
from feedback_guard.contribution import ANONYMOUS
from feedback_guard.middleware.replies import bad_input
from feedback_guard.names import encodes


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever offers a contribution.

    Parameters
    ----------
    contributor
        Byte-exact: neither case nor spaces nor Unicode form are changed. Header bytes stand as latin-1.
    groups
        Wider principals, by name.
    anonymous
        True when nobody is named.
    """

    contributor: str
    groups: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False


def as_name(value: Any) -> str | None:
    """Return a text, a whole number or a UUID as a name; None for anything else, and for an empty text.

    Raises
    ------
    BadInputError
        401 if the name cannot be kept.

    Examples
    --------
    >>> as_name(7), as_name(True), as_name("")
    ('7', None, None)
    """
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        return None
    return checked(str(value)) or None


def checked(value: str) -> str:
    """Return a name that can be kept.

    Raises
    ------
    BadInputError
        401 if it is too long, is not UTF-8, holds a NUL, or is that of nobody.
    """
    if len(value) > settings.MAX_ID_CHARS:
        raise bad_input(
            401, "bad_identity", f"The contributor's name is longer than {settings.MAX_ID_CHARS} characters."
        )
    if value == ANONYMOUS or "\x00" in value or not encodes(value):
        raise bad_input(401, "bad_identity", "The contributor's name cannot be kept.")
    return value
