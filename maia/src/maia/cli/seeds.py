"""Tell Pleiades what to look at: ``maia seed``, ``maia watch``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maia.cli.output import Json, show

if TYPE_CHECKING:
    from atlas.adapters.records import ChannelSeen

_VIDEO_IN_ADDRESS = re.compile(r"(?:v=|youtu\.be/|/shorts/|/live/|/embed/)([A-Za-z0-9_-]{11})")

_CHANNEL_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.|m\.)?youtube\.com/(?:channel/)?(UC[\w-]{22}|@[^/?#\s]+)(?:[/?#]|$)", re.IGNORECASE
)
_CHANNEL_LIKE = re.compile(r"@\S+$|UC[\w-]{22}$|https?://|(?:www\.|m\.)?youtube\.com/")
_HANDLE = re.compile(r"@[\w.\-·]{2,60}")
_CHART = re.compile(r"[A-Z]{2}(?::\d{1,3})?")
_COMMENT = re.compile(r"(?:^|\s)#.*")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(help="Search these terms from now on, and read these channels' uploads and these charts.")(seed)
    app.command(help="Track these videos from now on.")(watch)


def seed(
    terms: Annotated[list[str] | None, typer.Argument(help="Search terms; they never fall asleep.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="A file of terms and channels, one a line."),
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="A channel's id (UC…), address or @handle; may be repeated.")
    ] = None,
    chart: Annotated[
        list[str] | None, typer.Option(help="A region's chart, such as US, or US:10 for a category; may be repeated.")
    ] = None,
    priority: Annotated[int, typer.Option(min=0, max=100, help="Higher goes first.")] = 50,
    as_json: Json = False,
) -> None:
    """Pin search terms, channels and charts; nothing is added when one of them is wrong."""
    wanted = Seeds()
    for text in terms or ():
        wanted.terms.append(term_of(text))
    for text in channel or ():
        wanted.add_channel(text)
    for text in chart or ():
        wanted.charts.append(chart_of(text))
    if file is not None:
        wanted.read(file)
    if not wanted:
        raise typer.BadParameter("give at least one search term, --channel, --chart or --file")
    show("seeded", asyncio.run(_seed(wanted, priority)), as_json=as_json)


def watch(videos: Annotated[list[str], typer.Argument(help="Video ids or addresses.")], as_json: Json = False) -> None:
    """Enrol videos in the watchlist."""
    show("watching", asyncio.run(_watch(videos)), as_json=as_json)


@dataclass
class Seeds:
    """What to look at from now on."""

    terms: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    handles: list[str] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.terms, self.channels, self.handles, self.charts))

    def add_channel(self, text: str) -> None:
        """Add a channel by its id, its address or its handle.

        Raises:
            typer.BadParameter: it is none of these.
        """
        from atlas.ids import validate_channel_id

        name = _channel_part(text)
        if name.startswith("@") and _HANDLE.fullmatch(name):
            self.handles.append(name)
        elif validate_channel_id(name):
            self.channels.append(name)
        else:
            raise typer.BadParameter(
                f"{text!r} is no channel: give its id, 24 characters that begin with UC, its address or its @handle"
            )

    def read(self, file: Path) -> None:
        """Add a file's lines: channels by id, address or handle, and terms; ``#`` begins a comment.

        Raises:
            typer.BadParameter: the file is no text, or some lines are wrong; all of those are named.
        """
        try:
            lines = file.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            raise typer.BadParameter(f"{file} cannot be read as text ({type(exc).__name__})") from None
        problems = []
        for number, line in enumerate(lines, 1):
            text = _COMMENT.sub("", line).strip()
            if not text:
                continue
            try:
                if _CHANNEL_LIKE.match(text):
                    self.add_channel(text)
                else:
                    self.terms.append(term_of(text))
            except typer.BadParameter as problem:
                problems.append(f"line {number}: {problem}")
        if problems:
            raise typer.BadParameter(f"nothing was added from {file}: " + "; ".join(problems))


def term_of(text: str) -> str:
    """Take a text for a search term.

    Raises:
        typer.BadParameter: it is blank, or longer than a term may be.
    """
    from atlas.adapters.maia_discovery import MAX_TERM_LENGTH, normalise_term

    if not 0 < len(normalise_term(text)) <= MAX_TERM_LENGTH:
        raise typer.BadParameter(f"{text[:40]!r} is no search term: it has 1 to {MAX_TERM_LENGTH} characters")
    return text


def chart_of(text: str) -> str:
    """Take a text for the name of a chart: ``US``, or ``US:10`` for a category.

    Raises:
        typer.BadParameter: it has not that form.
    """
    name = text.strip().upper()
    if not _CHART.fullmatch(name):
        raise typer.BadParameter(f"{text!r} is no chart: give a country of two letters, such as US, or US:10")
    return name


def _channel_part(text: str) -> str:
    """Cut the id or handle out of a channel's address; any other text is left as it is."""
    found = _CHANNEL_ADDRESS.match(text.strip())
    return found.group(1) if found else text.strip()


async def _seed(wanted: Seeds, priority: int) -> dict[str, int]:
    from atlas import clock
    from atlas.adapters.records import ChannelSeen, SourceSeed
    from maia.toolbox import open_database

    seen = [ChannelSeen(channel) for channel in wanted.channels]
    seen += await _look_up(wanted.handles) if wanted.handles else []
    now = clock.now()
    async with open_database() as dao, dao.transaction() as tx:
        charts = [SourceSeed(chart, now) for chart in wanted.charts]
        return {
            "terms_added": await tx.add_to_search_queue(wanted.terms, priority=priority, pinned=True, now=now),
            "channels_added": await tx.add_channels(seen, in_roster=True, pinned=True, now=now),
            "charts_added": await tx.add_sources("chart", charts, now=now),
        }


async def _look_up(handles: list[str]) -> list[ChannelSeen]:
    """Find the channels behind handles, a general unit each."""
    from atlas.adapters.records import ChannelSeen
    from maia.toolbox import open_toolbox

    async with open_toolbox("seed") as tools:
        found = [(handle, await tools.youtube.channel_of(handle)) for handle in dict.fromkeys(handles)]
    unknown = [handle for handle, channel in found if channel is None]
    if unknown:
        raise typer.BadParameter(f"YouTube knows no channel {', '.join(unknown)}; nothing was added")
    return [ChannelSeen(channel.id, channel.title) for _, channel in found if channel is not None]


async def _watch(videos: list[str]) -> Mapping[str, Any]:
    from maia.hunter.agent import enrol
    from maia.toolbox import open_toolbox

    ids = [video_id_of(video) for video in videos]
    async with open_toolbox("watch") as tools:
        return await enrol(tools, ids)


def video_id_of(text: str) -> str:
    """Find the video id in what a person pastes: an id, or one of YouTube's addresses.

    Raises:
        typer.BadParameter: there is none.
    """
    from atlas.ids import validate_youtube_id

    found = _VIDEO_IN_ADDRESS.search(text)
    video_id = found.group(1) if found else text.strip()
    if not validate_youtube_id(video_id):
        raise typer.BadParameter(f"{text!r} is no video id (11 characters) and no YouTube address")
    return video_id
