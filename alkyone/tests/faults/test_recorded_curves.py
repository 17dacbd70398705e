"""Real recorded curves, lived through by the agents: what is read back from SQL and vault is what the world served."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

from alkyone import snapshots
from alkyone.scenes import open_scene, seed, stores_of, tools_of
from alkyone.standins.youtube.quota import LIMITS
from alkyone.worlds import open_world
from alkyone.worlds.importer import import_world
from atlas import clock
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.history import timeline
from maia.hunter.agent import hunt
from maia.janitor.agent import clean
from maia.tracker.agent import track

STEP = timedelta(hours=6)
DAYS = 5


async def test_the_curves_of_ten_videos_read_back_as_the_world_served_them(
    recorded_data: Path, postgres: EmbeddedServer, template: str, tmp_path: Path
) -> None:
    import_world(recorded_data / "youtube" / "timeseries", tmp_path / "world")
    begin = open_world(tmp_path / "world").stretch(timedelta(days=DAYS))
    async with open_scene(postgres, template, tmp_path, str(tmp_path / "world"), LIMITS) as here:
        with here.site(JANITOR_RETENTION_DAYS=1) as site, clock.stopped(begin) as now:
            await seed(site, here.world, begin, terms=6, channels=60)
            archived = 0
            while now() < begin + timedelta(days=DAYS):
                here.youtube.set_clock(now())
                async with tools_of(site) as tools:
                    await hunt(tools, every=STEP)
                    await track(tools, every=STEP)
                if now().hour == 18:
                    async with stores_of(site) as stores:
                        cleaned = await clean(stores, rules=site.settings())
                    assert cleaned["samples_verified"] == cleaned["samples_archived"]
                    archived += cleaned["samples_archived"]
                now.advance(STEP)

            here.assert_nothing_is_lost(site)
            readings = snapshots.readings(site.conninfo, site.vault)
            assert archived > 1_000
            longest = [video_id for video_id, _ in Counter(video_id for video_id, _ in readings).most_common(10)]
            async with DatabaseManager(site.conninfo) as database, stores_of(site) as stores:
                curves = (await timeline(longest, database=database, vault=stores.vault)).to_pylist()

            read_back = {
                (row["video_id"], row["timestamp"]): (row["views"], row["likes"], row["comment_count"])
                for row in curves
            }
            assert read_back == {key: reading for key, reading in readings.items() if key[0] in longest}
            assert len(read_back) == len(curves) >= 10 * 6
            for (video_id, at), reading in read_back.items():
                assert reading == here.world.counts(video_id, at)
            hot = set(snapshots.column(site.conninfo, "SELECT video_id FROM video_stats_log"))
            assert hot & set(longest), "the curves join what is hot"
            assert any(at < begin + timedelta(days=2) for _, at in read_back), "and what is cold"
