"""A worker that was away for longer than its lease: the rows are others' by then, but what it read is still stored."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from alkyone import snapshots
from alkyone.agents import Agent, run_agent
from alkyone.scenes import OpenScene, seed, watch

pytestmark = pytest.mark.engine

LAST_CALL: dict[Agent, str] = {"hunter": "videos.list", "tracker": "videos.batchGetStats"}
"""The call after which an agent stores what it has; the work is little enough for one."""

WORLD = "generated:seed=5,channels=8,videos=320,past=20"


@pytest.mark.parametrize("agent", ["hunter", "tracker"])
async def test_a_worker_that_comes_back_late_keeps_what_it_read_and_touches_nothing_else(
    scene: OpenScene, agent: Agent
) -> None:
    async with scene(WORLD) as here:
        at = here.youtube.now()
        later = at + timedelta(minutes=11)
        with here.site() as site:
            if agent == "hunter":
                await seed(site, here.world, at, terms=3, channels=0)
            else:
                uploads = [v for channel in here.world.channels_at(at) for v in here.world.uploads(channel, at) or ()]
                living = [v for v in uploads if all(here.world.counts(v, instant) for instant in (at, later))]
                await watch(site, living[:50], here.world, at)
            away = here.youtube.faults.add("slow", method=LAST_CALL[agent], times=1, seconds=25)

            late = asyncio.create_task(run_agent(agent, site, at))
            while not away.hits:  # noqa: ASYNC110 - another process makes the call
                await asyncio.sleep(0.01)
            snapshots.lapse_leases(site.conninfo)
            here.youtube.set_clock(later)
            prompt = await run_agent(agent, site, later)
            after = snapshots.tables(site.conninfo)
            assert not late.done()

            away.over.set()
            assert (await late).error is None
            assert prompt.error is None
            assert snapshots.leased(site.conninfo) == 0
            here.assert_nothing_is_lost(site)
            assert {at, later} == {instant for _, instant in snapshots.readings(site.conninfo, site.vault)}
            for table in ("watchlist", "search_queue"):
                assert snapshots.tables(site.conninfo)[table] == after[table], table
