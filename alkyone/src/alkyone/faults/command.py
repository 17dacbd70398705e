"""What ``alkyone faults`` runs."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import typer

from alkyone.databases import template_of
from alkyone.faults.life import CONNECTIONS, Ground, Outcome
from alkyone.faults.schedule import KINDS, Kind, draw
from atlas.embedded import EmbeddedServer


def run(*, runs: int, seed: int, only: str | None, processes: bool, json: bool) -> None:
    """Live through ``runs`` schedules, the first of ``seed``; exit code 1 at the first broken promise."""
    kinds = _chosen(only)
    logging.getLogger().addHandler(logging.NullHandler())  # what goes wrong here is meant to
    began = time.monotonic()
    done: list[Outcome] = []
    with ground() as where:
        for number in range(seed, seed + runs):
            outcome = asyncio.run(where.run(draw(number, kinds), processes=processes))
            done.append(outcome)
            if outcome.breaches:
                break
            if len(done) % 10 == 0:
                typer.echo(f"{len(done):,} of {runs:,} runs, every invariant held", err=True)
    _report(done, only=only, processes=processes, json=json, seconds=time.monotonic() - began)
    if done and done[-1].breaches:
        raise typer.Exit(1)


@contextmanager
def ground() -> Iterator[Ground]:
    """Give a PostgreSQL of its own, with few connections, for the length of the block."""
    # Not below a private folder: root's is closed to the account that the server runs as.
    home = Path(tempfile.gettempdir()) / f"pleiades-faults-{os.getpid()}"
    binaries = os.environ.get("PLEIADES_PG_BIN")
    options = {"fsync": "off", "max_connections": str(CONNECTIONS)}
    server = EmbeddedServer(home, binaries=Path(binaries) if binaries else None, settings=options)
    server.acquire()
    try:
        with tempfile.TemporaryDirectory(prefix="pleiades-faults-") as folder:
            yield Ground(server, template_of(server), Path(folder))
    finally:
        if server.release():
            shutil.rmtree(home, ignore_errors=True)


def _chosen(only: str | None) -> tuple[Kind, ...]:
    kinds: tuple[Kind, ...] = tuple(kind for kind in KINDS if only is None or f"{kind}.".startswith(f"{only}."))
    if not kinds:
        typer.echo(f"{only!r} is no fault: {', '.join(KINDS)}", err=True)
        raise typer.Exit(2)
    return kinds


def _report(done: list[Outcome], *, only: str | None, processes: bool, json: bool, seconds: float) -> None:
    struck: Counter[Kind] = Counter()
    for outcome in done:
        struck += outcome.struck
    broken = next((outcome for outcome in done if outcome.breaches), None)
    options = f"{f' --only {chr(34)}{only}{chr(34)}' if only else ''}{' --processes' if processes else ''}"
    replay = f"alkyone faults --runs 1 --seed {broken.schedule.seed}{options}" if broken else None
    if json:
        report: dict[str, Any] = {
            "runs": len(done),
            "cycles": sum(outcome.cycles for outcome in done),
            "readings": sum(outcome.readings for outcome in done),
            "struck": {kind: struck[kind] for kind in KINDS},
            "leftovers": sum(outcome.leftovers for outcome in done),
            "breaches": [breach._asdict() for breach in broken.breaches] if broken else [],
            "seed": broken.schedule.seed if broken else None,
            "replay": replay,
            "seconds": round(seconds, 1),
        }
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        return
    for kind in KINDS:
        typer.echo(f"{struck[kind]:>7,}  {kind}")
    if broken is None:
        typer.echo(f"{len(done):,} runs, {struck.total():,} faults, {seconds:,.0f} s: every invariant held")
        return
    for turn in broken.schedule.turns:
        typer.echo(f"  {' and '.join(turn.agents)} after {turn.after}: {', '.join(map(str, turn.faults)) or 'calm'}")
    for breach in broken.breaches:
        typer.echo(f"BROKEN {breach}")
    typer.echo(f"seed {broken.schedule.seed}; to see it again: {replay}")
