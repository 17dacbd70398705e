"""Each agent at work it can get through in a cycle: its pace, and how much memory its process takes, Prefect included.

The work is real: a stand-in YouTube that answers at once, a PostgreSQL, a vault on disk. Every cycle runs in a process
of its own on a copy of the same database: without the engine for the pace, with it for the memory.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

import orjson

from alkyone.agents import Agent, Site
from alkyone.bench.archive import fill_day
from alkyone.bench.discovery import discoveries
from alkyone.bench.lab import Lab, environment_of
from alkyone.bench.results import Figure, Result, Target, at_most
from alkyone.databases import NOON
from alkyone.scenes import studio_of, tools_of
from alkyone.standins.youtube.process import Spawned, spawn
from alkyone.worlds import World, open_world
from atlas import clock, sql
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ChannelSeen
from atlas.db import DatabaseManager
from atlas.errors import Bucket
from maia.batches import batched
from maia.demo.prefect import server
from maia.hunter.agent import enrol
from maia.painter.agent import paint

SQL = sql.load("alkyone.bench", "bench.sql")

MEGABYTE = 1_000_000
MOST_MEGABYTES = 256
WORLD = "generated:seed=7,channels=2000,videos=120000,past=60,days=31"
QUICK_WORLD = "generated:seed=7,channels=40,videos=2400,past=60,days=31"
AMPLE: Mapping[Bucket, int] = {"search": 1_000, "stats": 10**6, "general": 10**6}
WHOLE_DAY = {"every_minutes": 1_440}
"""A run that comes round once a day may use all that is left of it."""

Prepare = Callable[[Lab, Site, World], Awaitable[datetime]]
"""Fills a site, and says at what time the agent works there."""


class Work(NamedTuple):
    """What an agent is given to do."""

    prepare: Prepare
    done: str
    """What its summary calls what it got done."""
    unit: str
    parameters: Mapping[str, Any] = WHOLE_DAY
    limits: Mapping[Bucket, int] = AMPLE


class Cycle(NamedTuple):
    """What a cycle took; ``megabytes`` is the most its process ever had in memory."""

    seconds: float
    done: int
    megabytes: float


async def measure(lab: Lab) -> Result:
    """Measure one agent after the other; quick: one cycle each, and with Prefect for the first alone."""
    spec = QUICK_WORLD if lab.quick else WORLD
    world = open_world(spec)
    figures: list[Figure] = []
    targets: list[Target] = []
    with lab.folder() as home:
        async with spawn(spec, clock=NOON, limits=AMPLE) as youtube, server(home, environment_of(home)) as engine:
            await engine.ready()
            for agent, work in WORK.items():
                with _site(lab, youtube) as site:
                    at = await work.prepare(lab, site, world)
                    await youtube.clock(at)
                    cycles = [await _cycle(lab, agent, site, at) for _ in range(lab.repeats)]
                    pace = median(cycle.done / cycle.seconds for cycle in cycles)
                    plain = max(cycle.megabytes for cycle in cycles)
                    figures += [
                        Figure(f"{agent}: {cycles[0].done:,} {work.unit}", pace, f"{work.unit}/s"),
                        Figure(f"{agent}: peak memory without Prefect", plain, "MB"),
                    ]
                    if targets and lab.quick:
                        continue
                    flow = (await _cycle(lab, agent, site, at, engine.api)).megabytes
                    figures.append(Figure(f"{agent}: peak memory with Prefect", flow, "MB"))
                    targets.append(at_most(MOST_MEGABYTES, f"{agent} with Prefect ≤ {MOST_MEGABYTES} MB", flow))
    return Result(figures, targets, ["Prefect's server is a process of its own, as where agents are deployed"])


@contextmanager
def _site(lab: Lab, youtube: Spawned) -> Iterator[Site]:
    with lab.address() as conninfo, lab.folder() as folder:
        limits = {f"QUOTA_{bucket.upper()}_PER_DAY": limit for bucket, limit in AMPLE.items()}
        yield Site(conninfo, folder / "vault", youtube.endpoint, youtube.key, tuple(limits.items()))


async def _cycle(lab: Lab, agent: Agent, prepared: Site, at: datetime, engine: str | None = None) -> Cycle:
    """Run a cycle in a process of its own, at a copy of the prepared site; as a flow where there is an engine."""
    work = WORK[agent]
    with lab.address(copy_of=prepared.conninfo) as conninfo, lab.folder() as folder:
        vault = folder / "vault"
        if prepared.vault.exists():
            shutil.copytree(prepared.vault, vault)
        environment = environment_of(folder, conninfo) | {
            "LOCAL_VAULT_PATH": str(vault),
            "YOUTUBE_API_ENDPOINT": prepared.endpoint,
            "YOUTUBE_API_KEY_POOL_JSON": orjson.dumps([prepared.key]).decode(),
            **{f"QUOTA_{bucket.upper()}_PER_DAY": str(limit) for bucket, limit in work.limits.items()},
            # The second as `maia serve` and the image give it to runs.
            **({} if engine is None else {"PREFECT_API_URL": engine, "MALLOC_ARENA_MAX": "2"}),
        }
        report, road = folder / "report", "plain" if engine is None else "engine"
        arguments = (agent, road, at.isoformat(), orjson.dumps(work.parameters).decode(), str(report))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alkyone.bench.cycle", *arguments),
            env=environment,
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the {agent}'s cycle failed: {said.decode(errors='replace').strip()[-2000:]}")
        told = orjson.loads(report.read_bytes())
    done = told["summary"][work.done]
    if not done:
        raise RuntimeError(f"the {agent} had nothing to do: {told['summary']}")
    return Cycle(told["seconds"], done, told["peak"] / MEGABYTE)


# ---------------------------------------------------------------------------------------------------------------------
# What each is given to do
# ---------------------------------------------------------------------------------------------------------------------


async def _due_channels(lab: Lab, site: Site, world: World) -> datetime:
    async with DatabaseManager(site.conninfo) as database:
        dao = MaiaDAO(database)
        await dao.ensure_partitions(now=NOON)
        await dao.add_to_search_queue(world.terms()[:20], now=NOON)
        channels = [ChannelSeen(channel) for channel in world.channels_at(NOON)]
        await dao.add_channels(channels, in_roster=True, now=NOON)
        await lab.settle(database)
    return NOON


async def _due_videos(lab: Lab, site: Site, world: World) -> datetime:
    async with DatabaseManager(site.conninfo) as database:
        await MaiaDAO(database).ensure_partitions(now=NOON)
        async with database.get_connection() as conn:
            await conn.execute(SQL["watch"], {"now": NOON, "ids": _public(world)[: lab.size(20_000, 500)]})
        await lab.settle(database)
    return NOON


async def _new_videos(lab: Lab, site: Site, world: World) -> datetime:
    with clock.stopped(NOON):
        async with tools_of(site) as tools:
            await tools.dao.ensure_partitions(now=NOON)
            await enrol(tools, _public(world)[: lab.size(500, 10)], stages=("painter", "scribe"))
    return NOON


async def _painted_videos(lab: Lab, site: Site, world: World) -> datetime:
    at = await _new_videos(lab, site, world)
    with clock.stopped(at):
        site.open_vault().provision()
        async with studio_of(site) as studio:
            await paint(studio, every=timedelta(days=1))
    return at


async def _closed_day(lab: Lab, site: Site, world: World) -> datetime:
    """A day of what one project's quota gives: 500,000 samples, and 100,000 discoveries that are to leave."""
    samples, videos = lab.size(500_000, 5_000), lab.size(100_000, 500)
    await fill_day(lab, site.conninfo, world, NOON.date(), samples)
    async with DatabaseManager(site.conninfo) as database:
        dao = MaiaDAO(database)
        for batch in batched(discoveries(videos, seed=1), 500):
            await dao.ingest_video_metadata(batch, stages=(), now=NOON)
        await lab.settle(database)
    return NOON + timedelta(days=9)


def _public(world: World) -> list[str]:
    return list(world.readings(world.search("", None, None, "date", NOON), NOON))


WORK: Mapping[Agent, Work] = {
    "hunter": Work(
        _due_channels, "videos_discovered", "discoveries", limits={"search": 20, "stats": 1, "general": 1_000}
    ),
    "tracker": Work(_due_videos, "samples", "readings"),
    "painter": Work(_new_videos, "videos_painted", "videos"),
    "scribe": Work(_painted_videos, "videos_described", "videos"),
    "janitor": Work(_closed_day, "samples_archived", "samples", {}),
}
