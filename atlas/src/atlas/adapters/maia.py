"""The agents' data access: every statement they run, named after the method that runs it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

import orjson
from psycopg.errors import LockNotAvailable
from psycopg.sql import Literal

from atlas import clock, sql
from atlas.adapters import _enrichment, _event_days, _partitions, _reports, _sources, _vectors
from atlas.adapters._session import LEASE, REASON_LENGTH, Database, Joined, columns, count, settle
from atlas.adapters.maia_ghost import GhostTrackingMixin
from atlas.adapters.records import (
    MOST_VECTORS,
    AgentRun,
    Backlog,
    Beat,
    BreakerSeen,
    ChannelReading,
    ChannelRow,
    ChannelSeen,
    ClosedDay,
    DayAhead,
    Discovery,
    DuplicatePage,
    ExpiredVideo,
    Failure,
    FrameVector,
    LastRun,
    Overview,
    PollHint,
    PollOutcome,
    Rejected,
    Riser,
    Sample,
    Similar,
    SourceKind,
    SourceOutcome,
    SourceRow,
    SourceSeed,
    Stage,
    StageRow,
    TermOutcome,
    TermRow,
    TextFeatures,
    VideoReading,
    WatchEntry,
)
from atlas.db import db
from atlas.errors import LeaseLost
from atlas.events import Event, events
from atlas.tiers import INTERVALS, Tier

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.breakers import BreakerState
    from atlas.db import Connection
    from atlas.vault.shards import ShardInfo

SQL = sql.load("atlas.adapters", "maia.sql")

PATIENCE = timedelta(seconds=2)
"""How long archiving waits for the samples' table: whoever writes samples waits behind it meanwhile."""

QUEUES = ("search", "channels", "walk", "chart", "feed", "tracking", "painter", "scribe")
SHARD_COLUMNS = ("path", "kind", "day", "digest", "rows", "bytes", "min_time", "max_time")
DISCOVERY_FACTS = (
    "channel_id", "channel_title", "title", "published_at", "duration", "tags", "category_id", "default_language",
    "wiki_topics", "source", "tracking_tier", "next_track_at",
)  # fmt: skip

MAX_TERM_LENGTH = 200
"""Longer texts are no search terms; the longest tag YouTube takes has 100 characters."""


