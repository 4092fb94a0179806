"""Arguments and options that several commands of `feedback-guard review` take."""

from __future__ import annotations

from typing import Annotated

import typer

Policy = Annotated[str, typer.Option("--policy", help="Policy file, or the name of a preset; its store is used.")]
Ident = Annotated[str, typer.Argument(help="The item, as `list` prints it.")]
Note = Annotated[str, typer.Option(help="Stands in the ledger beside the decision.")]
Moderator = Annotated[str | None, typer.Option(help="Who decides; by default cli: and the name of the system's user.")]
Version = Annotated[
    int | None, typer.Option(help="Decide only if the item is still at this version, which `show` prints.")
]
OneIdent = Annotated[str | None, typer.Argument(metavar="ITEM", help="The item, as `list` prints it.")]
Campaign = Annotated[str | None, typer.Option(help="Instead of an item: the held members of this campaign.")]
Fitting = Annotated[bool, typer.Option("--fitting", help="Only members that fit their content.")]
OddsFrom = Annotated[
    float | None, typer.Option(min=0.001, max=1_000.0, help="Only members that contradict their content so far to 1.")
]
OddsBelow = Annotated[float | None, typer.Option(min=0.001, max=1_000.0, help="Only members below these odds to 1.")]
Undo = Annotated[int | None, typer.Option(min=1, help="Take back this decision, which `campaign` prints.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, in ASCII.")]
Most = Annotated[int, typer.Option(min=1, max=200, help="Most items.")]
After = Annotated[str | None, typer.Option(help="Go on after this item.")]
