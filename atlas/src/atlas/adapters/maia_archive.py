"""What the Janitor works on: partitions, closed days, the hot queue's end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from psycopg.errors import LockNotAvailable
from psycopg.sql import Literal

from atlas import clock, sql
from atlas.adapters import _event_days, _partitions
from atlas.adapters._session import Database
from atlas.adapters.records import (
    ClosedDay,
    ExpiredVideo,
)
from atlas.errors import LeaseLost
from atlas.events import events

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.db import Connection
    from atlas.vault.shards import ShardInfo

log = logging.getLogger(__name__)

SQL = sql.load("atlas.adapters", "maia_archive.sql")

PATIENCE = timedelta(seconds=2)
"""How long archiving waits for the samples' table: whoever writes samples waits behind it meanwhile."""

SHARD_COLUMNS = ("path", "kind", "day", "digest", "rows", "bytes", "min_time", "max_time")


class ArchiveMixin:
    """Partitions, archiving, retirement. It uses ``self._db`` and nothing else."""

    _db: Database

    async def ensure_partitions(self, *, now: datetime | None = None, days_ahead: int = 7) -> list[str]:
        """Make the partitions from today to ``days_ahead`` and return the names of the new ones.

        Rows of such a day that lie in a default partition move into the new one; no insert fails meanwhile. Of a table
        that somebody does not let go of none is made: until the next time its rows go to the default partition.
        """
        today = (now or clock.now()).astimezone(UTC).date()
        created: list[str] = []
        for table in _partitions.ALL:
            wanted = table.between(today, today + timedelta(days=days_ahead))
            # A transaction for each table: no one ever waits for two of its locks.
            async with self._db.get_connection() as conn:
                try:
                    async with conn.transaction():  # a savepoint: losing patience breaks nothing around it
                        created += await _partitions.create(conn, table, wanted, patience=PATIENCE)
                except LockNotAvailable:
                    log.warning("%s gets its partitions another time: somebody has been reading it", table.table)
        return created

    async def missing_partitions(self, *, now: datetime | None = None, days_ahead: int = 7) -> list[str]:
        """Name the partitions that ``ensure_partitions`` would make."""
        today = (now or clock.now()).astimezone(UTC).date()
        wanted = [
            part for table in _partitions.ALL for part in table.between(today, today + timedelta(days=days_ahead))
        ]
        async with self._db.get_connection() as conn:
            return [partition.name for partition in await _partitions.missing(conn, wanted)]

    async def closed_days(self, before: date) -> list[ClosedDay]:
        """List the days before ``before`` that hold samples or an empty partition, oldest first."""
        async with self._db.get_connection() as conn:
            partitions = await _partitions.days(conn, _partitions.VIDEO_STATS)
            rows = await conn.fetch(SQL["closed_days"], before=_partitions.midnight(before))
        counts = {row["day"]: row["rows"] for row in rows}
        closed = sorted(day for day in partitions.keys() | counts.keys() if day < before)
        return [ClosedDay(day, counts.get(day, 0), *partitions.get(day, (None, 0))) for day in closed]

    @asynccontextmanager
    async def read_day(self, day: date) -> AsyncIterator[pa.RecordBatchReader]:
        """Lend the samples of a day, unsorted, in record batches of bounded size; they are read in one statement.

        Columns: video_id, timestamp (us, UTC), views, likes, comment_count. To read waits for the database: do it in
        a thread. They come over a connection of their own, which knows nothing of an open ``transaction``.

        Raises:
            DatabaseUnavailable: while reading: the database does not answer, or no longer.
        """
        from atlas.adapters import _samples  # pyarrow and a driver: only archiving needs them

        partition = _partitions.VIDEO_STATS.partition(day)
        bounds = {"start": Literal(partition.start), "stop": Literal(partition.stop)}
        query = SQL["read_day"] % {name: bound.as_string(None) for name, bound in bounds.items()}
        reading = _samples.Reading(lambda: self._db.conninfo, query)
        try:
            yield reading.reader
        finally:
            await asyncio.to_thread(reading.close)

    async def archive_cold_stats(
        self,
        day: date,
        shards: Sequence[ShardInfo],
        rows: int,
        *,
        token: UUID,
        now: datetime | None = None,
    ) -> bool:
        """Drop the samples of a day from SQL in exchange for the shards that were proven to hold them.

        ``rows`` is how many were read, written and matched; ``token`` is the Janitor's, from ``claim_work``.
        False, with nothing changed, when the day holds another number of rows by now (read it again), or when the
        table is too busy to be locked.

        Raises:
            LeaseLost: another Janitor is at work.
        """
        if sum(shard.rows for shard in shards) != rows:
            raise ValueError(f"the shards of {day} hold {sum(shard.rows for shard in shards)} rows, not {rows}")
        now = now or clock.now()
        partition = _partitions.VIDEO_STATS.partition(day)
        bounds = {"start": partition.start, "stop": partition.stop}
        async with self._db.get_connection() as conn:
            await _show_token(conn, token)
            try:
                async with conn.transaction():  # a savepoint: losing patience breaks nothing around it
                    await _partitions.lock(conn, _partitions.VIDEO_STATS, patience=PATIENCE)
                    if await conn.fetchval(SQL["archive_cold_stats__count"], **bounds) != rows:
                        return False
                    dropped = await _partitions.drop(conn, _partitions.VIDEO_STATS, partition)
                    loose = (await conn.execute(SQL["archive_cold_stats__loose"], bounds)).rowcount
            except LockNotAvailable:
                return False
            if dropped or loose:
                payload = {"rows": rows, "shards": [shard.path for shard in shards]}
                await index_shards(conn, shards, now)
                await events.record(conn, "partition.archived", day.isoformat(), payload, now=now)
        return True

    async def closed_event_days(self, before: date) -> list[ClosedDay]:
        """List the days before ``before`` that hold events or an empty partition, oldest first."""
        async with self._db.get_connection() as conn:
            return await _event_days.closed_days(conn, before)

    @asynccontextmanager
    async def read_event_day(self, day: date) -> AsyncIterator[pa.RecordBatchReader]:
        """Lend the events of a day, in the columns of the vault's kind; the rest is as for ``read_day``."""
        reading = _event_days.reading(self._db, day)
        try:
            yield reading.reader
        finally:
            await asyncio.to_thread(reading.close)

    async def archive_cold_events(
        self,
        day: date,
        shards: Sequence[ShardInfo],
        rows: int,
        *,
        token: UUID,
        now: datetime | None = None,
    ) -> bool:
        """Drop the events of a day from SQL in exchange for the shards that were proven to hold them.

        As ``archive_cold_stats``.
        """
        if sum(shard.rows for shard in shards) != rows:
            raise ValueError(f"the shards of {day} hold {sum(shard.rows for shard in shards)} rows, not {rows}")
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            await _show_token(conn, token)
            return await _event_days.exchange(
                conn, day, shards, rows,
                patience=PATIENCE, index=lambda: index_shards(conn, shards, now), now=now,
            )  # fmt: skip

    async def fetch_expired_videos(
        self,
        before: datetime,
        limit: int = 500,
        *,
        after: ExpiredVideo | None = None,
        stages_ended: bool = True,
    ) -> list[ExpiredVideo]:
        """List videos discovered before ``before`` whose stages have ended, oldest first.

        ``after`` goes on behind a row of an earlier call, so that what cannot be deleted yet blocks nothing.
        """
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["fetch_expired_videos"],
                before=before, limit=limit, stages_ended=stages_ended,
                after_time=after["discovered_at"] if after else datetime.min.replace(tzinfo=UTC),
                after_id=after["id"] if after else "",
            )  # fmt: skip

    async def count_expired_videos(self, before: datetime, *, stages_ended: bool = True) -> int:
        """Count what ``fetch_expired_videos`` would list."""
        async with self._db.get_connection() as conn:
            return int(await conn.fetchval(SQL["count_expired_videos"], before=before, stages_ended=stages_ended))

    async def count_expired_channel_readings(self, before: datetime) -> int:
        """Count what ``expire_channel_readings`` would delete."""
        async with self._db.get_connection() as conn:
            return int(await conn.fetchval(SQL["count_expired_channel_readings"], before=before))

    async def expire_channel_readings(self, before: datetime, *, now: datetime | None = None) -> int:
        """Delete the readings of channels from before an instant, with an event ``channels.expired``; how many."""
        async with self._db.get_connection() as conn:
            gone = (await conn.execute(SQL["expire_channel_readings"], {"before": before})).rowcount
            if gone:
                payload = {"readings": gone, "before": before}
                await events.record(conn, "channels.expired", None, payload, now=now)
        return gone

    async def run_janitor(
        self,
        video_ids: Sequence[str],
        shards: Sequence[ShardInfo],
        *,
        token: UUID,
        stages_ended: bool = True,
        now: datetime | None = None,
    ) -> int:
        """Delete videos from the hot queue in exchange for ``shards``, and return how many went.

        What the Scribe knows of them goes along. Watchlist, samples and tracking are untouched. With
        ``stages_ended`` a video with work left stays.

        Raises:
            LeaseLost: another Janitor is at work.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            await _show_token(conn, token)
            rows = await conn.fetch(SQL["run_janitor"], video_ids=list(video_ids), stages_ended=stages_ended)
            retired = sorted(row["id"] for row in rows)
            await index_shards(conn, shards, now)
            if retired:
                payload = {"videos": retired, "shards": [shard.path for shard in shards]}
                await events.record(conn, "videos.retired", None, payload, now=now)
        return len(retired)

    async def database_size(self) -> int:
        """Measure the database, in bytes."""
        async with self._db.get_connection() as conn:
            return int(await conn.fetchval(SQL["database_size"]))


async def _show_token(conn: Connection, token: UUID) -> None:
    """Keep the work that ``token`` stands for ours until the transaction ends."""
    if await conn.fetchrow(SQL["_show_token"], token=token) is None:
        raise LeaseLost("work", 1)


async def index_shards(conn: Connection, shards: Sequence[ShardInfo], now: datetime) -> None:
    """Note shards that were proven to be in the vault; one that is known was proven again."""
    unique = {shard.path: shard for shard in shards}.values()
    if unique:
        await conn.execute(
            SQL["index_shards"],
            {name: [getattr(shard, name) for shard in unique] for name in SHARD_COLUMNS} | {"now": now},
        )
