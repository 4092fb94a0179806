"""`feedback-guard credentials`: the keys under which clients' credentials are kept, and their rotation."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from feedback_guard.guard import Guard
    from feedback_guard.keyring import Keyring

app = typer.Typer(no_args_is_help=True, help="Make keys for kept credentials, and rotate them.")

Policy = Annotated[str, typer.Option("--policy", help="Policy file; its store and its credentials.keys are used.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, in ASCII.")]


@app.command("new-key")
def make_key() -> None:
    """Print a new key: put it first in the file, or the variable, that credentials.keys names."""
    from feedback_guard.keyring import new_key

    typer.echo(new_key())


@app.command()
def status(policy: Policy, as_json: AsJson = False) -> None:
    """Say which keys are there, and how many kept credentials need each.

    Ends with 1 if credentials need a key that is not there.
    """
    from feedback_guard.cli.stores import existing
    from feedback_guard.store.sealed import count_by_key

    guard = existing(policy)
    keyring = _keyring(guard)
    try:
        with guard.store.reading() as connection:
            counts = count_by_key(connection)
    finally:
        asyncio.run(guard.stop())
    missing = sorted(counts.keys() - set(keyring.ids))
    if as_json:
        typer.echo(json.dumps({"keys": list(keyring.ids), "kept": counts, "missing": missing}, indent=1))
    else:
        for ident in keyring.ids:
            role = "encrypts and decrypts" if ident == keyring.newest else "decrypts"
            typer.echo(f"{ident}  {role}, {counts.get(ident, 0)} kept")
        for ident in missing:
            typer.echo(f"{ident}  is not there, {counts[ident]} kept need it")
    if missing:
        raise typer.Exit(1)


@app.command()
def reencrypt(policy: Policy) -> None:
    """Bring all kept credentials under the newest key, so that older ones can be taken away.

    It may run beside the application. Ends with 1 if some could not be decrypted; those stay as they are.
    """
    from feedback_guard.cli.stores import existing
    from feedback_guard.store import sealed
    from feedback_guard.store.records import Sealed

    guard = existing(policy)
    keyring = _keyring(guard)

    def again(ident: str, old: Sealed) -> Sealed:
        return keyring.seal(keyring.open(old, bound_to=ident), bound_to=ident)

    total, unreadable, after = 0, list[str](), ""
    try:
        while True:
            last, done, left = guard.store.submit(
                lambda tx, after=after: sealed.reencrypt(  # type: ignore[misc]
                    tx, keyring.newest, again, after=after, now_us=tx.now_us()
                )
            ).result()
            total += done
            unreadable += left
            if last is None:
                break
            after = last
    finally:
        asyncio.run(guard.stop())
    typer.echo(f"{total} encrypted anew with {keyring.newest}")
    if unreadable:
        typer.echo(f"{len(unreadable)} could not be decrypted, {unreadable[0]} first", err=True)
        raise typer.Exit(1)


def _keyring(guard: Guard) -> Keyring:
    from feedback_guard.errors import UsageError
    from feedback_guard.keyring import Keyring

    if guard.policy.credentials.keys is None:
        raise UsageError("the policy has no credentials.keys: no credentials are kept")
    return Keyring.read(guard.policy.credentials.keys)
