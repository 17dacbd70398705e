"""The ``alkyone soak`` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from alkyone.soak.up import Report
    from alkyone.soak.year import Report as Year

WIDTH, CURVE = 120, 60
"""Columns of the page, and of the curves on it."""

TABLES = 8
"""The largest ones, which get a curve each."""

app = typer.Typer(no_args_is_help=True, help="Let the whole work for long, and see what becomes of it.")


@app.callback()
def soak() -> None:
    """Let the whole work for long, and see what becomes of it."""


@app.command()
def up(
    minutes: Annotated[float, typer.Option(min=1, help="How long, by the wall's clock.")] = 60,
    speed: Annotated[float, typer.Option(min=1, help="How many times as fast the agents' clock goes.")] = 60,
    stretch: Annotated[
        float,
        typer.Option(min=0.1, help="Let agents come round so many times as rarely; a start is seconds of processor."),
    ] = 4,
    out: Annotated[Path | None, typer.Option(help="Write the report there too, as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON; the rest goes to stderr.")] = False,
) -> None:
    """Keep maia up at work against the stand-in YouTube on a faster clock, and hold the two against each other."""
    import orjson
    from rich.console import Console

    from alkyone.soak.up import soak as soaking

    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    report = soaking(minutes=minutes, speed=speed, stretch=stretch, show=console.print)
    document = orjson.dumps(report, option=orjson.OPT_INDENT_2)
    if out is not None:
        out.write_bytes(document)
    if as_json:
        typer.echo(document)
    else:
        for table in _tables(report):
            console.print(table)
    for failure in report["failures"]:
        typer.echo(failure, err=True)
    if report["failures"]:
        raise typer.Exit(1)


@app.command()
def year(
    days: Annotated[int, typer.Option(min=1, help="Virtual days.")] = 365,
    hours: Annotated[float, typer.Option(help="Stop after so many hours of the wall's clock.")] = 8,
    channels: Annotated[int, typer.Option(min=2, help="Of the generated world; each uploads every third day.")] = 30,
    plot: Annotated[Path | None, typer.Option(help="Write the curves to this SVG file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report there too, as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON; the rest goes to stderr.")] = False,
) -> None:
    """Let every agent live a virtual year in one process; see memory, tables and vault grow, and what is lost."""
    import asyncio

    import orjson
    from rich.console import Console

    from alkyone.bench.lab import Lab
    from alkyone.soak.year import live

    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    with Lab() as lab, lab.address() as conninfo:
        report = asyncio.run(live(conninfo, days=days, hours=hours, channels=channels, show=console.print))
    document = orjson.dumps(report, option=orjson.OPT_INDENT_2)
    if out is not None:
        out.write_bytes(document)
    if as_json:
        typer.echo(document)
    page = Console(record=True, stderr=as_json, highlight=False, width=WIDTH)
    page.print(_curves(report))
    if plot is not None:
        page.save_svg(str(plot), title=f"alkyone soak year, {report['days']} days")
    for failure in report["failures"]:
        typer.echo(failure, err=True)
    if report["failures"]:
        raise typer.Exit(1)


def _curves(report: Year) -> Table:
    from maia.cli.demo import sparkline

    table = _table(f"{report['days']} virtual days", "first", "most", "last", "")
    largest = sorted(report["tables"], key=lambda name: -max(report["tables"][name]))[:TABLES]
    rows = {"memory, MB": report["memory"], "SQL, MB": report["database"]}
    rows |= {f"  {name}": report["tables"][name] for name in largest}
    rows |= {"vault, MB": report["vault"], "vault, files": report["vault_files"]}
    for name, values in rows.items():
        bars = sparkline([round(value * 100) for value in values], CURVE)
        table.add_row(name, *(f"{value:,.1f}" for value in (values[0], max(values), values[-1])), bars)
    kept = f"{report['promises_kept']} invariants kept, {len(report['promises_broken'])} broken"
    table.add_section()
    table.add_row(f"{report['readings_served']:,} readings", "", "", "", kept)
    return table


def _tables(report: Report) -> list[Table]:
    runs = _table("agent", "runs", "began late, s", "most", "took, s", "most")
    for agent, row in report["runs"].items():
        states = ", ".join(f"{count} {state.lower()}" for state, count in sorted(row["states"].items()))
        spans = (row["late_median"], row["late_most"], row["took_median"], row["took_most"])
        runs.add_row(agent, states, *(f"{span:g}" for span in spans))
    memory = _table("part", "first, MB", "last", "peak", "MB an hour", "processor, s")
    for part, size in report["memory"].items():
        slope = "" if size["slope"] is None else f"{size['slope']:+.1f}"
        used = f"{report['processor_seconds'].get(part, 0):.0f}"
        memory.add_row(part, f"{size['first']:.0f}", f"{size['last']:.0f}", f"{size['peak']:.0f}", slope, used)
    if report["run_memory"]:
        used = f"{report['processor_seconds'].get('runs', 0):.0f}"
        middle, most = report["run_memory"]["median"], report["run_memory"]["most"]
        memory.add_row("a run", f"{middle:.0f}", "", f"{most:.0f}", "", used)
    tables = _table("size, MB", "first", "last")
    for name, (first, last) in report["tables"].items():
        tables.add_row(name, f"{first / 1e6:.1f}", f"{last / 1e6:.1f}")
    facts = _table("what", "")
    for what in ("virtual_hours", "waiting_late_most", "restarts", "readings_served", "readings_stored", "lost",
                 "invented", "doubled", "apart", "ledger_is_right", "promises_kept", "exit_code"):  # fmt: skip
        facts.add_row(what.replace("_", " "), f"{report[what]}")
    facts.add_row("counts", ", ".join(f"{count:,} {name}" for name, count in report["counts"].items()))
    facts.add_row(
        "load", f"median {report['load']['median']}, most {report['load']['most']}, on {report['cores']} cores"
    )
    facts.add_row("lock trouble in the logs", f"{len(report['trouble'])} lines")
    return [runs, memory, tables, facts]


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name)
    return table
