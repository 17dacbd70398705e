"""The agents' data access: every statement they run, named after the method that runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Self

import orjson

from atlas import clock, sql
from atlas.adapters._session import Database, Joined
from atlas.adapters.maia_archive import ArchiveMixin
from atlas.adapters.maia_discovery import DiscoveryMixin
from atlas.adapters.maia_ghost import GhostTrackingMixin
from atlas.adapters.maia_operations import OperationsMixin
from atlas.adapters.maia_rises import RisesMixin
from atlas.adapters.maia_stages import StagesMixin
from atlas.adapters.records import (
    ChannelSeen,
    Discovery,
    Sample,
    Stage,
)
from atlas.db import db
from atlas.epochs import SHORT_SECONDS
from atlas.events import Event, events

SQL = sql.load("atlas.adapters", "maia.sql")

DISCOVERY_FACTS = (
    "channel_id", "channel_title", "title", "published_at", "duration", "tags", "category_id", "default_language",
    "wiki_topics", "source", "tracking_tier", "next_track_at",
)  # fmt: skip


class MaiaDAO(DiscoveryMixin, GhostTrackingMixin, RisesMixin, StagesMixin, ArchiveMixin, OperationsMixin):
    """Reads and writes what the agents work on.

    A claim (``fetch_…_batch``, ``fetch_…_targets``) leases rows for ten minutes under one token and commits. Whoever
    ends the work shows the token; a row that somebody else holds by then raises ``LeaseLost`` and nothing changes.
    A worker that dies does nothing: its rows come back when the lease runs out.
    """

    def __init__(self, database: Database = db) -> None:
        self._db = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Lend a DAO whose methods all join one transaction, committed when the block ends well.

        No network call inside. A ``LeaseLost`` in the block undoes all of it, even when the block catches it.
        """
        async with self._db.get_connection() as conn:
            joined = Joined(conn)
            yield type(self)(joined)
            if joined.lost is not None:
                raise joined.lost

    async def ingest_video_metadata(
        self,
        videos: Sequence[Discovery],
        *,
        stages: Sequence[Stage] = ("painter", "scribe"),
        roster: bool = True,
        now: datetime | None = None,
    ) -> list[str]:
        """Store a discovery in one transaction and return the ids that were new to us, in their order.

        That is: channels (polled from now on when ``roster``), videos, watchlist rows, ``stages``, the samples that
        came along, and the events. A video on the watchlist is not discovered again, only its sample is stored. The
        Scribe's stage is due when the Painter's has ended, or at once where there is none.
        """
        if not videos:
            return []
        now = now or clock.now()
        unique: dict[str, Discovery] = {}
        channels: dict[str, ChannelSeen] = {}
        for video in videos:
            unique.setdefault(video.id, video)
            channels.setdefault(video.channel_id, ChannelSeen(video.channel_id, video.channel_title))
        samples = [
            Sample(video.id, video.observed_at, video.views, video.likes, video.comment_count)
            for video in videos
            if video.observed_at is not None
        ]
        async with self.transaction() as joined, joined._db.get_connection() as conn:
            await joined.add_channels(channels.values(), in_roster=roster, now=now)
            document = orjson.dumps(list(unique.values()))
            rows = await conn.fetch(
                SQL["ingest_video_metadata"],
                videos=document.decode(),
                stages=list(stages),
                short=SHORT_SECONDS,
                now=now,
            )
            await joined.log_video_stats_batch(samples)
            new = {row["video_id"] for row in rows}
            found = [video for video in unique.values() if video.id in new]
            await events.record_many(
                conn, [Event("video.discovered", video.id, _payload(video)) for video in found], now=now
            )
        return [video.id for video in found]


def _payload(video: Discovery) -> dict[str, Any]:
    """Say of a discovery what it takes to make it again."""
    facts = ((name, getattr(video, name)) for name in DISCOVERY_FACTS)
    return {name: fact for name, fact in facts if fact not in (None, "", ())}
