"""Samples: what the Tracker stores, beside a statement and a commit for each and beside bare COPY."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import psycopg

from alkyone.bench.ids import video_ids
from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_least, in_turns, seconds
from alkyone.databases import NOON
from atlas import sql
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Sample, TrackOutcome
from maia.batches import batched

SQL = sql.load("alkyone.bench", "bench.sql")

BATCH = 500  # a round of the Tracker: ten calls of fifty
TYPES = ("text", "timestamptz", "int8", "int8", "int8")


async def measure(lab: Lab) -> Result:
    """Compare the ways into the same table, in turns; the watchlist also holds many videos that nobody asks about."""
    ids = video_ids(lab.size(20_000, 1_000))
    async with lab.database() as database:
        async with database.get_connection() as conn:
            await conn.execute(SQL["fill_watchlist"], {"now": NOON, "rows": lab.size(300_000, 1_000)})
            await conn.execute(SQL["watch"], {"now": NOON, "ids": ids})
        await lab.settle(database)
        async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as plain:
            ways = _Ways(MaiaDAO(database), plain, ids, few=lab.size(2_000, 50))
            rate = await in_turns(
                lab.repeats,
                {
                    "ours": ways.ours,
                    "samples": ways.ours_without_schedule,
                    "copy": ways.copied,
                    "rows": ways.row_by_row,
                    "scheduled": ways.row_by_row_scheduled,
                },
            )
    naive = rate["rows"]
    return Result(
        [
            Figure(f"batches of {BATCH} with schedule", rate["ours"], "rows/s", rate["ours"] / naive),
            Figure(f"batches of {BATCH}, samples alone", rate["samples"], "rows/s", rate["samples"] / naive),
            Figure(f"bare binary COPY, {BATCH} a commit", rate["copy"], "rows/s", rate["copy"] / naive),
            Figure("row by row, commit each", naive, "rows/s", 1.0),
            Figure("row by row with schedule, commit each", rate["scheduled"], "rows/s", rate["scheduled"] / naive),
        ],
        [
            at_least(25, "with schedule ≥ 25 × row by row (which has none)", rate["ours"] / naive),
            at_least(0.5, "with schedule ≥ 0.5 × bare COPY (which has none)", rate["ours"] / rate["copy"]),
        ],
        [
            f"with schedule on both sides: {rate['ours'] / rate['scheduled']:.0f} × row by row; "
            f"without on both: {rate['samples'] / rate['copy']:.2f} × bare COPY"
        ],
    )


class _Ways:
    """The ways to store samples; each gives rows a second, and each turn of each has samples of its own."""

    def __init__(self, dao: MaiaDAO, plain: psycopg.AsyncConnection, ids: Sequence[str], few: int) -> None:
        self._dao = dao
        self._plain = plain
        self._ids = ids
        self._few = ids[:few]

    async def ours(self, turn: int) -> float:
        """Samples and schedule in one transaction a batch, as the Tracker stores a round."""
        token, now = uuid4(), _at(turn, 0)
        await self._plain.execute(SQL["lease"], {"token": token, "now": NOON, "ids": list(self._ids)})
        await self._plain.execute("VACUUM watchlist")
        batches = [(_samples(part, now), _outcomes(part, token, now)) for part in batched(self._ids, BATCH)]

        async def store() -> None:
            for samples, outcomes in batches:
                async with self._dao.transaction() as joined:
                    await joined.log_video_stats_batch(samples)
                    await joined.update_watchlist_schedule(outcomes, now=now)

        return len(self._ids) / await seconds(store)

    async def ours_without_schedule(self, turn: int) -> float:
        """The samples of a batch in a transaction."""
        batches = [_samples(part, _at(turn, 1)) for part in batched(self._ids, BATCH)]

        async def store() -> None:
            for samples in batches:
                await self._dao.log_video_stats_batch(samples)

        return len(self._ids) / await seconds(store)

    async def copied(self, turn: int) -> float:
        """COPY into the same table, the same rows in a commit; a row that is there already would be an error."""
        batches = [_samples(part, _at(turn, 2)) for part in batched(self._ids, BATCH)]

        async def store() -> None:
            for samples in batches:
                async with self._plain.cursor() as cursor, cursor.copy(SQL["bare_copy"]) as copy:
                    copy.set_types(TYPES)
                    for sample in samples:
                        await copy.write_row(sample)

        return len(self._ids) / await seconds(store)

    async def row_by_row(self, turn: int) -> float:
        """A statement and a commit for each sample."""
        samples = _samples(self._few, _at(turn, 3))

        async def store() -> None:
            for sample in samples:
                await self._plain.execute(SQL["naive_sample"], sample)

        return len(self._few) / await seconds(store)

    async def row_by_row_scheduled(self, turn: int) -> float:
        """A transaction for each video: its sample, its next look."""
        now = _at(turn, 4)
        rows = list(zip(_samples(self._few, now), _outcomes(self._few, uuid4(), now), strict=True))

        async def store() -> None:
            for sample, outcome in rows:
                async with self._plain.transaction():
                    await self._plain.execute(SQL["naive_sample"], sample)
                    await self._plain.execute(SQL["naive_schedule"], _naive(outcome, now))

        return len(self._few) / await seconds(store)


def _at(turn: int, way: int) -> datetime:
    return NOON + timedelta(minutes=turn, seconds=way)


def _samples(ids: Sequence[str], at: datetime) -> list[Sample]:
    return [Sample(id_, at, 1_000_000 + 7 * n, 50_000 + n, 4_000 + n) for n, id_ in enumerate(ids)]


def _outcomes(ids: Sequence[str], token: UUID, now: datetime) -> list[TrackOutcome]:
    due = now + timedelta(days=1)
    return [
        TrackOutcome(id_, token, "DAILY", due, 1_000_000 + 7 * n, 50_000 + n, 4_000 + n, 12.5)
        for n, id_ in enumerate(ids)
    ]


def _naive(row: TrackOutcome, now: datetime) -> tuple[object, ...]:
    return (row.tier, row.next_track_at, now, row.views, row.likes, row.comment_count, row.rate, row.video_id)
