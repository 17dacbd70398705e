"""Time partitions: made before they are needed, listed, dropped once their rows are safe elsewhere.

A row whose partition does not exist lies in the table's default partition; whoever makes the partition moves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

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
    """A table in partitions of a day or a month."""

    table: str
    monthly: bool = False

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


VIDEO_STATS = Partitioned("video_stats_log")
CHANNEL_STATS = Partitioned("channel_stats_log", monthly=True)
EVENTS = Partitioned("system_events")
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

    Writers of the table wait for the transaction of ``conn``, readers only while a partition is attached, which waits
    for those there.

    Raises:
        psycopg.errors.LockNotAvailable: readers did not let go of the table within ``patience``.
    """
    # One that exists costs no lock.
    return [
        partition.name
        for partition in await missing(conn, wanted)
        if await conn.fetchval(STATEMENTS["create"], table=table.table, patience=patience, **partition._asdict())
    ]


async def lock(conn: Connection, table: Partitioned, *, patience: timedelta) -> None:
    """Have a table and its partitions to ourselves until the transaction ends.

    Raises:
        psycopg.errors.LockNotAvailable: others did not let go of it within ``patience``.
    """
    await conn.execute(STATEMENTS["patience"], {"milliseconds": patience // timedelta(milliseconds=1)})
    await conn.execute(STATEMENTS["lock"], {"table": table.table})


async def drop(conn: Connection, table: Partitioned, partition: Partition) -> bool:
    """Drop a partition with its rows; False when there is none.

    Raises:
        psycopg.errors.InsufficientPrivilege: it holds events that the vault is not proven to hold.
    """
    return bool(await conn.fetchval(STATEMENTS["drop"], table=table.table, name=partition.name))


async def days(conn: Connection, table: Partitioned) -> dict[date, tuple[str, int]]:
    """List the day partitions of a table by their day: name, and bytes on disk with indexes."""
    rows = await conn.fetch(STATEMENTS["days"], table=table.table)
    return {date.fromisoformat(row["name"][-8:]): (row["name"], row["bytes"]) for row in rows}
