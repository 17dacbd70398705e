"""The Painter against a world whose truth is known: what it keeps, what it gives up, and what holds nobody up."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from alkyone import snapshots
from alkyone.agents import Site
from alkyone.scenes import AMPLE, OpenScene, Scene, dao_of, open_scene, seed, stores_of, studio_of, tools_of
from atlas import clock
from atlas.embedded import EmbeddedServer
from atlas.errors import VaultUnavailable
from atlas.vault import LocalVault
from atlas.vault.batch import Batch
from atlas.vault.kinds import Kind
from maia.hunter.agent import hunt
from maia.janitor.agent import clean
from maia.painter import agent, core
from maia.painter.agent import PainterSummary, paint
from maia.painter.frames import WithoutFrames
from maia.planner import PURPOSES, Purpose
from maia.toolbox import Toolbox

WORLD = "generated:seed=6,channels=30,videos=900,past=20"
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def scene(postgres: EmbeddedServer, template: str, tmp_path: Path) -> OpenScene:
    """Open a world behind a real stand-in, ten days in."""
    return lambda world=WORLD, limits=AMPLE: open_scene(postgres, template, tmp_path, world, limits)


@asynccontextmanager
async def found(scene: OpenScene, *, terms: int = 3, channels: int = 5) -> AsyncIterator[tuple[Scene, Site]]:
    """A site where a Hunter has found videos just now."""
    async with scene() as here:
        with here.site() as site:
            await seed(site, here.world, here.youtube.now(), terms=terms, channels=channels)
            await hunted(here, site, here.youtube.now())
            yield here, site


async def hunted(here: Scene, site: Site, at: datetime) -> None:
    here.youtube.set_clock(at)
    with clock.stopped(at):
        async with tools_of(site) as tools:
            await hunt(tools, every=DAY, stages=("painter", "scribe"))


async def painted(
    here: Scene, site: Site, at: datetime | None = None, *, vault: LocalVault | None = None, frames: bool = True
) -> PainterSummary:
    """Run one cycle."""
    at = at or here.youtube.now()
    here.youtube.set_clock(at)
    with clock.stopped(at):
        async with studio_of(site, vault) as studio:
            return await paint(studio if frames else replace(studio, frames=WithoutFrames()), every=DAY)


def rows(site: Site, query: str) -> list[dict[str, Any]]:
    with psycopg.Connection[dict[str, Any]].connect(site.conninfo, row_factory=dict_row) as conn:
        return conn.execute(query).fetchall()  # type: ignore[arg-type]


def hot(site: Site) -> set[str]:
    return {row["id"] for row in rows(site, "SELECT id FROM videos")}


def stages(site: Site) -> dict[str, dict[str, Any]]:
    query = "SELECT video_id, state, attempts, reason, next_attempt_at FROM video_stage WHERE stage = 'painter'"
    return {row["video_id"]: row for row in rows(site, query)}


def once_more(site: Site, due: datetime) -> None:
    """Let every video of the hot queue be painted again."""
    again = "INSERT INTO video_stage (video_id, stage, next_attempt_at) SELECT id, 'painter', %s FROM videos"
    with psycopg.connect(site.conninfo) as conn:
        conn.execute(again, [due])


# -- What it keeps ----------------------------------------------------------------------------------------------------


async def test_every_video_comes_to_its_end_with_what_youtube_knows_of_it(scene: OpenScene) -> None:
    async with found(scene) as (here, site):
        before, at = here.quota()["general"], here.youtube.now()
        summary = await painted(here, site)

        ids = hot(site)
        assert summary["videos_painted"] == len(ids) > 200
        assert stages(site) == {}
        assert here.quota()["general"] - before == summary["quota"]["general"]
        assert summary["quota"]["general"] <= 2 * (len(ids) // 50 + 1), "two units for fifty videos"
        assert summary["stopped_by"] == "nothing due"
        vault = LocalVault(site.vault)
        for video_id in sorted(ids)[::17]:
            truth = here.world.video(video_id, at)
            assert truth is not None
            metadata = vault.fetch_metadata(video_id)
            assert metadata is not None
            assert metadata["description"] == truth.description
            assert (metadata["title"], metadata["channel_title"]) == (truth.title, truth.channel_title)
            assert metadata["wiki_topics"] == list(truth.topics)
            frames = vault.fetch_visual_evidence(video_id)
            assert [index for index, _ in frames] == ([0, 1, 2, 3] if truth.live == "none" else [0])
        readings = {
            row["channel_id"]: (row["view_count"], row["subscriber_count"] is None, row["video_count"])
            for row in rows(site, "SELECT * FROM channel_stats_log")
        }
        channels = rows(site, "SELECT * FROM channels WHERE id IN (SELECT channel_id FROM videos)")
        for row in channels:
            known = here.world.channel(row["id"], at)
            assert known is not None
            assert (row["title"], row["country"], row["custom_url"]) == (known.title, known.country, known.handle)
            assert (row["created_at"], row["last_scraped_at"]) == (known.created_at, at)
            assert readings[row["id"]] == (known.views, known.subscribers is None, known.videos)
        assert len(readings) == len(channels) == summary["channels_refreshed"]
        assert rows(site, "SELECT FROM channel_history") == [], "first knowledge is no change"
        assert summary["frames"] == sum(shard.rows for shard in vault.shards("visuals"))
        assert sorted(row["path"] for row in rows(site, "SELECT path FROM vault_manifest")) == sorted(
            shard.path for kind in ("metadata", "visuals") for shard in vault.shards(kind)
        )
        here.assert_nothing_is_lost(site)


async def test_a_write_has_a_bound_and_a_cycle_as_many_of_them_as_it_takes(
    scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []

    class Counted(LocalVault):
        def write(self, objects: Mapping[str, bytes], message: str = "") -> None:
            if message.startswith("paint"):
                writes.append(sum(map(len, objects.values())))
            super().write(objects, message)

    async with found(scene) as (here, site):
        with here.site(like=site) as bounded:
            monkeypatch.setattr(agent, "PORTION_BYTES", 600_000)
            monkeypatch.setattr(agent, "PORTIONS", 3)
            some = await painted(here, bounded, vault=Counted(bounded.vault))
            monkeypatch.undo()
            small, writes[:] = list(writes), []
            every = await painted(here, site, vault=Counted(site.vault))

        assert some["videos_painted"] == every["videos_painted"]
        assert some["quota"] == every["quota"], "no video is asked about twice"
        assert len(small) > len(writes) == -(-every["videos_painted"] // 100)
        assert max(small) < 5_000_000 < max(writes) < 10_000_000, (
            "the bound, and what was on its way when it was reached"
        )


async def test_what_became_different_is_noted_with_an_event_and_nothing_else_is(scene: OpenScene) -> None:
    async with found(scene, terms=6, channels=30) as (here, site):
        world, first = here.world, here.youtube.now()
        await painted(here, site, frames=False)
        second = first + 12 * DAY
        titles = {video_id: truth.title for video_id in hot(site) if (truth := world.video(video_id, first))}
        once_more(site, first)

        summary = await painted(here, site, second, frames=False)

        retitled = {
            video_id: (title, truth.title)
            for video_id, title in titles.items()
            if (truth := world.video(video_id, second)) and not truth.private and truth.title != title
        }
        history = rows(site, "SELECT * FROM video_history")
        assert {row["video_id"]: (row["old_title"], row["new_title"]) for row in history} == retitled != {}
        assert summary["videos_renamed"] == len(retitled)
        expected = set()
        for channel_id in {row["channel_id"] for row in rows(site, "SELECT DISTINCT channel_id FROM videos")}:
            old, new = world.channel(channel_id, first), world.channel(channel_id, second)
            assert old is not None
            assert new is not None
            changes = (("renamed", "title"), ("handle_changed", "handle"), ("country_changed", "country"))
            for what, name in changes:
                if getattr(old, name) != getattr(new, name):
                    expected.add((channel_id, what, getattr(old, name), getattr(new, name)))
        noted = rows(site, "SELECT * FROM channel_history")
        assert {(row["channel_id"], row["event_type"], row["old_title"], row["new_title"]) for row in noted} == expected
        assert {what for _, what, _, _ in expected} == {"renamed", "handle_changed", "country_changed"}
        events = rows(
            site, "SELECT event_type, entity_id, payload FROM system_events WHERE event_type ~ 'renamed|changed'"
        )
        assert {(row["entity_id"], row["payload"]["old"], row["payload"]["new"]) for row in events} == {
            *((channel_id, old, new) for channel_id, _, old, new in expected),
            *((video_id, *names) for video_id, names in retitled.items()),
        }
        assert {row["event_type"] for row in events} == {
            "video.renamed",
            *(f"channel.{what}" for _, what, _, _ in expected),
        }
        here.assert_nothing_is_lost(site)


async def test_a_channel_is_read_once_a_day(scene: OpenScene) -> None:
    async with found(scene) as (here, site):
        at = here.youtube.now()
        channels = (await painted(here, site, frames=False))["channels_refreshed"]
        assert channels > 5
        for later, read in ((6 * HOUR, 0), (23 * HOUR, 0), (25 * HOUR, channels)):
            once_more(site, at)
            summary = await painted(here, site, at + later, frames=False)
            assert summary["channels_refreshed"] == read
            assert summary["videos_painted"] == len(hot(site))


async def test_the_janitor_keeps_the_first_title_and_the_description_stays(scene: OpenScene) -> None:
    async with found(scene) as (here, site):
        discovered = here.youtube.now()
        titles = {row["id"]: row["title"] for row in rows(site, "SELECT id, title FROM videos")}
        await painted(here, site, frames=False)  # at the very instant of the discovery: the two rows must not be one
        with psycopg.connect(site.conninfo) as conn:
            conn.execute("UPDATE videos SET title = title || '!'")
            conn.execute("INSERT INTO video_history SELECT id, now(), left(title, -1), title FROM videos LIMIT 10")
            conn.execute("DELETE FROM video_stage")
        with clock.stopped(discovered + 8 * DAY):
            async with stores_of(site) as stores:
                summary = await clean(stores, rules=site.settings())

        assert summary["videos_retired"] == len(titles)
        assert rows(site, "SELECT FROM video_history") == [], "it goes with its video"
        vault = LocalVault(site.vault)
        kept = [row for video_id in sorted(titles)[:20] for row in history_of(vault, video_id)]
        assert Counter(row["observed_at"] == discovered for row in kept) == {True: 20, False: 20}
        for video_id in sorted(titles)[:20]:
            first, newest = history_of(vault, video_id)
            assert first["title"].removesuffix("!") == titles[video_id]
            assert (metadata := vault.fetch_metadata(video_id)) is not None
            assert metadata["description"] == newest["description"] is not None


def history_of(vault: LocalVault, video_id: str) -> list[dict[str, Any]]:
    from atlas.vault.kinds import METADATA

    table = vault._rows(METADATA, [video_id], None, None, None)
    return sorted(table.to_pylist(), key=lambda row: row["observed_at"])


# -- What is an answer ------------------------------------------------------------------------------------------------


async def test_a_video_that_youtube_does_not_have_any_more_comes_to_its_end_with_its_pictures(scene: OpenScene) -> None:
    async with found(scene) as (here, site):
        gone, without = sorted(hot(site))[:7], sorted(hot(site))[3:5]
        here.youtube.faults.add("missing_ids", method="videos.list", ids=tuple(gone))
        here.youtube.faults.add("missing_ids", method="thumbnail", ids=tuple(without))

        summary = await painted(here, site)

        assert stages(site) == {}
        assert summary["videos_gone"] == 7
        assert summary["without_frames"] == {"YouTube publishes no pictures of it": 2}
        vault = LocalVault(site.vault)
        for video_id in gone:
            assert vault.fetch_metadata(video_id) is None, "SQL has it still, and the Janitor will keep it"
            assert bool(vault.fetch_visual_evidence(video_id)) is (video_id not in without)


async def test_a_channel_that_youtube_does_not_have_is_not_asked_for_again_today(scene: OpenScene) -> None:
    async with found(scene) as (here, site):
        channel_id = rows(site, "SELECT channel_id FROM videos LIMIT 1")[0]["channel_id"]
        here.youtube.faults.add("missing_ids", method="channels.list", ids=(channel_id,))

        summary = await painted(here, site)

        assert (summary["channels_gone"], stages(site)) == (1, {})
        (row,) = rows(site, f"SELECT title, country, last_scraped_at FROM channels WHERE id = '{channel_id}'")
        assert (row["country"], row["last_scraped_at"]) == (None, here.youtube.now())
        assert row["title"], "what was known stays"
        assert rows(site, f"SELECT FROM channel_stats_log WHERE channel_id = '{channel_id}'") == []


# -- What is the fault of a video, and of no other ---------------------------------------------------------------------


async def test_a_broken_picture_is_tried_again_and_given_up_at_last(scene: OpenScene) -> None:
    async with found(scene) as (here, site):
        poison, *others = sorted(hot(site))
        here.youtube.faults.replace([{"kind": "truncated", "method": "thumbnail", "ids": [poison]}])
        at = here.youtube.now()

        first = await painted(here, site)

        assert (first["videos_painted"], first["failed"], first["given_up"]) == (len(others), 1, 0)
        (stage,) = stages(site).values()
        assert (stage["video_id"], stage["attempts"], stage["next_attempt_at"]) == (
            poison,
            1,
            at + timedelta(minutes=15),
        )
        assert "no whole picture" in stage["reason"]
        assert LocalVault(site.vault).fetch_metadata(poison) is None

        for _ in range(4):
            summary = await painted(here, site, stages(site)[poison]["next_attempt_at"])

        assert summary["given_up"] == 1
        assert (stages(site)[poison]["state"], stages(site)[poison]["attempts"]) == ("DEAD", core.GIVE_UP_AFTER)
        metadata = LocalVault(site.vault).fetch_metadata(poison)
        assert metadata is not None
        assert metadata["description"], "what is known of it is kept all the same"
        waiting = rows(site, "SELECT video_id FROM video_stage WHERE stage = 'scribe' AND next_attempt_at = 'infinity'")
        assert waiting == [], "a stage that is dead has ended"
        here.assert_nothing_is_lost(site)


async def test_a_row_that_the_vault_refuses_is_the_trouble_of_its_video(
    scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with found(scene) as (here, site):
        poison, *others = sorted(hot(site))
        original = Batch._append

        def refusing(batch: Batch, kind: Kind, rows: Iterable[Mapping[str, Any]]) -> Any:
            given = list(rows)
            if any(row["video_id"] == poison for row in given):
                raise ValueError("a row does not fit")
            return original(batch, kind, given)

        monkeypatch.setattr(Batch, "_append", refusing)

        summary = await painted(here, site)

        assert (summary["videos_painted"], summary["failed"]) == (len(others), 1)
        assert stages(site)[poison]["reason"] == "the vault refuses it: a row does not fit"


# -- What is nobody's fault -------------------------------------------------------------------------------------------


async def test_when_the_vault_fails_the_work_goes_back_and_nothing_is_lost(scene: OpenScene) -> None:
    class Down(LocalVault):
        def write(self, objects: Mapping[str, bytes], message: str = "") -> None:
            raise VaultUnavailable("try later")

    async with found(scene) as (here, site):
        with pytest.raises(VaultUnavailable):
            await painted(here, site, vault=Down(site.vault))

        assert {(stage["attempts"], stage["state"]) for stage in stages(site).values()} == {(0, "PENDING")}
        assert len(stages(site)) == len(hot(site))
        here.assert_nothing_is_lost(site)

        summary = await painted(here, site, here.youtube.now() + HOUR)

        assert (summary["videos_painted"], stages(site)) == (len(hot(site)), {})
        here.assert_nothing_is_lost(site)


class Unaware(Toolbox):
    """A toolbox of an agent that learned its share before others spent the quota."""

    async def allowance(self, every: timedelta) -> dict[Purpose, int]:
        """A share that is long gone."""
        return dict.fromkeys(PURPOSES, 1_000)


@pytest.mark.parametrize("who_knows", ["ledger", "server"])
@pytest.mark.parametrize("left", [1, 2, 3, 4])
async def test_when_the_quota_ends_the_rest_goes_back_and_the_next_day_goes_on(
    scene: OpenScene, who_knows: str, left: int
) -> None:
    async with found(scene) as (here, before):
        spent = here.quota()["general"] + left
        changes = {"QUOTA_GENERAL_PER_DAY": spent} if who_knows == "ledger" else {}
        if who_knows == "server":
            here.youtube.quota.limits["general"] = spent
        with here.site(like=before, **changes) as site:
            at = here.youtube.now()
            with clock.stopped(at):
                async with studio_of(site) as studio:
                    tools = studio.tools
                    unaware = Unaware(tools.dao, tools.youtube, tools.ledger, tools.keys)
                    summary = await paint(replace(studio, tools=unaware, frames=WithoutFrames()), every=DAY)

            assert "spent" in summary["stopped_by"]
            assert summary["quota"]["general"] == left
            assert here.quota()["general"] == spent
            assert (summary["videos_painted"] > 0) is (left > 2), "two calls of each kind are made at once"
            assert summary["failed"] == 0
            assert {(row["attempts"], row["next_attempt_at"]) for row in stages(site).values()} == {(0, at)}
            here.assert_nothing_is_lost(site)

            waiting = len(stages(site))
            await painted(here, site, at + DAY, frames=False)

            assert len(stages(site)) < waiting
            here.assert_nothing_is_lost(site)


@pytest.mark.parametrize("kind", ["status_503", "html", "reset"])
async def test_thumbnails_that_do_not_come_end_the_cycle_and_kill_no_video(scene: OpenScene, kind: str) -> None:
    async with found(scene) as (here, site):
        here.youtube.faults.replace([{"kind": kind, "method": "thumbnail"}])
        at = here.youtube.now()
        for attempt in range(core.GIVE_UP_AFTER + 1):
            summary = await painted(here, site, at + attempt * 10 * HOUR)
            assert summary["videos_painted"] == 0
            assert summary["given_up"] == 0
            assert summary["failed"] <= 100, "one round shows what the matter is"
            assert "share" not in summary["stopped_by"]
        assert {stage["state"] for stage in stages(site).values()} == {"PENDING"}
        here.youtube.faults.clear()

        last = await painted(here, site, at + 100 * HOUR)

        assert (last["videos_painted"], stages(site)) == (len(hot(site)), {})


@pytest.mark.parametrize("method", ["videos.list", "channels.list"])
async def test_an_api_that_does_not_answer_ends_the_cycle_and_kills_no_video(scene: OpenScene, method: str) -> None:
    async with found(scene) as (here, site):
        here.youtube.faults.replace([{"kind": "status_503", "method": method}])

        summary = await painted(here, site)

        assert (summary["videos_painted"], summary["given_up"]) == (0, 0)
        assert summary["failed"] == 100
        assert "503" in summary["stopped_by"]
        assert Counter(stage["attempts"] for stage in stages(site).values()) == {1: 100, 0: len(hot(site)) - 100}
        here.youtube.faults.clear()

        await painted(here, site, here.youtube.now() + HOUR, frames=False)

        assert stages(site) == {}
        here.assert_nothing_is_lost(site)


async def test_work_that_somebody_else_has_by_now_is_theirs_and_what_was_read_is_stored(
    scene: OpenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with found(scene) as (here, site):
        original = agent._Painting._look

        async def slow(painting: Any, findings: Any) -> None:
            await original(painting, findings)
            snapshots.lapse_leases(site.conninfo)
            async with dao_of(site) as dao:
                await dao.fetch_painter_targets(1, now=here.youtube.now())

        monkeypatch.setattr(agent._Painting, "_look", slow)
        summary = await painted(here, site, here.youtube.now() + HOUR)

        assert summary["samples"] > summary["videos_painted"]
        assert len(stages(site)) == len(hot(site)) - summary["videos_painted"] > 0
        assert snapshots.readings(site.conninfo, site.vault) == snapshots.served(here.youtube.served.columns())


async def test_without_a_source_there_are_no_frames_and_everything_else(scene: OpenScene) -> None:
    async with found(scene) as (here, site):
        summary = await painted(here, site, frames=False)

        assert summary["without_frames"] == {"no source of frames is set": len(hot(site))}
        assert (summary["frames"], stages(site)) == (0, {})
        assert LocalVault(site.vault).shards("visuals") == []
