"""YouTube at its worst: every claimed row ends in exactly one way, nothing is lost, the next cycle makes it good."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from alkyone import snapshots
from alkyone.agents import Agent, Site
from alkyone.scenes import OpenScene, Scene, seed, tools_of, watch
from alkyone.standins.youtube.faults import Kind
from atlas import clock
from atlas.config import ApiKey
from atlas.errors import NoLiveKey
from maia.hunter.agent import hunt
from maia.tracker.agent import track

DAY = timedelta(days=1)
SHORT = timedelta(seconds=0.3)
WORLD = "generated:seed=5,channels=8,videos=320,past=20"

# What an attempt in the middle of a cycle may meet, and how long it lasts: two bad answers heal by themselves.
FAULTS: list[Kind] = [
    "status_500", "status_503", "burst_429", "hang", "reset", "drip", "truncated", "wrong_types", "html",
]  # fmt: skip


@pytest.mark.parametrize("fault", [*FAULTS, "unknown_fields"])
@pytest.mark.parametrize("agent", ["hunter", "tracker"])
async def test_a_fault_that_passes_is_not_noticed(scene: OpenScene, agent: Agent, fault: Kind) -> None:
    async with scene(WORLD) as here:
        at = here.youtube.now()
        with here.site() as site:
            await work_for(agent, here, site, at)
            here.youtube.faults.add(fault, times=2)

            summary = await cycle(agent, here, site, at)

            assert summary["failed"] == 0
            assert summary["stopped_by"] == "nothing due"
            here.assert_nothing_is_lost(site)


@pytest.mark.parametrize(
    ("agent", "method", "fault"),
    [
        pytest.param("hunter", "search.list", "status_503", id="searches-status_503"),
        pytest.param("hunter", "playlistItems.list", "status_503", id="uploads-status_503"),
        *(pytest.param("hunter", "videos.list", fault, id=f"metadata-{fault}") for fault in FAULTS),
        *(
            pytest.param("tracker", "videos.batchGetStats", fault, id=f"counts-{fault}")
            for fault in FAULTS
            if fault != "wrong_types"  # what it does not account for is read by the dearer road
        ),
        pytest.param("tracker", "videos.list", "status_503", id="status-status_503"),
    ],
)
async def test_a_fault_that_lasts_fails_its_rows_and_no_others(
    scene: OpenScene, agent: Agent, method: str, fault: Kind
) -> None:
    async with scene(WORLD) as here:
        at = here.youtube.now()
        with here.site() as site:
            await work_for(agent, here, site, at)
            claimed = queue(agent, site)
            here.youtube.faults.add(fault, method=method)

            summary = await cycle(agent, here, site, at)

            ends = how_it_ended(agent, site, claimed, at)
            assert ends["failed"] == summary["failed"] > 0
            assert ends["released"] == 0
            here.assert_nothing_is_lost(site)

            here.youtube.faults.clear()
            again = await cycle(agent, here, site, at + DAY)

            assert again["failed"] == 0
            assert not failed(agent, site)
            here.assert_nothing_is_lost(site)


@pytest.mark.parametrize("agent", ["hunter", "tracker"])
async def test_days_of_random_faults_lose_nothing(scene: OpenScene, agent: Agent) -> None:
    async with scene(WORLD) as here:
        at = here.youtube.now()
        with here.site() as site:
            await work_for(agent, here, site, at)
            for number, fault in enumerate(FAULTS):
                here.youtube.faults.add(fault, probability=0.1, seed=number)
            for day in range(4):
                await cycle(agent, here, site, at + day * DAY)
                here.assert_nothing_is_lost(site)


async def test_ids_that_batch_get_stats_leaves_out_are_read_on_the_way_of_asking_for_their_status(
    scene: OpenScene,
) -> None:
    async with scene(WORLD) as here:
        at = here.youtube.now()
        with here.site() as site:
            await work_for("tracker", here, site, at)
            ids = snapshots.column(site.conninfo, "SELECT video_id FROM watchlist ORDER BY video_id")
            here.youtube.faults.add("missing_ids", method="videos.batchGetStats", ids=tuple(ids[::2]))

            summary = await cycle("tracker", here, site, at)

            assert summary["missing"] + summary["samples"] == len(ids)
            alive = {video_id for video_id in ids if here.world.counts(video_id, at) is not None}
            assert {video_id for video_id, _ in snapshots.readings(site.conninfo, site.vault)} == alive
            here.assert_nothing_is_lost(site)


@pytest.mark.parametrize("agent", ["hunter", "tracker"])
@pytest.mark.parametrize("fault", ["key_invalid", "api_disabled", "key_blocked"])
async def test_without_a_live_key_everything_goes_back_untouched(scene: OpenScene, agent: Agent, fault: Kind) -> None:
    async with scene(WORLD) as here:
        at = here.youtube.now()
        with here.site() as site:
            await work_for(agent, here, site, at)
            claimed = queue(agent, site)
            here.youtube.faults.add(fault)

            with pytest.raises(NoLiveKey):
                await cycle(agent, here, site, at)

            assert how_it_ended(agent, site, claimed, at) == Counter(released=len(claimed))
            here.assert_nothing_is_lost(site)
            assert sum(here.quota().values()) == 0


async def test_what_was_read_before_the_last_key_went_is_stored(scene: OpenScene) -> None:
    async with scene(WORLD) as here:
        at = here.youtube.now()
        with here.site() as site:
            await work_for("tracker", here, site, at)
            for _ in range(3):
                here.youtube.faults.add("slow", times=1, seconds=0)
            here.youtube.faults.add("key_invalid")

            with pytest.raises(NoLiveKey):
                await cycle("tracker", here, site, at)

            assert len(here.youtube.served.readings) > 100
            here.assert_nothing_is_lost(site)


@pytest.mark.parametrize("agent", ["hunter", "tracker"])
async def test_another_key_of_the_project_takes_over_from_one_that_is_refused(scene: OpenScene, agent: Agent) -> None:
    async with scene(WORLD) as here:
        at = here.youtube.now()
        with here.site(COMPLIANCE_MODE=False) as site:
            await work_for(agent, here, site, at)
            keys = [ApiKey(SecretStr(key), "default") for key in ("expired-key", here.youtube.key)]

            summary = await cycle(agent, here, site, at, keys=keys)

            assert summary["failed"] == 0
            assert summary["stopped_by"] == "nothing due"
            here.assert_nothing_is_lost(site)


async def work_for(agent: Agent, here: Scene, site: Site, at: datetime) -> None:
    if agent == "hunter":
        await seed(site, here.world, at, terms=4, channels=4)
        return
    uploads = [v for channel in here.world.channels_at(at) for v in here.world.uploads(channel, at) or ()]
    await watch(site, [*uploads, "deletedVid1", "deletedVid2"], here.world, at)


async def cycle(agent: Agent, here: Scene, site: Site, at: datetime, keys: list[ApiKey] | None = None) -> Any:
    here.youtube.set_clock(at)
    with clock.stopped(at):
        async with tools_of(site, timeout=SHORT, keys=keys) as tools:
            return await (hunt if agent == "hunter" else track)(tools, every=DAY)


def queue(agent: Agent, site: Site) -> dict[str, tuple[Any, ...]]:
    """Read the agent's queue: when each row is due, its attempts and reason, its last success and its misses."""
    with psycopg.connect(site.conninfo) as conn:
        if agent == "tracker":
            rows = conn.execute(
                "SELECT video_id, next_track_at, attempts, reason, last_tracked_at, misses FROM watchlist"
            ).fetchall()
        else:
            rows = conn.execute(
                """
                SELECT query_term, next_search_at, attempts, reason, last_searched_at, 0 FROM search_queue
                 UNION ALL
                SELECT id, next_poll_at, poll_attempts, poll_reason, last_polled_at, 0 FROM channels WHERE in_roster
                """
            ).fetchall()
    return {row[0]: row[1:] for row in rows}


def how_it_ended(agent: Agent, site: Site, claimed: dict[str, tuple[Any, ...]], at: datetime) -> Counter[str]:
    """Say how each row ended, in one way: done, missing, failed or released."""
    ends: Counter[str] = Counter()
    for name, (due, attempts, reason, last, misses) in queue(agent, site).items():
        before = claimed.get(name)
        is_done = last == at and attempts == misses == 0 and reason is None and due >= at
        is_missing = misses == 1 and last is None and attempts == 0 and due > at
        is_failed = attempts == 1 and bool(reason) and last is None and misses == 0 and due > at
        is_released = (due, attempts, reason, last, misses) == before
        assert [is_done, is_missing, is_failed, is_released].count(True) == 1, name
        ends["done" if is_done else "missing" if is_missing else "failed" if is_failed else "released"] += 1
    return +ends


def failed(agent: Agent, site: Site) -> bool:
    return any(attempts for _, attempts, *_ in queue(agent, site).values())
