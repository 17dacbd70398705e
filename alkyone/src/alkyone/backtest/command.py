"""The commands ``alkyone backtest …``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from alkyone.backtest.curves import Curves
    from alkyone.backtest.detectors import Figures
    from alkyone.backtest.detectors import Report as DetectorReport

app = typer.Typer(no_args_is_help=True, help="Replay recorded and generated curves through schedules and detectors.")

CURVES_HELP = (
    "A file or folder of recorded series, or generated, or generated:seed=7,videos=2000,days=14; "
    "default: what PLEIADES_RECORDED_DATA names, else generated"
)


@app.command()
def curves(
    source: Annotated[str | None, typer.Option("--curves", help=CURVES_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what there is to replay: videos, samples, how often and how long each was sampled."""
    import numpy as np
    import orjson

    opened = open_curves(source)
    samples, days = np.diff(opened.bounds), (opened.last - opened.first) / 86_400
    gaps = np.diff(opened.times)[np.diff(opened.owner) == 0] / 3600
    found = {
        "videos": len(opened),
        "samples": len(opened.times),
        "samples_per_video": float(np.median(samples)),
        "days_per_video": float(np.median(days)),
        "hours_between": float(np.median(gaps)),
        "followed": len(opened.followed()),
    }
    if as_json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(
        f"{found['videos']:,} videos, {found['samples']:,} samples; in the median {found['samples_per_video']:.0f} of "
        f"a video, {found['hours_between']:.1f} h apart, over {found['days_per_video']:.1f} days; "
        f"{found['followed']:,} have enough for a replay"
    )


@app.command()
def schedules(
    source: Annotated[str | None, typer.Option("--curves", help=CURVES_HELP)] = None,
    budget: Annotated[list[float] | None, typer.Option(help="Readings a video and day; may be repeated.")] = None,
    half: Annotated[str, typer.Option(help="Which half of the videos: report, tune or both.")] = "report",
    rounds: Annotated[int, typer.Option(min=10, help="Draws of the bootstrap.")] = 400,
    plot: Annotated[Path | None, typer.Option(help="Write table and chart to this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each policy's figures with their intervals.")] = False,
) -> None:
    """Compare when to look next: tiers, uniform, proportional, hindsight and adaptive, at equal readings."""
    import orjson
    from rich.console import Console
    from rich.progress import track

    from alkyone.backtest.schedules import BUDGETS, POLICIES, chart, compare, table

    if half not in {"report", "tune", "both"}:
        typer.echo(f"--half {half!r} is not report, tune or both", err=True)
        raise typer.Exit(2)
    chosen = open_curves(source).followed()
    if half != "both":
        chosen = chosen.half("tune" if half == "tune" else "report")
    budgets = budget or list(BUDGETS)
    errors = Console(stderr=True)
    total = len(budgets) * len(POLICIES)
    found = list(track(compare(chosen, budgets, rounds=rounds), f"{len(chosen)} videos", total, console=errors))
    if as_json:
        document = {"videos": len(chosen), "half": half, "outcomes": [outcome.as_json() for outcome in found]}
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    console = Console(record=plot is not None, stderr=as_json)
    console.width = max(console.width, 150)
    console.print(table(found))
    chart(console, found)
    if plot is not None:
        console.save_svg(str(plot), title="alkyone backtest schedules")


