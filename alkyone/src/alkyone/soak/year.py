"""``alkyone soak year``: every agent for a virtual year in one process, and what grows in it, in SQL and in the vault.

The stand-in YouTube is a process of its own, so that the memory is that of the agents.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import psutil
import psycopg

from alkyone.agents import Agent, Site
from alkyone.invariants import check
from alkyone.invariants.truth import Truth
from alkyone.scenes import seed, work
from alkyone.standins.youtube.process import Spawned, spawn
from alkyone.worlds import open_world
from atlas import clock, settings, sql
from atlas._lazy import swapped
from atlas.db import DatabaseManager
from atlas.errors import Bucket

SQL = sql.load("alkyone.soak", "year.sql")

START = datetime(2025, 11, 1, tzinfo=UTC)
PAST = 20
"""Days of uploads before the year begins: there is something to find on its first day."""

DAYS_TO_AN_UPLOAD = 3
QUOTA: Mapping[Bucket, int] = {"search": 10, "stats": 30, "general": 300}
"""What a day allows: as much less than YouTube's as the world is smaller than YouTube."""

STEP = timedelta(hours=3)
TURNS: Mapping[Agent, tuple[int, ...]] = {
    "hunter": (0, 4),
    "tracker": (0, 1, 2, 3, 4, 5, 6, 7),
    "painter": (4,),
    "scribe": (5,),
    "janitor": (7,),
}
"""In which steps of a day each agent works."""

GROWTH = 1.2
"""How much more memory the last quarter of the days may take than the second, when all caches have been filled."""

WARM_DAYS = 7
"""A quarter of fewer says nothing of memory."""

MEGABYTE = 1e6


class Report(TypedDict):
    """What came of it; the lists have a value a day, sizes in megabytes.

    ``memory`` is what the process has for itself (USS), ``tables`` are with their indexes and partitions.
    """

    days: int
    days_asked: int
    seconds: float
    readings_served: int
    memory: list[float]
    database: list[float]
    tables: dict[str, list[float]]
    vault: list[float]
    vault_files: list[float]
    promises_kept: int
    promises_broken: list[str]
    failures: list[str]


@dataclass
class _Grown:
    """What was measured at the end of each day."""

    memory: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    tables: dict[str, list[float]] = field(default_factory=dict)
    vault: list[float] = field(default_factory=list)
    vault_files: list[float] = field(default_factory=list)

    def measure(self, site: Site) -> None:
        """Add a day."""
        self.memory.append(psutil.Process().memory_full_info().uss / MEGABYTE)
        with psycopg.connect(site.conninfo) as conn:
            sizes = {name: int(size) / MEGABYTE for name, size in conn.execute(SQL["sizes"]).fetchall()}
        self.database.append(sum(sizes.values()))
        for name, size in sizes.items():
            self.tables.setdefault(name, [0.0] * (len(self.database) - 1)).append(size)
        files = [file.stat().st_size for file in site.vault.rglob("*") if file.is_file()]
        self.vault.append(sum(files) / MEGABYTE)
        self.vault_files.append(float(len(files)))


async def live(
    conninfo: str, *, days: int, hours: float, channels: int, show: Callable[[str], None] = lambda _: None
) -> Report:
    """Live ``days`` at a provisioned database, or as many as ``hours`` of the wall's clock allow.

    Raises:
        RuntimeError: the stand-in does not start.
        AtlasError: an agent failed.
    """
    videos = channels * (days + PAST) // DAYS_TO_AN_UPLOAD
    spec = f"generated:seed=5,channels={channels},videos={videos},past={PAST},days={days + 1},start={START.isoformat()}"
    began = time.monotonic()
    grown = _Grown()
    async with _site(conninfo, spec) as (site, youtube), _at_work(site) as now:
        await seed(site, open_world(spec), now(), terms=4, channels=channels // 2)
        for day in range(days):
            await _day(site, youtube, now)
            await asyncio.to_thread(grown.measure, site)
            show(_line(day + 1, grown))
            if time.monotonic() - began > hours * 3_600:
                break
        truth = await _truth(youtube, spec, now())
        async with DatabaseManager(site.conninfo) as database:
            found = await check(
                database, site.open_vault(), rules=site.settings(), now=now(), truth=truth, at_rest=True
            )
    report: Report = {
        "days": len(grown.memory),
        "days_asked": days,
        "seconds": round(time.monotonic() - began, 1),
        "readings_served": len(truth.served),
        "memory": _rounded(grown.memory),
        "database": _rounded(grown.database),
        "tables": {name: _rounded(sizes) for name, sizes in sorted(grown.tables.items())},
        "vault": _rounded(grown.vault),
        "vault_files": grown.vault_files,
        "promises_kept": len(found.held),
        "promises_broken": [str(breach) for breach in found.breaches],
        "failures": [],
    }
    report["failures"] = list(failures(report["memory"], report["promises_broken"]))
    return report


@asynccontextmanager
async def _site(conninfo: str, spec: str) -> AsyncIterator[tuple[Site, Spawned]]:
    limits: dict[str, Any] = {f"QUOTA_{bucket.upper()}_PER_DAY": limit for bucket, limit in QUOTA.items()}
    with tempfile.TemporaryDirectory(prefix="pleiades-year-") as folder:
        async with spawn(spec, clock=START, limits=QUOTA) as youtube:
            changes = tuple((limits | {"FRAME_WIDTH": 320}).items())
            yield Site(conninfo, Path(folder) / "vault", youtube.endpoint, youtube.key, changes), youtube


@asynccontextmanager
async def _at_work(site: Site) -> AsyncIterator[clock.VirtualClock]:
    with clock.stopped(START) as now, swapped(settings, site.settings()):
        yield now


async def _day(site: Site, youtube: Spawned, now: clock.VirtualClock) -> None:
    vault = site.open_vault()
    for step in range(timedelta(days=1) // STEP):
        await youtube.clock(now.advance(STEP))
        for agent, steps in TURNS.items():
            if step in steps:
                await work(agent, site, vault, every=timedelta(days=1) / len(steps))


async def _truth(youtube: Spawned, spec: str, now: datetime) -> Truth:
    truth = await Truth.at(youtube.endpoint)
    world = open_world(spec)
    return replace(truth, gone=frozenset(name for name in truth.named if world.video(name, now) is None))


def failures(memory: Sequence[float], broken: Sequence[str]) -> Iterator[str]:
    """What must not be: a broken promise, or ``memory``, a value a day, that grew by more than ``GROWTH``."""
    yield from broken
    quarter = len(memory) // 4
    if quarter >= WARM_DAYS:
        before, last = (statistics.median(memory[n * quarter : (n + 1) * quarter]) for n in (1, 3))
        if last > GROWTH * before:
            yield f"memory grew from {before:.0f} MB in the second quarter to {last:.0f} MB in the last"


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in values]


def _line(day: int, grown: _Grown) -> str:
    return (
        f"day {day:>3}  {grown.memory[-1]:.0f} MB in memory, {grown.database[-1]:.1f} MB in SQL, "
        f"{grown.vault[-1]:.1f} MB in {grown.vault_files[-1]:.0f} files of the vault"
    )
