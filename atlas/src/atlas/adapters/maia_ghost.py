"""Ghost tracking: watching a video for ever, whether or not it is still in the hot queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from atlas import clock, sql
from atlas.adapters._session import REASON_LENGTH, Database, columns, count, settle
from atlas.adapters.records import (
    LEASE,
    Demand,
    Failure,
    MarketRow,
    Miss,
    Sample,
    SurveyRow,
    TrackingRow,
    TrackOutcome,
    WatchEntry,
)
from atlas.events import Event, events
from atlas.tiers import NextTrack, next_track

SQL = sql.load("atlas.adapters", "maia_ghost.sql")

NOT_AHEAD = timedelta(0)
PAUSE = timedelta(minutes=15)


class GhostTrackingMixin:
    """The watchlist and the samples. It uses ``self._db`` and nothing else."""

    _db: Database

    async def add_to_watchlist(self, rows: Sequence[WatchEntry], *, now: datetime | None = None) -> int:
        """Track videos by hand and return how many were new, each with an event ``video.watched``.

        Known ones stay as they are.
        """
        if not rows:
            return 0
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            new = await conn.fetch(SQL["add_to_watchlist"], **columns(rows), now=now)
            await events.record_many(conn, [Event("video.watched", row.pop("video_id"), row) for row in new], now=now)
        return len(new)

    async def fetch_tracking_batch(
        self, batch_size: int = 50, *, ahead: timedelta = NOT_AHEAD, now: datetime | None = None
    ) -> list[TrackingRow]:
        """Lease up to ``batch_size`` due videos for ten minutes, those due longest first.

        With ``ahead`` those due within it follow, but for what was read in the last quarter of an hour, failed or was
        missing. Rows come in no promised order, all with one token; none when nothing is due.
        """
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["fetch_tracking_batch"],
                now=now or clock.now(), ahead=ahead, pause=PAUSE, batch_size=batch_size, token=uuid4(), lease=LEASE,
            )  # fmt: skip

    def calculate_next_track_time(self, published_at: datetime, *, now: datetime | None = None) -> NextTrack:
        """Choose the tier and the next look of a video published at ``published_at``."""
        return next_track(published_at, now or clock.now())

    async def log_video_stats_batch(self, samples: Sequence[Sample]) -> int:
        """Store samples and return how many were new; one that is there already stays as it is."""
        if not samples:
            return 0
        return await count(self._db, SQL["log_video_stats_batch"], **columns(samples))

    async def update_watchlist_schedule(self, outcomes: Sequence[TrackOutcome], *, now: datetime | None = None) -> None:
        """End the leases of videos that were read: counters, rate, next look; misses and failures are forgotten.

        Share a ``transaction()`` with ``log_video_stats_batch``. Records ``video.revived`` for the revived.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["update_watchlist_schedule"], "videos", outcomes, now=now)
            await events.record_many(
                conn, [Event("video.revived", row.video_id) for row in outcomes if row.revived], now=now
            )

    async def record_misses(self, misses: Sequence[Miss], *, now: datetime | None = None) -> None:
        """End the leases of videos YouTube confirmed not to have: one miss more, next look as given.

        Records ``video.unavailable`` for each that becomes DORMANT by it. Nothing is deleted for being missing.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            settled = await settle(conn, SQL["record_misses"], "videos", misses, length=REASON_LENGTH)
            gone = [
                Event("video.unavailable", row["video_id"], {"misses": row["misses"], "reason": row["reason"]})
                for row in settled
                if row["given_up"]
            ]
            await events.record_many(conn, gone, now=now)

    async def fail_tracking(self, failures: Sequence[Failure]) -> None:
        """End the leases of videos that could not be read: one failed attempt more, due again as given.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["fail_tracking"], "videos", failures, length=REASON_LENGTH)

    async def release_tracking(self, token: UUID, *, ahead: timedelta = NOT_AHEAD, now: datetime | None = None) -> int:
        """Give back what a claim, made with the same ``ahead``, leased and nobody settled; return how many."""
        return await count(self._db, SQL["release_tracking"], token=token, ahead=ahead, now=now or clock.now())

    async def survey_watchlist(self, size: int, *, start: str = "") -> list[SurveyRow]:
        """Draw up to ``size`` videos that are not DORMANT, from the id ``start`` on, which chance should choose."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(SQL["survey_watchlist"], size=size, from_id=start)

    async def tracking_demand(self, *, now: datetime | None = None) -> Demand:
        """Count the videos that are tracked, and how many are late."""
        async with self._db.get_connection() as conn:
            row = await conn.fetchrow(SQL["tracking_demand"], now=now or clock.now())
        return Demand(**row)

    async def fetch_market(self) -> MarketRow | None:
        """Tell what a look must be worth; None before the first appraisal."""
        async with self._db.get_connection() as conn:
            row: MarketRow | None = await conn.fetchrow(SQL["fetch_market"])
        return row

    async def move_market(
        self,
        price: float,
        flow: float,
        growth: float,
        newcomer: float,
        *,
        since: datetime | None,
        now: datetime | None = None,
    ) -> bool:
        """Set what a look must be worth, if the last appraisal is still the one ``since`` (None: none yet)."""
        async with self._db.get_connection() as conn:
            moved = await conn.fetchval(
                SQL["move_market"],
                price=price, flow=flow, growth=growth, newcomer=newcomer, since=since, now=now or clock.now(),
            )  # fmt: skip
        return moved is not None
