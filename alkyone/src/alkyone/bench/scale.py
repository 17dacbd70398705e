"""Scale: what a row of each table weighs, and that claims work the same on a watchlist in eight partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from statistics import median

from alkyone.bench.claim import BATCH, Claims, claims_of
from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, Target, at_most, percentile
from alkyone.databases import NOON
from atlas import sql
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery
from atlas.db import DatabaseManager

SQL = sql.load("alkyone.bench", "bench.sql")

DISCOVERIES = 20_000
AT_ONCE = 500
WATCHED = 300_000
WORKERS = 4
TABLES = ("watchlist", "videos", "video_stage", "channels", "video_stats_log", "system_events")


async def measure(lab: Lab) -> Result:
    """Weigh rows, then claim from one table and from eight."""
    figures = await _weights(lab)
    found = {partitioned: await _claims(lab, partitioned) for partitioned in (False, True)}
    one, eight = found[False], found[True]
    for claims, name in ((one, "one table"), (eight, "eight partitions")):
        figures += [
            Figure(f"{name}: claim of {BATCH}, p50", median(claims.latencies), "ms"),
            Figure(f"{name}: claim of {BATCH}, p95", percentile(claims.latencies, 95), "ms"),
            Figure(
                f"{name}: claim and complete",
                claims.rows_per_second,
                "rows/s",
                claims.rows_per_second / one.rows_per_second,
            ),
        ]
    return Result(
        figures, _targets(eight), ["Rows are as discovered, without dead ones: the fill factor's room is in them."]
    )


def _targets(eight: Claims) -> list[Target]:
    return [at_most(5, "p95 of a claim from eight partitions ≤ 5 ms", percentile(eight.latencies, 95))]


async def _weights(lab: Lab) -> list[Figure]:
    """Bytes a row, with its indexes, of what discoveries leave in each table."""
    async with lab.database() as database:
        dao = MaiaDAO(database)
        videos = list(_discoveries(lab.size(DISCOVERIES, 1_000)))
        for begin in range(0, len(videos), AT_ONCE):
            await dao.ingest_video_metadata(videos[begin : begin + AT_ONCE], now=NOON)
        await lab.settle(database)
        async with database.get_connection() as conn:
            weights = await conn.fetch(SQL["weights"], tables=list(TABLES))
    return [Figure(f"{row['name']}: {part}", float(row[part]) / row["rows"], "bytes a row")
            for row in weights for part in ("heap", "indexes")]  # fmt: skip


async def _claims(lab: Lab, partitioned: bool) -> Claims:
    async with lab.database() as database:
        async with database.get_connection() as conn:
            await conn.execute("SET LOCAL statement_timeout = 0")
            if partitioned:
                await conn.execute(SQL["partition_watchlist"])
            await conn.execute(SQL["fill_watchlist"], {"now": NOON, "rows": lab.size(WATCHED, 20_000)})
        await lab.settle(database)
        await _refuse_doubles(database)
        return await claims_of(lab, MaiaDAO(database))


async def _refuse_doubles(database: DatabaseManager) -> None:
    """Let several workers claim at once: nobody's row may be another's."""
    dao = MaiaDAO(database)
    held = await asyncio.gather(*(dao.fetch_tracking_batch(BATCH, now=NOON) for _ in range(WORKERS)))
    ids = [row["video_id"] for rows in held for row in rows]
    if len(ids) != WORKERS * BATCH or len(set(ids)) != len(ids):
        raise RuntimeError(f"{WORKERS} workers hold {len(ids)} rows, {len(set(ids))} different ones")


def _discoveries(count: int) -> Iterator[Discovery]:
    for number in range(count):
        channel = number // 10
        yield Discovery(
            id=f"scale{number:06}", channel_id=f"UCscale{channel:017}", channel_title=f"A channel, {channel}",
            title=f"A title of a usual length, some fifty characters {number}",
            published_at=NOON - timedelta(minutes=number % 1_000), tracking_tier="HOURLY",
            next_track_at=NOON + timedelta(seconds=number % 3_600), duration=number % 3_600,
            tags=tuple(f"tag {(number + part) % 500}" for part in range(8)), category_id="10", default_language="en",
            source="uploads", observed_at=NOON, views=number, likes=number // 20, comment_count=number // 100,
        )  # fmt: skip
