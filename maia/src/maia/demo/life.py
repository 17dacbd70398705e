"""The demo itself: build a house in an empty folder, let two weeks pass, and say what came of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypedDict, cast

import orjson
from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from atlas import Settings, clock, db, settings, vault
from atlas._lazy import swapped
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ChannelSeen
from atlas.errors import Bucket
from atlas.history import timeline
from atlas.quota import BUCKETS
from atlas.tiers import Tier
from atlas.upkeep import recognised
from maia.demo.audit import compare
from maia.demo.prefect import Engine, engine
from maia.demo.standin import Standin, World, standin
from maia.hunter.agent import HunterSummary, hunt
from maia.janitor.agent import JanitorSummary
from maia.painter.agent import PainterSummary, Studio, paint
from maia.painter.frames import open_frames
from maia.scribe.agent import Desk, ScribeSummary, describe
from maia.scribe.embedders import get_embedder
from maia.scribe.transcripts.sources import open_source
from maia.toolbox import Toolbox, open_toolbox
from maia.tracker.agent import TrackerSummary, track

HOUR = timedelta(hours=1)
DAY, WEEK = 24, 7 * 24
"""In hours."""
ENRICHED_FROM = 5 * 24
"""Hours before new videos are enriched. The thousands of older ones that the first days bring are tracked all the same,
but their pictures alone would take as long as all the rest; nine days are enough for some to retire again."""
HUNT_EVERY = 2
"""Hours from one run of the Hunter to the next."""
ENRICH_EVERY = 6
"""Hours from one run of Painter and Scribe to the next."""
FRAME_WIDTH = 320
SEED_TERMS = 12
SEED_CHANNELS = 2_000
RISERS = 5
KEY = "AIzaSyDemoDemoDemoDemoDemoDemoDemoDemoD"
"""Looks like a key, opens nothing: only the stand-in takes it."""


class Riser(TypedDict):
    """A video that grows fast; ``views`` is its curve, oldest first."""

    video_id: str
    title: str
    views_per_hour: float
    views: list[int]


class DemoReport(TypedDict):
    """What came of it. ``lost`` and ``doubled`` are counted against what the stand-in served."""

    days: int
    videos_discovered: int
    channels: int
    samples: int
    samples_archived: int
    samples_verified: int
    lost: int
    doubled: int
    quota_used: dict[Bucket, int]
    quota_charged: dict[Bucket, int]
    tiers: dict[Tier, int]
    videos_retired: int
    videos_painted: int
    videos_described: int
    frames: int
    sql_bytes: int
    vault_bytes: int
    engine_runs: int
    seconds: float
    risers: list[Riser]


STATS_PER_DAY = 40
"""Calls of the demo's bucket, which the Tracker spends whole: its world is about as much smaller than YouTube."""


class DemoSettings(Settings):
    """Settings that come from the demo alone: no environment, no .env."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the constructor is given."""
        return (init_settings,)


@dataclass(slots=True)
class Progress:
    """How far the demo is; ``show`` is called after every virtual hour."""

    show: Callable[[Progress], None] = lambda _: None
    now: datetime | None = None
    hours: int = 0
    hours_total: int = 0
    discovered: int = 0
    samples: int = 0
    archived: int = 0
    verified: int = 0
    retired: int = 0
    painted: int = 0
    described: int = 0
    frames: int = 0
    engine_runs: int = 0
    doing: str = ""


