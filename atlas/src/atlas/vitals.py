"""The system's vital signs, read from the database: for metrics, the heartbeat, and whoever asks how it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from atlas import clock, db, sql
from atlas.adapters import _partitions, _reports
from atlas.adapters.records import Archived, BreakerSeen, LastRun, Loss
from atlas.db import DatabaseManager
from atlas.quota import QuotaLedger, Usage
from atlas.tiers import INTERVALS, Tier

SQL = sql.load("atlas", "vitals.sql")

QUEUES = ("search", "channels", "tracking", "painter", "scribe")
LATELY = timedelta(hours=1)


class Queue(NamedTuple):
    """What waits in a queue."""

    waiting: int = 0
    due: int = 0
    leased: int = 0
    lapsed: int = 0  # under a lease that ran out: a worker died, or is slow
    oldest_due_at: datetime | None = None

    def __or__(self, other: Queue) -> Queue:
        """Take two as one."""
        oldest = [queue.oldest_due_at for queue in (self, other) if queue.oldest_due_at]
        return Queue(
            waiting=self.waiting + other.waiting,
            due=self.due + other.due,
            leased=self.leased + other.leased,
            lapsed=self.lapsed + other.lapsed,
            oldest_due_at=min(oldest, default=None),
        )


class Table(NamedTuple):
    """A table, its partitions included; rows are the server's estimates."""

    table_bytes: int
    index_bytes: int
    live_rows: int
    dead_rows: int


class LastBeat(NamedTuple):
    """What the heartbeat said last."""

    state: str
    since: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Vitals:
    """How the system is at a moment."""

    at: datetime
    queues: Mapping[str, Queue]
    tiers: Mapping[Tier, int]  # the watchlist's videos
    dead_stages: Mapping[str, int]
    samples_lately: int  # in the last hour
    discoveries_lately: int
    quota: list[Usage]  # of today
    oldest_day: date | None  # of samples in SQL, that is over
    vault: Mapping[str, Archived]
    tables: Mapping[str, Table]
    database_bytes: int
    oldest_transaction: timedelta
    losses: Mapping[str, Loss]
    runs: list[LastRun]
    breakers: list[BreakerSeen]
    heartbeat: LastBeat | None

    def late(self, queue: str) -> timedelta:
        """How long the oldest due work of a queue has been waiting."""
        oldest = self.queues[queue].oldest_due_at
        return self.at - oldest if oldest else timedelta(0)

    @property
    def oldest_day_age(self) -> timedelta:
        """How long ago the oldest day ended that is still in SQL."""
        if self.oldest_day is None:
            return timedelta(0)
        return self.at - datetime.combine(self.oldest_day + timedelta(days=1), time(), UTC)


async def read(database: DatabaseManager = db, *, now: datetime | None = None) -> Vitals:
    """Read them all; each statement may take seconds at most.

    Raises:
        DatabaseUnavailable: the database does not answer.
        psycopg.errors.QueryCanceled: it is too slow.
    """
    now = now or clock.now()
    since = now - LATELY
    async with database.get_connection() as conn:
        await conn.execute(SQL["patience"])
        queues = {row.pop("queue"): Queue(**row) for row in await conn.fetch(SQL["queues"], now=now)}
        watchlist = {row.pop("tier"): Queue(**row) for row in await conn.fetch(SQL["watchlist"], now=now)}
        tracking = Queue()
        for tier in watchlist.values():
            tracking |= tier
        dead = {row["stage"]: row["dead"] for row in await conn.fetch(SQL["dead_stages"])}
        partitions = await _partitions.days(conn, _partitions.VIDEO_STATS)
        server = await conn.fetchrow(SQL["server"])
        heartbeat = await conn.fetchrow(SQL["heartbeat"])
        return Vitals(
            at=now,
            queues=dict.fromkeys(QUEUES, Queue()) | queues | {"tracking": tracking},
            tiers={tier: watchlist.get(tier, Queue()).waiting for tier in INTERVALS},
            dead_stages=dict.fromkeys(("painter", "scribe"), 0) | dead,
            samples_lately=await conn.fetchval(SQL["samples_since"], since=since, now=now),
            discoveries_lately=await conn.fetchval(SQL["discoveries_since"], since=since, now=now),
            quota=await QuotaLedger(database).usage(now=now),
            oldest_day=min((day for day in partitions if day < now.date()), default=None),
            vault={row.pop("kind"): row for row in await conn.fetch(SQL["vault"])},
            tables={row.pop("name"): Table(**row) for row in await conn.fetch(SQL["tables"])},
            database_bytes=server["bytes"],
            oldest_transaction=server["oldest_transaction"],
            losses=await _reports.losses(conn),
            runs=await _reports.runs(conn),
            breakers=await _reports.breakers(conn),
            heartbeat=None if heartbeat is None else LastBeat(**heartbeat),
        )
