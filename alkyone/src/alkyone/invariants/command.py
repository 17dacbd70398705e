"""What ``alkyone check`` runs."""

from __future__ import annotations

import asyncio

import typer

from alkyone.invariants import INVARIANTS, Report, check
from alkyone.invariants.truth import Truth
from atlas import clock, db, settings, vault
from atlas.errors import AtlasError
from atlas.setup import ready


def run(*, truth: str | None, at_rest: bool, json: bool) -> None:
    """Check the installation of the settings; exit code 1 when a promise is broken, 2 when it cannot be looked at."""
    import aiohttp
    import orjson

    try:
        report = asyncio.run(_check(truth, at_rest))
    except (AtlasError, aiohttp.ClientError) as exc:
        typer.echo(f"{type(exc).__name__}: {exc}", err=True)
        raise typer.Exit(2) from None
    if json:
        typer.echo(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(report)
    if report.breaches:
        raise typer.Exit(1)


async def _check(truth: str | None, at_rest: bool) -> Report:
    async with db:
        await ready(db)
        told = await Truth.at(truth) if truth is not None else None
        return await check(db, vault, rules=settings, now=clock.now(), truth=told, at_rest=at_rest)


def _print(report: Report) -> None:
    from rich.console import Console

    console = Console()
    broken = {breach.name: breach for breach in report.breaches}
    for invariant in INVARIANTS:
        if invariant.name in broken:
            breach = broken[invariant.name]
            console.print(f"[bold red]BROKEN[/] {invariant.name}: {invariant.promise}", highlight=False, soft_wrap=True)
            for line in breach.shown:
                console.print(f"         {line}", highlight=False, markup=False, soft_wrap=True)
            if breach.number > len(breach.shown):
                console.print(f"         … {breach.number:,} in all", highlight=False)
        elif invariant.name in report.held:
            console.print(f"[green]holds[/]  {invariant.name}: {invariant.promise}", highlight=False, soft_wrap=True)
    for line in report.leftovers:
        console.print(f"left over, and relied on by nobody: {line}", highlight=False, markup=False, soft_wrap=True)
