"""Two agents of a kind at once, as processes: no row is held twice, nothing stored twice, totals are those of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from alkyone import snapshots
from alkyone.agents import HOUR, Agent, Run, Site, run_agent, run_together
from alkyone.invariants.truth import Truth
from alkyone.scenes import SMALL, OpenScene, assert_sound, dao_of, seed, watch
from alkyone.standins.youtube import captions
from alkyone.worlds import World
from atlas.adapters.records import SourceSeed

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
            await assert_sound(site, now=at)


CATALOGUES = "generated:seed=11,channels=6,videos=1200,past=20"
"""Channels whose uploads fill several pages."""


@pytest.mark.parametrize("world", [pytest.param(SMALL, id="terms"), pytest.param(CATALOGUES, id="back catalogues")])
async def test_two_hunters_read_every_page_once_and_find_what_one_finds(scene: OpenScene, world: str) -> None:
    async with scene(world) as here:
        at = here.youtube.now()
        with here.site(HUNTER_NEW_TERMS=1_000 if world == SMALL else 0) as site:
            await seed(site, here.world, at, terms=12, channels=6)
            async with dao_of(site) as dao:
                await dao.add_sources("chart", [SourceSeed("US", at), SourceSeed("US:10", at)], now=at)
            with here.site(like=site) as alone:
                only = await run_agent("hunter", alone, at)
                expected = findings(alone)
            quota = here.quota()
            here.youtube.faults.add("slow", seconds=0.05)

            runs = await run_together(["hunter", "hunter"], site, at)

            assert both_worked(runs, "queries_processed")
            assert total(runs, "pages_walked") == total([only], "pages_walked")
            assert findings(site) == expected
            assert total(runs, "videos_discovered") == total([only], "videos_discovered") > 0
            assert here.quota()["search"] == 2 * quota["search"], "a term was held by both"
            await assert_sound(site, now=at)


async def test_two_painters_end_every_video_once(scene: OpenScene) -> None:
    async with scene(CROWD) as here:
        begin = here.youtube.now()
        at = begin + HOUR
        with here.site(FRAME_WIDTH=320) as site:
            await seed(site, here.world, begin, terms=1, channels=10)
            assert (await run_agent("hunter", site, begin)).error is None
            here.youtube.set_clock(at)
            with here.site(like=site) as alone:
                only = await run_agent("painter", alone, at)
                expected = painted(alone)
            quota = here.quota()

            runs = await run_together(["painter", "painter"], site, at)

            assert both_worked(runs, "videos_painted")
            assert painted(site) == expected
            assert total(runs, "videos_painted") == total([only], "videos_painted") > 220
            assert total(runs, "frames") == total([only], "frames")
            assert here.quota()["general"] > quota["general"]
            await assert_sound(site, now=at)


async def test_two_scribes_describe_every_video_once(scene: OpenScene, tmp_path: Path) -> None:
    async with scene(CROWD) as here:
        begin = here.youtube.now()
        at = begin + 2 * HOUR
        caption(here.world, at, tmp_path)
        with here.site(FRAME_WIDTH=320, TRANSCRIPT_SOURCE="folder", TRANSCRIPT_FOLDER=tmp_path) as site:
            await seed(site, here.world, begin, terms=1, channels=10)
            for agent, after in (("hunter", 0), ("painter", 1)):
                here.youtube.set_clock(begin + after * HOUR)
                assert (await run_agent(agent, site, begin + after * HOUR)).error is None
            here.youtube.set_clock(at)
            with here.site(like=site) as alone:
                only = await run_agent("scribe", alone, at)
                expected = described(alone)

            runs = await run_together(["scribe", "scribe"], site, at)

            assert both_worked(runs, "videos_described")
            assert described(site) == expected
            for count in ("videos_described", "transcripts", "frames"):
                assert total(runs, count) == total([only], count) > 0, count
            await assert_sound(site, now=at)


async def test_two_janitors_archive_every_day_once(scene: OpenScene) -> None:
    async with scene() as here:
        begin = here.youtube.now()
        with here.site(JANITOR_RETENTION_DAYS=1, VIDEO_STAGES=()) as site:
            await seed(site, here.world, begin)
            assert (await run_agent("hunter", site, begin)).error is None
            for day in range(5):
                at = begin + timedelta(days=day, hours=2)
                here.youtube.set_clock(at)
                assert (await run_agent("tracker", site, at)).error is None
            at = begin + timedelta(days=6)
            with here.site(like=site) as alone:
                only = await run_agent("janitor", alone, at)
                tables, files = snapshots.tables(alone.conninfo), snapshots.files(alone.vault)

            runs = await run_together(["janitor", "janitor"], site, at)

            assert [run.error for run in runs] == [None] * len(runs)
            for count in ("samples_archived", "samples_verified", "videos_retired"):
                assert total(runs, count) == total([only], count) > 0, count
            archived = [day for run in runs if run.summary for day in run.summary["days_archived"]]
            assert only.summary is not None
            assert set(archived) == set(only.summary["days_archived"])
            assert snapshots.files(site.vault) == files
            left = snapshots.tables(site.conninfo)
            assert [table for table in tables if left[table] != tables[table]] == []
            # Nobody hunted for six days, so the channels have been due as long.
            await assert_sound(site, Truth.of_standin(here.youtube), now=at, patience=timedelta(days=7))


async def test_all_agents_at_once_lose_nothing_and_double_nothing(scene: OpenScene) -> None:
    async with scene() as here:
        begin = here.youtube.now()
        with here.site(JANITOR_RETENTION_DAYS=1, FRAME_WIDTH=320) as site:
            await seed(site, here.world, begin)
            for day in range(3):
                at = begin + timedelta(days=day)
                here.youtube.set_clock(at)

                agents: list[Agent] = ["hunter", "tracker", "painter", "scribe", "janitor"]
                runs = await run_together([*agents, *agents[:-1]], site, at, every=HOUR)

                assert [run.error for run in runs] == [None] * len(runs)
                await assert_sound(site, Truth.of_standin(here.youtube), now=at)


def caption(world: World, at: datetime, folder: Path) -> None:
    """Put caption files of a world's videos into a folder."""
    for name in world.search("", at=at):
        video = world.video(name, at)
        for track in captions.tracks(video) if video is not None else ():
            (folder / f"{name}.{track.language}.vtt").write_text(captions.FORMATS["vtt"](video, track))


