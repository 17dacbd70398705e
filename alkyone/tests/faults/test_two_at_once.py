"""Two agents of a kind at once, as processes: no row is held twice, nothing stored twice, totals are those of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest

from alkyone import snapshots
from alkyone.agents import HOUR, Run, Site, run_agent, run_together
from alkyone.scenes import OpenScene, seed, watch

pytestmark = pytest.mark.engine

CROWD = "generated:seed=5,channels=40,videos=1600,past=20"
"""More videos than a Tracker claims at once."""


async def test_two_trackers_read_every_due_video_once(scene: OpenScene) -> None:
    async with scene(CROWD) as here:
        at = here.youtube.now()
        ids = [video_id for channel in here.world.channels_at(at) for video_id in here.world.uploads(channel, at) or ()]
        with here.site() as site:
            await watch(site, ids, here.world, at)
            with here.site(like=site) as alone:
                only = await run_agent("tracker", alone, at)
                expected = snapshots.tables(alone.conninfo)
            quota = here.quota()
            here.youtube.served.readings.clear()
            here.youtube.faults.add("slow", seconds=0.05)

            runs = await run_together(["tracker", "tracker"], site, at)

            assert both_worked(runs, "samples")
            asked = Counter(video_id for video_id, _, _ in here.youtube.served.readings)
            assert max(asked.values()) == 1, "a row was held by both"
            assert total(runs, "samples") == total([only], "samples") == len(asked) > 700
            assert snapshots.tables(site.conninfo) == expected
            assert here.quota()["stats"] == 2 * quota["stats"]


async def test_two_hunters_search_every_term_once_and_find_what_one_finds(scene: OpenScene) -> None:
    async with scene() as here:
        at = here.youtube.now()
        with here.site() as site:
            await seed(site, here.world, at, terms=12, channels=6)
            with here.site(like=site) as alone:
                only = await run_agent("hunter", alone, at)
                expected = findings(alone)
            quota = here.quota()
            here.youtube.faults.add("slow", seconds=0.05)

            runs = await run_together(["hunter", "hunter"], site, at)

            assert both_worked(runs, "queries_processed")
            assert findings(site) == expected
            assert total(runs, "videos_discovered") == total([only], "videos_discovered") > 0
            assert here.quota()["search"] == 2 * quota["search"], "a term was held by both"
            assert snapshots.leased(site.conninfo) == 0


async def test_two_janitors_archive_every_day_once(scene: OpenScene) -> None:
    async with scene() as here:
        begin = here.youtube.now()
        with here.site(JANITOR_RETENTION_DAYS=1) as site:
            await seed(site, here.world, begin)
            assert (await run_agent("hunter", site, begin)).error is None
            for day in range(5):
                at = begin + timedelta(days=day, hours=2)
                here.youtube.set_clock(at)
                assert (await run_agent("tracker", site, at)).error is None
            at = begin + timedelta(days=6)
            with here.site(like=site) as alone:
                only = await run_agent("janitor", alone, at)
                expected = snapshots.tables(alone.conninfo), snapshots.files(alone.vault)

            runs = await run_together(["janitor", "janitor"], site, at)

            assert all(run.error is None for run in runs)
            for count in ("samples_archived", "samples_verified", "videos_retired"):
                assert total(runs, count) == total([only], count) > 0, count
            archived = [day for run in runs if run.summary for day in run.summary["days_archived"]]
            assert only.summary is not None
            assert set(archived) == set(only.summary["days_archived"])
            assert (snapshots.tables(site.conninfo), snapshots.files(site.vault)) == expected
            assert snapshots.readings(site.conninfo, site.vault) == snapshots.served(here.youtube.served.columns())


async def test_all_agents_at_once_lose_nothing_and_double_nothing(scene: OpenScene) -> None:
    async with scene() as here:
        begin = here.youtube.now()
        with here.site(JANITOR_RETENTION_DAYS=1) as site:
            await seed(site, here.world, begin)
            for day in range(3):
                at = begin + timedelta(days=day)
                here.youtube.set_clock(at)

                runs = await run_together(["hunter", "tracker", "janitor", "tracker", "hunter"], site, at, every=HOUR)

                assert [run.error for run in runs] == [None] * len(runs)
                assert snapshots.leased(site.conninfo) == 0
            assert snapshots.readings(site.conninfo, site.vault) == snapshots.served(here.youtube.served.columns())


def both_worked(runs: Sequence[Run], count: str) -> bool:
    """Did they share the work? Otherwise nothing was proven."""
    return all(run.error is None and run.summary and run.summary[count] for run in runs)


def total(runs: Sequence[Run], count: str) -> int:
    return sum(run.summary[count] for run in runs if run.summary)


def findings(site: Site) -> dict[str, object]:
    """What a hunt leaves, but for what depends on who found it first: how often tags were met, what a term yielded."""
    tables = snapshots.tables(site.conninfo)
    whole = {name: tables[name] for name in ("channels", "videos", "video_stage", "watchlist", "video_stats_log")}
    events = sorted((dict(row)["event_type"], dict(row)["entity_id"]) for row in tables["system_events"])
    terms = {dict(row)["query_term"]: dict(row)["last_searched_at"] for row in tables["search_queue"]}
    return {**whole, "events": events, "terms": terms}
