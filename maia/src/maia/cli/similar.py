"""What looks alike: ``maia similar``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, TypedDict

import orjson
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from atlas.plain import printable
from maia.cli.output import Json, console
from maia.cli.seeds import video_id_of

if TYPE_CHECKING:
    from atlas.adapters.records import Duplicate, Similar
    from maia.scribe.duplicates import Group


class Found(TypedDict):
    """The videos like one; ``source_type`` is the model that was asked, None when none has described the video."""

    video_id: str
    source_type: str | None
    same_picture: float | None  # from this similarity on it is the same picture
    similar: list[Similar]


class Report(TypedDict):
    """All groups of videos that show the same picture."""

    source_type: str | None
    at_least: float | None
    videos_compared: int
    groups: list[Group]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help="Find the videos that look like one, or all that show the same picture.")(similar)


def similar(
    video: Annotated[str | None, typer.Argument(metavar="VIDEO", help="A video's id or address.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=250, help="How many to find.")] = 10,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Compare all videos, and show the groups with the same picture.")
    ] = False,
    at_least: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --duplicates: the least similarity; the model's own by default."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The model to ask; by default the one that was used last or most."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print what looks alike."""
    if duplicates == (video is not None):
        raise typer.BadParameter("give a video, or --duplicates")
    if video is None:
        report = asyncio.run(_compare(model, at_least))
        if as_json:
            typer.echo(orjson.dumps(report).decode())
        else:
            _print_groups(report)
        return
    found = asyncio.run(_search(video_id_of(video), k, model))
    if as_json:
        typer.echo(orjson.dumps(found).decode())
    else:
        _print_similar(found)


async def _search(video_id: str, k: int, model: str | None) -> Found:
    from maia.scribe.embedders import same_picture
    from maia.toolbox import open_database

    async with open_database() as dao:
        known = await dao.models_of(video_id)
        asked = model if model in known else known[0] if known and model is None else None
        if asked is None:
            return {"video_id": video_id, "source_type": None, "same_picture": None, "similar": []}
        return {
            "video_id": video_id,
            "source_type": asked,
            "same_picture": same_picture(asked),
            "similar": await dao.find_similar(video_id, k, source_type=asked),
        }


async def _compare(model: str | None, at_least: float | None) -> Report:
    from maia.scribe.duplicates import groups
    from maia.scribe.embedders import same_picture
    from maia.toolbox import open_database

    async with open_database() as dao:
        known = await dao.models()
        asked = model if model in known else next(iter(known), None) if model is None else None
        if asked is None:
            return {"source_type": None, "at_least": at_least, "videos_compared": 0, "groups": []}
        bound = same_picture(asked) if at_least is None else at_least
        pairs: list[Duplicate] = []
        compared = 0
        after: str | None = ""
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("comparing", total=None)
            while after is not None:
                page = await dao.find_duplicates(asked, bound, after=after)
                pairs += page.pairs
                compared += page.compared
                after = page.after
                progress.update(task, completed=compared, description=f"{compared:,} videos compared")
    return {"source_type": asked, "at_least": bound, "videos_compared": compared, "groups": groups(pairs)}


def _print_similar(found: Found) -> None:
    if found["source_type"] is None:
        console.print(
            f"no frame of {found['video_id']} has been described: it is not in the hot queue (any more), the Scribe "
            "has not come to it, or another model did",
            highlight=False,
            soft_wrap=True,
        )
        return
    if not found["similar"]:
        console.print(f"{found['video_id']} is the only video described by {found['source_type']}", highlight=False)
        return
    table = _table("alike", "video", "frames", "title")
    for row in found["similar"]:
        same = row["similarity"] >= (found["same_picture"] or 1)
        table.add_row(
            Text(f"{row['similarity']:.3f}", style="bold" if same else ""),
            row["video_id"],
            f"{row['own_frame_index']} – {row['frame_index']}",
            Text(printable(row["title"])),
        )
    console.print(table)
    console.print(f"[dim]by {found['source_type']}; from {found['same_picture']} on it is the same picture[/]")


def _print_groups(report: Report) -> None:
    if report["source_type"] is None:
        console.print("no frames have been described yet", highlight=False)
        return
    shown = report["groups"]
    for group in shown:
        table = _table(f"{group['similarity']:.3f}", f"{len(group['videos'])} videos")
        for video in group["videos"]:
            table.add_row(video["video_id"], Text(printable(video["title"])))
        console.print(table)
        console.print()
    console.print(
        f"{len(shown):,} groups among {report['videos_compared']:,} videos, by {report['source_type']}, "
        f"from {report['at_least']} on",
        highlight=False,
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 3, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
