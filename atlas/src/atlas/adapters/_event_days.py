"""Closed days of events on their way out of SQL: counted, read, and dropped in exchange for shards that hold them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from psycopg.errors import LockNotAvailable
from psycopg.sql import Literal

from atlas import sql
from atlas.adapters import _partitions
from atlas.adapters._partitions import EVENTS
from atlas.adapters.records import ClosedDay
from atlas.events import events

if TYPE_CHECKING:
    from atlas.adapters._samples import Reading
    from atlas.adapters._session import Database
    from atlas.db import Connection
    from atlas.vault.manifests import ShardInfo

SQL = sql.load("atlas.adapters", "_event_days.sql")


async def closed_days(conn: Connection, before: date) -> list[ClosedDay]:
    """List the days before ``before`` that hold events or an empty partition, oldest first."""
    partitions = await _partitions.days(conn, EVENTS)
    rows = await conn.fetch(SQL["closed_days"], before=_partitions.midnight(before))
    counts = {row["day"]: row["rows"] for row in rows}
    closed = sorted(day for day in partitions.keys() | counts.keys() if day < before)
    return [ClosedDay(day, counts.get(day, 0), *partitions.get(day, (None, 0))) for day in closed]


def reading(database: Database, day: date) -> Reading:
    """Begin to read the events of a day."""
    from atlas.adapters import _samples  # pyarrow and a driver: only archiving needs them
    from atlas.vault.kinds import EVENTS as KIND

    partition = EVENTS.partition(day)
    bounds = {"start": Literal(partition.start), "stop": Literal(partition.stop)}
    query = SQL["read_day"] % {name: bound.as_string(None) for name, bound in bounds.items()}
    return _samples.Reading(lambda: database.conninfo, query, KIND.schema)


async def exchange(
    conn: Connection,
    day: date,
    shards: Sequence[ShardInfo],
    rows: int,
    *,
    patience: timedelta,
    index: Callable[[], Awaitable[None]],
    now: datetime,
) -> bool:
    """Drop the events of a day, the one way in which events leave SQL; False when others have the table, or it grew.

    ``index`` notes the shards, without which the database refuses to drop the day.
    """
    partition = EVENTS.partition(day)
    bounds = {"start": partition.start, "stop": partition.stop}
    try:
        async with conn.transaction():  # a savepoint: losing patience breaks nothing around it
            await _partitions.lock(conn, EVENTS, patience=patience)
            if await conn.fetchval(SQL["count_day"], **bounds) != rows:
                return False
            # What came without a partition moves into it.
            await _partitions.create(conn, EVENTS, [partition], patience=patience)
            await index()
            await _partitions.drop(conn, EVENTS, partition)
    except LockNotAvailable:
        return False
    if rows:
        payload = {"rows": rows, "shards": [shard.path for shard in shards]}
        await events.record(conn, "events.archived", day.isoformat(), payload, now=now)
    return True
