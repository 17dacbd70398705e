"""Time partitions: made before they are needed, listed, dropped once their rows are safe elsewhere.

A row whose partition does not exist lies in the table's default partition; whoever makes the partition moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

from psycopg.sql import SQL, Composable, Identifier, Literal

from atlas.sql import load

if TYPE_CHECKING:
    from atlas.db import Connection

STATEMENTS = load("atlas.adapters", "_partitions.sql")


class Partition(NamedTuple):
    """The rows of a table from ``start`` until before ``stop``."""

    name: str
    start: datetime
    stop: datetime


class Partitioned(NamedTuple):
    """A table in partitions of a day or a month by its ``column``."""

    table: str
    column: str
    monthly: bool = False
    immutable: bool = False

    @property
    def default(self) -> str:
        """The name of the partition for rows without one of their own."""
        return f"{self.table}_default"

    def partition(self, day: date) -> Partition:
        """Name the partition that a day belongs to."""
        if not self.monthly:
            return Partition(f"{self.table}_{day:%Y%m%d}", midnight(day), midnight(day + timedelta(days=1)))
        first = day.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
        return Partition(f"{self.table}_{day:%Y%m}", midnight(first), midnight(following))

    def between(self, first: date, last: date) -> list[Partition]:
        """Name the partitions for the days from ``first`` to ``last``, both included."""
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return list(dict.fromkeys(map(self.partition, days)))


VIDEO_STATS = Partitioned("video_stats_log", "timestamp")
CHANNEL_STATS = Partitioned("channel_stats_log", "timestamp", monthly=True)
EVENTS = Partitioned("system_events", "created_at", immutable=True)
ALL = (VIDEO_STATS, CHANNEL_STATS, EVENTS)


def midnight(day: date) -> datetime:
    """When a UTC day begins."""
    return datetime.combine(day, time(), UTC)


async def missing(conn: Connection, wanted: Sequence[Partition]) -> list[Partition]:
    """Pick the partitions that do not exist."""
    rows = await conn.fetch(STATEMENTS["missing"], names=[partition.name for partition in wanted])
    absent = {row["name"] for row in rows}
    return [partition for partition in wanted if partition.name in absent]


async def create(
    conn: Connection, table: Partitioned, wanted: Sequence[Partition], *, patience: timedelta
) -> list[str]:
    """Make the partitions that do not exist, and return their names.

    Writers of the table wait for the transaction of ``conn``: else a row on its way to the default partition could
    arrive there when it no longer may. Readers wait only while a partition is attached, which waits for those there.

    Raises:
        psycopg.errors.LockNotAvailable: readers did not let go of the table within ``patience``.
    """
    if not await missing(conn, wanted):
        return []
    await _run(conn, "lock_writers", table=Identifier(table.table))
    await _be_patient(conn, patience)
    absent = await missing(conn, wanted)
    for partition in absent:
        await _create(conn, table, partition)
    return [partition.name for partition in absent]


async def lock(conn: Connection, table: Partitioned, *, patience: timedelta) -> None:
    """Have a table and its partitions to ourselves until the transaction ends.

    Raises:
        psycopg.errors.LockNotAvailable: others did not let go of it within ``patience``.
    """
    await _be_patient(conn, patience)
    await _run(conn, "lock", table=Identifier(table.table))


async def drop(conn: Connection, partition: Partition) -> bool:
    """Drop a partition with its rows; False when there is none."""
    if await missing(conn, [partition]):
        return False
    await _run(conn, "drop", partition=Identifier(partition.name))
    return True


async def days(conn: Connection, table: Partitioned) -> dict[date, tuple[str, int]]:
    """List the day partitions of a table by their day: name, and bytes on disk with indexes."""
    rows = await conn.fetch(STATEMENTS["days"], table=table.table)
    return {date.fromisoformat(row["name"][-8:]): (row["name"], row["bytes"]) for row in rows}


async def _create(conn: Connection, table: Partitioned, partition: Partition) -> None:
    names: dict[str, Composable] = {
        "table": Identifier(table.table),
        "default": Identifier(table.default),
        "column": Identifier(table.column),
        "partition": Identifier(partition.name),
        "start": Literal(partition.start),
        "stop": Literal(partition.stop),
    }
    await _run(conn, "create", **names)
    cursor = await conn.execute(SQL(STATEMENTS["is_early"]).format(**names))
    row = await cursor.fetchone()
    if row is not None and row["exists"]:
        for step in ("still_triggers", "copy", "remove", "wake_triggers"):
            await _run(conn, step, **names)
    await _run(conn, "attach", **names)
    if table.immutable:
        await _run(conn, "keep_untruncated", **names)


async def _be_patient(conn: Connection, patience: timedelta) -> None:
    await _run(conn, "patience", milliseconds=Literal(patience // timedelta(milliseconds=1)))


async def _run(conn: Connection, name: str, **names: Composable) -> None:
    await conn.execute(SQL(STATEMENTS[name]).format(**names))