@app.command()
def live(
    videos: Annotated[int, typer.Option(min=100, help="Videos of the generated world.")] = 50_000,
    days: Annotated[int, typer.Option(min=1, help="Virtual days.")] = 7,
    per_day: Annotated[float, typer.Option(help="Readings a video and day that the quota allows.")] = 1.0,
    every: Annotated[int, typer.Option(min=1, help="Minutes between two runs of the Tracker.")] = 15,
    seed: Annotated[int, typer.Option(help="Of the world.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Let the Tracker itself follow a world, with database and quota, and hold it against a replay."""
    import asyncio
    import dataclasses
    from datetime import timedelta

    import orjson
    from rich.console import Console
    from rich.progress import Progress

    from alkyone.backtest.live import Life, Lived
    from alkyone.backtest.live import live as live_through
    from alkyone.bench.lab import Lab

    life = Life(videos=videos, days=days, per_day=per_day, seed=seed, every=timedelta(minutes=every))
    if life.calls_a_turn < 1:
        raise typer.BadParameter("that is less than a call a run: take more videos, or longer between two runs")

    async def run() -> Lived:
        with Lab() as lab, Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("virtual days")
            async with lab.database() as database:
                return await live_through(
                    database, life, progress=lambda done, of: progress.update(bar, completed=done, total=of)
                )

    lived = asyncio.run(run())
    if as_json:
        typer.echo(orjson.dumps(dataclasses.asdict(lived), option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(f"{lived.videos:,} videos, {lived.readings_per_day:.2f} readings a video and day")
    for day, (used, limit) in enumerate(zip(lived.used, lived.limits, strict=False), 1):
        typer.echo(f"  day {day}: {used:,} of {limit:,} calls, {used / limit:.1%}")
    typer.echo(f"  longest unseen: {lived.longest_unseen_hours:.0f} h")
    for name, value in lived.live.items():
        typer.echo(f"  {name}: {value:.4g} live, {lived.replayed[name]:.4g} replayed")


@app.command()
def detectors(
    source: Annotated[str | None, typer.Option("--curves", help=CURVES_HELP)] = None,
    half: Annotated[str, typer.Option(help="The half to run on: report, or tune. Curves of age come from tune.")] = (
        "report"
    ),
    false_alarms: Annotated[
        str, typer.Option(metavar="N,N,…", help="False alarms per 1,000 video-days to compare at.")
    ] = "1,4,16",
    every: Annotated[float, typer.Option(min=0, help="Keep only readings at least so many hours apart.")] = 0.0,
    rule: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Change a rule of the detector; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Compare the virality detector with what others use, at equal false alarms."""
    import orjson

    from alkyone.backtest.detectors import compare
    from maia.virality.core import RULES

    if half not in {"report", "tune"}:
        raise typer.BadParameter("it is report or tune", param_hint="--half")
    try:
        wanted = [float(number) for number in false_alarms.split(",")]
        changes = {name: float(value) for name, _, value in (text.partition("=") for text in rule or ())}
        rules = replace(RULES, **changes)
    except (TypeError, ValueError) as exc:
        raise typer.BadParameter(str(exc)) from exc
    followed = open_curves(source).followed(samples=10)
    learned_from = followed.half("tune")
    found = compare(
        learned_from if half == "tune" else followed.half("report"), learned_from, wanted, rules=rules, every=every
    )
    if as_json:
        typer.echo(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        _show(found)


def _show(found: DetectorReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"{found.videos:,} videos, {found.video_days:,.0f} video-days, {found.hits:,} hits, {found.surges:,} surges",
        highlight=False,
    )
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    columns = (
        "",
        "false alarms",
        "all found",
        "hits found",
        "hours before",
        "surges found",
        "hours before",
        "precision at 20",
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for wanted, by_name in found.rounds.items():
        table.add_section()
        table.add_row(f"at most {wanted:g}", style="dim")
        for name, figures in by_name.items():
            table.add_row(name, *_cells(figures), f"{found.precision[name]:.2f}")
    table.add_section()
    table.add_row("detector as set", *_cells(found.as_set), "")
    console.print(table)


def _cells(figures: Figures) -> list[str]:
    estimates = (figures.recall, figures.hit_recall, figures.hit_lead, figures.surge_recall, figures.surge_lead)
    return [f"{figures.false_alarms.value:.2f}"] + [
        f"{each.value:.{digits}f} [{each.low:.{digits}f} … {each.high:.{digits}f}]"
        for each, digits in zip(estimates, (2, 2, 1, 2, 1), strict=True)
    ]


def open_curves(source: str | None) -> Curves:
    """Open what ``--curves`` names; exit code 2 where there is nothing."""
    from alkyone.backtest.curves import default_folder, generated, recorded

    try:
        if source is None:
            folder = default_folder()
            return generated() if folder is None else recorded(folder)
        kind, _, arguments = source.partition(":")
        if kind != "generated":
            return recorded(Path(source))
        return generated(**_numbers(arguments))
    except ValueError as exc:
        typer.echo(str(exc), err=True)
        raise typer.Exit(2) from None


def _numbers(text: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or name not in {"seed", "videos", "days", "channels"} or not value.isdecimal():
            raise ValueError(f"{part!r} is not one of seed=…, videos=…, days=…, channels=…")
        given[name] = int(value)
    return given
