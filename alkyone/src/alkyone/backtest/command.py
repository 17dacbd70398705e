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
    columns = ("", "false alarms", "hits found", "hours before", "surges found", "hours before", "precision at 20")
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
    estimates = (figures.hit_recall, figures.hit_lead, figures.surge_recall, figures.surge_lead)
    return [f"{figures.false_alarms.value:.2f}"] + [
        f"{each.value:.{digits}f} [{each.low:.{digits}f} … {each.high:.{digits}f}]"
        for each, digits in zip(estimates, (2, 1, 2, 1), strict=True)
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
