"""The ``atlas`` command line, and ``run``, which turns errors into one line and an exit code for every command."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import orjson
import typer
from pydantic import SecretStr

from atlas import cli_events, cli_vault, logs
from atlas.config import Settings, fingerprint_of, parse_key_pool
from atlas.errors import AtlasError, ConfigurationError
from atlas.logs import HIDDEN

if TYPE_CHECKING:
    from rich.table import Table

EXIT_FAILURE = 1
EXIT_WRONG_SETTINGS = 2
EXIT_TERMINATED = 143  # 128 + SIGTERM, as shells have it
METRICS_PORT = 9464  # where OpenTelemetry's exporters for Prometheus listen, too

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]

app = typer.Typer(
    name="atlas",
    help="Pleiades' infrastructure: database, vault, settings, quota.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
quota_app = typer.Typer(help="Show the day's quota and the keys; put a disabled key back to work.")
app.add_typer(quota_app, name="quota")
app.add_typer(cli_vault.app, name="vault")
app.add_typer(cli_events.app, name="events")


def run(commands: typer.Typer) -> NoReturn:
    """Run a command line; exit codes: 0 done, 1 failure, 2 wrong settings or usage.

    An error of ours is one line on stderr that says what to do; anything else is a bug and keeps its traceback.
    """
    logs.configure_for_command()
    # As an exception SIGTERM lets what is leased be given back, and servers we started be stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    try:
        commands()
    except Exception as exc:
        error = _ours(exc)
        if error is None:
            raise
        typer.secho(f"error: {' '.join(str(error).split())}", err=True, fg="red")
        sys.exit(EXIT_WRONG_SETTINGS if isinstance(error, ConfigurationError) else EXIT_FAILURE)
    sys.exit()


def main() -> None:
    """Run the ``atlas`` command line."""
    run(app)


@app.command()
def setup(
    with_roles: Annotated[
        bool, typer.Option("--roles", help="Make the roles of DATABASE_WRITER_URL and DATABASE_READER_URL, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Provision or upgrade the database, and make sure that the vault can be written."""
    from atlas import db, roles, settings, vault
    from atlas.setup import provision
    from atlas.upkeep import recognised

    async def work() -> dict[str, Any]:
        report = await provision()
        named = await roles.grant(settings) if with_roles else {}
        await recognised(vault, db)
        return {**report._asdict(), "roles": named, "vault": settings.VAULT_PROVIDER}

    done = asyncio.run(_with_database(work, provisioned=False))
    if as_json:
        _print_json(done)
        return
    steps = "created" if done["created"] else f"{', '.join(done['applied'])} applied" if done["applied"] else "current"
    typer.echo(f"database  schema {done['version']}, {steps}; {len(done['partitions'])} partitions made ahead")
    for kind, role in done["roles"].items():
        typer.echo(f"{kind:<10}{role}")
    typer.echo(f"vault     {done['vault']}, writable")


@app.command()
def health(as_json: Json = False) -> None:
    """Look at the database, the vault and the API key; exit code 1 when one is not well."""
    from atlas import settings
    from atlas.health import health_check_all

    _ = settings.ENV  # settings that cannot be read are one error, not four
    found = asyncio.run(_with_database(health_check_all, provisioned=False))
    if as_json:
        _print_json({name: state._asdict() for name, state in found.items()})
    else:
        table = _table("", "", "")
        for name, state in found.items():
            table.add_row("[green]✓[/]" if state.healthy else "[red]✗[/]", name, _escape(state.detail))
        _print(table)
    if not all(state.healthy for state in found.values()):
        raise typer.Exit(EXIT_FAILURE)


@app.command()
def config(as_json: Json = False) -> None:
    """Show every setting; secrets by a fingerprint only."""
    from atlas import settings

    shown = _shown(settings)
    if as_json:
        _print_json(shown)
        return
    table = _table("setting", "value", "what it is")
    for name, field in Settings.model_fields.items():
        style = "dim" if getattr(settings, name) == field.default else "bold"
        text = "" if shown[name] is None else str(shown[name])
        table.add_row(name, f"[{style}]{_escape(text)}[/]", _escape(field.description or ""))
    _print(table)


@app.command()
def metrics(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")] = METRICS_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    once: Annotated[bool, typer.Option("--once", help="Print the metrics, and serve nothing.")] = False,
) -> None:
    """Serve metrics for Prometheus, read from the database when it asks, until interrupted."""
    from atlas.metrics import Exporter, served

    async def work() -> None:
        exporter = Exporter()
        if once:
            typer.echo((await exporter.render())[0].decode(), nl=False)
            return
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        try:
            async with served(exporter, host, port) as address:
                typer.echo(f"Metrics at {address}")
                await stop.wait()
        except OSError as exc:
            raise ConfigurationError(f"cannot listen on {host}:{port}: {exc.strerror}") from None

    asyncio.run(_with_database(work, provisioned=False))


