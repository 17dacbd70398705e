"""Tell Pleiades what to look at: ``maia seed``, ``maia watch``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from maia.cli.output import Json, show

_VIDEO_IN_ADDRESS = re.compile(r"(?:v=|youtu\.be/|/shorts/|/live/|/embed/)([A-Za-z0-9_-]{11})")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(help="Search these terms from now on, and read these channels' uploads.")(seed)
    app.command(help="Track these videos from now on.")(watch)


def seed(
    terms: Annotated[list[str] | None, typer.Argument(help="Search terms; they never fall asleep.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="A channel id (UC…); may be repeated.")] = None,
    priority: Annotated[int, typer.Option(min=0, max=100, help="Higher goes first.")] = 50,
    as_json: Json = False,
) -> None:
    """Pin search terms and channels."""
    if not terms and not channel:
        raise typer.BadParameter("give at least one search term, or --channel UC…")
    show("seeded", asyncio.run(_seed(terms or [], channel or [], priority)), as_json=as_json)


def watch(videos: Annotated[list[str], typer.Argument(help="Video ids or addresses.")], as_json: Json = False) -> None:
    """Enrol videos in the watchlist."""
    show("watching", asyncio.run(_watch(videos)), as_json=as_json)


async def _seed(terms: list[str], channels: list[str], priority: int) -> dict[str, int]:
    from atlas.adapters.records import ChannelSeen
    from atlas.ids import validate_channel_id
    from maia.toolbox import open_database

    unknown = [channel for channel in channels if not validate_channel_id(channel)]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is no channel id: it has 24 characters and begins with UC")
    async with open_database() as dao, dao.transaction() as tx:
        return {
            "terms_added": await tx.add_to_search_queue(terms, priority=priority, pinned=True),
            "channels_added": await tx.add_channels([ChannelSeen(c) for c in channels], in_roster=True, pinned=True),
        }


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
