"""Kinds of facets that packages offer, and those that a baseline names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from feedback_guard.contribution import Kind
from feedback_guard.errors import BaselineError
from feedback_guard.evidence.kinds import registry
from feedback_guard.evidence.kinds.gather import Kinds, fit_kinds
from feedback_guard.evidence.kinds.registry import admit, facet_kinds
from feedback_guard.signals import material
from feedback_guard.signals.interface import State
from feedback_guard.signals.subject import round_trip
from tests.evidence.kinds.test_kinds_conform import Length

HERE = "tests.evidence.kinds.test_kinds_conform"
Install = Callable[[str], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package that offers a kind of facet; an empty string takes it away."""

    def offer(where: str) -> None:
        points = EntryPoints([EntryPoint("length", where, registry.GROUP)] if where else [])
        monkeypatch.setattr(registry, "entry_points", lambda *, group: points.select(group=group))
        facet_kinds.cache_clear()

    yield offer
    monkeypatch.undo()
    facet_kinds.cache_clear()


def test_a_kind_that_a_package_offers_is_part_of_the_next_baseline(install: Install) -> None:
    trusted = material.stream((Kind.LABEL,), 60, seed=1)
    before = fit_kinds(trusted, seed=0)
    install(f"{HERE}:Length")
    state = round_trip(fit_kinds(trusted, seed=0))
    kinds = Kinds.from_state(state)
    assert kinds.names == ("habit", "length", "radius", "region", "served")
    assert kinds.alike["length"] == Length.alike
    found = kinds.of(trusted[0], lambda name: len(name))
    assert "length" in found.kinds
    assert Kinds.from_state(before).names == ("habit", "radius", "region", "served"), (
        "one that was built before goes on"
    )


def test_a_baseline_that_names_a_kind_which_is_not_installed_is_refused(install: Install) -> None:
    install(f"{HERE}:Length")
    state = fit_kinds(material.stream((Kind.LABEL,), 60, seed=1), seed=0)
    install("")
    with pytest.raises(BaselineError, match="'length', which is not installed"):
        Kinds.from_state(state)


def test_a_baseline_from_before_there_were_kinds_has_none() -> None:
    assert Kinds.from_state(State({"n_trusted": 3})).names == ()


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("no_such_package.facets:Product", "cannot be loaded"),
        (f"{HERE}:BROKEN", "does not derive from FacetKind"),
        ("feedback_guard.evidence.kinds.region:Region", "two kinds of facets are called 'region'"),
    ],
    ids=["missing", "no kind", "name taken"],
)
def test_what_cannot_be_used_is_named(install: Install, where: str, says: str) -> None:
    install(where)
    with pytest.raises(BaselineError, match=says):
        facet_kinds()


@pytest.mark.parametrize("name", ["", "Product", "word", "contributor", "a b", "x" * 60], ids=repr)
def test_names_are_plain_and_each_is_used_once(name: str) -> None:
    kind = type("Named", (Length,), {"name": name})
    with pytest.raises(BaselineError):
        admit(dict(registry.BUILT_IN), kind, "here")