async def live(home: Path, world: str, *, days: int, progress: Progress) -> DemoReport:
    """Live ``days`` of virtual time in ``home`` against a stand-in that serves ``world``.

    The Tracker reads every hour, the others when it is their time; the Janitor runs once a day and every agent once
    a week as its Prefect flow, on one server started once.
    """
    began = time.monotonic()
    async with AsyncExitStack() as house:
        engine_ = await house.enter_async_context(engine(home))
        youtube = await house.enter_async_context(standin(world, key=KEY, folder=home))
        house.enter_context(swapped(settings, _settings(home, youtube.endpoint)))
        served_world = await youtube.world()
        start, hours = _span(served_world, days)
        now = house.enter_context(clock.stopped(start))
        tools = await house.enter_async_context(open_toolbox("demo"))
        await recognised(vault, db)
        await _seed(tools.dao, served_world)
        frames = await house.enter_async_context(open_frames())
        source = await house.enter_async_context(open_source(tools.dao, HOUR))
        desk = Desk(tools.dao, vault, source, get_embedder(settings))
        life = _Life(Studio(tools, vault, frames), desk, youtube, engine_, progress)
        progress.hours_total = hours
        for hour in range(hours):
            await youtube.set_clock(now.advance(HOUR))
            await life.hour(hour, now())
        progress.doing = "checking every reading against what was served"
        progress.show(progress)
        report = await life.report()
    report["seconds"] = round(time.monotonic() - began, 1)
    return report


class _Life:
    """The hours of the demo, and what is counted on the way."""

    def __init__(self, studio: Studio, desk: Desk, youtube: Standin, engine: Engine, progress: Progress) -> None:
        self._tools: Toolbox = studio.tools
        self._studio = studio
        self._desk = desk
        self._youtube = youtube
        self._engine = engine
        self._progress = progress

    async def hour(self, number: int, now: datetime) -> None:
        """Let those run whose time it is; a day ends with the Janitor, a week with all as Prefect flows."""
        passed = number + 1
        if passed % WEEK == 0 or passed == self._progress.hours_total:
            await self._by_engine()
        else:
            await self._by_hand(passed)
        if passed % DAY == 0:
            await self._cleaned()
        progress = self._progress
        progress.now, progress.hours = now, passed
        progress.show(progress)

    async def _by_hand(self, passed: int) -> None:
        if passed % HUNT_EVERY == 0:
            stages = settings.VIDEO_STAGES if passed > ENRICHED_FROM else ()
            self._found(await hunt(self._tools, every=HUNT_EVERY * HOUR, stages=stages))
        self._read(await track(self._tools, every=HOUR))
        if passed % ENRICH_EVERY == 0:
            every = ENRICH_EVERY * HOUR
            self._enriched(await paint(self._studio, every=every), await describe(self._desk, every=every))

    async def _by_engine(self) -> None:
        await self._engine.ready()
        # Prefect comes with the flows, and must find the demo's server in its settings: so not before now.
        from maia.hunter.flow import run_hunter_cycle
        from maia.painter.flow import run_painter_cycle
        from maia.scribe.flow import run_scribe_cycle
        from maia.tracker.flow import run_tracker_cycle

        # Nobody else is at work here: none of them is skipped.
        self._found(cast("HunterSummary", await run_hunter_cycle(every_minutes=HUNT_EVERY * 60)))
        self._read(cast("TrackerSummary", await run_tracker_cycle(every_minutes=60)))
        minutes = ENRICH_EVERY * 60
        painted = cast("PainterSummary", await run_painter_cycle(every_minutes=minutes))
        self._enriched(painted, cast("ScribeSummary", await run_scribe_cycle(every_minutes=minutes)))
        self._progress.engine_runs += 4

    async def _cleaned(self) -> None:
        await self._engine.ready()
        from maia.janitor.flow import run_janitor_cycle

        cleaned = cast("JanitorSummary", await run_janitor_cycle())
        progress = self._progress
        progress.engine_runs += 1
        progress.archived += cleaned["samples_archived"]
        progress.verified += cleaned["samples_verified"]
        progress.retired += cleaned["videos_retired"]

    def _found(self, found: HunterSummary) -> None:
        self._progress.discovered += found["videos_discovered"]
        self._progress.samples += found["videos_discovered"]

    def _read(self, read: TrackerSummary) -> None:
        self._progress.samples += read["samples"]

    def _enriched(self, painted: PainterSummary, described: ScribeSummary) -> None:
        self._progress.painted += painted["videos_painted"]
        self._progress.frames += painted["frames"]
        self._progress.samples += painted["samples"]
        self._progress.described += described["videos_described"]

    async def report(self) -> DemoReport:
        """Check every reading, and gather the figures."""
        dao, progress = self._tools.dao, self._progress
        served = await self._youtube.served()
        stored = await timeline(sorted(set(served["video_id"])))
        overview = await dao.overview()
        archived = overview["vault"]["metrics"]["rows"] if "metrics" in overview["vault"] else 0
        verdict = compare(served, stored, overview["samples_hot"] + archived)
        return {
            "days": round(progress.hours / 24),
            "videos_discovered": overview["watchlist"],
            "channels": overview["channels"],
            "samples": stored.num_rows,
            "samples_archived": progress.archived,
            "samples_verified": progress.verified,
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "quota_used": await self._tools.ledger.totals(),
            "quota_charged": _by_bucket(await self._youtube.quota()),
            "tiers": overview["tiers"],
            "videos_retired": progress.retired,
            "videos_painted": progress.painted,
            "videos_described": progress.described,
            "frames": progress.frames,
            "sql_bytes": overview["sql_bytes"],
            "vault_bytes": await asyncio.to_thread(_size, settings.vault_path),
            "engine_runs": progress.engine_runs,
            "seconds": 0.0,
            "risers": await self._risers(),
        }

    async def _risers(self) -> list[Riser]:
        rising = await self._tools.dao.fetch_fastest(RISERS)
        curves = await timeline([row["video_id"] for row in rising])
        views: dict[str, list[int]] = {row["video_id"]: [] for row in rising}
        for video_id, count in zip(*(curves.column(name).to_pylist() for name in ("video_id", "views")), strict=True):
            views[video_id].append(count or 0)
        titles = {row["video_id"]: row["title"] for row in rising}
        for video_id in [video_id for video_id, title in titles.items() if title is None]:
            titles[video_id] = await asyncio.to_thread(self._title, video_id)
        return [
            {
                "video_id": row["video_id"],
                "title": titles[row["video_id"]] or row["video_id"],
                "views_per_hour": round(row["rate"], 1),
                "views": views[row["video_id"]],
            }
            for row in rising
        ]

    def _title(self, video_id: str) -> str | None:
        """Find the title of a video that has left the hot queue."""
        metadata = self._studio.vault.fetch_metadata(video_id)
        return metadata.get("title") if metadata else None


