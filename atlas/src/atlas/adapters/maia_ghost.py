"""Ghost tracking: watching a video for ever, whether or not it is still in the hot queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from atlas import clock, sql
from atlas.adapters._session import REASON_LENGTH, Database, columns, count, settle
from atlas.adapters.records import LEASE, Failure, Miss, Sample, TrackingRow, TrackOutcome, WatchEntry
from atlas.events import Event, events
from atlas.tiers import NextTrack, next_track

SQL = sql.load("atlas.adapters", "maia_ghost.sql")


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

    async def fetch_tracking_batch(self, batch_size: int = 50, *, now: datetime | None = None) -> list[TrackingRow]:
        """Lease up to ``batch_size`` due videos for ten minutes, those due longest first.

        Rows come in no promised order, all with one token; none when nothing is due.
        """
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["fetch_tracking_batch"],
                now=now or clock.now(), batch_size=batch_size, token=uuid4(), lease=LEASE,
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

    async def release_tracking(self, token: UUID, *, now: datetime | None = None) -> int:
        """Give back what a claim leased and nobody settled, due as before; return how many."""
        return await count(self._db, SQL["release_tracking"], token=token, now=now or clock.now())
