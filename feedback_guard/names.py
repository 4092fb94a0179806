"""Whether two names are one person's, as far as a name can tell."""

from __future__ import annotations

import unicodedata
from typing import Final

CLI_PREFIX: Final = "cli:"
"""Before the name of an operating-system user who decides on the command line."""


def plain(name: str) -> str:
    """A name without regard to case, width and surrounding space.

    Examples
    --------
    >>> plain("cli:Ada "), plain("ada")
    ('ada', 'ada')
    """
    return unicodedata.normalize("NFKC", name).strip().casefold().removeprefix(CLI_PREFIX)


def same_person(one: str, other: str) -> bool:
    """Whether two names may be one person's. Being too careful costs a colleague's minute."""
    return plain(one) == plain(other)


def encodes(name: str) -> bool:
    r"""Whether a name can be written as UTF-8: one with half of a surrogate pair cannot be kept.

    Examples
    --------
    >>> encodes("Ada"), encodes("\ud83d")
    (True, False)
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
