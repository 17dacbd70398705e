"""A life with everything in it, and the same again from its log alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from psycopg.rows import dict_row

from alkyone.agents import Site
from alkyone.databases import scratch
from alkyone.scenes import AMPLE, Scene, dao_of, open_scene, seed, stores_of, studio_of, tools_of
from atlas import clock
from atlas.adapters.records import ChannelReading, WatchEntry
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.errors import ConfigurationError, VaultNotFound
from atlas.events import Event, EventBus
from atlas.events.catalogue import CATALOGUE, check
from atlas.events.replay import REBUILT, replay
from atlas.vault import LocalVault
from maia.hunter.agent import hunt
from maia.janitor.agent import clean
from maia.painter.agent import paint
from maia.tracker.agent import track

WORLD = "generated:seed=6,channels=25,videos=500,past=20,days=80"
DAY = timedelta(days=1)
STEP = timedelta(hours=12)
DAYS = 8

Tables = Mapping[str, list[tuple[Any, ...]]]


@dataclass
class Life:
    """A site that was lived at, and what its tables held on the way."""

    site: Site
    states: dict[datetime, Tables] = field(default_factory=dict)

    @property
    def database(self) -> DatabaseManager:
        """Where it was lived."""
        return DatabaseManager(self.site.conninfo)

    @property
    def vault(self) -> LocalVault:
        """Where its past is."""
        return LocalVault(self.site.vault)


def tables(conninfo: str) -> Tables:
    """The columns that events determine."""
    with psycopg.connect(conninfo) as conn:
        found = {}
        for table, names in REBUILT.items():
            columns = sql.SQL(", ").join(map(sql.Identifier, names))
            query = sql.SQL("SELECT {} FROM {} ORDER BY 1").format(columns, sql.Identifier(table))
            found[table] = conn.execute(query).fetchall()
        given_up = "SELECT video_id, reason FROM watchlist WHERE tracking_tier = 'DORMANT' ORDER BY 1"
        found["given up"] = conn.execute(given_up).fetchall()
    return found


@pytest_asyncio.fixture
async def life(postgres: EmbeddedServer, template: str, tmp_path: Path) -> AsyncIterator[Life]:
    """Eight days: found, tracked, painted, renamed, given up, revived, retired, archived."""
    async with open_scene(postgres, template, tmp_path, WORLD, AMPLE) as here:
        with here.site(JANITOR_RETENTION_DAYS=2, JANITOR_EVENT_RETENTION_DAYS=1, VIDEO_STAGES=("painter",)) as site:
            life = Life(site)
            begin = here.youtube.now()
            await seed(site, here.world, begin, terms=4, channels=10)
            async with dao_of(site) as dao:
                by_hand = [WatchEntry(f"byhand{n:05}", begin - DAY, "DAILY", begin) for n in range(3)]
                await dao.add_to_watchlist(by_hand, now=begin)
                await dao.add_to_search_queue(["forgotten"], now=begin - 60 * DAY)
            for step in range(int(DAYS * DAY / STEP)):
                if step == 3:  # some are missing for a while
                    here.youtube.faults.add("missing_ids", ids=tuple(sorted(_tracked(site))[:5]))
                if step == 12:
                    here.youtube.faults.clear()
                    async with dao_of(site) as dao:  # truth takes longer to rename a channel
                        names = [ChannelReading(channel, title="Another") for channel in here.world.channels_at(begin)]
                        await dao.refresh_channels(names, now=begin + step * STEP)
                await _live(here, life, begin + step * STEP, clean_up=step % 2 == 1)
            yield life


def _tracked(site: Site) -> list[str]:
    with psycopg.connect(site.conninfo) as conn:
        return [row[0] for row in conn.execute("SELECT video_id FROM watchlist WHERE last_views IS NOT NULL")]


async def _live(here: Scene, life: Life, at: datetime, *, clean_up: bool) -> None:
    site = life.site
    here.youtube.set_clock(at)
    with clock.stopped(at):
        async with tools_of(site) as tools:
            await hunt(tools, every=DAY, stages=("painter",))
            await track(tools, every=STEP)
        async with studio_of(site) as studio:
            await paint(studio, every=DAY)
        with psycopg.connect(site.conninfo) as conn:
            # What is looked at once a month, once a day or never again is looked at sooner here.
            conn.execute("UPDATE watchlist SET next_track_at = %s WHERE tracking_tier = 'DORMANT'", [at + STEP])
            conn.execute(
                "INSERT INTO video_stage (video_id, stage, next_attempt_at)"
                " SELECT DISTINCT ON (channel_id) id, 'painter', %s::timestamptz FROM videos ON CONFLICT DO NOTHING",
                [at + STEP],
            )
            conn.execute("UPDATE channels SET last_scraped_at = last_scraped_at - interval '1 day'")
        async with stores_of(site) as stores:
            if clean_up:
                await clean(stores, rules=site.settings())
    life.states[at] = tables(site.conninfo)


@pytest.mark.engine
async def test_a_life_comes_out_of_its_log_row_for_row(life: Life, postgres: EmbeddedServer, template: str) -> None:
    lived = tables(life.site.conninfo)
    archived = life.vault.read_events().to_pylist()
    with psycopg.connect(life.site.conninfo) as conn:
        told = conn.execute("SELECT event_type, payload FROM system_events").fetchall()
        by_type = {name for name, _ in told} | {row["event_type"] for row in archived}
    # All that can happen did happen, or the comparison says little.
    assert {
        "video.discovered", "video.watched", "video.unavailable", "video.revived", "video.renamed", "videos.retired",
        "channel.discovered", "channel.updated", "channel.renamed", "terms.added", "terms.mentioned", "terms.slept",
        "partition.archived", "events.archived",
    } <= by_type  # fmt: skip
    for event_type, payload in told:
        check(event_type, payload)
    assert by_type <= CATALOGUE.keys()
    assert archived

    with scratch(postgres, template) as target:
        done = await replay(life.database, life.vault, DatabaseManager(target))

        again = tables(target)
        for table, rows in lived.items():
            assert again[table] == rows, table
        assert done == (done.events, *(len(lived[table]) for table in REBUILT))
        assert done.events == len({row["id"] for row in archived}) + len(told)
        with psycopg.connect(target) as conn, psycopg.connect(life.site.conninfo) as source:
            log = "SELECT id, event_type, entity_id, payload, created_at FROM system_events ORDER BY id"
            assert conn.execute(log).fetchall() == source.execute(log).fetchall()
            last = source.execute("SELECT max(id) FROM system_events").fetchone()
            assert conn.execute("SELECT nextval('system_events_id_seq')").fetchone() > last

        with pytest.raises(ConfigurationError, match="not empty"):
            await replay(life.database, life.vault, DatabaseManager(target))

    for then in list(life.states)[:: len(life.states) // 3]:
        with scratch(postgres, template) as target:
            await replay(life.database, life.vault, DatabaseManager(target), until=then)
            assert tables(target) == life.states[then], then

    # Halfway through an archiving both sides have the events; and what the vault has lost is not passed over.
    with psycopg.Connection[dict[str, Any]].connect(life.site.conninfo, row_factory=dict_row) as conn:
        hot = "SELECT id, event_type, entity_id, payload, created_at FROM system_events"
        life.vault.append_events(conn.execute(hot).fetchall())
    with scratch(postgres, template) as target:
        assert await replay(life.database, life.vault, DatabaseManager(target)) == done
        assert tables(target) == lived
    gone = life.vault.shards("events")[0]
    life.vault.delete([gone.path, gone.manifest_path])
    with scratch(postgres, template) as target, pytest.raises(VaultNotFound):
        await replay(life.database, life.vault, DatabaseManager(target))


async def test_a_video_that_came_back_is_not_given_up_and_the_last_word_on_a_thing_counts(
    database: DatabaseManager,
    vault: LocalVault,
    postgres: EmbeddedServer,
    template: str,
    frozen_clock: clock.VirtualClock,
) -> None:
    at = frozen_clock()
    bus = EventBus(database)
    watched = {"channel_id": None, "published_at": at, "tracking_tier": "DAILY", "next_track_at": at}
    log = [
        Event("video.watched", "back", watched),
        Event("video.watched", "gone", watched),
        Event("video.unavailable", "back", {"misses": 3, "reason": "not found"}),
        Event("video.revived", "back"),
        Event("video.unavailable", "gone", {"misses": 3, "reason": "not found"}),
        Event("terms.added", None, {"terms": ["a", "b"], "priority": 7}),
        Event("terms.slept", None, {"terms": ["a", "b"]}),
        Event("terms.mentioned", None, {"terms": ["a"], "pinned": True}),
        Event("terms.woken", None, {"terms": ["a"]}),
    ]
    async with database.get_connection() as conn:
        await bus.record_many(conn, log)

    with scratch(postgres, template) as target:
        await replay(database, vault, DatabaseManager(target))
        rebuilt = tables(target)
    assert [row[0] for row in rebuilt["watchlist"]] == ["back", "gone"]
    assert rebuilt["given up"] == [("gone", "not found")]
    assert [row[:5] for row in rebuilt["search_queue"]] == [("a", 7, True, 2, "ACTIVE"), ("b", 7, False, 1, "ASLEEP")]
