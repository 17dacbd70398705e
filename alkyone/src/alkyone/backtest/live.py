"""The Tracker itself under the adaptive schedule: real database, ledger and calls, a generated world, virtual days.

It is judged as a replay is, so that what the backtest says can be held against what the system does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pydantic import SecretStr

from alkyone.backtest.curves import of_world
from alkyone.backtest.measures import Judge
from alkyone.backtest.replay import Readings, Truth, within_budget
from alkyone.standins.youtube.process import Spawned, spawn
from alkyone.worlds.chance import Floats, Ints
from alkyone.worlds.generated import GeneratedWorld, Spec
from atlas import clock, sql
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery
from atlas.config import ApiKey
from atlas.db import DatabaseManager
from atlas.errors import Bucket
from atlas.hydra import HydraExecutor
from atlas.keys import KeyRing
from atlas.quota import QuotaLedger, reset_at
from atlas.tiers import next_track
from maia.batches import IDS_PER_CALL
from maia.hunter.core import first_look
from maia.toolbox import Toolbox
from maia.tracker.agent import track
from maia.tracker.market import first_looks, seen_of
from maia.tracker.schedule import appraise
from maia.youtube.client import YouTube

SQL = sql.load("alkyone.backtest", "live.sql")

_DAY = timedelta(days=1)
_BATCH = 1_000


@dataclass(frozen=True)
class Life:
    """What to live through: about ``videos`` followed, of which some are published on the way."""

    videos: int = 50_000
    days: int = 7
    per_day: float = 1.0
    """Readings a video and day that the quota allows."""
    seed: int = 7
    every: timedelta = timedelta(minutes=15)
    """How often the Tracker runs."""
    outage: range = range(0)
    """Turns in which no Tracker runs."""
    cut_after: int | None = None
    """The day, from 0, from which on there is a tenth of the quota."""

    @property
    def calls_a_turn(self) -> float:
        """Calls that a run may make; below one the day is over early, since no run makes less than one."""
        return self.per_day * self.videos / IDS_PER_CALL * (self.every / _DAY)

    @property
    def spec(self) -> Spec:
        """The world; a month lies before it."""
        return Spec(seed=self.seed, channels=max(self.videos // 30, 2), videos=self.videos, days=self.days + 2, past=30)


@dataclass
class Lived:
    """What came of it."""

    used: list[int] = field(default_factory=list)
    """Calls of the stats bucket, day by day."""
    limits: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    """Readings of each turn."""
    late: list[int] = field(default_factory=list)
    """Videos overdue after each turn."""
    videos: int = 0
    readings_per_day: float = 0.0
    live: dict[str, float] = field(default_factory=dict)
    replayed: dict[str, float] = field(default_factory=dict)
    longest_unseen_hours: float = 0.0


async def live(
    database: DatabaseManager, life: Life, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> Lived:
    """Follow a generated world with the Tracker, run after run, and judge what it read."""
    world = GeneratedWorld(life.spec)
    begin = reset_at(world.start)  # a quota day is lived as a whole
    dao = MaiaDAO(database)
    lived = Lived()
    enrolled: set[str] = set()
    turns = life.days * round(_DAY / life.every)
    limits: dict[Bucket, int] = {"search": 1, "stats": 10**6, "general": 500}
    async with spawn(_text(life.spec), clock=begin, limits=limits) as standin:
        for turn in range(turns):
            now = begin + turn * life.every
            day = turn // round(_DAY / life.every)
            await dao.ensure_partitions(now=now)
            since = world.start - timedelta(days=life.spec.past) if turn == 0 else now - life.every
            found = world.published(since, now)
            if turn == 0:
                await _price(dao, world, found, life.per_day / 24, now)
            enrolled |= await _enrol(dao, world, found, now)
            if len(lived.limits) <= day:
                share = 0.1 if life.cut_after is not None and day >= life.cut_after else 1.0
                lived.limits.append(round(share * life.per_day * len(enrolled) / IDS_PER_CALL))
            read = 0
            if turn not in life.outage:
                await standin.clock(now)
                limits["stats"] = lived.limits[day]
                async with _tools(database, standin, limits, now) as tools:
                    read = (await track(tools, every=life.every))["samples"]
            lived.turns.append(read)
            lived.late.append((await dao.tracking_demand(now=now)).late)
            progress(turn + 1, turns)
    lived.used = [row[0] for row in await _rows(database, "used_calls")]
    await _judge(database, world, life, begin, begin + (turns - 1) * life.every, enrolled, lived)
    return lived


async def _price(
    dao: MaiaDAO, world: GeneratedWorld, found: Mapping[str, datetime], budget: float, now: datetime
) -> None:
    """Set the price before the videos are there, as on any day but the first."""
    counts = world.readings(list(found), now)
    seen = seen_of(
        list(counts),
        published=[found[video_id] for video_id in counts],
        added=[now] * len(counts),
        read=[now] * len(counts),
        views=[reading.views for reading in counts.values()],
        rates=[None] * len(counts),
    )
    await dao.move_market(*appraise(seen, budget), since=None, now=now)


async def _enrol(dao: MaiaDAO, world: GeneratedWorld, found: Mapping[str, datetime], now: datetime) -> set[str]:
    """Discover videos, published when they were, with the counts that a discovery comes with."""
    counts = world.readings(list(found), now)
    discoveries = []
    for video_id, reading in counts.items():
        tier, following = next_track(found[video_id], now)
        discoveries.append(
            Discovery(
                id=video_id,
                channel_id="UC" + video_id * 2,
                title=video_id,
                published_at=found[video_id],
                tracking_tier=tier,
                next_track_at=first_look(video_id, following - now, now),
                observed_at=now,
                views=reading.views,
                likes=reading.likes,
                comment_count=reading.comments,
            )
        )
    for place in range(0, len(discoveries), _BATCH):
        batch = await first_looks(dao, discoveries[place : place + _BATCH], now)
        await dao.ingest_video_metadata(batch, stages=(), roster=False, now=now)
    return set(counts)


@asynccontextmanager
async def _tools(
    database: DatabaseManager, standin: Spawned, limits: dict[Bucket, int], now: datetime
) -> AsyncIterator[Toolbox]:
    ring = KeyRing("tracker", keys=[ApiKey(project="live", secret=SecretStr(standin.key))], database=database)
    ledger = QuotaLedger(database, limits)
    with clock.stopped(now):
        async with YouTube(HydraExecutor(ring, "tracker", ledger=ledger), endpoint=standin.endpoint) as youtube:
            yield Toolbox(MaiaDAO(database), youtube, ledger, ring)


async def _judge(
    database: DatabaseManager,
    world: GeneratedWorld,
    life: Life,
    begin: datetime,
    end: datetime,
    enrolled: Collection[str],
    lived: Lived,
) -> None:
    """Judge the readings, and those of a replay of the same videos within as many readings."""
    curves = of_world(
        world.trajectories(
            end, timedelta(hours=1), born_after=begin - timedelta(days=life.spec.past), begin=begin, end=end
        )
    )
    curves = curves.where(np.isin(curves.ids, list(enrolled))).followed(samples=6, span=timedelta(hours=6))
    # What was private for a while could not be read then, which a replay knows nothing of.
    curves = curves.where(np.diff(curves.bounds) > (curves.last - curves.first) / 3600 - 0.5)
    truth = Truth(curves)
    number = {video_id: place for place, video_id in enumerate(curves.ids.tolist())}
    rows = [(number[name], at) for name, at in await _rows(database, "readings", begin=begin) if name in number]
    video = np.array([place for place, _ in rows], np.int64)
    at = np.array([(instant - _EPOCH).total_seconds() for _, instant in rows])
    hours = (at - truth.zero) / 3600
    # The reading that a discovery came with is where a video's curve begins, in a replay too.
    later = (hours > truth.begin[video] + 0.3) & (hours <= truth.end[video])
    video, hours = video[later], hours[later]
    order = np.lexsort((hours, video))
    judge, once = Judge(truth), np.ones(len(curves))
    judged = judge.judge(Readings(video[order], hours[order]))
    lived.videos = len(curves)
    lived.readings_per_day = judged.per_day
    lived.live = judged.figures(once)
    lived.replayed = judge.judge(within_budget(truth, judged.per_day, tick=life.every / timedelta(hours=1))).figures(
        once
    )
    lived.longest_unseen_hours = float(_longest_gap(truth, video[order], hours[order]))


def _longest_gap(truth: Truth, video: Ints, hours: Floats) -> float:
    every = np.arange(len(truth.begin))
    owners = np.concatenate([every, video, every])
    at = np.concatenate([truth.begin, hours, truth.end])
    order = np.lexsort((at, owners))
    gaps = np.diff(at[order])[np.diff(owners[order]) == 0]
    return float(gaps.max())


async def _rows(database: DatabaseManager, name: str, **params: object) -> list[tuple[Any, ...]]:
    async with database.get_connection() as conn:
        rows = await conn.fetch(SQL[name], **params)
    return [tuple(row.values()) for row in rows]


def _text(spec: Spec) -> str:
    return f"generated:seed={spec.seed},channels={spec.channels},videos={spec.videos},days={spec.days},past={spec.past}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
