"""The vault: what a sample weighs, and how long one video's history takes, beside reading all files with pandas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from datetime import time as day_time
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import Any

import pyarrow as pa

from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_most, in_turns, untold
from alkyone.databases import NOON
from alkyone.worlds import World, open_world
from atlas.db import DatabaseManager
from atlas.history import sql, timeline
from atlas.vault import LocalVault
from atlas.vault.kinds import METRICS
from atlas.vault.shards import pack
from maia.batches import batched

ROUND = 500  # samples the Tracker stores at once, which share an instant
YEAR = 365
SPANS = (30, YEAR)
MIDNIGHT = datetime.combine(NOON.date(), day_time(), UTC)
DAY = timedelta(days=1)

Way = Callable[[str, int], Awaitable[int]]  # a video and days; how many samples there are


async def measure(lab: Lab) -> Result:
    """Weigh samples, fill a vault with a year of days, and ask it for single videos."""
    videos = lab.size(10_000, 200)
    world = open_world(f"generated:seed=7,channels=400,videos={videos * 4},days=31")
    ids = list(world.readings(world.search("", None, MIDNIGHT, "date", MIDNIGHT), MIDNIGHT))[:videos]
    weights = {looks: _weight(world, ids, looks) for looks in (24, 4)}
    figures = [Figure(f"bytes a sample, {looks} looks a day", weight, "bytes") for looks, weight in weights.items()]
    with lab.folder() as folder:
        vault = LocalVault(folder)
        looks = lab.size(10, 2)
        rows = await asyncio.to_thread(_fill, vault, world, ids, looks, lab.size(YEAR, 3))
        async with lab.database() as database:
            found = await _ask(lab, vault, database, ids, looks)
    for span in SPANS:
        ours = found[f"timeline, {span}"]
        for name in ("timeline", "sql", *(["pandas"] if f"pandas, {span}" in found else [])):
            seconds = found[f"{name}, {span}"]
            figures.append(Figure(f"{NAMES[name]}, {span} days", seconds * 1_000, "ms", seconds / ours))
    figures.append(Figure("timeline, 365 days, its index not read yet", found["first"] * 1_000, "ms"))
    return Result(
        figures,
        [
            at_most(5, "≤ 5 bytes a sample at 24 looks a day", weights[24]),
            at_most(10, "≤ 10 bytes a sample at 4 looks a day", weights[4]),
            at_most(600, "timeline over a year of daily shards ≤ 600 ms", found["timeline, 365"] * 1_000),
            untold("over a year of monthly shards ≤ 40 ms, ≥ 50 × pandas over days (there are no shards of a month)"),
        ],
        [f"{rows:,} samples of {videos:,} videos, {looks} a day each, a shard a day, on a local disk, files cached"],
    )


NAMES = {"timeline": "timeline", "sql": "SQL by DuckDB", "pandas": "pandas with filters"}


# ---------------------------------------------------------------------------------------------------------------------
# What is stored
# ---------------------------------------------------------------------------------------------------------------------


def _weight(world: World, ids: Sequence[str], looks: int) -> float:
    """Bytes a sample of one day, in a shard of its own."""
    (shard,) = pack(METRICS, pa.Table.from_batches(_day(world, ids, looks)))
    return shard.info.bytes / shard.info.rows


def _day(world: World, ids: Sequence[str], looks: int) -> Iterator[pa.RecordBatch]:
    """A day as the Tracker reads it: so many looks at each video, some five hundred at an instant."""
    for look in range(looks):
        begins = MIDNIGHT + look * DAY / looks
        readings = list(world.readings(ids, begins).items())
        for number, batch in enumerate(batched(readings, ROUND)):
            at = begins + timedelta(milliseconds=1_511 * number)
            yield pa.RecordBatch.from_pylist(
                [
                    {"video_id": id_, "timestamp": at, "views": views, "likes": likes, "comment_count": comments}
                    for id_, (views, likes, comments) in batch
                ],
                METRICS.schema,
            )


def _fill(vault: LocalVault, world: World, ids: Sequence[str], looks: int, days: int) -> int:
    """Store the same day again and again, each time a day earlier."""
    day = pa.Table.from_batches(_day(world, ids, looks))
    place = METRICS.schema.get_field_index(METRICS.time)
    compute: Any = import_module("pyarrow.compute")
    for age in range(days):
        times = compute.subtract(day[METRICS.time], pa.scalar(age * DAY, pa.duration("us")))
        vault.append_metrics(day.set_column(place, METRICS.schema.field(place), times))
    return len(day) * days


# ---------------------------------------------------------------------------------------------------------------------
# What is asked
# ---------------------------------------------------------------------------------------------------------------------


async def _ask(
    lab: Lab, vault: LocalVault, database: DatabaseManager, ids: Sequence[str], looks: int
) -> dict[str, float]:
    """Seconds for one video's history, the median of several videos, by each way and span."""

    async def by_timeline(video: str, days: int) -> int:
        return len(await timeline(video, _since(days), database=database, vault=vault))

    async def by_sql(video: str, days: int) -> int:
        query = "SELECT * FROM metrics WHERE video_id = ? AND date >= ? ORDER BY timestamp"
        return len(await asyncio.to_thread(sql, query, [video, _since(days).date()], vault=vault))

    async def by_pandas(video: str, days: int) -> int:
        pandas = import_module("pandas")
        filters = [("video_id", "==", video), ("date", ">=", _since(days).date().isoformat())]
        return len(await asyncio.to_thread(pandas.read_parquet, vault.root / "metrics", filters=filters))

    ways: dict[str, Way] = {"timeline": by_timeline, "sql": by_sql}
    if find_spec("pandas"):
        ways["pandas"] = by_pandas
    begun = time.perf_counter()
    await timeline(ids[0], database=database, vault=LocalVault(vault.root))
    first = time.perf_counter() - begun
    asked = {f"{name}, {span}": _median(way, span, ids, lab) for name, way in ways.items() for span in SPANS}
    for name, way in ways.items():  # warm, and of the same opinion
        if (rows := await way(ids[0], YEAR)) != looks * lab.size(YEAR, 3):
            raise RuntimeError(f"{name} found {rows} samples")
    return {"first": first, **await in_turns(lab.repeats, asked)}


def _median(way: Way, span: int, ids: Sequence[str], lab: Lab) -> Callable[[int], Awaitable[float]]:
    async def ask(turn: int) -> float:
        seconds = []
        for number in range(lab.size(5, 1)):
            begun = time.perf_counter()
            await way(ids[(turn * 5 + number) * 37 % len(ids)], span)
            seconds.append(time.perf_counter() - begun)
        return median(seconds)

    return ask


def _since(days: int) -> datetime:
    return MIDNIGHT - (days - 1) * DAY