class MaiaDAO(GhostTrackingMixin):
    """Reads and writes what the agents work on.

    A claim (``fetch_…_batch``, ``fetch_…_targets``) leases rows for ten minutes under one token and commits. Whoever
    ends the work shows the token; a row that somebody else holds by then raises ``LeaseLost`` and nothing changes.
    A worker that dies does nothing: its rows come back when the lease runs out.
    """

    def __init__(self, database: Database = db) -> None:
        self._db = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """Lend a DAO whose methods all join one transaction, committed when the block ends well.

        No network call inside. A ``LeaseLost`` in the block undoes all of it, even when the block catches it.
        """
        async with self._db.get_connection() as conn:
            joined = Joined(conn)
            yield type(self)(joined)
            if joined.lost is not None:
                raise joined.lost

    # -- Search terms -------------------------------------------------------------------------------------------------

    async def add_to_search_queue(
        self,
        terms: Iterable[str],
        *,
        priority: int = 0,
        pinned: bool = False,
        at_most: int | None = None,
        now: datetime | None = None,
    ) -> int:
        """Add search terms, due at once, and return how many were new.

        Case and surplus space do not tell terms apart. Each occurrence is a mention. A known term wakes when asleep,
        and keeps the higher priority. A point of ``priority`` (0 to 100) is worth a day of waiting; pinned terms go
        first. Of terms that are new the first ``at_most`` are added.
        """
        mentions = Counter(normalise_term(term) for term in terms)
        texts = [term for term in mentions if 0 < len(term) <= MAX_TERM_LENGTH]
        if not texts:
            return 0
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(
                SQL["add_to_search_queue"],
                terms=texts, mentions=list(map(mentions.__getitem__, texts)),
                priority=priority, pinned=pinned, at_most=at_most, now=now,
            )  # fmt: skip
            # A term is named as often as it was mentioned.
            told = [(row["query_term"], row["new"]) for row in rows for _ in range(mentions[row["query_term"]])]
            mark = {"priority": priority, "pinned": pinned}
            await _record_terms(conn, "terms.added", [term for term, is_new in told if is_new], now, **mark)
            await _record_terms(conn, "terms.mentioned", [term for term, is_new in told if not is_new], now, **mark)
            await _record_terms(conn, "terms.woken", [row["query_term"] for row in rows if row["woken"]], now)
        return sum(row["new"] for row in rows)

    async def hold_terms(self, terms: Iterable[str], ids: Iterable[int]) -> None:
        """Lock these terms until the transaction ends: before it mentions the ones and settles the others.

        Two Hunters that do so never wait for each other in a circle.
        """
        async with self._db.get_connection() as conn:
            texts = sorted({normalise_term(term) for term in terms})
            await conn.execute(SQL["hold_terms"], {"terms": texts, "ids": list(ids)})

    async def fetch_hunter_batch(self, batch_size: int = 10, *, now: datetime | None = None) -> list[TermRow]:
        """Lease up to ``batch_size`` due terms: pinned ones first, then by waiting time and priority."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["fetch_hunter_batch"],
                now=now or clock.now(), batch_size=batch_size, token=uuid4(), lease=LEASE,
            )  # fmt: skip

    async def update_search_state(self, outcomes: Sequence[TermOutcome], *, now: datetime | None = None) -> None:
        """End the leases of terms that were searched; failures are forgotten.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["update_search_state"], "search terms", outcomes, now=now or clock.now())

    async def fail_searches(self, failures: Sequence[Failure]) -> None:
        """End the leases of terms whose search failed: one failed attempt more, due again as given.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["fail_searches"], "search terms", failures, length=REASON_LENGTH)

    async def release_searches(self, token: UUID) -> int:
        """Give back the terms of a claim that nobody settled, due as before; return how many."""
        return await count(self._db, SQL["release_searches"], token=token)

    # -- Channels -----------------------------------------------------------------------------------------------------

    async def add_channels(
        self,
        channels: Iterable[ChannelSeen],
        *,
        in_roster: bool,
        pinned: bool = False,
        now: datetime | None = None,
    ) -> int:
        """Add channels and return how many were new, each with an event ``channel.discovered``.

        With ``in_roster`` new and known ones are polled from now on; a known channel never leaves the roster by this.
        What a known one gains is an event ``channel.updated``.
        """
        unique = {channel.id: channel for channel in reversed(list(channels))}
        if not unique:
            return 0
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(
                SQL["add_channels"],
                **columns(list(unique.values())), in_roster=in_roster, pinned=pinned, now=now,
            )  # fmt: skip
            await events.record_many(
                conn,
                [
                    Event(
                        "channel.discovered",
                        row["id"],
                        {"title": row["title"], "in_roster": in_roster, "pinned": pinned},
                    )
                    for row in rows
                ],
                now=now,
            )
            if len(rows) < len(unique):
                known = await conn.fetch(
                    SQL["add_channels__known"],
                    **columns(list(unique.values())), in_roster=in_roster, pinned=pinned, now=now,
                )  # fmt: skip
                await events.record_many(
                    conn, [Event("channel.updated", row["id"], _gained(row)) for row in known], now=now
                )
        return len(rows)

    async def fetch_channel_batch(self, batch_size: int = 10, *, now: datetime | None = None) -> list[ChannelRow]:
        """Lease up to ``batch_size`` channels of the roster that are due, oldest first."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["fetch_channel_batch"],
                now=now or clock.now(), batch_size=batch_size, token=uuid4(), lease=LEASE,
            )  # fmt: skip

    async def update_channel_polls(self, outcomes: Sequence[PollOutcome], *, now: datetime | None = None) -> None:
        """End the leases of channels whose uploads were read; failures are forgotten.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["update_channel_polls"], "channels", outcomes, now=now or clock.now())

    async def fail_channel_polls(self, failures: Sequence[Failure]) -> None:
        """End the leases of channels whose poll failed: one failed attempt more, due again as given.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["fail_channel_polls"], "channels", failures, length=REASON_LENGTH)

    async def release_channels(self, token: UUID, *, now: datetime | None = None) -> int:
        """Give back the channels of a claim that nobody settled, due as before; return how many."""
        return await count(self._db, SQL["release_channels"], token=token, now=now or clock.now())

    async def roster_demand(self, *, per_upload: float, least: float, most: float) -> float:
        """Sum up the polls a day that the roster wants: ``per_upload``, for each channel from ``least`` to ``most``."""
        async with self._db.get_connection() as conn:
            return float(
                await conn.fetchval(SQL["roster_demand"], per_upload=per_upload, least=least, most=most)
            )  # fmt: skip

    async def hint_polls(self, hints: Sequence[PollHint], *, longest: timedelta, now: datetime | None = None) -> None:
        """Move the next polls of channels, but never further back than ``longest`` after the last."""
        if hints:
            await count(self._db, SQL["hint_polls"], **columns(hints), longest=longest, now=now or clock.now())

    # -- Walks, charts, feeds -----------------------------------------------------------------------------------------

    async def add_sources(self, kind: SourceKind, seeds: Sequence[SourceSeed], *, now: datetime | None = None) -> int:
        """Read these sources from now on and return how many were new; known ones stay as they are."""
        async with self._db.get_connection() as conn:
            return await _sources.add(conn, kind, seeds, now or clock.now())

    async def fetch_source_batch(
        self, kind: SourceKind, batch_size: int = 10, *, now: datetime | None = None
    ) -> list[SourceRow]:
        """Lease up to ``batch_size`` due sources of a kind, oldest first."""
        async with self._db.get_connection() as conn:
            return await _sources.claim(conn, kind, batch_size, now or clock.now())

    async def update_sources(
        self, kind: SourceKind, outcomes: Sequence[SourceOutcome], *, now: datetime | None = None
    ) -> None:
        """End the leases of sources that were read; failures are forgotten, and what came to its end goes away.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await _sources.update(conn, kind, outcomes, now or clock.now())

    async def fail_sources(self, kind: SourceKind, failures: Sequence[Failure]) -> None:
        """End the leases of sources that could not be read: one failed attempt more, due again as given.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await _sources.fail(conn, kind, failures)

    async def release_sources(self, kind: SourceKind, token: UUID, *, now: datetime | None = None) -> int:
        """Give back the sources of a claim that nobody settled, due as before; return how many."""
        async with self._db.get_connection() as conn:
            return await _sources.release(conn, kind, token, now or clock.now())

    # -- Discovery ----------------------------------------------------------------------------------------------------

    async def known_videos(self, video_ids: Iterable[str]) -> set[str]:
        """Pick the ids that are on the watchlist."""
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["known_videos"], video_ids=list(video_ids))
        return {row["video_id"] for row in rows}

    async def judged_videos(self, video_ids: Iterable[str], *, now: datetime | None = None) -> set[str]:
        """Pick the ids that need no looking up: on the watchlist, or rejected and not to be looked at again yet."""
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["judged_videos"], video_ids=list(video_ids), now=now or clock.now())
        return {row["video_id"] for row in rows}

    async def reject_videos(self, rejected: Sequence[Rejected]) -> None:
        """Remember candidates that are not stored; one rejected before is rejected anew."""
        if rejected:
            await count(self._db, SQL["reject_videos"], **columns(rejected))

    async def forget_rejected(self, *, limit: int = 10_000, now: datetime | None = None) -> int:
        """Forget up to ``limit`` rejected candidates whose time is up and return how many."""
        return await count(self._db, SQL["forget_rejected"], limit=limit, now=now or clock.now())

    async def ingest_video_metadata(
        self,
        videos: Sequence[Discovery],
        *,
        stages: Sequence[Stage] = ("painter", "scribe"),
        roster: bool = True,
        now: datetime | None = None,
    ) -> list[str]:
        """Store a discovery in one transaction and return the ids that were new to us, in their order.

        That is: channels (polled from now on when ``roster``), videos, watchlist rows, ``stages``, the samples that
        came along, and the events. A video on the watchlist is not discovered again, only its sample is stored. The
        Scribe's stage is due when the Painter's has ended, or at once where there is none.
        """
        if not videos:
            return []
        now = now or clock.now()
        unique: dict[str, Discovery] = {}
        channels: dict[str, ChannelSeen] = {}
        for video in videos:
            unique.setdefault(video.id, video)
            channels.setdefault(video.channel_id, ChannelSeen(video.channel_id, video.channel_title))
        samples = [
            Sample(video.id, video.observed_at, video.views, video.likes, video.comment_count)
            for video in videos
            if video.observed_at is not None
        ]
        async with self.transaction() as joined, joined._db.get_connection() as conn:
            await joined.add_channels(channels.values(), in_roster=roster, now=now)
            document = orjson.dumps(list(unique.values()))
            rows = await conn.fetch(
                SQL["ingest_video_metadata"], videos=document.decode(), stages=list(stages), now=now
            )
            await joined.log_video_stats_batch(samples)
            new = {row["video_id"] for row in rows}
            found = [video for video in unique.values() if video.id in new]
            await events.record_many(
                conn, [Event("video.discovered", video.id, _payload(video)) for video in found], now=now
            )
        return [video.id for video in found]

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

    # -- Janitor ------------------------------------------------------------------------------------------------------

    async def ensure_partitions(self, *, now: datetime | None = None, days_ahead: int = 7) -> list[str]:
        """Make the partitions from today to ``days_ahead`` and return the names of the new ones.

        Rows of such a day that lie in a default partition move into the new one; no insert fails meanwhile.
        """
        today = (now or clock.now()).astimezone(UTC).date()
        created: list[str] = []
        for table in _partitions.ALL:
            wanted = table.between(today, today + timedelta(days=days_ahead))
            # A transaction for each table: no one ever waits for two of its locks.
            async with self._db.get_connection() as conn:
                created += await _partitions.create(conn, table, wanted)
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
                    dropped = await _partitions.drop(conn, partition)
                    loose = (await conn.execute(SQL["archive_cold_stats__loose"], bounds)).rowcount
            except LockNotAvailable:
                return False
            if dropped or loose:
                payload = {"rows": rows, "shards": [shard.path for shard in shards]}
                await _index_shards(conn, shards, now)
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
            done = await _event_days.exchange(conn, day, shards, rows, patience=PATIENCE, now=now)
            if done:
                await _index_shards(conn, shards, now)
        return done

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
            await _index_shards(conn, shards, now)
            if retired:
                payload = {"videos": retired, "shards": [shard.path for shard in shards]}
                await events.record(conn, "videos.retired", None, payload, now=now)
        return len(retired)

    async def count_idle_terms(self, before: datetime, *, below: float = 1.0, now: datetime | None = None) -> int:
        """Count the terms that ``sleep_terms`` would put to sleep."""
        async with self._db.get_connection() as conn:
            idle = await conn.fetchval(SQL["count_idle_terms"], before=before, below=below, now=now or clock.now())
        return int(idle)

    async def sleep_terms(self, before: datetime, *, below: float = 1.0, now: datetime | None = None) -> int:
        """Put terms to sleep that nobody mentioned since ``before`` and whose yield is below ``below``.

        Pinned and leased terms stay awake. Returns how many fell asleep.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["sleep_terms"], before=before, below=below, now=now)
            await _record_terms(conn, "terms.slept", [row["query_term"] for row in rows], now)
        return len(rows)

    async def database_size(self) -> int:
        """Measure the database, in bytes."""
        async with self._db.get_connection() as conn:
            return int(await conn.fetchval(SQL["database_size"]))

    # -- Work that has no queue ---------------------------------------------------------------------------------------

    async def claim_work(self, name: str, *, lease: timedelta = LEASE, now: datetime | None = None) -> UUID | None:
        """Claim the sole right to do ``name`` for the length of ``lease``; None when somebody else has it."""
        async with self._db.get_connection() as conn:
            token: UUID | None = await conn.fetchval(
                SQL["claim_work"], name=name, token=uuid4(), lease=lease, now=now or clock.now()
            )
        return token

    async def renew_work(
        self, name: str, token: UUID, *, lease: timedelta = LEASE, now: datetime | None = None
    ) -> None:
        """Hold a claim for another ``lease`` from now.

        Raises:
            LeaseLost: somebody else has it.
        """
        if not await count(self._db, SQL["renew_work"], name=name, token=token, lease=lease, now=now or clock.now()):
            raise LeaseLost(name, 1)

    async def release_work(self, name: str, token: UUID) -> bool:
        """Give a claim back; False when it was no longer ours."""
        return bool(await count(self._db, SQL["release_work"], name=name, token=token))

    async def forget_lapsed_work(self, *, now: datetime | None = None) -> int:
        """Remove leases on work that ran out and return how many; whoever died with one will not give it back."""
        return await count(self._db, SQL["forget_lapsed_work"], now=now or clock.now())

    # -- What runs leave behind ---------------------------------------------------------------------------------------

    async def report_run(
        self,
        run: AgentRun,
        lost: Mapping[str, int] | None = None,
        breakers: Mapping[str, BreakerState] | None = None,
        *,
        now: datetime | None = None,
    ) -> None:
        """Note how an agent's run ended, what its process lost since it last told, and how its breakers stand."""
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            await _reports.report_run(conn, run)
            await _reports.report_losses(conn, lost or {}, now)
            await _reports.report_breakers(conn, breakers or {}, now)

    async def runs(self) -> list[LastRun]:
        """Tell the last run of each agent."""
        async with self._db.get_connection() as conn:
            return await _reports.runs(conn)

    async def breakers(self) -> list[BreakerSeen]:
        """Tell how each circuit breaker stood when a run last ended that had used it."""
        async with self._db.get_connection() as conn:
            return await _reports.breakers(conn)

    async def beat(self, state: str, reasons: Sequence[str], *, every: timedelta, now: datetime | None = None) -> Beat:
        """Note how the system is, and learn whether to tell OPS.

        To be told is a change of the state, a new reason, or that nothing was told for as long as ``every``; of any
        number that ask at once, one is to tell.
        """
        async with self._db.get_connection() as conn:
            return await _reports.beat(conn, state, reasons, every, now or clock.now())

    # -- Overview -----------------------------------------------------------------------------------------------------

    async def fetch_fastest(self, limit: int = 10) -> list[Riser]:
        """List the videos with the most views an hour, the fastest first."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(SQL["fetch_fastest"], limit=limit)

    async def day_ahead(self, until: datetime, *, limit: int, now: datetime | None = None) -> DayAhead:
        """Count what will be due before ``until``, readings and stages up to ``limit`` each.

        A channel counts as often as it comes round, twice per expected upload.
        """
        async with self._db.get_connection() as conn:
            row = await conn.fetchrow(SQL["day_ahead"], until=until, limit=limit, now=now or clock.now())
        return DayAhead(**row)

    async def overview(self, *, now: datetime | None = None) -> Overview:
        """Count what there is, what waits, and what the vault is proven to hold."""
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            totals = await conn.fetchrow(SQL["overview"])
            tiers = await conn.fetch(SQL["overview__tiers"])
            backlog = await conn.fetch(SQL["overview__backlog"], now=now)
            vault = await conn.fetch(SQL["overview__vault"])
        nothing = Backlog(total=0, due=0, leased=0, oldest_due_at=None)
        population: dict[Tier, int] = dict.fromkeys(INTERVALS, 0) | {row["tier"]: row["videos"] for row in tiers}
        return Overview(
            videos=totals["videos"],
            channels=totals["channels"],
            samples_hot=totals["samples_hot"],
            asleep_terms=totals["asleep_terms"],
            dead_stages=totals["dead_stages"],
            sql_bytes=totals["sql_bytes"],
            watchlist=sum(population.values()),
            tiers=population,
            backlog=dict.fromkeys(QUEUES, nothing) | {row.pop("queue"): row for row in backlog},
            vault={row.pop("kind"): row for row in vault},
        )


async def _wake_scribe(conn: Connection, video_ids: Sequence[str], ended: Stage, now: datetime | None) -> None:
    """Let the Scribe have the videos that waited for the Painter, whose stage has ended."""
    if ended == "painter" and video_ids:
        await conn.execute(SQL["_wake_scribe"], {"video_ids": list(video_ids), "now": now or clock.now()})


async def _show_token(conn: Connection, token: UUID) -> None:
    """Keep the work that ``token`` stands for ours until the transaction ends."""
    if await conn.fetchrow(SQL["_show_token"], token=token) is None:
        raise LeaseLost("work", 1)


async def _index_shards(conn: Connection, shards: Sequence[ShardInfo], now: datetime) -> None:
    """Note shards that were proven to be in the vault; one that is known was proven again."""
    unique = {shard.path: shard for shard in shards}.values()
    if unique:
        await conn.execute(
            SQL["_index_shards"],
            {name: [getattr(shard, name) for shard in unique] for name in SHARD_COLUMNS} | {"now": now},
        )


async def _record_terms(conn: Connection, event_type: str, terms: Sequence[str], now: datetime, **facts: Any) -> None:
    """Tell of terms in one event; of none there is nothing to tell."""
    if terms:
        payload = {"terms": sorted(terms), **{name: fact for name, fact in facts.items() if fact}}
        await events.record(conn, event_type, None, payload, now=now)


def _gained(channel: Any) -> dict[str, Any]:
    """Say what a known channel has now that it had not before."""
    gained = {"title": channel["titled"], "in_roster": channel["enrolled"], "pinned": channel["pinned"]}
    return {name: channel["title"] if name == "title" else True for name, is_new in gained.items() if is_new}


def _payload(video: Discovery) -> dict[str, Any]:
    """Say of a discovery what it takes to make it again."""
    facts = ((name, getattr(video, name)) for name in DISCOVERY_FACTS)
    return {name: fact for name, fact in facts if fact not in (None, "", ())}


def normalise_term(term: str) -> str:
    """Fold case and surplus space, so that two spellings of a term are one."""
    return " ".join(term.replace("\0", " ").casefold().split())
