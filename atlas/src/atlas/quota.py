"""The quota ledger: units used per project, bucket and Pacific day, counted before a call is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, cast, get_args
from uuid import uuid4
from zoneinfo import ZoneInfo

from atlas import clock, db, events, sql
from atlas import settings as shared_settings
from atlas.db import DatabaseManager
from atlas.errors import Bucket, QuotaExhausted
from atlas.events import EventBus

if TYPE_CHECKING:
    from atlas.db import Connection

SQL = sql.load("atlas", "quota.sql")

PACIFIC = ZoneInfo("America/Los_Angeles")
"""Where Google's quota day begins and ends (YouTube Data API, "Quota costs", as of November 2026)."""

BUCKETS: tuple[Bucket, ...] = get_args(Bucket)

UNNAMED = "other"
"""The purpose of calls that name none."""


def pacific_day(now: datetime) -> date:
    """The quota day that ``now`` belongs to."""
    return now.astimezone(PACIFIC).date()


def began_at(now: datetime) -> datetime:
    """When the quota day of ``now`` began, in UTC: the last midnight Pacific."""
    return datetime.combine(pacific_day(now), time(), PACIFIC).astimezone(UTC)


def reset_at(now: datetime) -> datetime:
    """When the quota day of ``now`` ends, in UTC: the next midnight Pacific; a day has 23 to 25 hours."""
    tomorrow = pacific_day(now) + timedelta(days=1)
    return datetime.combine(tomorrow, time(), PACIFIC).astimezone(UTC)


class Usage(NamedTuple):
    """What a project has used of a bucket on a Pacific day."""

    project: str
    bucket: Bucket
    day: date
    used: int
    limit: int
    refused_at: datetime | None
    """When the server said that the bucket is spent."""
    purposes: Mapping[str, int]
    """The units used, by what they were used for."""

    @property
    def left(self) -> int:
        """Units that may still be reserved."""
        return 0 if self.refused_at else max(self.limit - self.used, 0)


class QuotaLedger:
    """Counts the units of every project; any number of processes may share it.

    Each method takes the day from ``now``. Whoever corrects a reservation shows its ``now`` again, so that a
    call made across midnight is corrected on the day it was counted.
    """

    def __init__(
        self,
        database: DatabaseManager = db,
        limits: Mapping[Bucket, int] | None = None,
        *,
        event_bus: EventBus = events,
    ) -> None:
        self._db = database
        self._given_limits = limits
        self._events = event_bus

    @cached_property
    def _limits(self) -> Mapping[Bucket, int]:
        if self._given_limits is not None:
            return self._given_limits
        return cast("Mapping[Bucket, int]", shared_settings.daily_quota)

    async def reserve(
        self, project: str, bucket: Bucket, units: int = 1, *, purpose: str = UNNAMED, now: datetime | None = None
    ) -> None:
        """Count ``units`` that are about to be used for ``purpose``.

        Raises:
            QuotaExhausted: they do not fit into what is left of the day; nothing was counted.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            used = await conn.fetchval(
                SQL["reserve"],
                project=project, bucket=bucket, day=pacific_day(now), units=units, limit=self._limits[bucket],
                purpose=purpose,
            )  # fmt: skip
        if used is None:
            raise QuotaExhausted(bucket, reset_at(now))

    async def refund(
        self, project: str, bucket: Bucket, units: int, *, purpose: str = UNNAMED, now: datetime | None = None
    ) -> None:
        """Take back ``units`` reserved for ``purpose``, of a call that the server cannot have counted."""
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            await self._take_back(conn, project, bucket, units, purpose, now)

    async def refused(
        self, project: str, bucket: Bucket, units: int, *, purpose: str = UNNAMED, now: datetime | None = None
    ) -> None:
        """Record that the server says the bucket is spent: nothing of it is reserved again before the reset.

        The reserved ``units`` of the refused call are given back.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            await conn.execute(
                SQL["refused"], {"project": project, "bucket": bucket, "day": pacific_day(now), "now": now}
            )
            await self._take_back(conn, project, bucket, units, purpose, now)

    async def announce(self, project: str, bucket: Bucket, *, now: datetime | None = None) -> bool:
        """Record the event ``quota.exhausted``, and say whether we are the first to notice today.

        True once per project, bucket and Pacific day, whoever asks.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            first = await conn.fetchval(
                SQL["announce"],
                name=f"quota.exhausted/{bucket}/{project}", token=uuid4(), reset_at=reset_at(now), now=now,
            )  # fmt: skip
            if first is None:
                return False
            payload = {"bucket": bucket, "day": pacific_day(now), "reset_at": reset_at(now)}
            await self._events.record(conn, "quota.exhausted", project, payload, now=now)
        return True

    async def left(self, bucket: Bucket, projects: Iterable[str], *, now: datetime | None = None) -> int:
        """Count the units of ``bucket`` that ``projects`` together may still use today."""
        return sum(usage.left for usage in await self.usage(projects, now=now) if usage.bucket == bucket)

    async def usage(
        self, projects: Iterable[str] | None = None, *, now: datetime | None = None, day: date | None = None
    ) -> list[Usage]:
        """Tell what each project (default: every known one) used of each bucket on a Pacific ``day`` (today's)."""
        day = day or pacific_day(now or clock.now())
        asked = None if projects is None else sorted(set(projects))
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["usage"], day=day, buckets=list(BUCKETS), projects=asked)
        return [Usage(day=day, limit=self._limits[row["bucket"]], **row) for row in rows]

    async def totals(self) -> dict[Bucket, int]:
        """Count the units used of each bucket, over all projects and all days on record."""
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["totals"])
        return dict.fromkeys(BUCKETS, 0) | {row["bucket"]: row["used"] for row in rows}

    async def _take_back(
        self, conn: Connection, project: str, bucket: Bucket, units: int, purpose: str, now: datetime
    ) -> None:
        await conn.execute(
            SQL["refund"],
            {"project": project, "bucket": bucket, "day": pacific_day(now), "units": units, "purpose": purpose},
        )
