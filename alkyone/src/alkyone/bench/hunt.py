"""The Hunter's days: what it finds in a world whose truth is known, on one project's quota, and how soon.

It runs every half hour of a virtual clock over HTTP, as in life, from a few seeds. Beside them lie terms and channels
that lead nowhere. What was called is the stand-in's own count; what there was to find, the world's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

from pydantic import SecretStr

from alkyone.bench.ids import video_ids
from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_least, at_most
from alkyone.standins.youtube.process import Spawned, spawn
from alkyone.standins.youtube.quota import LIMITS
from alkyone.worlds import Video, World, open_world
from atlas import clock, sql
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ChannelSeen
from atlas.config import ApiKey, Stage
from atlas.db import DatabaseManager
from atlas.errors import Bucket
from atlas.hydra import HydraExecutor
from atlas.keys import KeyRing
from atlas.quota import QuotaLedger, pacific_day, reset_at
from maia.hunter.agent import hunt
from maia.toolbox import Toolbox
from maia.youtube.client import YouTube

SQL = sql.load("alkyone.bench", "bench.sql")

WORLD = "generated:seed=3,channels=8000,videos=800000,past=180,days=6"
"""A hundred uploads a channel: four a week, for half a year back and in the days to come."""

QUICK_WORLD = "generated:seed=3,channels=60,videos=3000,past=30,days=5"
SEED_TERMS = 5
SEED_CHANNELS = 5
NOWHERE = 20
"""Terms nothing matches, channels that are gone, channels that have long been silent."""

SILENT_FOR = timedelta(days=28)

Calls = Mapping[str, Mapping[str, Sequence[int]]]
"""What the stand-in let in: by method and what was asked for, first pages and further ones."""

EVERY = timedelta(minutes=30)
DAY = timedelta(days=1)
IN_TIME = timedelta(days=1)
"""How long after its upload a video may be found at the latest."""

STAGES: Sequence[Stage] = ("painter", "scribe")


class Spent(NamedTuple):
    """Calls by purpose, as the stand-in counted them; but for ``searches``, units of the general bucket."""

    searches: int = 0
    first_polls: int = 0
    later_polls: int = 0
    older_pages: int = 0
    enrichments: int = 0
    enriched: int = 0
    """Ids that the enrichments asked for."""
    other: int = 0

    @property
    def general(self) -> int:
        """Units of the general bucket."""
        return self.first_polls + self.later_polls + self.older_pages + self.enrichments + self.other

    def since(self, before: Spent) -> Spent:
        """What came on top of ``before``."""
        return Spent(*(now - then for now, then in zip(self, before, strict=True)))


@dataclass
class Life:
    """What came of the days; lists have an entry a day."""

    discovered: list[int] = field(default_factory=list)
    used: list[Mapping[Bucket, int]] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    feeds: int = 0
    """Feeds that were read, for nothing."""
    amiss: int = 0
    """Looks at the ledger, one after each run, that found it above a limit or unlike the stand-in's books."""
    refused: int = 0
    """Calls that the stand-in turned away because the day's units were spent."""


class Recall(NamedTuple):
    """What the roster's channels uploaded, how much of it was found in time, and after how many hours (median)."""

    uploads: int
    found: int
    hours: float

    @property
    def share(self) -> float:
        """The share found in time."""
        return self.found / max(self.uploads, 1)


class Waste(NamedTuple):
    """Calls on what leads nowhere."""

    searches: int
    """Searches for terms that never brought a new video."""
    repeated: int
    """Of those, the ones after a term's first."""
    polls: int
    """Polls, after a channel's first, of channels that are gone, or uploaded nothing for weeks and all the time."""


async def measure(lab: Lab) -> Result:
    """Live four days, the first of them from next to nothing; in the second half all feeds are out of order.

    Quick: two days.
    """
    spec = QUICK_WORLD if lab.quick else WORLD
    world = open_world(spec)
    days = lab.size(4, 2)
    begin = reset_at(world.start)
    async with spawn(spec, clock=begin, limits=LIMITS) as youtube, lab.database() as database:
        life = await _live(database, youtube, world, begin, days)
        middle, end = begin + days / 2 * DAY, begin + days * DAY
        late = IN_TIME if not lab.quick else timedelta()
        fed = await _recall(database, world, begin, middle - late)
        starved = await _recall(database, world, middle, end - late)
        waste = await _waste(database, await youtube.calls(), world, begin, end)
    return _result(life, fed, starved, waste)


