"""``atlas events``: see what happens, rebuild a database from what happened, and deliver it to the webhook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

if TYPE_CHECKING:
    from atlas.events import Event
    from atlas.events.webhooks import Delivery

EXIT_FAILURE = 1

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", help="Only such events, for example video.*; may be repeated.")
]

app = typer.Typer(help="Follow events, replay them, deliver them to the webhook.", no_args_is_help=True)


@app.command()
def tail(
    types: Types = None,
    last: Annotated[int, typer.Option("--last", min=0, help="How many of the past.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens, until interrupted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line and nothing else.")] = False,
) -> None:
    """Show the newest events."""
    from atlas import db, events
    from atlas.events.listener import latest

    patterns = types or ["*"]

    async def told() -> AsyncIterator[Event]:
        async with events.listen(*patterns) as heard:
            async with db.get_connection() as conn:
                past = await latest(conn, patterns, limit=last)
            shown = {event.id for event in past}
            for event in past:
                yield event
            if follow:
                async for event in heard:
                    if event.id not in shown:  # it came between the two
                        yield event

    async def work() -> None:
        async for event in told():
            typer.echo(_json_of(event._asdict()) if as_json else _line(event))

    try:
        _with_database(work())
    except KeyboardInterrupt:
        raise typer.Exit from None


@app.command()
def replay(
    into: Annotated[str, typer.Option("--into", help="Address of an empty database, postgresql://…", metavar="URL")],
    until: Annotated[
        datetime | None,
        typer.Option(help="Only what happened until then, in UTC.", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    ] = None,
    as_json: Json = False,
) -> None:
    """Rebuild channels, videos, watchlist and search terms from hot and archived events in an empty database."""
    from pydantic import SecretStr

    from atlas import db, settings, vault
    from atlas.db import DatabaseManager
    from atlas.errors import ConfigurationError
    from atlas.events.replay import replay as rebuild
    from atlas.setup import provision

    if not into.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError("--into: not an address of PostgreSQL")
    then = until.replace(tzinfo=UTC) if until else None
    rules = settings.model_copy(update={"DATABASE_URL": SecretStr(into)})

    async def work() -> dict[str, int]:
        async with DatabaseManager(settings=rules) as target:
            await provision(target)
            with _progress(as_json) as each:
                done = await rebuild(db, vault, target, until=then, each=each)
        return done._asdict()

    done = _with_database(work())
    if as_json:
        typer.echo(_json_of(done))
    else:
        rows = ", ".join(f"{count:,} {table.replace('_', ' ')}" for table, count in done.items() if table != "events")
        typer.echo(f"{done['events']:,} events became {rows}")


@app.command()
def deliver(
    patience: Annotated[int, typer.Option("--seconds", min=1, help="How long to go on.")] = 60, as_json: Json = False
) -> None:
    """Post to the webhook what was committed since the last time; agents do the same at their end."""
    from atlas.events.webhooks import Webhook

    async def work() -> Delivery:
        async with Webhook() as webhook:
            return await webhook.deliver(timedelta(seconds=patience))

    _tell(_with_database(work()), as_json=as_json)


@app.command()
def resend(
    ids: Annotated[list[int] | None, typer.Argument(help="Events; none: all dead letters.")] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Only show them.")] = False,
    as_json: Json = False,
) -> None:
    """Post dead letters again, events that the webhook refused or could not take for a day."""
    from atlas.events.webhooks import Webhook

    async def look() -> list[dict[str, Any]]:
        async with Webhook() as webhook:
            letters = await webhook.letters(ids)
        return [
            {**letter.event._asdict(), "failed_at": letter.failed_at, "reason": letter.reason} for letter in letters
        ]

    async def work() -> Delivery:
        async with Webhook() as webhook:
            return await webhook.resend(ids)

    if not only_list:
        _tell(_with_database(work()), as_json=as_json)
        return
    letters = _with_database(look())
    if as_json:
        typer.echo(_json_of({"letters": letters}))
        return
    for letter in letters:
        when = f"{letter['failed_at']:%Y-%m-%d %H:%M}"
        typer.echo(f"{letter['id']:>10}  {letter['event_type']:<24} {when}  {letter['reason']}")


def _tell(done: Delivery, *, as_json: bool) -> None:
    if as_json:
        typer.echo(_json_of(done._asdict()))
    else:
        dead = f", {done.dead:,} refused" if done.dead else ""
        typer.echo(f"{done.delivered:,} delivered{dead}" + (f"; stopped: {done.stopped_by}" if done.stopped_by else ""))
    if done.dead or done.stopped_by:
        raise typer.Exit(EXIT_FAILURE)


def _line(event: Event) -> str:
    payload = orjson.dumps(event.payload).decode() if event.payload else ""
    return (
        f"{event.created_at:%Y-%m-%d %H:%M:%S}  {event.event_type:<22} {event.entity_id or '':<24} {payload}".rstrip()
    )


def _json_of(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int], None]]:
    """Count, for who watches, the events that were loaded."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with console.status("Reading…") as status:
        yield lambda loaded: status.update(f"{loaded:,} events read")


def _with_database(work: Coroutine[Any, Any, Any]) -> Any:
    from atlas import db
    from atlas.setup import ready

    async def run() -> Any:
        try:
            async with db:
                await ready(db)
                return await work
        finally:
            work.close()

    return asyncio.run(run())
