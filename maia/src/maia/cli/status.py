"""What is going on: ``maia status``."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypedDict

import orjson
import typer
from rich.table import Table

from maia.cli.output import Json, console

if TYPE_CHECKING:
    from atlas.adapters.records import Backlog, Overview
    from atlas.quota import Usage


class Status(TypedDict):
    """The state of the system, and the day's quota."""

    now: datetime
    overview: Overview
    quota: list[Usage]
    quota_reset_at: datetime


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help="Show what is tracked, what waits, and what the day's quota has left.")(status)


def status(as_json: Json = False) -> None:
    """Print the state of the system."""
    found = asyncio.run(_look())
    if as_json:
        quota = [usage._asdict() | {"left": usage.left} for usage in found["quota"]]
        typer.echo(orjson.dumps({**found, "quota": quota}).decode())
        return
    overview, now = found["overview"], found["now"]
    facts = Table.grid(padding=(0, 3, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    tiers = "  ".join(f"{tier.lower()} {count:,}" for tier, count in overview["tiers"].items())
    archived = "  ".join(f"{kind} {held['rows']:,} rows" for kind, held in overview["vault"].items())
    megabytes = sum(held["bytes"] for held in overview["vault"].values()) / 1e6
    facts.add_row("tracked", f"{overview['watchlist']:,} videos of {overview['channels']:,} channels: {tiers}")
    facts.add_row("hot", f"{overview['videos']:,} videos, {overview['samples_hot']:,} samples")
    facts.add_row("in SQL", f"{overview['sql_bytes'] / 1e6:,.1f} MB")
    facts.add_row("in the vault", f"{megabytes:,.1f} MB  {archived}" if archived else "nothing yet")
    for label, count in (("asleep", overview["asleep_terms"]), ("given up", overview["dead_stages"])):
        if count:
            facts.add_row(label, f"{count:,} {'search terms' if label == 'asleep' else 'stages'}")
    console.print(facts)
    console.print(_queues(overview["backlog"], now))
    if found["quota"]:
        console.print(_quota(found["quota"], found["quota_reset_at"] - now))


async def _look() -> Status:
    from atlas import clock
    from atlas.quota import QuotaLedger, reset_at
    from maia.toolbox import open_database

    now = clock.now()
    async with open_database() as dao:
        return {
            "now": now,
            "overview": await dao.overview(now=now),
            "quota": await QuotaLedger().usage(now=now),
            "quota_reset_at": reset_at(now),
        }


def _queues(backlog: dict[str, Backlog], now: datetime) -> Table:
    table = _table("queue", "waiting", "due", "leased", "oldest due since")
    for queue, work in backlog.items():
        if work["total"]:
            since = work["oldest_due_at"]
            counts = (f"{count:,}" for count in (work["total"], work["due"], work["leased"]))
            table.add_row(queue, *counts, "" if since is None else _span(now - since))
    return table


def _quota(usage: list[Usage], left: timedelta) -> Table:
    table = _table("quota today", "used", "left", "of", f"resets in {_span(left)}")
    for used in usage:
        name = used.bucket if used.project == "default" else f"{used.bucket}, {used.project}"
        note = "spent, says YouTube" if used.refused_at else ""
        table.add_row(name, f"{used.used:,}", f"{used.left:,}", f"{used.limit:,}", note)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0), pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if 0 < number < len(columns) - 1 else "left", no_wrap=True)
    return table


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds()) // 60
    days, minutes = divmod(minutes, 24 * 60)
    return f"{days} d {minutes // 60} h" if days else f"{minutes // 60} h {minutes % 60:02} min"
