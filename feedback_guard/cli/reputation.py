"""`feedback-guard reputation`: who has earned how much influence, what it cost, and the audit set that measures it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from feedback_guard.contribution import Contribution
    from feedback_guard.policy.reputation import ReputationPolicy
    from feedback_guard.store.reputation_reads import Totals

app = typer.Typer(no_args_is_help=True, help="Influence that is earned: who has it, why, and what it costs.")

PolicyOption = Annotated[str, typer.Option("--policy", help="Policy file, or the name of a preset.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")]
LEAST_KEY_BYTES = 16


@app.command()
def show(policy: PolicyOption, as_json: JsonOption = False) -> None:
    """Say what is promised, what it costs honest contributors, and how far both are used up."""
    from feedback_guard.cli.stores import existing
    from feedback_guard.store.reputation_reads import totals

    guard = existing(policy)
    about = guard.policy.reputation
    try:
        with guard.store.reading() as connection:
            found = totals(connection, round(about.established_at * 10**12))
    finally:
        guard.store.close()
    if as_json:
        typer.echo(json.dumps(_summary(about, found), sort_keys=True))
        return
    if not about.enabled:
        typer.echo("reputation is off in this policy")
    for line in _sentences(about, found):
        typer.echo(line)


@app.command()
def top(
    policy: PolicyOption,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 20,
    lowest: Annotated[bool, typer.Option("--lowest", help="Those with the least, instead of the most.")] = False,
) -> None:
    """List identities by reputation. They are named by the digest that the ledger has, not by name."""
    from feedback_guard.cli.stores import existing
    from feedback_guard.store.reputation_reads import ranked

    guard = existing(policy)
    try:
        with guard.store.reading() as connection:
            rows = ranked(connection, limit=limit, lowest=lowest)
    finally:
        guard.store.close()
    for identity, account in rows:
        typer.echo(
            f"{identity}  reputation {_units(account.balance)}, gained {_units(account.gained)}, "
            f"lost {_units(account.lost)}, {account.n_measured} measured"
        )
    if not rows:
        typer.echo("nobody has an account of reputation yet")


@app.command()
def explain(
    contributor: Annotated[str, typer.Argument(help="The contributor's name, or the digest that `top` prints.")],
    policy: PolicyOption,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the latest entries at most.")] = 50,
) -> None:
    """Say why an identity has the reputation that it has: every measurement, from the ledger."""
    from feedback_guard.cli.stores import existing
    from feedback_guard.clock import format_iso8601
    from feedback_guard.errors import UsageError
    from feedback_guard.limits.reputation import identity_of
    from feedback_guard.store.reputation import find_account
    from feedback_guard.store.reputation_reads import entries_of

    guard = existing(policy)
    try:
        with guard.store.reading() as connection:
            identity = contributor
            account = find_account(connection, identity)
            if account is None:
                identity = identity_of(contributor, anonymous=False)
                account = find_account(connection, identity)
            entries = entries_of(connection, identity, limit)
    finally:
        guard.store.close()
    if account is None:
        raise UsageError("this contributor has no account: nothing of hers was accepted while reputation was on")
    typer.echo(
        f"reputation {_units(account.balance)} = {_units(account.endowment)} at the start (place {account.number + 1}) "
        f"+ {_units(account.gained)} gained - {_units(account.lost)} lost; "
        f"{_units(account.forfeited)} of improvement forfeited on the way"
    )
    for entry in entries:
        told = _told(json.loads(entry.body))
        typer.echo(f"{format_iso8601(entry.at_us)} entry {entry.seq} {entry.subject!r}: {told}")


@app.command()
def split(
    vetted: Annotated[Path, typer.Argument(help="Vetted contributions, JSONL, plain or .gz.")],
    key: Annotated[Path, typer.Option(help="File with the secret that draws; it is made if it is not there.")],
    out_trusted: Annotated[Path, typer.Option(help="Where those for the baseline go.")],
    out_audit: Annotated[Path, typer.Option(help="Where those that are held out go. Show them to nobody.")],
    share: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share that is held out.")] = 0.2,
) -> None:
    """Hold a part of the vetted contributions out for the audit set, drawn by a secret key."""
    from feedback_guard import settings
    from feedback_guard.errors import UsageError
    from feedback_guard.jsonl import read_contributions
    from feedback_guard.learning.audit_build import belongs_to_audit

    for out in (out_trusted, out_audit):
        if out.exists():
            raise UsageError(f"{out} exists; name another file")
    if not key.exists():
        key.touch(mode=0o600)
        key.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
    secret = key.read_bytes().strip()
    if len(secret) < LEAST_KEY_BYTES:
        raise UsageError(f"the key in {key} is shorter than {LEAST_KEY_BYTES} bytes; remove the file for a new one")
    parts: dict[bool, list[Contribution]] = {True: [], False: []}
    for item in read_contributions(vetted, max_lines=settings.MAX_TRUSTED):
        parts[belongs_to_audit(item.id, secret, share)].append(item)
    _write(out_trusted, parts[False])
    _write(out_audit, parts[True])
    typer.echo(f"{len(parts[False])} for the baseline in {out_trusted}, {len(parts[True])} held out in {out_audit}")


@app.command()
def audit(
    vetted: Annotated[Path, typer.Argument(help="Vetted contributions that the baseline was made without, JSONL.")],
    policy: PolicyOption,
    out: Annotated[Path, typer.Option(help="Directory to write; it must not exist.")],
    baseline: Annotated[Path | None, typer.Option(help="The baseline, if the policy names none.")] = None,
) -> None:
    """Make an audit set and freeze it. Prints its digest, for `reputation.audit_digest`."""
    from feedback_guard.engine import observe_all, start_batcher
    from feedback_guard.errors import UsageError
    from feedback_guard.evidence.baseline import load
    from feedback_guard.jsonl import read_contributions
    from feedback_guard.learning.audit_build import MAX_AUDIT, build
    from feedback_guard.learning.audit_files import save
    from feedback_guard.policy.loader import load_policy
    from feedback_guard.signals.disagreement import Disagreement

    loaded = load_policy(policy).policy
    where = baseline or (None if loaded.baseline.path is None else Path(loaded.baseline.path))
    if where is None:
        raise UsageError("the policy names no baseline; give --baseline DIRECTORY")
    if out.exists():
        raise UsageError(f"{out} exists; name another directory")
    items = list(read_contributions(vetted, max_lines=MAX_AUDIT))
    batcher = start_batcher(loaded.embedding)
    try:
        frozen = load(where, fingerprint=batcher.embedder.fingerprint, digest=loaded.baseline.digest)
        observations = observe_all(batcher, items)
        fingerprint = batcher.embedder.fingerprint
    finally:
        batcher.close()
    reader = Disagreement.from_state(frozen.states[Disagreement.name])
    made = build(observations, reader, fingerprint=fingerprint, baseline=frozen.digest)
    save(made, out)
    typer.echo(f"digest: {made.digest.removeprefix('sha256:')}")
    for kind, about in made.kinds.items():
        typer.echo(f"{len(about.taught)} items of kind {kind.value}; a likeness of {about.reach:.2f} is near enough")
    typer.echo(f"information in it: {made.information:.1f} units, for all contributors together")
    for note in made.notes:
        typer.echo(f"note: {note}")


def _write(out: Path, items: Sequence[Contribution]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("x", encoding="utf-8") as lines:
        lines.writelines(json.dumps(item.to_json(), ensure_ascii=False) + "\n" for item in items)


def _units(pico: int) -> str:
    return f"{pico / 10**12:.6g}"


def _told(body: dict[str, Any]) -> str:
    if body["event"] == "opened":
        return f"account opened with {_units(body['endowment_pico'])}"
    moved = f"moved {_units(body['credited_pico'])} to {_units(body['balance_pico'])}"
    back = f", after taking back {_units(body['taken_back_pico'])}" if body["taken_back_pico"] else ""
    if body["event"] == "ruled":
        return f"{body['ruling']} by a moderator, {moved}{back}"
    return f"audited, final weight {body['weight_micro'] / 1e6:.6g}, {moved}"


def _sentences(about: ReputationPolicy, found: Totals) -> list[str]:
    return [
        f"promise: all identities together do at most {about.damage:g} in net measured damage; endowed so far: "
        f"{_units(found.endowed)}",
        f"price: one of the first {about.identities} newcomers shows at least {about.price:.1f} units of information "
        "before full weight",
        f"paid so far: {_units(found.forfeited)} units of improvement forfeited by {found.identities} identities in "
        f"{found.measured} measurements",
        f"gained {_units(found.gained)}, lost {_units(found.lost)}; {found.full} have full weight, {found.established} "
        f"are established, {found.spent} have less than they began with",
    ]


def _summary(about: ReputationPolicy, found: Totals) -> dict[str, object]:
    return {
        "enabled": about.enabled,
        "damage_pico": about.damage_pico,
        "price": round(about.price, 6),
        "identities": found.identities,
        "measured": found.measured,
        "endowed_pico": found.endowed,
        "gained_pico": found.gained,
        "lost_pico": found.lost,
        "forfeited_pico": found.forfeited,
        "full": found.full,
        "established": found.established,
        "spent": found.spent,
    }
