"""All kinds of facets: those that come with the guard, and those that an installed package offers.

A package offers a kind as an entry point of the group `feedback_guard.facets`, whose name is the kind's own::

    [project.entry-points."feedback_guard.facets"]
    product = "our_package.facets:Product"

A baseline is built with all kinds that are installed, and names them; it is judged with those.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from feedback_guard.errors import BaselineError
from feedback_guard.evidence.kinds.habit import Habit
from feedback_guard.evidence.kinds.interface import FacetKind
from feedback_guard.evidence.kinds.radius import Radius
from feedback_guard.evidence.kinds.region import Region
from feedback_guard.evidence.kinds.served import Served

GROUP: Final = "feedback_guard.facets"
BUILT_IN: Final[Mapping[str, type[FacetKind]]] = {kind.name: kind for kind in (Habit, Region, Radius, Served)}
FORM: Final = "form"
"""The kind of `evidence.forms`."""
TAKEN: Final = frozenset({"sender", "word", "pair", "shape", FORM, "family", "contributor", "group"})
"""Names of other facets."""
_NAME: Final = re.compile(r"[a-z][a-z_]{1,31}")


@functools.cache
def facet_kinds() -> Mapping[str, type[FacetKind]]:
    """Every kind by its name, in a fixed order.

    Raises
    ------
    BaselineError
        If a package offers what is no kind of facet, or one whose name is taken.
    """
    found = dict(BUILT_IN)
    for point in sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
        try:
            kind = point.load()
        except Exception as error:
            raise BaselineError(f"the kind of facet {point.name} ({point.value}) cannot be loaded: {error}") from error
        admit(found, kind, point.value)
    return found


def admit(found: dict[str, type[FacetKind]], kind: object, where: str) -> None:
    """Add a kind, if it is one.

    Raises
    ------
    BaselineError
        If it is not, or its name is taken or no name.
    """
    if not (isinstance(kind, type) and issubclass(kind, FacetKind)):
        raise BaselineError(f"{where} is no kind of facet: it does not derive from FacetKind")
    name = getattr(kind, "name", "")
    if not _NAME.fullmatch(name):
        raise BaselineError(f"the kind of facet {where} has the name {name!r}; lower-case letters and _ are wanted")
    if name in TAKEN or name in found:
        raise BaselineError(f"two kinds of facets are called {name!r}; {where} needs another name")
    found[name] = kind


def noun_of(name: str) -> str:
    """What members of a campaign share, in words.

    Examples
    --------
    >>> noun_of("region"), noun_of("word"), noun_of("no such kind")
    ('a region of embedding space', 'a phrase', 'a facet of the kind no such kind')
    """
    if name == "sender":
        return "a sender"
    if name in ("word", "pair", "shape"):
        return "a phrase"
    if name == FORM:
        return "a form of sentence"
    kind = facet_kinds().get(name)
    return f"a facet of the kind {name}" if kind is None else kind.noun
