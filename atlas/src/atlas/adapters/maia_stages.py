"""What the Painter and the Scribe work on: stages of videos, and what is found out in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from atlas import clock, sql
from atlas.adapters import _enrichment, _vectors
from atlas.adapters._session import REASON_LENGTH, Database, count, settle
from atlas.adapters.records import (
    LEASE,
    MOST_VECTORS,
    ChannelReading,
    DuplicatePage,
    Failure,
    FrameVector,
    Similar,
    Stage,
    StageRow,
    TextFeatures,
    VideoReading,
)
from atlas.errors import LeaseLost

if TYPE_CHECKING:
    from atlas.db import Connection

SQL = sql.load("atlas.adapters", "maia_stages.sql")


class StagesMixin:
    """Stages, features, renewed metadata. It uses ``self._db`` and nothing else."""

    _db: Database

    # -- Stages -------------------------------------------------------------------------------------------------------

    async def fetch_painter_targets(self, batch_size: int = 50, *, now: datetime | None = None) -> list[StageRow]:
        """Lease up to ``batch_size`` videos that wait for the Painter, oldest first."""
        return await self._claim_stage("painter", batch_size, now)

    async def fetch_scribe_targets(self, batch_size: int = 50, *, now: datetime | None = None) -> list[StageRow]:
        """Lease up to ``batch_size`` videos that wait for the Scribe, oldest first."""
        return await self._claim_stage("scribe", batch_size, now)

    fetch_scribe_batch = fetch_scribe_targets

    async def _claim_stage(self, stage: Stage, batch_size: int, now: datetime | None) -> list[StageRow]:
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["_claim_stage"],
                stage=stage, now=now or clock.now(), batch_size=batch_size, token=uuid4(), lease=LEASE,
            )  # fmt: skip

    async def mark_video_done(
        self, video_ids: Sequence[str], stage: Stage, token: UUID, *, now: datetime | None = None
    ) -> None:
        """End a stage of videos for good; the Scribe's is due once the Painter's has ended.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            done = await conn.fetch(SQL["mark_video_done"], video_ids=list(video_ids), stage=stage, token=token)
            if len(done) != len(video_ids):
                raise LeaseLost("stages", len(video_ids) - len(done))
            await _wake_scribe(conn, [row["video_id"] for row in done], stage, now)

    async def fail_stage(
        self, failures: Sequence[Failure], stage: Stage, *, dead_after: int = 5, now: datetime | None = None
    ) -> int:
        """End the leases of a stage that failed: due again as given, or dead after ``dead_after`` attempts.

        Returns how many are dead now; those are not tried again and keep their reason. A dead stage has ended.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            settled = await settle(
                conn, SQL["fail_stage"], "stages", failures,
                stage=stage, dead_after=dead_after, length=REASON_LENGTH,
            )  # fmt: skip
            dead = [row["video_id"] for row in settled if row["dead"]]
            await _wake_scribe(conn, dead, stage, now)
        return len(dead)

    async def put_off_stage(self, delays: Sequence[Failure], stage: Stage) -> None:
        """End the leases of a stage that nobody could try: due again as given, and no attempt is counted.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["put_off_stage"], "stages", delays, stage=stage, length=REASON_LENGTH)

    async def release_stage(self, token: UUID, *, now: datetime | None = None) -> int:
        """Give back the stages of a claim that nobody settled, due as before; return how many."""
        return await count(self._db, SQL["release_stage"], token=token, now=now or clock.now())

    # -- What videos look and sound like ------------------------------------------------------------------------------

    async def store_features(
        self,
        vectors: Iterable[FrameVector],
        texts: Mapping[str, TextFeatures] | None = None,
        *,
        most_vectors: int = MOST_VECTORS,
        now: datetime | None = None,
    ) -> None:
        """Keep what frames look like and, by video, what the words tell; to store the same again changes nothing.

        Videos that are not in the hot queue (any more) are left out, and so are vectors that are all zero. At most
        ``most_vectors`` of all stay, or these alone; of older ones what was stored together goes together.

        Raises:
            ValueError: a vector has not 512 numbers.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            await _vectors.store_vectors(conn, vectors, most_vectors, now)
            await _vectors.store_texts(conn, texts or {}, now)

    async def find_similar(self, video_id: str, k: int = 10, *, source_type: str | None = None) -> list[Similar]:
        """List up to ``k`` hot videos with a frame like one of this video's, the most alike first.

        One model is asked: ``source_type``, or the one that described this video last. None are found, too, when no
        model has described it: ``models_of`` tells.
        """
        async with self._db.get_connection() as conn:
            return await _vectors.find_similar(conn, video_id, k, source_type)

    async def find_duplicates(
        self,
        source_type: str,
        at_least: float,
        *,
        after: str = "",
        batch_size: int = 200,
        frames: int = 8,
    ) -> DuplicatePage:
        """Compare the next ``batch_size`` videos with all others: the pairs with frames at least so similar.

        Of each frame the nearest ``frames`` others are looked at, which bounds the cost: a picture that more videos
        share is found through those.
        """
        async with self._db.get_connection() as conn:
            return await _vectors.find_duplicates(conn, source_type, at_least, after, batch_size, frames)

    async def models_of(self, video_id: str) -> list[str]:
        """Name the models that described frames of a video, the newest first."""
        async with self._db.get_connection() as conn:
            return await _vectors.models_of(conn, video_id)

    async def models(self) -> dict[str, int]:
        """Name the models that described frames, with how many; the one with the most first."""
        async with self._db.get_connection() as conn:
            return {row["source_type"]: row["frames"] for row in await conn.fetch(_vectors.SQL["models"])}

    # -- Enrichment ---------------------------------------------------------------------------------------------------

    async def update_video_metadata(self, videos: Sequence[VideoReading], *, now: datetime | None = None) -> int:
        """Bring videos of the hot queue up to date and return how many have another title than before.

        The old titles go to ``video_history``, each with an event ``video.renamed``.
        """
        async with self._db.get_connection() as conn:
            return await _enrichment.update_videos(conn, videos, now or clock.now())

    async def stale_channels(self, channel_ids: Collection[str], before: datetime) -> list[str]:
        """Pick, in order, the known channels that were not read since ``before``."""
        async with self._db.get_connection() as conn:
            return await _enrichment.stale_channels(conn, list(channel_ids), before)

    async def refresh_channels(self, channels: Sequence[ChannelReading], *, now: datetime | None = None) -> int:
        """Bring channels up to date, log their counts, and return how many changes there were.

        A change is another title, handle or country than the known one. It goes to ``channel_history``, with an event
        ``channel.renamed``, ``channel.handle_changed`` or ``channel.country_changed``.
        """
        async with self._db.get_connection() as conn:
            return await _enrichment.refresh_channels(conn, channels, now or clock.now())


async def _wake_scribe(conn: Connection, video_ids: Sequence[str], ended: Stage, now: datetime | None) -> None:
    """Let the Scribe have the videos that waited for the Painter, whose stage has ended."""
    if ended == "painter" and video_ids:
        await conn.execute(SQL["_wake_scribe"], {"video_ids": list(video_ids), "now": now or clock.now()})
