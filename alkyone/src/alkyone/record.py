"""``alkyone record``: make cassettes anew, of stand-ins or of YouTube itself."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import psycopg
import typer
from rich.console import Console

from alkyone import scenarios, scrub
from alkyone.bench.lab import Lab
from alkyone.scenarios import Scenario
from atlas.config import Settings, get_settings
from atlas.errors import ConfigurationError


def run(names: Sequence[str], *, live: bool, into: Path) -> None:
    """Record the scenarios of ``names``, all when there are none, and replace the files that play and hold no secret.

    With ``live`` YouTube answers, by the first key of the settings; all then means all that need no more than a key.
    """
    logging.basicConfig(level=logging.ERROR)
    console = Console()
    wanted = _wanted(names, live=live)
    rules = get_settings() if live else None
    into.mkdir(parents=True, exist_ok=True)
    with Lab(quick=True) as lab, tempfile.TemporaryDirectory(dir=into) as drafts:
        for scenario in wanted:
            try:
                path, units = _record(scenario, rules, lab, Path(drafts))
                _play(scenario, lab, Path(drafts))
            except ConfigurationError as exc:
                typer.echo(str(exc), err=True)
                raise typer.Exit(2) from None
            except AssertionError as exc:
                said = str(exc) or traceback.extract_tb(exc.__traceback__)[-1].line
                typer.echo(f"{scenario.name} went otherwise than told: {said}", err=True)
                raise typer.Exit(1) from exc
            if found := scrub.leaks(path.read_text()):
                typer.echo(f"{scenario.name} is not kept, it holds {', '.join(found)}", err=True)
                raise typer.Exit(1)
            size = path.stat().st_size
            path.replace(into / path.name)
            spent = ", ".join(f"{used} of {bucket}" for bucket, used in units.items()) or "nothing"
            console.print(f"{scenario.name}: {size / 1000:,.0f} kB; quota: {spent}", highlight=False)


def _wanted(names: Sequence[str], *, live: bool) -> list[Scenario]:
    try:
        found = scenarios.scenarios(names)
    except KeyError as unknown:
        known = ", ".join(scenario.name for scenario in scenarios.SCENARIOS)
        typer.echo(f"no scenario {unknown.args[0]}: there are {known}", err=True)
        raise typer.Exit(2) from None
    if live and not names:
        return [scenario for scenario in found if scenario.live]
    if refused := [scenario.name for scenario in found if live and not scenario.live]:
        typer.echo(f"only of stand-ins: {', '.join(refused)} needs more than an API key", err=True)
        raise typer.Exit(2)
    return found


def _record(scenario: Scenario, rules: Settings | None, lab: Lab, into: Path) -> tuple[Path, dict[str, int]]:
    with lab.address() as conninfo, lab.folder() as folder:
        work = (
            scenarios.record(scenario, conninfo, folder, into)
            if rules is None
            else scenarios.record_live(scenario, rules, conninfo, folder, into)
        )
        path = asyncio.run(work)
        with psycopg.connect(conninfo) as conn:
            rows = conn.execute("SELECT bucket, sum(used) FROM quota_usage GROUP BY bucket ORDER BY bucket").fetchall()
    return path, {str(bucket): int(used) for bucket, used in rows}


def _play(scenario: Scenario, lab: Lab, cassettes: Path) -> None:
    """What was recorded must play."""
    with lab.address() as conninfo, lab.folder() as folder:
        asyncio.run(scenarios.replay(scenario, conninfo, folder, cassettes))
