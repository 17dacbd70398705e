"""Keep it running: ``maia up`` on one machine, ``maia serve`` beside a Prefect server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.table import Table

from maia.cli.output import Json, console

if TYPE_CHECKING:
    from maia.deployments import Deployment
    from maia.up.house import Up

Limit = Annotated[int, typer.Option(min=1, help="Runs at once, each a process of about 200 MB.")]
Deployments = Annotated[
    Path | None, typer.Option(help="A prefect.yaml of your own; default: the five agents on cron.", dir_okay=False)
]
Lines = Annotated[bool, typer.Option("--json", help="Print a JSON object for each thing that happens.")]
RUNS_AT_ONCE = 3
"""What a small machine can spare: most of a run's memory is Prefect's own import."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(help="Run everything on this machine until Ctrl-C: database, Prefect server, the agents on schedule.")(
        up
    )
    app.command(help="Run the agents on schedule for the Prefect server at PREFECT_API_URL, until Ctrl-C.")(serve)


def up(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of Prefect's page; default: 4200, or a free one if that is taken."),
    ] = None,
    limit: Limit = RUNS_AT_ONCE,
    deployments: Deployments = None,
    as_json: Lines = False,
) -> None:
    """Have it all up."""
    from atlas import settings
    from maia.deployments import PACKAGED, read
    from maia.up.house import keep_up
    from maia.up.journal import Journal
    from maia.up.lock import only_one

    chosen = (deployments or PACKAGED).resolve()
    served = read(chosen)
    home = settings.home
    with only_one(home):
        journal = Journal(home / "logs", console, as_json=as_json)

        def on_up(facts: Up) -> None:
            journal.say("up", f"all is up; Prefect's page is {facts.page}", "good", event="up", **facts.facts())
            if not as_json:
                console.print(_screen(facts, served))

        journal.say("up", f"starting as process {os.getpid()}", event="starting", pid=os.getpid())
        try:
            asyncio.run(keep_up(home, journal, deployments=chosen, port=port, limit=limit, on_up=on_up))
        finally:
            journal.close()


def serve(limit: Limit = RUNS_AT_ONCE, deployments: Deployments = None, as_json: Json = False) -> None:
    """Serve the deployments."""
    from atlas.errors import ConfigurationError
    from maia.deployments import PACKAGED, read
    from maia.deployments import serve as serving
    from maia.engine import api_url

    served = read(deployments or PACKAGED)
    if (api := api_url()) is None:
        raise ConfigurationError("PREFECT_API_URL is not set: give your Prefect server's, or let maia up run one")

    def on_ready() -> None:
        if as_json:
            facts = {"event": "serving", "deployments": [deployment.name for deployment in served], "limit": limit}
            typer.echo(orjson.dumps(facts))
            return
        console.print(f"Serving for [bold]{api}[/], {limit} runs at once:", highlight=False, soft_wrap=True)
        console.print(_table(served))

    asyncio.run(serving(served, limit=limit, on_ready=on_ready))


def _screen(facts: Up, served: Sequence[Deployment]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("database", facts.database)
    table.add_row(
        "Prefect", f"[link={facts.page}]{facts.page}[/link]  (its commands: PREFECT_API_URL={facts.page}/api)"
    )
    table.add_row("runs", f"{facts.limit} at once, on these schedules:")
    table.add_row("", _table(served))
    table.add_row("logs", str(facts.logs))
    table.add_row("", "[dim]Ctrl-C stops it all.[/]")
    return table


def _table(served: Sequence[Deployment]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for deployment in served:
        when = ", ".join(str(timing) for timing in deployment.schedules if timing.active) or "when asked"
        table.add_row(deployment.name, when, deployment.description or "")
    return table
