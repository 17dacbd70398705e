"""What is going on: ``maia status``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from maia.cli.output import Json, console

if TYPE_CHECKING:
    from atlas.adapters.records import Backlog, BreakerSeen, LastRun, Overview
    from atlas.errors import Bucket
    from atlas.quota import Usage
    from maia.planner import Outlook, Purpose


class Share(TypedDict):
    """What a purpose used of its bucket today, may use in the rest of the day, and an hour of that now; in units."""

    bucket: Bucket
    used: int
    planned: int
    hourly: int


class Status(TypedDict):
    """The state of the system, how each agent's last run ended, and the day's quota; no plan without a key."""

    now: datetime
    overview: Overview
    runs: list[LastRun]
    breakers: list[BreakerSeen]
    quota: list[Usage]
    quota_reset_at: datetime
    plan: dict[Purpose, Share]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help="Show what is tracked, what waits, what the day's quota has left, and what for.")(status)


def status(as_json: Json = False) -> None:
    """Print the state of the system."""
    found = asyncio.run(_look())
    if as_json:
        quota: list[Any] = [usage._asdict() | {"left": usage.left} for usage in found["quota"]]
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
    for breaker in found["breakers"]:
        if breaker["until"] is not None and breaker["until"] > now:
            facts.add_row(
                "left in peace", f"{breaker['name']}, until {breaker['until']:%H:%M} UTC: it failed too often"
            )
    console.print(facts)
    console.print(_queues(overview["backlog"], now))
    if found["runs"]:
        console.print(_runs(found["runs"], now))
    if found["quota"]:
        console.print(_quota(found["quota"], found["quota_reset_at"] - now))
    if found["plan"]:
        console.print(_plan(found["plan"]))


async def _look() -> Status:
    from atlas import clock, settings
    from atlas.keys import KeyRing
    from atlas.quota import QuotaLedger, reset_at
    from maia.toolbox import open_database, outlook

    now, ledger = clock.now(), QuotaLedger()
    keyless = settings.YOUTUBE_API_KEY_POOL_JSON is None
    async with open_database() as dao:
        return {
            "now": now,
            "overview": await dao.overview(now=now),
            "runs": await dao.runs(),
            "breakers": await dao.breakers(),
            "quota": await ledger.usage(now=now),
            "quota_reset_at": reset_at(now),
            "plan": {} if keyless else _shares(await outlook(dao, ledger, KeyRing("status").projects, now=now)),
        }


def _shares(outlook: Outlook) -> dict[Purpose, Share]:
    from maia.planner import BUCKET_OF, plan

    day, hour = plan(outlook, timedelta(hours=1))
    return {
        purpose: {
            "bucket": bucket,
            "used": outlook.used.get(purpose, 0),
            "planned": day[purpose],
            "hourly": hour[purpose],
        }
        for purpose, bucket in BUCKET_OF.items()
    }


def _queues(backlog: dict[str, Backlog], now: datetime) -> Table:
    table = _table("queue", "waiting", "due", "leased", "oldest due since")
    for queue, work in backlog.items():
        if work["total"]:
            since = work["oldest_due_at"]
            counts = (f"{count:,}" for count in (work["total"], work["due"], work["leased"]))
            table.add_row(queue, *counts, "" if since is None else _span(now - since))
    return table


def _runs(runs: list[LastRun], now: datetime) -> Table:
    table = _table("last run", "ended", "took", "")
    for run in runs:
        took = (run["ended_at"] - run["started_at"]).total_seconds()
        how = "completed" if run["reason"] is None else f"failed: {run['reason']}"
        table.add_row(run["agent"], f"{_span(now - run['ended_at'])} ago", f"{took:,.0f} s", escape(how))
    return table


def _quota(usage: list[Usage], left: timedelta) -> Table:
    table = _table("quota today", "used", "left", "of", f"resets in {_span(left)}")
    for used in usage:
        name = used.bucket if used.project == "default" else f"{used.bucket}, {used.project}"
        note = "spent, says YouTube" if used.refused_at else ""
        table.add_row(name, f"{used.used:,}", f"{used.left:,}", f"{used.limit:,}", note)
    return table


def _plan(shares: Mapping[Purpose, Share]) -> Table:
    table = _table("what for", "used", "planned", "an hour", "of bucket")
    for purpose, share in shares.items():
        table.add_row(purpose, *(f"{share[column]:,}" for column in ("used", "planned", "hourly")), share["bucket"])
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
