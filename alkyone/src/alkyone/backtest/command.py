"""The commands ``alkyone backtest …``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from alkyone.backtest.curves import Curves

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
