"""`feedback-guard review`: see what is held and decide on it, without a browser, or serve the pages for others.

It works on the store that the policy names, and loads no model. The application's workers find an approval there.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

import typer

from feedback_guard.cli.review_campaigns import campaign, campaigns
from feedback_guard.cli.review_items import list_held, show, undelivered
from feedback_guard.cli.review_jobs import print_json
from feedback_guard.cli.review_options import AsJson, Policy
from feedback_guard.cli.review_rulings import APPROVE, DENY, ruling
from feedback_guard.cli.review_ways import WAYS_ON, way_on

app = typer.Typer(no_args_is_help=True, help="List, show, approve or deny what is held.")

# In the order in which `--help` lists them.
app.command("list")(list_held)
app.command("show")(show)
app.command("campaigns")(campaigns)
app.command("campaign")(campaign)
app.command("approve", help=APPROVE)(ruling(approve=True))
app.command("deny", help=DENY)(ruling(approve=False))
app.command("undelivered")(undelivered)
for way, text in WAYS_ON.items():
    app.command(way, help=text)(way_on(way))


@app.command()
def token(
    name: Annotated[str, typer.Option(help="The moderator's name.")] = "moderator", as_json: AsJson = False
) -> None:
    """Make a token for a moderator, and the line for `review.moderators` in the policy."""
    from feedback_guard.errors import UsageError
    from feedback_guard.review.auth import new_token

    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise UsageError("a moderator's name has small letters, digits, - and _, at most 64 of them")
    secret, digest = new_token()
    if as_json:
        print_json({"token": secret, "name": name, "token_sha256": digest})
        return
    typer.echo("For the moderator; it is stored nowhere:", err=True)
    typer.echo(secret)
    typer.echo("For the policy, under review.moderators:", err=True)
    typer.echo(f"- {{name: {name}, token_sha256: {digest}}}")


@app.command()
def serve(
    policy: Policy,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")] = 8788,
    trusted_proxy: Annotated[
        str | None,
        typer.Option(help="Addresses of your own proxies, with commas; their X-Forwarded-For and -Proto are believed."),
    ] = None,
) -> None:
    """Serve the moderators' pages, the JSON API and /metrics."""
    import uvicorn

    from feedback_guard.guard import Guard
    from feedback_guard.review.app import review_app

    guard = Guard.from_policy(policy)
    if not guard.policy.review.moderators:
        typer.echo("nobody can log in: review.moderators is empty; `review token` makes a line for it", err=True)
    if not guard.metrics.shared:
        typer.echo(
            "/metrics shows what waits in the store, and nothing that the application's workers count: let them share "
            "PROMETHEUS_MULTIPROC_DIR with this process, or mount review_app in the application",
            err=True,
        )
    try:
        guard.store  # noqa: B018 - opened here, so that an unsound store is told before anything listens
        uvicorn.run(
            review_app(guard, judging=False),
            host=host,
            port=port,
            proxy_headers=trusted_proxy is not None,
            forwarded_allow_ips=trusted_proxy,
            server_header=False,
            access_log=False,
            ws="none",
        )
    finally:
        asyncio.run(guard.stop())
