"""Run one agent by hand: ``maia hunter``, ``python -m maia.hunter.flow``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from importlib import import_module
from typing import Annotated, Any, Literal, NamedTuple

import typer

from maia.cli.output import Json, console, show

Agent = Literal["hunter", "tracker", "painter", "scribe", "janitor"]
Cycle = Callable[..., Coroutine[Any, Any, Mapping[str, Any]]]
Plain = Annotated[
    bool,
    typer.Option("--plain", help="Run without the Prefect engine: starts at once, and no run is recorded."),
]


class _Command(NamedTuple):
    """What ``maia --help`` says of an agent, and after how many minutes it comes round where that sets its share."""

    help: str
    every: int | None = None


_COMMANDS: Mapping[Agent, _Command] = {
    "hunter": _Command("Find videos: search the due terms, read the due channels' uploads.", 30),
    "tracker": _Command("Sample the counts of the videos that are due.", 15),
    "painter": _Command("Enrich videos: their metadata and channels once more, and their frames.", 30),
    "scribe": _Command(
        "Describe videos: their transcripts, what their frames look like, how their titles are written.", 30
    ),
    "janitor": _Command("Archive closed days, verify and drop them; retire old videos."),
}


def register(app: typer.Typer) -> None:
    """Add the agents' commands."""
    for agent, command in _COMMANDS.items():
        app.command(agent, help=command.help)(_command_of(agent))


def main_of(agent: Agent) -> None:
    """Run one cycle of ``agent`` as a module's ``__main__``, with the exit codes of the command line."""
    from atlas.cli import run

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=_COMMANDS[agent].help)(_command_of(agent))
    run(app)


def _command_of(agent: Agent) -> Callable[..., None]:
    every_so_often = _COMMANDS[agent].every
    if every_so_often is None:
        return _cleaning
    minutes = typer.Option(
        every_so_often, min=1, help="Minutes until the next run: sets this run's share of the quota."
    )

    def command(every: int = minutes, plain: Plain = False, as_json: Json = False) -> None:
        _run(agent, plain=plain, as_json=as_json, every_minutes=every)

    return command


def _cleaning(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what a run would do.")] = False,
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    _run("janitor", plain=plain, as_json=as_json, dry_run=dry_run)


def _run(agent: Agent, *, plain: bool, as_json: bool, **parameters: Any) -> None:
    # Wrong settings are told in one line, before an engine is started that would wrap them in a traceback.
    asyncio.run(_check(agent))
    if plain:
        summary = asyncio.run(_plain(agent, **parameters))
    elif as_json or not console.is_terminal:
        summary = asyncio.run(_engine(agent)(**parameters))
    else:
        with console.status("Starting the Prefect engine…"):
            cycle = _engine(agent)
        summary = asyncio.run(cycle(**parameters))
    show(agent, summary, as_json=as_json)


async def _check(agent: Agent) -> None:
    from maia.toolbox import open_stores, open_toolbox

    match agent:
        case "janitor":
            needed: AbstractAsyncContextManager[object] = open_stores()
        case "painter":
            from maia.painter.agent import open_studio

            needed = open_studio()
        case "scribe":
            from maia.scribe.agent import open_desk

            needed = open_desk(timedelta(minutes=30))
        case _:
            needed = open_toolbox(agent)
    async with needed:
        pass


async def _plain(agent: Agent, *, every_minutes: int | None = None, **parameters: Any) -> Mapping[str, Any]:
    if every_minutes is not None:
        parameters["every"] = timedelta(minutes=every_minutes)
    summary: Mapping[str, Any] = await import_module(f"maia.{agent}.agent").run_once(**parameters)
    return summary


def _engine(agent: Agent) -> Cycle:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    from maia.engine import by_hand

    cycle: Cycle = getattr(import_module(f"maia.{agent}.flow"), f"run_{agent}_cycle")

    async def run(**parameters: Any) -> Mapping[str, Any]:
        with by_hand(agent):
            return await cycle(**parameters)

    return run
