"""Watch it live: ``maia demo``."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Group
from rich.panel import Panel
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from maia.cli.output import Json, console

if TYPE_CHECKING:
    from maia.demo.life import DemoReport, Progress

BLOCKS = "▁▂▃▄▅▆▇█"
CHANNELS = 80
"""Of the world that is generated; thirty videos each."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        help="Live two weeks in a little over a minute: real database, real vault, a stand-in YouTube, no accounts."
    )(demo)


def demo(
    days: Annotated[int, typer.Option(min=1, max=365, help="Virtual days to live.")] = 14,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 7,
    world: Annotated[
        Path | None, typer.Option(exists=True, help="A recorded world, made by `alkyone world import`.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the demo's folder, and say where it is.")] = False,
    as_json: Json = False,
) -> None:
    """Show Pleiades at work."""
    with _folder(keep=keep) as home:
        report = _live(
            home, str(world.resolve()) if world else f"generated:seed={seed},channels={CHANNELS}", days, quiet=as_json
        )
        if as_json:
            typer.echo(orjson.dumps(report).decode())
        else:
            console.print(_summary(report))
            if keep:
                console.print(f"Kept in [bold]{home}[/]: PLEIADES_HOME={home} maia status", soft_wrap=True)
    if report["lost"] or report["doubled"]:
        raise typer.Exit(1)


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """Make a folder for the demo, and remove it at the end unless it is to be kept."""
    home = Path(tempfile.mkdtemp(prefix="pleiades-demo-"))
    home.chmod(0o711)  # when root runs us, the database server is another user, and must reach its own folder below
    try:
        yield home
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)


def _live(home: Path, world: str, days: int, *, quiet: bool) -> DemoReport:
    from maia.demo.life import Progress, live

    if quiet:
        return asyncio.run(live(home, world, days=days, progress=Progress()))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting PostgreSQL, Prefect and a stand-in YouTube", total=None)

        def show(progress: Progress) -> None:
            bar.update(task, total=progress.hours_total, completed=progress.hours, description=_line(progress))

        return asyncio.run(live(home, world, days=days, progress=Progress(show=show)))


def _line(progress: Progress) -> str:
    if progress.doing:
        return progress.doing
    day = f"{progress.now:%a %d %b %H:%M}" if progress.now else ""
    return (
        f"{day}  {progress.discovered:>7,} discovered  {progress.samples:>9,} samples  {progress.archived:>9,} archived"
    )


def _summary(report: DemoReport) -> Panel:
    """Lay the report out for a person."""
    honest = not report["lost"] and not report["doubled"]
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    checked = Text(f"{report['lost']:,} lost, {report['doubled']:,} doubled", "green" if honest else "bold red")
    buckets = (f"{name} {units:,}" for name, units in report["quota_used"].items())
    for name, fact in (
        ("discovered", f"{report['videos_discovered']:,} videos of {report['channels']:,} channels"),
        ("sampled", f"{report['samples']:,} readings"),
        ("checked", checked + Text(", every reading held against what was served", "dim")),
        ("archived", f"{report['samples_archived']:,} readings; {report['samples_verified']:,} read back and matched"),
        ("painted", f"{report['videos_painted']:,} new videos, {report['frames']:,} of their frames kept"),
        (
            "described",
            f"{report['videos_described']:,} videos, by what they look like and how their titles are written",
        ),
        ("retired", f"{report['videos_retired']:,} videos left the hot queue; all are still tracked"),
        ("tiers", "  ".join(f"{tier.lower()} {count:,}" for tier, count in report["tiers"].items())),
        ("quota used", "  ".join(buckets)),
        ("in SQL", _megabytes(report["sql_bytes"])),
        ("in the vault", _megabytes(report["vault_bytes"])),
    ):
        facts.add_row(name, fact)
    title = f"{report['days']} days in {report['seconds']:.0f} seconds"
    colour = "green" if honest else "red"
    return Panel(Group(facts, "", _risers(report)), title=title, title_align="left", border_style=colour, expand=False)


def _risers(report: DemoReport) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_row(Text("rising fastest", "dim"), Text("views/h", "dim"), "")
    for riser in report["risers"]:
        table.add_row(sparkline(riser["views"]), f"{riser['views_per_hour']:,.0f}", Text(riser["title"]))
    return table


def sparkline(values: Sequence[int], width: int = 24) -> str:
    """Draw a curve in one line of text, oldest first."""
    if not values:
        return ""
    step = max(len(values) / width, 1)
    points = [values[int(n * step)] for n in range(min(width, len(values)))]
    low, high = min(points), max(points)
    return "".join(BLOCKS[round((value - low) / (high - low or 1) * (len(BLOCKS) - 1))] for value in points)


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"