async def _seed(dao: MaiaDAO, world: World) -> None:
    await dao.add_to_search_queue(world["terms"][:SEED_TERMS], pinned=True)
    channels = [ChannelSeen(channel) for channel in world["channels"][:SEED_CHANNELS]]
    await dao.add_channels(channels, in_roster=True, pinned=True)


def _span(world: World, days: int) -> tuple[datetime, int]:
    """Where the life begins, and for how many hours: the last ``days`` of the world, or all of it if it is shorter."""
    start, end = datetime.fromisoformat(world["start"]), datetime.fromisoformat(world["end"])
    begin = max(start, end - timedelta(days=days))
    return begin, min(days * 24, int((end - begin) / HOUR))


def _settings(home: Path, endpoint: str) -> Settings:
    return DemoSettings(
        PLEIADES_HOME=home,
        FRAME_WIDTH=FRAME_WIDTH,
        QUOTA_STATS_PER_DAY=STATS_PER_DAY,
        YOUTUBE_API_ENDPOINT=endpoint,
        YOUTUBE_API_KEY_POOL_JSON=SecretStr(orjson.dumps([KEY]).decode()),
    )


def _by_bucket(charged: dict[str, dict[str, dict[str, int]]]) -> dict[Bucket, int]:
    total = dict.fromkeys(BUCKETS, 0)
    for days in charged.values():
        for buckets in days.values():
            for bucket, units in buckets.items():
                total[cast("Bucket", bucket)] += units
    return total


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
