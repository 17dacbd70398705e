"""Ask once how the system is: ``maia heartbeat``."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import typer

from maia.cli.agents import Plain
from maia.cli.output import Json, show

if TYPE_CHECKING:
    from maia.heartbeat.agent import HeartbeatSummary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help="Say how the system is, to OPS too when that changed; exit code 1 when it is Degraded.")(heartbeat)


def heartbeat(plain: Plain = False, as_json: Json = False) -> None:
    """Look once."""
    summary = asyncio.run(_plain() if plain else _engine())
    show("heartbeat", summary, as_json=as_json)
    if summary["state"] == "Degraded":
        raise typer.Exit(1)


async def _plain() -> HeartbeatSummary:
    from maia.heartbeat.agent import run_once

    return await run_once()


async def _engine() -> HeartbeatSummary:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    from maia.engine import by_hand
    from maia.heartbeat.flow import run_heartbeat

    with by_hand("heartbeat"):
        return await run_heartbeat()


def main() -> None:
    """Run the heartbeat as a module's ``__main__``, with the exit codes of the command line."""
    from atlas.cli import run

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(heartbeat)
    run(app)
