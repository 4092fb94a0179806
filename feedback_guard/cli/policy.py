"""`feedback-guard policy`: check, show and compare policies, and the schema for editors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from feedback_guard.policy.loader import LoadedPolicy

app = typer.Typer(no_args_is_help=True, help="Check, show and compare policies.")

File = Annotated[str, typer.Argument(help="Policy file, or the name of a preset: observe, balanced, strict.")]

CLEAN, FINDINGS, COULD_NOT_JUDGE = 0, 1, 2


@app.command()
def check(file: File) -> None:
    """Say whether a policy is valid, and what it leaves open. Exit 1 with warnings, 2 if it is not valid."""
    from feedback_guard.errors import PolicyError
    from feedback_guard.middleware.fitting import check_routes
    from feedback_guard.policy.checks import check_policy, needed_trusted

    loaded = _load(file)
    try:
        check_routes(loaded.policy)
    except PolicyError as error:
        typer.echo(f"{file}: {error}", err=True)
        raise typer.Exit(COULD_NOT_JUDGE) from None
    known, notes = _trusted(loaded)
    warnings = [*notes, *check_policy(loaded.policy)]
    typer.echo(f"OK {loaded.policy.name} {loaded.digest}")
    if not known:
        needed = needed_trusted(loaded.policy)
        most = max(needed, key=needed.__getitem__)
        typer.echo(f"for every signal to count, vet at least {needed[most]} contributions (most for {most})")
    if loaded.dropped:
        typer.echo(
            f"off: {', '.join(loaded.dropped)}; `limits` replaces the list that it builds on, so write into it again "
            "what you want to keep (`feedback-guard policy show` prints them)"
        )
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    raise typer.Exit(FINDINGS if warnings else CLEAN)


@app.command()
def schema() -> None:
    """Print the JSON Schema (draft 2020-12) of a policy file, for editors."""
    from feedback_guard.policy.describe import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def show(file: File) -> None:
    """Print the whole policy as it is understood: what it extends merged in, defaults filled in."""
    from feedback_guard.policy.describe import as_file, write_yaml

    loaded = _load(file)
    typer.echo(f"# {loaded.digest}")
    typer.echo(f"# from {', on '.join(loaded.files)}")
    typer.echo(write_yaml(_masked(as_file(loaded.policy))), nl=False)


@app.command()
def diff(before: File, after: File) -> None:
    """List the values that differ between two policies. Exit 1 if any do."""
    from feedback_guard.policy.describe import as_file

    one, other = (dict(_flat(_masked(as_file(_load(file).policy)))) for file in (before, after))
    changes = [key for key in sorted({*one, *other}) if one.get(key, ...) != other.get(key, ...)]
    # A route or a budget that only one of them has is one change, not twenty.
    here, there = _items(one), _items(other)
    for item in sorted(here.keys() ^ there.keys()):
        typer.echo(f"{item}: {here.get(item, '(absent)')} -> {there.get(item, '(absent)')}")
    for key in changes:
        if _item_of(key) not in here.keys() ^ there.keys():
            typer.echo(f"{key}: {_value(one, key)} -> {_value(other, key)}")
    raise typer.Exit(FINDINGS if changes else CLEAN)


def _load(file: str) -> LoadedPolicy:
    from feedback_guard.errors import PolicyError
    from feedback_guard.policy.loader import load_policy

    try:
        return load_policy(file)
    except PolicyError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(COULD_NOT_JUDGE) from None


def _trusted(loaded: LoadedPolicy) -> tuple[bool, list[str]]:
    """Whether the baseline's trusted set is known, and what it does not support, or why it is not known."""
    baseline = loaded.policy.baseline
    if baseline.path is None:
        return False, []
    from feedback_guard.errors import BaselineError
    from feedback_guard.evidence.baseline import load
    from feedback_guard.policy.checks import reach

    try:
        found = load(Path(baseline.path), fingerprint=None, digest=baseline.digest)
    except BaselineError as error:
        return False, [f"baseline.path: {error}"]
    return True, [f"baseline: {note}" for note in reach(loaded.policy, found.counts, found.label_counts)]


def _masked(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree without the password of the database."""
    store = dict(tree["store"])
    store["url"] = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", store["url"])
    return {**tree, "store": store}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its path; the items of a list go by their names, or else by their places."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _flat(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for place, item in enumerate(value):
            yield from _flat(item, f"{path}[{item.get('name', place)}]")
    else:
        yield path, value


def _item_of(key: str) -> str:
    """The item of a list that a value stands in, such as `limits[contributor-day]`; empty for another value."""
    return key[: key.index("]") + 1] if "]" in key else ""


def _items(flat: dict[str, Any]) -> dict[str, str]:
    """The items of lists, each with what is set in it."""
    found: dict[str, list[str]] = {}
    for key, value in flat.items():
        item = _item_of(key)
        if item:
            set_here = found.setdefault(item, [])
            if value not in (None, [], {}):
                set_here.append(f"{key[len(item) + 1 :]}: {json.dumps(value, ensure_ascii=False)}")
    return {item: f"{{{', '.join(values)}}}" for item, values in found.items()}


def _value(flat: dict[str, Any], key: str) -> str:
    return json.dumps(flat[key], ensure_ascii=False) if key in flat else "(absent)"
