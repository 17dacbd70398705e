"""What is going on: ``maia status``."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from maia.cli.output import Json, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help="Show what is tracked, what waits, and what the day's quota has left.")(status)


def status(as_json: Json = False) -> None:
    """Print the state of the system."""
    show("Pleiades", asyncio.run(_status()), as_json=as_json)


async def _status() -> dict[str, Any]:
    from maia.toolbox import open_database

    async with open_database() as dao:
        return dict(await dao.overview())
