"""One video's history, hot and cold: ``maia timeline``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import orjson
import typer
from rich.table import Table
from rich.text import Text

from maia.cli.output import Json, console

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.adapters.records import RiseRow

HEIGHT = 12
MAX_WIDTH = 96
EIGHTHS = " ▁▂▃▄▅▆▇█"

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


class Sample(TypedDict):
    """What a video showed at an instant; a count that is hidden is None."""

    video_id: str
    timestamp: datetime
    views: int | None
    likes: int | None
    comment_count: int | None
    epoch: int


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help="Show one video's history, in PostgreSQL and the vault: as a table, a curve, a file.")(timeline)


def timeline(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="The video's id.")],
    since: Annotated[datetime | None, typer.Option(formats=FORMATS, help="From this UTC time on.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=FORMATS, help="Until before this UTC time.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Samples to show in the table: the newest ones.")] = 24,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the views over time.")] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all samples to FILE as CSV.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all samples to FILE as Parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Print or write the history of a video."""
    found, standing = asyncio.run(_look(video, _utc(since), _utc(until)))
    for path, write in ((csv, _write_csv), (parquet, _write_parquet)):
        if path is not None:
            _written(path, partial(write, found))
    samples: list[Sample] = found.to_pylist()
    if as_json:
        typer.echo(orjson.dumps({"video_id": video, "rise": standing, "samples": samples}).decode())
    elif not samples:
        console.print(f"no samples of {video}", highlight=False)
    elif plot or (csv is None and parquet is None):
        console.print(_heading(video, samples, standing), highlight=False)
        console.print(
            Text("\n".join(curve(samples, min(console.width, MAX_WIDTH)))) if plot else _table(samples[-last:])
        )
    else:
        console.print(_heading(video, samples, standing), highlight=False)


def _written(path: Path, write: Callable[[str], object]) -> None:
    try:
        write(str(path))
    except OSError as exc:
        raise typer.BadParameter(f"{path} cannot be written: {exc.strerror or exc}") from exc


async def _look(video: str, since: datetime | None, until: datetime | None) -> tuple[pa.Table, RiseRow | None]:
    from atlas import history
    from maia.toolbox import open_database

    async with open_database() as dao:
        return await history.timeline(video, since, until), (await dao.fetch_rises([video])).get(video)


def _utc(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.replace(tzinfo=UTC)


def _heading(video: str, samples: Sequence[Sample], standing: RiseRow | None) -> str:
    first, newest = samples[0]["timestamp"], samples[-1]["timestamp"]
    heading = f"{video}: {len(samples):,} samples from {first:%Y-%m-%d %H:%M} to {newest:%Y-%m-%d %H:%M} UTC"
    if standing is None:
        return heading
    return (
        f"{heading}\n{standing['state']} since {standing['since']:%Y-%m-%d %H:%M}, score {standing['score']:.1f}, "
        f"{standing['times']:,.1f} times what was expected"
    )


def _table(samples: Sequence[Sample]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0), pad_edge=False)
    for number, column in enumerate(("UTC", "views", "gained", "likes", "comments")):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    before: Sample | None = None
    for sample in samples:
        if before is not None and before["epoch"] != sample["epoch"]:
            table.add_section()
            before = None  # what a view is changed between the two: there is no difference to speak of
        counts = (sample["views"], _gained(before, sample), sample["likes"], sample["comment_count"])
        table.add_row(f"{sample['timestamp']:%Y-%m-%d %H:%M:%S}", *map(_number, counts))
        before = sample
    return table


def _gained(before: Sample | None, sample: Sample) -> int | None:
    if before is None or before["views"] is None or sample["views"] is None:
        return None
    return sample["views"] - before["views"]


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def curve(samples: Sequence[Sample], width: int) -> Iterator[str]:
    """Draw views over time as lines of text; where what a view is changed there is a dotted line."""
    seen = [
        (sample["timestamp"], sample["views"], sample["epoch"]) for sample in samples if sample["views"] is not None
    ]
    if not seen:
        yield "views are hidden"
        return
    most = max(views for _, views, _ in seen)
    label = len(f"{most:,}")
    width = max(width - label - 2, 10)
    begin, span = seen[0][0], (seen[-1][0] - seen[0][0]).total_seconds() or 1.0
    columns: list[int | None] = [None] * width
    epochs: list[int | None] = [None] * width
    for at, views, epoch in seen:
        place = round((at - begin).total_seconds() / span * (width - 1))
        columns[place], epochs[place] = views, epoch
    steps = [0 if views is None else round(views / max(most, 1) * HEIGHT * 8) for views in _held(columns)]
    known = list(_held(epochs))
    turns = {place for place in range(1, width) if known[place] != known[place - 1]}
    for row in range(HEIGHT - 1, -1, -1):
        axis = f"{most:,}" if row == HEIGHT - 1 else "0" if row == 0 else ""
        cells = (EIGHTHS[min(max(step - row * 8, 0), 8)] for step in steps)
        yield f"{axis:>{label}} " + "".join(
            "┊" if place in turns and cell == " " else cell for place, cell in enumerate(cells)
        )
    left, right = f"{begin:%Y-%m-%d %H:%M}", f"{seen[-1][0]:%Y-%m-%d %H:%M}"
    yield f"{'':>{label}} {left}{right:>{max(width - len(left), len(right) + 1)}}"


def _held(values: Sequence[int | None]) -> Iterator[int | None]:
    """Let every value hold until the next one."""
    held: int | None = None
    for value in values:
        held = held if value is None else value
        yield held


def _write_csv(table: pa.Table, path: str) -> None:
    from pyarrow import csv

    csv.write_csv(table, path)


def _write_parquet(table: pa.Table, path: str) -> None:
    from pyarrow import parquet

    parquet.write_table(table, path, compression="zstd")
