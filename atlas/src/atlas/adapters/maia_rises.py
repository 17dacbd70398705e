"""What is expected of videos, and which of them rise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from atlas import clock, sql
from atlas.adapters._session import Database, columns
from atlas.adapters.records import (
    LEASE,
    Expectation,
    ExpectedRate,
    RateAtAge,
    Rise,
    Riser,
    RiseRow,
    RiseState,
    UntoldRise,
)
from atlas.events import Event, events

SQL = sql.load("atlas.adapters", "maia_rises.sql")

FRESH = timedelta(days=8)
"""Rates older than this are not learned from: the longest time between two looks at a video that is there."""

EVIDENCE_H = 3.0
"""Hours a video was followed before its level says something about its channel."""


class RisesMixin:
    """The detector's memory beside the watchlist. It uses ``self._db`` and nothing else."""

    _db: Database

    async def fetch_expectations(self, channels: Collection[str]) -> list[Expectation]:
        """Tell what channels let expect, and all videos, by format; those with too few videos are left out."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(SQL["fetch_expectations"], ids=list(channels))

    async def fetch_expected_rates(self) -> list[ExpectedRate]:
        """Tell the curves by age that were learned last; none before the first time."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(SQL["fetch_expected_rates"])

    async def fetch_rates_by_age(self, edges: Sequence[float], *, now: datetime | None = None) -> list[RateAtAge]:
        """Tell the median log rate of each format between each two of ``edges``, ages in hours."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["fetch_rates_by_age"], edges=list(edges), since=(now or clock.now()) - FRESH
            )  # fmt: skip

    async def learn_expectations(
        self,
        rates: Sequence[ExpectedRate],
        *,
        settled: timedelta,
        log_week: tuple[float, float],
        now: datetime | None = None,
    ) -> int:
        """Put ``rates`` and what the watchlist says of each channel in the place of what was learned before.

        ``log_week`` is the log count of the first week on the curves, long and short; a video counts towards its
        channel's week when it is older than ``settled``. What was learned on this UTC day already stays: to learn again
        would weigh the day twice. Returns how many channels, by format, are known now.
        """
        day = (now or clock.now()).astimezone(UTC).date()
        rows = [(rate["short"], rate["age"], rate["log_rate"], rate["videos"]) for rate in rates]
        short, age, log_rate, videos = (list(column) for column in zip(*rows, strict=True))
        async with self._db.get_connection() as conn:
            await conn.execute(SQL["learn_expectations"])
            if (known := await conn.fetchrow(SQL["learn_expectations__known"], day=day)) is not None:
                return int(known["channels"])
            await conn.execute(SQL["learn_expectations__outdated"])
            await conn.execute(
                SQL["learn_expectations__rates"],
                {"short": short, "age": age, "log_rate": log_rate, "counts": videos, "day": day},
            )
            await conn.execute(SQL["learn_expectations__forget"])
            await conn.execute(
                SQL["learn_expectations__channels"],
                {"settled": settled, "week_long": log_week[0], "week_short": log_week[1], "evidence": EVIDENCE_H},
            )
            return int(await conn.fetchval(SQL["learn_expectations__known"], day=day))

    async def fetch_rises(self, videos: Collection[str]) -> dict[str, RiseRow]:
        """Tell where videos are in their rises; those that are QUIET are left out."""
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["fetch_rises"], ids=list(videos))
        return {row["video_id"]: row for row in rows}

    async def record_rises(
        self, rises: Sequence[Rise], over: Collection[str] = (), *, now: datetime | None = None
    ) -> None:
        """Note where videos are in their rises, and which rises are ``over``; share the samples' ``transaction()``.

        Records ``video.rising``, ``video.viral`` and ``video.cooling`` for those that have just become it.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            if rises:
                await conn.execute(SQL["record_rises"], columns(rises) | {"now": now})
            if over:
                await conn.execute(SQL["record_rises__over"], {"ids": list(over)})
            await events.record_many(conn, [_told(rise) for rise in rises if rise.turned], now=now)

    async def claim_untold_rises(self, limit: int = 50, *, now: datetime | None = None) -> list[UntoldRise]:
        """Lease rises that nobody was told of, the oldest first; all come with one token for ``rises_told``."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["claim_untold_rises"], limit=limit, now=now or clock.now(), token=uuid4(), lease=LEASE
            )  # fmt: skip

    async def rises_told(self, token: UUID, *, now: datetime | None = None) -> None:
        """Note that what was claimed with ``token`` was told."""
        async with self._db.get_connection() as conn:
            await conn.execute(SQL["rises_told"], {"token": token, "now": now or clock.now()})

    async def fetch_risers(
        self,
        limit: int = 20,
        *,
        states: Collection[RiseState] = ("VIRAL", "RISING"),
        within: timedelta = timedelta(days=2),
        now: datetime | None = None,
    ) -> list[Riser]:
        """List what rises and was read ``within`` so long: the raised first, then by score."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["fetch_risers"], limit=limit, states=list(states), since=(now or clock.now()) - within
            )  # fmt: skip

    async def fetch_recent_views(
        self, videos: Collection[str], *, since: datetime
    ) -> dict[str, list[tuple[datetime, int]]]:
        """Tell the views of videos at each sample ``since`` then that SQL still has, oldest first."""
        curves: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
        async with self._db.get_connection() as conn:
            for row in await conn.fetch(SQL["fetch_recent_views"], ids=list(videos), since=since):
                curves[row["video_id"]].append((row["timestamp"], row["views"]))
        return dict(curves)


def _told(rise: Rise) -> Event:
    facts = {
        "score": round(rise.score, 2),
        "rate": round(rise.rate, 1),
        "times": round(rise.times, 2),
        "views": rise.views,
        "began_at": rise.began_at.isoformat(),
    }
    if rise.state == "RISING":
        return Event("video.rising", rise.video_id, facts)
    if rise.state == "VIRAL":
        return Event("video.viral", rise.video_id, facts)
    return Event("video.cooling", rise.video_id, facts)
