"""``alkyone bench``: run benches one after the other, and show what they found."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import orjson
import psutil
import typer
from rich.console import Console
from rich.table import Table

from alkyone.bench.lab import Lab, Meanwhile
from alkyone.bench.results import Figure, Result, Target, as_json

BENCHES = {
    "samples": "alkyone.bench.samples",
    "discovery": "alkyone.bench.discovery",
    "events": "alkyone.bench.events",
    "claim": "alkyone.bench.claim",
    "scale": "alkyone.bench.scale",
    "tracker": "alkyone.bench.tracker",
    "schedule": "alkyone.bench.schedule",
    "hunt": "alkyone.bench.hunt",
    "agents": "alkyone.bench.agents",
    "client": "alkyone.bench.client",
    "import": "alkyone.bench.imports",
    "archive": "alkyone.bench.archive",
    "vault": "alkyone.bench.vault",
    "vision": "alkyone.bench.vision",
    "vectors": "alkyone.bench.vectors",
    "alerts": "alkyone.bench.alerts",
}
WIDTH = 110
DISTURBED = 0.2
"""Cores that others may use before a bench is called disturbed."""


def run(names: Sequence[str], *, quick: bool, large: bool, json: bool) -> None:
    """Run the benches of ``names``, all when there are none."""
    if unknown := sorted(set(names).difference(BENCHES)):
        typer.echo(f"no bench {', '.join(unknown)}: there are {', '.join(BENCHES)}", err=True)
        raise typer.Exit(2)
    logging.basicConfig(level=logging.ERROR)  # what a bench lets go wrong, it counts
    console = Console(stderr=json)
    console.width = max(console.width, WIDTH)  # a table cut short is of no use in a log
    found: dict[str, Any] = {}
    with Lab(quick=quick, large=large) as lab:
        machine = _machine(lab)
        console.print("; ".join(f"{name} {value}" for name, value in machine.items()), highlight=False)
        for name in names or BENCHES:
            with lab.watched() as meanwhile:
                result = measure(name, lab)
            found[name] = as_json(result) | {"seconds": meanwhile.seconds, "others": meanwhile.others}
            _show(console, name, result, meanwhile)
    if json:
        typer.echo(orjson.dumps({"machine": machine, "benches": found}, option=orjson.OPT_INDENT_2).decode())


def measure(name: str, lab: Lab) -> Result:
    """Run one bench; a quick run meets no targets and misses none."""
    result: Result = asyncio.run(import_module(BENCHES[name]).measure(lab))
    if not lab.quick:
        return result
    return replace(result, targets=[target._replace(met=None) for target in result.targets])


def _machine(lab: Lab) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
        "postgresql": lab.server_version,
        "quick": lab.quick,
        "large": lab.large,
    }


def _show(console: Console, name: str, result: Result, meanwhile: Meanwhile) -> None:
    table = Table(title=name, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    table.add_column("", min_width=44, no_wrap=True)
    table.add_column("", justify="right", min_width=9, no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("×", justify="right", min_width=6, no_wrap=True)
    for figure in result.figures:
        table.add_row(figure.name, _number(figure.value), figure.unit, _times(figure))
    console.print()
    console.print(table)
    for target in result.targets:
        console.print(f"  {_verdict(target)} {target.text}: {_measured(target)}", highlight=False)
    for note in result.notes:
        console.print(f"  note: {note}", highlight=False)
    disturbed = " (disturbed)" if meanwhile.others > DISTURBED else ""
    console.print(
        f"  {meanwhile.seconds:.0f} s; others used {meanwhile.others:.1f} cores meanwhile{disturbed}", highlight=False
    )


def _verdict(target: Target) -> str:
    return {True: "[green]met[/]", False: "[red]missed[/]", None: "[dim]not judged[/]"}[target.met]


def _measured(target: Target) -> str:
    return "not measured" if target.measured is None else _number(target.measured)


def _times(figure: Figure) -> str:
    return "" if figure.times is None else f"{figure.times:.2f}" if figure.times < 10 else f"{figure.times:.0f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
