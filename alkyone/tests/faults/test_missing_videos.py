"""Videos that YouTube no longer has: they delay nobody, are given up after three misses, and may come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from alkyone import snapshots
from alkyone.agents import Site
from alkyone.scenes import OpenScene, Scene, seed, tools_of, watch
from alkyone.standins.youtube.quota import LIMITS
from atlas import clock
from maia.hunter.agent import hunt
from maia.tracker.agent import TrackerSummary, track

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LONG = "generated:seed=5,channels=30,videos=1500,past=20,days=80"


async def test_two_hundred_deleted_videos_at_the_head_do_not_delay_the_living(scene: OpenScene) -> None:
    async with scene(LONG, LIMITS) as here:
        at = here.youtube.now()
        with here.site() as site:
            deleted, living = await a_watchlist_led_by_the_deleted(here, site, at)

            summary = await tracked(here, site, at)

            assert (summary["missing"], summary["videos_tracked"], summary["failed"]) == (200, 100, 0)
            rows = watchlist(site)
            assert {rows[video_id]["last_tracked_at"] for video_id in living} == {at}
            assert {rows[video_id]["misses"] for video_id in deleted} == {1}
            assert {rows[video_id]["next_track_at"] for video_id in deleted} == {at + DAY}
            assert snapshots.leased(site.conninfo) == 0


async def test_a_claim_that_holds_nothing_but_deleted_videos_is_followed_by_another(scene: OpenScene) -> None:
    # Two calls of the stats bucket in all: the first claim takes a hundred of the deleted ones.
    async with scene(LONG) as here:
        at = here.youtube.now()
        with here.site(QUOTA_STATS_PER_DAY=2) as site:
            _, living = await a_watchlist_led_by_the_deleted(here, site, at)

            summary = await tracked(here, site, at, every=DAY)

            assert summary["missing"] == 200
            assert snapshots.served(here.youtube.served.columns()).keys() == {(video_id, at) for video_id in living}
            assert summary["samples"] == 100


async def test_three_misses_over_days_make_a_video_dormant_and_one_sight_revives_it(scene: OpenScene) -> None:
    async with scene(LONG) as here:
        begin = here.youtube.now()
        with here.site() as site:
            deleted, living = await a_watchlist_led_by_the_deleted(here, site, begin)
            before = watchlist(site)

            for day, misses in enumerate((1, 2, 3)):
                await tracked(here, site, begin + day * DAY)
                rows = watchlist(site)
                assert {rows[video_id]["misses"] for video_id in deleted} == {misses}
                if misses < 3:
                    assert all(rows[v]["tracking_tier"] == before[v]["tracking_tier"] for v in deleted)
                    assert events(site) == Counter()
            assert {rows[video_id]["tracking_tier"] for video_id in deleted} == {"DORMANT"}
            assert {rows[video_id]["next_track_at"] for video_id in deleted} == {begin + 32 * DAY}
            assert events(site) == Counter({("video.unavailable", video_id): 1 for video_id in deleted})
            assert {rows[video_id]["misses"] for video_id in living} == {0}

            await tracked(here, site, begin + 32 * DAY)
            assert events(site)["video.unavailable", deleted[0]] == 1, "given up once, not at every further miss"

            here.youtube.faults.clear()
            await tracked(here, site, back := begin + 62 * DAY)

            rows = watchlist(site)
            assert {rows[video_id]["misses"] for video_id in deleted} == {0}
            assert "DORMANT" not in {rows[video_id]["tracking_tier"] for video_id in deleted}
            assert {rows[video_id]["last_tracked_at"] for video_id in deleted} == {back}
            assert {video_id for kind, video_id in events(site) if kind == "video.revived"} == set(deleted)


async def test_a_miss_that_is_made_good_before_the_third_leaves_no_event(scene: OpenScene) -> None:
    async with scene(LONG) as here:
        begin = here.youtube.now()
        with here.site() as site:
            deleted, _ = await a_watchlist_led_by_the_deleted(here, site, begin)
            await tracked(here, site, begin)
            await tracked(here, site, begin + DAY)
            here.youtube.faults.clear()

            await tracked(here, site, begin + 2 * DAY)

            assert {watchlist(site)[video_id]["misses"] for video_id in deleted} == {0}
            assert events(site) == Counter()


async def test_deleting_a_video_from_the_hot_queue_leaves_its_tracking_untouched(scene: OpenScene) -> None:
    async with scene() as here:
        begin = here.youtube.now()
        with here.site() as site:
            await seed(site, here.world, begin)
            with clock.stopped(begin):
                async with tools_of(site) as tools:
                    await hunt(tools, every=DAY, stages=("painter", "scribe"))
            before = snapshots.tables(site.conninfo)
            assert before["videos"]
            assert before["video_stage"]

            with psycopg.connect(site.conninfo) as conn:
                conn.execute("DELETE FROM videos")

            after = snapshots.tables(site.conninfo)
            assert after["videos"] == after["video_stage"] == []
            for table in ("watchlist", "video_stats_log", "channels", "system_events"):
                assert after[table] == before[table], table
            later = await tracked(here, site, begin + 8 * DAY)
            assert later["videos_tracked"] + later["missing"] == len(before["watchlist"])
            assert later["samples"] == later["videos_tracked"] > 0
            with clock.stopped(begin + 8 * DAY):
                async with tools_of(site) as tools:
                    found = await hunt(tools, every=DAY)
            assert found["videos_known"] > 0
            known = {dict(row)["video_id"] for row in before["watchlist"]}
            assert known.isdisjoint(snapshots.column(site.conninfo, "SELECT id FROM videos")), "discovered twice"


async def a_watchlist_led_by_the_deleted(here: Scene, site: Site, at: datetime) -> tuple[list[str], list[str]]:
    """Put 300 videos on the watchlist, and let YouTube deny the first 200."""
    uploads = [v for channel in here.world.channels_at(at) for v in here.world.uploads(channel, at) or ()]
    instants = [at + days * DAY for days in (0, 1, 2, 62)]  # some are deleted, or private for a while, in truth
    ids = [v for v in uploads if all(here.world.counts(v, instant) is not None for instant in instants)][:300]
    assert len(ids) == 300
    await watch(site, ids, here.world, at)
    deleted, living = ids[:200], ids[200:]
    here.youtube.faults.add("missing_ids", ids=tuple(deleted))
    return deleted, living


async def tracked(here: Scene, site: Site, at: datetime, *, every: timedelta = HOUR) -> TrackerSummary:
    here.youtube.set_clock(at)
    with clock.stopped(at):
        async with tools_of(site) as tools:
            return await track(tools, every=every)


def watchlist(site: Site) -> Mapping[str, dict[str, Any]]:
    with psycopg.connect(site.conninfo, row_factory=dict_row) as conn:
        return {row["video_id"]: row for row in conn.execute("SELECT * FROM watchlist")}


def events(site: Site) -> Counter[tuple[str, str]]:
    """What became of the watched; that they are watched is not counted."""
    rows: Sequence[Any] = snapshots.tables(site.conninfo)["system_events"]
    seen = Counter((row["event_type"], row["entity_id"]) for row in map(dict, rows))
    return Counter({event: times for event, times in seen.items() if event[0] != "video.watched"})
