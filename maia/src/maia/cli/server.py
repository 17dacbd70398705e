"""``maia server``: Prefect's server as ``maia up`` has it, for workers in other containers and on other machines."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

PAGE_API = "PREFECT_UI_API_URL"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help="Run a Prefect server whose database is beside ours on DATABASE_URL's server, until Ctrl-C.")(
        server
    )


def server(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 4200,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Become the server: no process stays between it and whoever supervises it."""
    from atlas import db, settings
    from atlas.errors import ConfigurationError
    from maia.up.engine import Engine, database_url

    if db.is_embedded:
        raise ConfigurationError("DATABASE_URL is not set: maia server needs a PostgreSQL server, maia up brings one")
    engine = Engine(settings.home / "prefect", port, asyncio.run(database_url(db.conninfo)))
    # Behind a proxy the page is elsewhere than it seems from here.
    page = {PAGE_API: given} if (given := os.environ.get(PAGE_API)) else {}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
    os.execve(command[0], command, {**engine.environment, **page})  # noqa: S606 - no shell is wanted
