"""The state again, from the log alone: hot and archived events are folded into an empty database.

Events are loaded into a temporary table of the target, in whatever order they come, and each table is then one
statement over them: what a channel, a video or a term is now is what the last event said of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from atlas import sql
from atlas.adapters.vault_index import VaultIndex
from atlas.db import DatabaseManager
from atlas.epochs import SHORT_SECONDS
from atlas.errors import ConfigurationError, VaultNotFound
from atlas.tiers import INTERVALS
from atlas.vault import ShardInfo, VaultStrategy

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.db import Connection

SQL = sql.load("atlas.events", "replay.sql")

REBUILT: Mapping[str, tuple[str, ...]] = {
    "channels": ("id", "title", "country", "custom_url", "created_at", "added_at", "in_roster", "pinned"),
    "videos": (
        "id", "channel_id", "title", "published_at", "duration", "tags", "category_id", "default_language",
        "wiki_topics", "discovered_at",
    ),
    "watchlist": ("video_id", "channel_id", "published_at", "added_at"),
    "search_queue": (
        "query_term", "priority", "pinned", "mention_count", "status", "added_at", "last_mentioned_at",
    ),
}  # fmt: skip
"""What events determine. Schedules, leases and counters are not theirs: what is rebuilt is due at once."""


class Replayed(NamedTuple):
    """What was folded, and into how many rows."""

    events: int
    channels: int
    videos: int
    watchlist: int
    search_queue: int


async def replay(
    source: DatabaseManager,
    vault: VaultStrategy,
    target: DatabaseManager,
    *,
    until: datetime | None = None,
    each: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Rebuild channels, videos, watchlist and search terms in ``target`` as they were ``until`` then, or are now.

    The target gets the hot events too, and new ones are numbered after the old: it can take the source's place.
    ``each`` is told how many events were loaded. All of it happens in one transaction of the target.

    Raises:
        ConfigurationError: the target is not empty.
        VaultError: archived events are missing or damaged.
        DatabaseUnavailable: one of the two does not answer.
    """
    async with target.get_connection() as conn:
        if await conn.fetchval(SQL["is_in_use"]):
            raise ConfigurationError("the database to replay into is not empty: give one that atlas setup just made")
        for step in ("patience", "load"):
            await conn.execute(SQL[step])
        loaded = await _load_hot(source, conn)
        each(loaded)
        for shard in await _archived(source, vault):
            rows = await asyncio.to_thread(vault.load, shard)
            await _load_cold(conn, rows)
            loaded += rows.num_rows
            each(loaded)
        await conn.execute(SQL["order"], {"until": until})
        for step in ("index", "analyze"):
            await conn.execute(SQL[step])
        counts = {}
        rules = {"dormant": INTERVALS["DORMANT"], "short": SHORT_SECONDS}
        for table in REBUILT:
            counts[table] = (await conn.execute(SQL[table], rules)).rowcount
        await conn.execute(SQL["unavailable"], rules)
        for step in ("keep_hot", "number_on"):
            await conn.execute(SQL[step])
        return Replayed(await conn.fetchval(SQL["count"]), **counts)


async def _archived(source: DatabaseManager, vault: VaultStrategy) -> list[ShardInfo]:
    """List the shards of events; all that SQL relies on must be there."""
    index = await asyncio.to_thread(vault.index, "events")
    there = {shard.path for shard in index.live} | index.superseded
    for shard in await VaultIndex(source).shards():
        if shard.kind == "events" and shard.path not in there:
            raise VaultNotFound("the archived events of that day are gone", provider=vault.provider, path=shard.path)
    return index.live


async def _load_hot(source: DatabaseManager, conn: Connection) -> int:
    """Copy what SQL holds from one server to the other as it is."""
    async with source.dedicated() as from_, from_.cursor() as reader, conn.cursor() as writer:
        await from_.execute(SQL["patience_of_source"])
        async with reader.copy(SQL["copy_out"]) as outward, writer.copy(SQL["copy_in"]) as inward:
            async for part in outward:
                await inward.write(part)
        return writer.rowcount


async def _load_cold(conn: Connection, rows: pa.Table) -> None:
    names = ("id", "event_type", "entity_id", "payload", "created_at")
    async with conn.cursor() as cursor, cursor.copy(SQL["copy_archived"]) as inward:
        for batch in rows.to_batches(max_chunksize=10_000):
            for row in zip(*(batch.column(name).to_pylist() for name in names), strict=True):
                await inward.write_row((*row, False))
