"""The Tracker end to end: claims, calls over HTTP with key, ledger and classification, samples and schedule stored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

from pydantic import SecretStr

from alkyone.bench.canned import canned_youtube
from alkyone.bench.ids import video_ids
from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_least
from alkyone.databases import NOON
from alkyone.standins.youtube.process import spawn
from alkyone.worlds import open_world
from atlas import clock, sql
from atlas.adapters.maia import MaiaDAO
from atlas.config import ApiKey
from atlas.errors import Bucket
from atlas.hydra import HydraExecutor
from atlas.keys import KeyRing
from atlas.quota import QuotaLedger
from maia.toolbox import Toolbox
from maia.tracker.agent import track
from maia.youtube.client import YouTube

SQL = sql.load("alkyone.bench", "bench.sql")

WORLD = "generated:seed=7,channels=2000,videos=60000,days=31"
LIMITS: Mapping[Bucket, int] = {"search": 1, "stats": 10**6, "general": 10**6}
SEEDS_READINGS_PER_SECOND = 50_000 / 3_600  # what the project's first description claims


class Pace(NamedTuple):
    """Readings a second, and seconds of this process's processor for a thousand readings."""

    readings: float
    cpu: float


async def measure(lab: Lab) -> Result:
    """Read a watchlist that is due all at once, from canned answers and from the stand-in."""
    count = lab.size(20_000, 500)
    world = open_world(WORLD)
    public = list(world.readings(world.search("", None, None, "date", world.end), world.end))[:count]
    canned, stood_in = [], []
    with lab.folder() as folder:
        (answer := folder / "videos").touch()
        async with (
            canned_youtube(answer) as endpoint,
            spawn(WORLD, clock=world.end, limits=LIMITS) as standin,
        ):
            for _ in range(lab.repeats):
                canned.append(await _pace(lab, endpoint, "any", video_ids(count), NOON))
                stood_in.append(await _pace(lab, standin.endpoint, standin.key, public, world.end))
    readings = median(pace.readings for pace in canned)
    real = median(pace.readings for pace in stood_in)
    return Result(
        [
            Figure("canned answers", readings, "readings/s", 1.0),
            Figure("the stand-in YouTube", real, "readings/s", real / readings),
            Figure("the agent's own processor", median(pace.cpu for pace in canned), "CPU s per 1,000 readings"),
        ],
        [
            at_least(10_000, "≥ 10,000 readings/s without the server's own cost", readings),
            at_least(700, "≥ 700 × the 50,000 an hour that the seeds claim", readings / SEEDS_READINGS_PER_SECOND),
        ],
        ["agent, PostgreSQL and the server share two cores; one call reserves its unit in a commit of its own"],
    )


async def _pace(lab: Lab, endpoint: str, key: str, ids: Sequence[str], at: datetime) -> Pace:
    async with lab.database() as database:
        dao = MaiaDAO(database)
        await dao.ensure_partitions(now=at)
        async with database.get_connection() as conn:
            await conn.execute(SQL["watch"], {"now": at, "ids": list(ids)})
        await lab.settle(database)
        ring = KeyRing("tracker", keys=[ApiKey(project="bench", secret=SecretStr(key))], database=database)
        ledger = QuotaLedger(database, LIMITS)
        executor = HydraExecutor(ring, "tracker", ledger=ledger)
        with clock.stopped(at):
            async with YouTube(executor, endpoint=endpoint) as youtube:
                begun, cpu = time.perf_counter(), time.process_time()
                summary = await track(Toolbox(dao, youtube, ledger, ring), every=timedelta(days=1))
                taken, cpu = time.perf_counter() - begun, time.process_time() - cpu
    if summary["samples"] != len(ids):
        raise RuntimeError(f"{summary['samples']} samples of {len(ids)} videos")
    return Pace(len(ids) / taken, 1_000 * cpu / len(ids))
