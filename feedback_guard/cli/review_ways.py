"""`feedback-guard review retry|arrived|not-arrived|give-up`: the ways on of a request that did not plainly arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import typer

from feedback_guard.cli.review_jobs import at_store, moderator_named, print_json
from feedback_guard.cli.review_options import AsJson, Ident, Moderator, Note, Policy, Version

WAYS_ON: Final[Mapping[str, str]] = {
    "retry": "Have a request sent again that failed, needed credentials, or was given up.",
    "arrived": "Say of an unknown request that it arrived: you looked in the application. Nothing is sent.",
    "not-arrived": "Say of an unknown request that it did not arrive: you looked in the application. It is sent again.",
    "give-up": "Give up a request that did not arrive. What the model may learn stays as it is.",
}
"""Each way, which is also the name of its command and the value of its `Resolution`, and what `--help` says of it."""


def way_on(way: str) -> Callable[..., None]:
    """The command of a way."""

    def command(
        ident: Ident,
        policy: Policy,
        note: Note = "",
        moderator: Moderator = None,
        version: Version = None,
        as_json: AsJson = False,
    ) -> None:
        _go_on(ident, policy, note, moderator, version, way, as_json=as_json)

    return command


def _go_on(
    ident: str, policy: str, note: str, moderator: str | None, version: int | None, way: str, *, as_json: bool
) -> None:
    from feedback_guard.review.documents import item_document
    from feedback_guard.review.ways import WAYS, go_on
    from feedback_guard.store.states import Resolution

    who, resolution = moderator_named(moderator), Resolution(way)
    stored = at_store(
        policy,
        lambda guard: go_on(guard, ident, resolution, moderator=who, note=note.strip(), version=version),
    )
    if as_json:
        print_json(item_document(stored))
    else:
        typer.echo(f"{stored.id} by {who}: {WAYS[resolution].done}")
