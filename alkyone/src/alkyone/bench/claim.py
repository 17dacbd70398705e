"""Claims: fifty due videos leased and completed, as the watchlist grows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from statistics import median
from typing import NamedTuple

from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, Target, at_most, percentile, untold
from alkyone.databases import NOON
from atlas import sql
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import TrackingRow, TrackOutcome

SQL = sql.load("alkyone.bench", "bench.sql")

BATCH = 50
WARM_UP = 20
LARGEST = 5_000_000


class Claims(NamedTuple):
    """What a watchlist of one size does: claim latencies in milliseconds, and rows claimed and completed a second."""

    latencies: Sequence[float]
    rows_per_second: float


async def measure(lab: Lab) -> Result:
    """Claim and complete on a watchlist of each size."""
    sizes = [10_000, 20_000] if lab.quick else [100_000, 1_000_000, *([LARGEST] if lab.large else [])]
    found = {size: await _claims(lab, size) for size in sizes}
    figures = []
    for size, claims in found.items():
        name = f"{size:,} rows"
        figures += [
            Figure(f"{name}: claim of {BATCH}, p50", median(claims.latencies), "ms"),
            Figure(f"{name}: claim of {BATCH}, p95", percentile(claims.latencies, 95), "ms"),
            Figure(f"{name}: claim and complete", claims.rows_per_second, "rows/s"),
        ]
    return Result(figures, _targets(found))


def _targets(found: Mapping[int, Claims]) -> list[Target]:
    latency, growth = "p95 of a claim ≤ 5 ms at 5 M rows", "growth of the p95 from 1 M to 5 M rows ≤ 2 ×"
    if LARGEST not in found:
        return [untold(f"{latency} (--large)"), untold(f"{growth} (--large)")]
    largest, large = (percentile(found[size].latencies, 95) for size in (LARGEST, LARGEST // 5))
    return [at_most(5, latency, largest), at_most(2, growth, largest / large)]


async def _claims(lab: Lab, size: int) -> Claims:
    async with lab.database() as database:
        dao = MaiaDAO(database)
        async with database.get_connection() as conn:
            await conn.execute("SET LOCAL statement_timeout = 0")
            await conn.execute(SQL["fill_watchlist"], {"now": NOON, "rows": size})
        await lab.settle(database)
        return await claims_of(lab, dao)


async def claims_of(lab: Lab, dao: MaiaDAO) -> Claims:
    """Claim and complete on a watchlist that is filled."""
    rates: list[float] = []
    latencies: list[float] = []
    await _cycle(dao, lab.size(WARM_UP, 1))
    for _ in range(lab.repeats):
        claimed, completed = await _cycle(dao, lab.size(100, 5))
        latencies += [1_000 * duration for duration in claimed]
        rates.append(BATCH * len(claimed) / (sum(claimed) + sum(completed)))
    return Claims(latencies, median(rates))


async def _cycle(dao: MaiaDAO, times: int) -> tuple[list[float], list[float]]:
    """Claim and complete so many times; the seconds of each."""
    claimed, completed = [], []
    for _ in range(times):
        begun = time.perf_counter()
        rows = await dao.fetch_tracking_batch(BATCH, now=NOON)
        claimed.append(time.perf_counter() - begun)
        if len(rows) != BATCH:
            raise RuntimeError(f"{len(rows)} of {BATCH} rows were due")
        outcomes = [_outcome(row) for row in rows]
        begun = time.perf_counter()
        await dao.update_watchlist_schedule(outcomes, now=NOON)
        completed.append(time.perf_counter() - begun)
    return claimed, completed


def _outcome(row: TrackingRow) -> TrackOutcome:
    due = NOON + timedelta(days=1)
    return TrackOutcome(row["video_id"], row["lease_token"], "DAILY", due, 1_000, 50, 5, 1.5)