def both_worked(runs: Sequence[Run], count: str) -> bool:
    """Did they share the work? Otherwise nothing was proven."""
    return all(run.error is None and run.summary and run.summary[count] for run in runs)


def total(runs: Sequence[Run], count: str) -> int:
    return sum(run.summary[count] for run in runs if run.summary)


def painted(site: Site) -> dict[str, object]:
    """What Painters leave, but for how it is divided into shards."""
    tables = snapshots.tables(site.conninfo)
    names = ("channels", "channel_history", "channel_stats_log", "videos", "video_history", "video_stage",
             "watchlist", "video_stats_log")  # fmt: skip
    return {name: tables[name] for name in names} | {"vault": held(site, "metadata", "visuals")}


def held(site: Site, *kinds: str) -> set[str]:
    """The rows that the vault holds of ``kinds``, whatever shards they are in."""
    vault = site.open_vault()
    return {
        repr(sorted(row.items(), key=str))
        for kind in kinds
        for shard in vault.shards(kind)
        for row in vault.load(shard).to_pylist()
    }


def described(site: Site) -> dict[str, object]:
    """What Scribes leave, but for how it is divided into shards."""
    tables = snapshots.tables(site.conninfo)
    names = ("video_vectors", "video_features", "video_stage")
    return {name: tables[name] for name in names} | {"vault": held(site, "transcripts")}


def findings(site: Site) -> dict[str, object]:
    """What a hunt leaves, but for what depends on who found it first: how often tags were met, what a term yielded."""
    tables = snapshots.tables(site.conninfo)
    whole = {
        name: tables[name] for name in ("channels", "videos", "video_stage", "watchlist", "video_stats_log", "sources")
    }
    seen = [(dict(row)["event_type"], dict(row)["entity_id"]) for row in tables["system_events"]]
    # Terms are told of by the round they came in, and whose round that is depends on who was first.
    events = sorted(event for event in seen if not event[0].startswith("terms."))
    terms = {dict(row)["query_term"]: dict(row)["last_searched_at"] for row in tables["search_queue"]}
    return {**whole, "events": events, "terms": terms}
