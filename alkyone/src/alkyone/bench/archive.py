"""Archiving: a day of samples by the Janitor's own road, from PostgreSQL to a shard that was read back and matched.

Each way runs in a process of its own, for its peak memory: ``python -m alkyone.bench.archive WAY CONNINFO FOLDER DAY``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import psycopg

from alkyone.bench.cycle import peak_bytes
from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, Target, at_least, at_most, untold
from alkyone.databases import NOON
from alkyone.worlds import World, open_world
from atlas import clock, sql
from atlas.adapters.maia import MaiaDAO
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.vault import LocalVault
from maia.batches import batched
from maia.janitor.agent import clean
from maia.toolbox import Stores

SQL = sql.load("alkyone.bench", "bench.sql")

LOOKS = 24  # a day at each video
ROUND = 500  # samples the Tracker stores at once, which share an instant
MEGABYTE = 1_000_000
PEERS = {"pandas": 8.0, "dlt": 20.0}
"""By how much we mean to be faster."""

SLOW = {"dlt"}  # measured once
TYPES = ("text", "timestamptz", "int8", "int8", "int8")


async def measure(lab: Lab) -> Result:
    """Archive copies of the same day."""
    samples = lab.size(5_000_000 if lab.large else 1_000_000, 50_000)
    peers = [name for name in PEERS if find_spec(name) and find_spec("sqlalchemy")]
    runs: dict[str, list[dict[str, float]]] = defaultdict(list)
    world = open_world(f"generated:seed=7,channels=4000,videos={samples // LOOKS * 4},days=31")
    day = NOON.date()
    with lab.address() as prepared:
        rows = await fill_day(lab, prepared, world, day, samples)
        for turn in range(lab.repeats):
            for way in ("janitor", "copy", *(peer for peer in peers if not turn or peer not in SLOW)):
                with lab.address(copy_of=prepared) as conninfo, lab.folder() as folder:
                    runs[way].append(await _in_a_process(way, conninfo, folder, day))
    found = {way: {name: median(run[name] for run in turns) for name in turns[0]} for way, turns in runs.items()}
    ours, limit = found["janitor"], rows / found["copy"]["seconds"]
    writing = ours["seconds"] - ours["verify"] - ours["drop"]  # planning too, which counts the day's rows
    written = rows / writing
    whole = rows / ours["seconds"]
    figures = [
        Figure("read, sorted and written", written, "rows/s", written / limit),
        Figure("the same, verified and dropped from SQL", whole, "rows/s", whole / limit),
        Figure("bare binary COPY, thrown away", limit, "rows/s", 1.0),
        Figure("of that: plan, read, sort, write", writing, "s"),
        Figure("of that: verify", ours["verify"], "s"),
        Figure("of that: count again and drop", ours["drop"], "s"),
        Figure("peak memory of the whole process", ours["peak"] / MEGABYTE, "MB"),
        Figure(f"bytes a sample, {LOOKS} looks a day", ours["bytes"] / rows, "bytes"),
    ]
    for place, peer in enumerate(peers, 3):
        other = rows / found[peer]["seconds"]
        figures.insert(place, Figure(f"{peer}, unverified", other, "rows/s", other / limit))
        figures.append(Figure(f"{peer}: peak memory", found[peer]["peak"] / MEGABYTE, "MB"))
    return Result(
        figures,
        [
            at_least(1_200_000, "before verification ≥ 1.2 M rows/s", written),
            at_least(0.6, "before verification ≥ 0.6 × bare COPY", written / limit),
            *(_beside(peer, times, found, written, rows) for peer, times in PEERS.items()),
            at_least(0.5, "verified and dropped: ≥ half of that", whole / written),
            at_most(512, "peak ≤ 512 MB (at 5 M samples: --large)", ours["peak"] / MEGABYTE),
            at_most(5, "≤ 5 bytes a sample at 24 looks a day", ours["bytes"] / rows),
        ],
        [f"{rows:,} samples of one day"],
    )


def _beside(peer: str, times: float, found: dict[str, dict[str, float]], written: float, rows: int) -> Target:
    text = f"before verification ≥ {times:.0f} × {peer}"
    if peer not in found:
        return untold(f"{text} (not installed)")
    return at_least(times, text, written / (rows / found[peer]["seconds"]))


# ---------------------------------------------------------------------------------------------------------------------
# A day to archive
# ---------------------------------------------------------------------------------------------------------------------


async def fill_day(lab: Lab, conninfo: str, world: World, day: date, samples: int) -> int:
    """Store a day as a Tracker would have: the same videos each hour, some five hundred at an instant."""
    midnight = datetime.combine(day, day_time(), UTC)
    found = world.search("", None, midnight, "date", midnight)
    ids = list(world.readings(found, midnight))[: samples // LOOKS]
    stored = 0
    async with DatabaseManager(conninfo) as database:
        await MaiaDAO(database).ensure_partitions(now=midnight)
        async with database.get_connection() as conn:
            await conn.execute("SET LOCAL statement_timeout = 0")
            async with conn.cursor() as cursor, cursor.copy(SQL["bare_copy"]) as copy:
                copy.set_types(TYPES)
                for look in range(LOOKS):
                    hour = midnight + timedelta(hours=look)
                    readings = list(world.readings(ids, hour).items())
                    for number, batch in enumerate(batched(readings, ROUND)):
                        at = hour + timedelta(milliseconds=1_511 * number)
                        for id_, counts in batch:
                            await copy.write_row((id_, at, *counts))
                    stored += len(readings)
        await lab.settle(database)
    return stored


# ---------------------------------------------------------------------------------------------------------------------
# The ways, each in a process of its own
# ---------------------------------------------------------------------------------------------------------------------


async def _in_a_process(way: str, conninfo: str, folder: Path, day: date) -> dict[str, float]:
    arguments = (way, conninfo, str(folder), day.isoformat())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, *arguments, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"archiving by {way} failed")
    measured: dict[str, float] = orjson.loads(told)
    return measured


class _Phases:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begun


class _TimedDAO(MaiaDAO):
    phases: _Phases

    async def archive_cold_stats(self, *args: Any, **options: Any) -> bool:
        with self.phases.timed("drop"):
            return await super().archive_cold_stats(*args, **options)


class _TimedVault(LocalVault):
    phases: _Phases

    def verify(self, *args: Any, **options: Any) -> None:
        with self.phases.timed("verify"):
            super().verify(*args, **options)


async def _by_janitor(conninfo: str, folder: Path, day: date) -> dict[str, float]:

    import atlas.adapters._samples  # noqa: F401 - what a day costs, not what an import costs

    if find_spec("pandas"):
        import_module("pandas")  # pyarrow loads it, unasked, wherever it is installed: a second

    rules = Settings.model_construct(**{name: field.get_default() for name, field in Settings.model_fields.items()})
    phases = _Phases()
    later = datetime.combine(day, day_time(12), UTC) + timedelta(days=rules.JANITOR_RETENTION_DAYS + 1)
    async with DatabaseManager(conninfo) as database:
        dao, vault = _TimedDAO(database), _TimedVault(folder)
        dao.phases = vault.phases = phases
        vault.provision()
        with clock.stopped(later), phases.timed("seconds"):
            summary = await clean(Stores(dao, vault), rules=rules)
    if summary["days_archived"] != [day.isoformat()] or not summary["samples_verified"]:
        raise RuntimeError(f"the day was not archived: {summary}")
    return {**phases.seconds, "bytes": sum(shard.bytes for shard in vault.shards("metrics"))}


async def _by_copy(conninfo: str, _folder: Path, day: date) -> dict[str, float]:
    phases = _Phases()
    start = datetime.combine(day, day_time(), UTC)
    async with await psycopg.AsyncConnection.connect(conninfo) as conn:
        bounds = {"start": start, "stop": start + timedelta(days=1)}
        with phases.timed("seconds"):
            async with conn.cursor() as cursor, cursor.copy(SQL["day_of_samples"], bounds) as copy:
                while await copy.read():
                    pass
    return phases.seconds


async def _by_pandas(conninfo: str, folder: Path, day: date) -> dict[str, float]:
    pandas, sqlalchemy = import_module("pandas"), import_module("sqlalchemy")
    phases = _Phases()
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo))
    query = sqlalchemy.text(
        "SELECT video_id, timestamp, views, likes, comment_count FROM video_stats_log "
        "WHERE timestamp >= :start AND timestamp < :stop ORDER BY video_id, timestamp"
    )
    start = datetime.combine(day, day_time(), UTC)
    with phases.timed("seconds"):
        frame = pandas.read_sql(query, engine, params={"start": start, "stop": start + timedelta(days=1)})
        frame.to_parquet(folder / "day.parquet", compression="zstd")
    return phases.seconds


async def _by_dlt(conninfo: str, folder: Path, day: date) -> dict[str, float]:
    """As its documentation begins: a table into Parquet files, by its default back end."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    dlt, sqlalchemy = import_module("dlt"), import_module("sqlalchemy")
    source = import_module("dlt.sources.sql_database")
    phases = _Phases()
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo))
    pipeline = dlt.pipeline(
        pipeline_name="bench",
        pipelines_dir=str(folder / "state"),
        destination=dlt.destinations.filesystem(bucket_url=(folder / "lake").as_uri()),
        dataset_name="samples",
    )
    table = source.sql_table(credentials=engine, table=f"video_stats_log_{day:%Y%m%d}")
    with phases.timed("seconds"):
        pipeline.run(table, loader_file_format="parquet")
    return phases.seconds


WAYS = {"janitor": _by_janitor, "copy": _by_copy, "pandas": _by_pandas, "dlt": _by_dlt}


def _main(way: str, conninfo: str, folder: str, day: str) -> None:
    told = asyncio.run(WAYS[way](conninfo, Path(folder), date.fromisoformat(day)))
    sys.stdout.buffer.write(orjson.dumps({**told, "peak": peak_bytes()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
