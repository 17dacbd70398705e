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
    """Compare the four ways into the same table, in turns."""
    ids = video_ids(lab.size(20_000, 1_000))
    few = ids[: lab.size(2_000, 50)]
    async with lab.database() as database:
        dao = MaiaDAO(database)
        async with database.get_connection() as conn:
            await conn.execute(SQL["watch"], {"now": NOON, "ids": list(ids)})
        await lab.settle(database)
        async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as plain:

            async def ours(turn: int) -> float:
                token = uuid4()
                await plain.execute(SQL["lease_all"], {"token": token, "now": NOON})
                await plain.execute("VACUUM watchlist")
                batches = [(_samples(part, turn), _outcomes(part, token, turn)) for part in batched(ids, BATCH)]

                async def store() -> None:
                    for samples, outcomes in batches:
                        async with dao.transaction() as joined:
                            await joined.log_video_stats_batch(samples)
                            await joined.update_watchlist_schedule(outcomes, now=_at(turn))

                return len(ids) / await seconds(store)

            async def copied(turn: int) -> float:
                batches = [_samples(part, turn, way=1) for part in batched(ids, BATCH)]

                async def store() -> None:
                    for samples in batches:
                        async with plain.cursor() as cursor, cursor.copy(SQL["bare_copy"]) as copy:
                            copy.set_types(TYPES)
                            for sample in samples:
                                await copy.write_row(sample)

                return len(ids) / await seconds(store)

            async def row_by_row(turn: int) -> float:
                samples = _samples(few, turn, way=2)

                async def store() -> None:
                    for sample in samples:
                        await plain.execute(SQL["naive_sample"], sample)

                return len(few) / await seconds(store)

            async def row_by_row_scheduled(turn: int) -> float:
                samples, outcomes = _samples(few, turn, way=3), _outcomes(few, uuid4(), turn)

                async def store() -> None:
                    for sample, row in zip(samples, outcomes, strict=True):
                        async with plain.transaction():
                            await plain.execute(SQL["naive_sample"], sample)
                            await plain.execute(SQL["naive_schedule"], _naive(row, _at(turn)))

                return len(few) / await seconds(store)

            rate = await in_turns(
                lab.repeats,
                {"ours": ours, "copy": copied, "rows": row_by_row, "scheduled": row_by_row_scheduled},
            )
    return Result(
        [
            Figure(f"batches of {BATCH}, with schedule", rate["ours"], "rows/s", rate["ours"] / rate["rows"]),
            Figure(f"bare binary COPY, {BATCH} a commit", rate["copy"], "rows/s", rate["copy"] / rate["rows"]),
            Figure("row by row, commit each", rate["rows"], "rows/s", 1.0),
            Figure(
                "row by row with schedule, commit each", rate["scheduled"], "rows/s", rate["scheduled"] / rate["rows"]
            ),
        ],
        [
            at_least(25, "≥ 25 × row by row (which has no schedule)", rate["ours"] / rate["rows"]),
            at_least(25, "≥ 25 × row by row, both with schedule", rate["ours"] / rate["scheduled"]),
            at_least(0.5, "≥ 0.5 × bare COPY (which has no schedule)", rate["ours"] / rate["copy"]),
        ],
    )


def _at(turn: int, way: int = 0) -> datetime:
    """Each turn of each way writes its own samples."""
    return NOON + timedelta(minutes=turn, seconds=way)


def _samples(ids: Sequence[str], turn: int, way: int = 0) -> list[Sample]:
    at = _at(turn, way)
    return [Sample(id_, at, 1_000_000 + 7 * n, 50_000 + n, 4_000 + n) for n, id_ in enumerate(ids)]


def _outcomes(ids: Sequence[str], token: UUID, turn: int) -> list[TrackOutcome]:
    due = _at(turn) + timedelta(days=1)
    return [
        TrackOutcome(id_, token, "DAILY", due, 1_000_000 + 7 * n, 50_000 + n, 4_000 + n, 12.5)
        for n, id_ in enumerate(ids)
    ]


def _naive(row: TrackOutcome, now: datetime) -> tuple[object, ...]:
    return (row.tier, row.next_track_at, now, row.views, row.likes, row.comment_count, row.rate, row.video_id)
