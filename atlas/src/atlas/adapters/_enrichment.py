"""Reading videos and channels again: what is known of them, and a history of what became different."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import orjson

from atlas import sql
from atlas.adapters._session import columns
from atlas.adapters.records import ChannelReading, VideoReading
from atlas.events import Event, events

if TYPE_CHECKING:
    from atlas.db import Connection

SQL = sql.load("atlas.adapters", "_enrichment.sql")


async def update_videos(conn: Connection, videos: Sequence[VideoReading], now: datetime) -> int:
    """Bring videos up to date; returns how many have another title, each with an event ``video.renamed``.

    What else is different is an event ``video.updated``.
    """
    if not videos:
        return 0
    document = orjson.dumps([video._asdict() for video in videos]).decode()
    rows = await conn.fetch(SQL["update_video_metadata"], videos=document, now=now)
    renamed = [Event("video.renamed", row["id"], {"old": row["old"], "new": row["new"]}) for row in rows if row["old"]]
    updated = [Event("video.updated", row["id"], row["changed"]) for row in rows if row["changed"]]
    await events.record_many(conn, renamed + updated, now=now)
    return len(renamed)


async def stale_channels(conn: Connection, channel_ids: Sequence[str], before: datetime) -> list[str]:
    """Pick the channels that were not read since ``before``."""
    rows = await conn.fetch(SQL["stale_channels"], channel_ids=list(channel_ids), before=before)
    return [row["id"] for row in rows]


async def refresh_channels(conn: Connection, channels: Sequence[ChannelReading], now: datetime) -> int:
    """Bring channels up to date; returns how many changes there were, each with an event.

    What was not known before is no change, but an event ``channel.updated``.
    """
    if not channels:
        return 0
    rows = await conn.fetch(SQL["refresh_channels"], **columns(channels), now=now)
    changes = [_change(row["what"], row["id"], row["old"], row["new"]) for row in rows if row["what"]]
    learned = [Event("channel.updated", row["id"], row["facts"]) for row in rows if row["facts"]]
    await events.record_many(conn, changes + learned, now=now)
    return len(changes)


def _change(what: str, channel_id: str, old: str, new: str) -> Event:
    payload = {"old": old, "new": new}
    match what:
        case "renamed":
            return Event("channel.renamed", channel_id, payload)
        case "handle_changed":
            return Event("channel.handle_changed", channel_id, payload)
        case _:
            return Event("channel.country_changed", channel_id, payload)