async def _live(database: DatabaseManager, youtube: Spawned, world: World, begin: datetime, days: int) -> Life:
    """Run the Hunter every half hour."""
    life, dao = Life(), MaiaDAO(database)
    ring = KeyRing("hunter", keys=[ApiKey(project="bench", secret=SecretStr(youtube.key))], database=database)
    ledger = QuotaLedger(database, LIMITS)
    executor = HydraExecutor(ring, "hunter", ledger=ledger)
    with clock.stopped(begin) as now:
        await _seed(dao, world, begin)
        async with YouTube(executor, endpoint=youtube.endpoint) as client:
            tools = Toolbox(dao, client, ledger, ring)
            before = Spent()
            for day in range(days):
                begun, discovered = time.perf_counter(), 0
                if day == days / 2:
                    await youtube.faults({"kind": "html", "method": "feed"})
                used: dict[Bucket, int] = {}
                await dao.ensure_partitions(now=begin + day * DAY)
                for run in range(DAY // EVERY):
                    now.set(begin + day * DAY + run * EVERY)
                    await youtube.clock(now())
                    summary = await hunt(tools, every=EVERY, stages=STAGES)
                    discovered += summary["videos_discovered"]
                    life.feeds += summary["feeds_read"]
                    used = {usage.bucket: usage.used for usage in await ledger.usage()}
                    charged = _charged(await youtube.quota(), now())
                    life.amiss += used != charged or any(used[bucket] > limit for bucket, limit in LIMITS.items())
                after = _spent(await youtube.calls())
                life.discovered.append(discovered)
                life.used.append(used)
                life.spent.append(after.since(before))
                life.seconds.append(time.perf_counter() - begun)
                before = after
    life.refused = sum((await youtube.refused()).values())
    return life


async def _seed(dao: MaiaDAO, world: World, at: datetime) -> None:
    """Give the Hunter a few seeds, and some that lead nowhere."""
    await dao.add_to_search_queue(world.terms()[:SEED_TERMS], pinned=True, now=at)
    seeds = [ChannelSeen(channel) for channel in world.channels_at(at)[:SEED_CHANNELS]]
    await dao.add_channels(seeds, in_roster=True, pinned=True, now=at)
    names = video_ids(2 * NOWHERE)
    await dao.add_to_search_queue([f"nothing {name}" for name in names[:NOWHERE]], now=at)
    gone = [f"UC{one}{other}" for one, other in zip(names[:NOWHERE], names[NOWHERE:], strict=True)]
    silent = [channel for channel in world.channels_at(at) if not _uploads(world, channel, at - SILENT_FOR, world.end)]
    barren = [ChannelSeen(channel) for channel in (*gone, *silent[:NOWHERE])]
    await dao.add_channels(barren, in_roster=True, now=at)


def _charged(quota: Mapping[str, Mapping[str, Mapping[str, int]]], now: datetime) -> dict[Bucket, int]:
    """What the stand-in charged on the Pacific day of ``now``."""
    day = pacific_day(now).isoformat()
    return {bucket: sum(days.get(day, {}).get(bucket, 0) for days in quota.values()) for bucket in LIMITS}


def _spent(calls: Calls) -> Spent:
    searches, polls = calls.get("search.list", {}), calls.get("playlistItems.list", {})
    looked_up = {int(ids): sum(pages) for ids, pages in calls.get("videos.list", {}).items() if ids.isdigit()}
    first_pages = sum(pages[0] for pages in polls.values())
    known = sum(sum(pages) for pages in (*searches.values(), *polls.values())) + sum(looked_up.values())
    return Spent(
        searches=sum(sum(pages) for pages in searches.values()),
        first_polls=len(polls),
        later_polls=first_pages - len(polls),
        older_pages=sum(pages[1] for pages in polls.values()),
        enrichments=sum(looked_up.values()),
        enriched=sum(ids * times for ids, times in looked_up.items()),
        other=sum(sum(pages) for whats in calls.values() for pages in whats.values()) - known,
    )


def _uploads(world: World, channel_id: str, after: datetime, before: datetime) -> list[Video]:
    """What a channel uploaded in a span and has not deleted by its end."""
    found = []
    for name in world.uploads(channel_id, before) or ():
        video = world.video(name, before)
        if video is None or video.published_at < after:
            break
        found.append(video)
    return found


async def _recall(database: DatabaseManager, world: World, after: datetime, before: datetime) -> Recall:
    """Compare what the roster's channels uploaded in a span with what was found of it in time.

    An upload counts from when its channel was known, if the public could see it all the time it could have been found.
    """
    async with database.get_connection() as conn:
        roster = await conn.fetch(SQL["roster"])
        found = {row["video_id"]: row["added_at"] for row in await conn.fetch(SQL["found"], since=after)}
    uploads, hours = 0, []
    for channel in roster:
        for video in _uploads(world, channel["id"], max(channel["added_at"], after), before):
            later = world.video(video.id, video.published_at + IN_TIME)
            if video.private or later is None or later.private:
                continue
            uploads += 1
            if video.id in found and found[video.id] - video.published_at <= IN_TIME:
                hours.append((found[video.id] - video.published_at) / timedelta(hours=1))
    return Recall(uploads, len(hours), median(hours or [0.0]))


async def _waste(database: DatabaseManager, calls: Calls, world: World, begin: datetime, end: datetime) -> Waste:
    async with database.get_connection() as conn:
        barren = {row["query_term"] for row in await conn.fetch(SQL["barren_terms"])}
    searches = [sum(pages) for term, pages in calls.get("search.list", {}).items() if term in barren]
    later = {playlist: pages[0] - 1 for playlist, pages in calls.get("playlistItems.list", {}).items() if pages[0] > 1}
    since = begin - SILENT_FOR
    silent = [times for playlist, times in later.items() if not _uploads(world, f"UC{playlist[2:]}", since, end)]
    return Waste(sum(searches), sum(searches) - len(searches), sum(silent))


def _result(life: Life, fed: Recall, starved: Recall, waste: Waste) -> Result:
    first, found = life.spent[0], life.discovered[0]
    whole = Spent(*(sum(column) for column in zip(*life.spent, strict=True)))
    lists = first.first_polls + first.later_polls + first.older_pages
    later = [Figure(f"day {day}", new, "discoveries") for day, new in enumerate(life.discovered[1:], 2)]
    notes = [
        f"day {day}: search {used['search']}, general {used['general']:,}: first polls {spent.first_polls:,}, "
        f"later polls {spent.later_polls:,}, older pages {spent.older_pages:,}, enrichment {spent.enrichments:,}, "
        f"other {spent.other:,}"
        for day, (used, spent) in enumerate(zip(life.used, life.spent, strict=True), 1)
    ]
    polls = sum(spent.later_polls for spent in life.spent[len(life.spent) // 2 :])
    wasted = waste.searches / max(whole.searches, 1)
    return Result(
        [
            Figure("the first day", found, "discoveries"),
            *later,
            Figure("the first day, a search call", found / max(first.searches, 1), "discoveries"),
            Figure("a general unit", found / max(first.general, 1), "discoveries"),
            Figure("a general unit that lists", found / max(lists, 1), "discoveries"),
            Figure("an enrichment, of fifty at most", first.enriched / max(first.enrichments, 1), "ids"),
            Figure("seconds a virtual day takes", median(life.seconds), "s"),
            Figure("uploads of the roster's channels, feeds at hand", fed.uploads, "videos"),
            Figure("of those found within a day", 100 * fed.share, "%"),
            Figure("found after, median", fed.hours, "h"),
            Figure("uploads of the roster's channels, without feeds", starved.uploads, "videos"),
            Figure("of those found within a day", 100 * starved.share, "%"),
            Figure("found after, median", starved.hours, "h"),
            Figure("later polls for each of those", polls / len(life.spent) * 2 / max(starved.found, 1), "units"),
        ],
        [
            at_least(100_000, "≥ 100,000 discoveries in one day on one project's quota", found),
            at_most(0, "the ledger was never above a limit, nor unlike YouTube's own books", life.amiss),
            at_most(0, "YouTube never had to refuse a call for its quota", life.refused),
            at_least(95, "≥ 95 % of the roster's uploads found within a day", 100 * fed.share),
            at_least(95, "the same without feeds", 100 * starved.share),
            at_most(0.02, "≤ 2 % of searches repeat a term that never brought anything",
                    waste.repeated / max(whole.searches, 1)),
            at_most(0.01, "≤ 1 % of general units poll again what is gone or silent",
                    waste.polls / max(whole.general, 1)),
        ],
        [
            *notes,
            f"{life.feeds:,} feeds were read, until all were out of order",
            f"{100 * wasted:.0f} % of the searches were for terms that never brought anything",
        ],
    )  # fmt: skip