@quota_app.callback(invoke_without_command=True)
def quota(context: typer.Context, as_json: Json = False) -> None:
    """Show what each project used of each bucket today, and the state of the keys."""
    if context.invoked_subcommand is not None:
        return
    from atlas import clock
    from atlas.keys import KeyRing
    from atlas.quota import QuotaLedger, reset_at

    now = clock.now()

    async def look() -> dict[str, Any]:
        usage = await QuotaLedger().usage(now=now)
        keys = await KeyRing("atlas", keys=()).states()
        return {
            "reset_at": reset_at(now),
            "usage": [{**used._asdict(), "left": used.left} for used in usage],
            "keys": [{**key._asdict(), "live": key.live} for key in keys],
        }

    found = asyncio.run(_with_database(look))
    if as_json:
        _print_json(found)
        return
    table = _table("project", "bucket", "used", "left", "of", "")
    for used in found["usage"]:
        spent = f"spent, said the server at {used['refused_at']:%H:%M} UTC" if used["refused_at"] else ""
        counts = (f"{used[name]:,}" for name in ("used", "left", "limit"))
        table.add_row(_escape(used["project"]), used["bucket"], *counts, spent)
    _print(table)
    typer.echo(f"Reset in {_span(found['reset_at'] - now)}, at midnight Pacific.\n")
    table = _table("key", "project", "state")
    for key in found["keys"]:
        state = "live" if key["live"] else f"disabled {_when(key['disabled_at'])}: {key['disabled_because']}"
        table.add_row(key["fingerprint"], _escape(key["project"]), _escape(state))
    _print(table)


@quota_app.command()
def enable(fingerprint: str, as_json: Json = False) -> None:
    """Put the disabled key with FINGERPRINT back to work."""
    from atlas.keys import KeyRing

    async def work() -> bool:
        return await KeyRing("atlas", keys=()).enable(fingerprint)

    enabled = asyncio.run(_with_database(work))
    if as_json:
        _print_json({"fingerprint": fingerprint, "enabled": enabled})
    elif enabled:
        typer.echo(f"{fingerprint} is live again.")
    else:
        typer.secho(f"No disabled key has the fingerprint {fingerprint}.", err=True)
    if not enabled:
        raise typer.Exit(EXIT_FAILURE)


async def _with_database(work: Callable[[], Coroutine[Any, Any, Any]], *, provisioned: bool = True) -> Any:
    """Do ``work`` with the shared database open, and, unless it does not matter, provisioned."""
    from atlas import db
    from atlas.setup import ready

    async with db:
        if provisioned:
            await ready(db)
        return await work()


def _ours(error: BaseException) -> AtlasError | None:
    """Find the error of ours: itself, or the first of a group that holds no others."""
    if isinstance(error, AtlasError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [_ours(inner) for inner in error.exceptions]
        return found[0] if all(found) else None
    return None


def _shown(settings: Settings) -> dict[str, Any]:
    """What may be seen of each setting."""
    values: dict[str, Any] = {name: getattr(settings, name) for name in Settings.model_fields}
    shown = {name: _hidden(value) for name, value in values.items()}
    if settings.DATABASE_URL is not None:
        shown["DATABASE_URL"] += _place(settings.DATABASE_URL.get_secret_value())
    if keys := parse_key_pool(settings.YOUTUBE_API_KEY_POOL_JSON):
        # As ``atlas quota`` names them.
        shown["YOUTUBE_API_KEY_POOL_JSON"] = ", ".join(f"{HIDDEN} {key.fingerprint}" for key in keys)
    return shown


def _hidden(value: Any) -> Any:
    """Name secrets by their fingerprints."""
    if isinstance(value, tuple):
        return [_hidden(part) for part in value]
    return f"{HIDDEN} {fingerprint_of(value)}" if isinstance(value, SecretStr) else value


def _place(url: str) -> str:
    """Where a database is, by libpq's own reading: a home-made one would show parts of an odd password."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        found = conninfo_to_dict(url)
    except ProgrammingError:
        return ""
    return f" {found.get('dbname', '')} at {found.get('host', 'localhost')}:{found.get('port', 5432)}"


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds()) // 60
    return f"{minutes // 60} h {minutes % 60:02} min"


def _when(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def _print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS).decode())


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(*columns, box=None, show_header=any(columns), header_style="dim", padding=(0, 2, 0, 0))
    for column in table.columns:
        if column.header in {"used", "left", "of"}:
            column.justify = "right"
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
