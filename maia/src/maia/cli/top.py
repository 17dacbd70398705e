"""What is rising now: ``maia top``."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.table import Table
from rich.text import Text

from atlas.plain import printable
from maia.cli.output import Json, console

if TYPE_CHECKING:
    from atlas.adapters.records import Riser, RiseState

COLOURS = {"VIRAL": "bold red", "RISING": "yellow", "COOLING": "dim"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help="Show what rises now: the raised first, then by how far it is above what was expected.")(top)


def top(
    limit: Annotated[int, typer.Option(min=1, help="Videos to show.")] = 20,
    cooling: Annotated[bool, typer.Option("--cooling", help="Those whose rise has just ended, too.")] = False,
    as_json: Json = False,
) -> None:
    """Print what rises."""
    risers, now = asyncio.run(_look(limit, cooling))
    if as_json:
        typer.echo(orjson.dumps({"now": now, "risers": risers}).decode())
    elif not risers:
        console.print("nothing rises")
    else:
        console.print(_table(risers, now))


async def _look(limit: int, cooling: bool) -> tuple[list[Riser], datetime]:
    from atlas import clock
    from maia.toolbox import open_database

    now = clock.now()
    async with open_database() as dao:
        states: list[RiseState] = ["VIRAL", "RISING"]
        if cooling:
            states.append("COOLING")
        return await dao.fetch_risers(limit, states=states, now=now), now


def _table(risers: list[Riser], now: datetime) -> Table:
    from maia.virality.alerts import span_of, times_of

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for column, right in (
        ("", False), ("video", False), ("title", False), ("channel", False), ("age", True), ("views", True),
        ("an hour", True), ("expected", True), ("score", True), ("for", True),
    ):  # fmt: skip
        table.add_column(column, justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    for riser in risers:
        table.add_row(
            f"[{COLOURS[riser['state']]}]{riser['state'].lower()}[/]",
            riser["video_id"],
            Text(printable(riser["title"] or "")),
            Text(printable(riser["channel_title"] or riser["channel_id"] or "")),
            span_of(now - riser["published_at"]),
            f"{riser['views']:,}",
            f"{riser['rate']:,.0f}",
            times_of(riser["times"]),
            f"{riser['score']:.1f}",
            span_of(now - riser["began_at"]),
        )
    return table
