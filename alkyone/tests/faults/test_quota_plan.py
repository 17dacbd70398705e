"""The day's plan in earnest: real ledger, real queues, agents and a YouTube that counts, over virtual days."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from alkyone.agents import Site
from alkyone.fixtures import SetEnvironment
from alkyone.scenes import AMPLE, OpenScene, Scene, seed, tools_of
from atlas import clock
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ChannelSeen
from atlas.db import DatabaseManager
from atlas.errors import Bucket
from atlas.quota import QuotaLedger, began_at, reset_at
from maia.hunter.agent import HunterSummary, hunt
from maia.planner import BUCKET_OF, CAPTIONS, CATCH_UP, Purpose, plan
from maia.toolbox import Toolbox, outlook
from maia.tracker.agent import track

HALF_HOUR, HOUR, DAY = timedelta(minutes=30), timedelta(hours=1), timedelta(days=1)
PLENTY = "generated:seed=5,channels=40,videos=1600,past=20"
LIMITS: dict[Bucket, int] = {"search": 100, "stats": 1_000, "general": 1_000}
MIDNIGHT = datetime(2026, 11, 10, 8, tzinfo=UTC)
"""In California."""


async def greedy_run(dao: MaiaDAO, ledger: QuotaLedger, now: datetime) -> dict[Purpose, int]:
    """Be a run of every agent at once, each using all it is given."""
    run = plan(await outlook(dao, ledger, ["p"], now=now), HALF_HOUR).run
    for purpose, units in run.items():
        if units:
            await ledger.reserve("p", BUCKET_OF[purpose], units, purpose=purpose, now=now)
    return run


async def days_work(database: DatabaseManager, begin: datetime) -> tuple[MaiaDAO, QuotaLedger]:
    """Lay out more terms and channels than a day's quota can serve."""
    dao = MaiaDAO(database)
    await dao.add_to_search_queue([f"term {number}" for number in range(300)], now=begin)
    channels = [ChannelSeen(f"UC{number:022d}") for number in range(3_000)]
    await dao.add_channels(channels, in_roster=True, now=begin)
    return dao, QuotaLedger(database, LIMITS)


async def used(ledger: QuotaLedger, now: datetime) -> Counter[str]:
    return Counter({usage.bucket: usage.used for usage in await ledger.usage(["p"], now=now)})


@pytest.mark.parametrize(
    ("quiet", "hours"),
    [
        pytest.param(range(16, 18), 24, id="an hour's outage"),
        pytest.param(range(24), 24, id="half a day's outage"),
        pytest.param([*range(4), *range(20, 26)], 24, id="two outages"),
    ],
)
async def test_an_outage_is_made_up_for_evenly_and_to_the_last_unit(
    database: DatabaseManager, quiet: Sequence[int], hours: int
) -> None:
    dao, ledger = await days_work(database, MIDNIGHT)
    pace = {bucket: limit / (2 * hours) for bucket, limit in LIMITS.items()}
    after: dict[Bucket, list[int]] = {bucket: [] for bucket in LIMITS}

    for number in range(2 * hours):
        if number in quiet:
            continue
        run = await greedy_run(dao, ledger, MIDNIGHT + number * HALF_HOUR)
        for bucket in LIMITS:
            spent = sum(units for purpose, units in run.items() if BUCKET_OF[purpose] == bucket)
            # Each purpose's part is rounded up to a whole unit.
            assert spent <= CATCH_UP * pace[bucket] + list(BUCKET_OF.values()).count(bucket)
            if number > max(quiet):
                after[bucket].append(spent)

    last = await used(ledger, MIDNIGHT + 23 * HOUR)
    assert last == Counter(LIMITS)
    assert max(after["stats"]) - min(after["stats"]) <= 1


async def test_the_end_of_a_day_is_no_time_to_spend_it(database: DatabaseManager) -> None:
    dao, ledger = await days_work(database, MIDNIGHT)
    late = MIDNIGHT + DAY - timedelta(minutes=20)

    at_last = await greedy_run(dao, ledger, late)
    in_time = await greedy_run(dao, ledger, MIDNIGHT + DAY)

    assert at_last["track"] <= CATCH_UP * LIMITS["stats"] / 48 + 1
    assert in_time["track"] == 21
    assert (await used(ledger, late))["stats"] == at_last["track"]


@pytest.mark.parametrize("begin", ["2026-03-08 08:00", "2026-11-01 07:00"], ids=["23 hours", "25 hours"])
async def test_the_days_when_the_clock_changes_are_as_long_as_they_are(database: DatabaseManager, begin: str) -> None:
    now = midnight = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    dao, ledger = await days_work(database, midnight)
    tracked = []
    while now < reset_at(midnight):
        tracked.append((await greedy_run(dao, ledger, now))["track"])
        now += HALF_HOUR

    assert await used(ledger, midnight) == Counter(LIMITS)
    assert max(tracked) - min(tracked) <= 1


@asynccontextmanager
async def at_work(here: Scene, site: Site, at: datetime) -> AsyncIterator[Toolbox]:
    here.youtube.set_clock(at)
    with clock.stopped(at):
        async with tools_of(site) as tools:
            yield tools


def books(site: Site) -> dict[str, Counter[str]]:
    """What the ledger has by bucket and purpose; every bucket's purposes sum up to it, and no call was ever refused."""
    with psycopg.connect(site.conninfo) as conn:
        rows = conn.execute("SELECT bucket, used, purposes, refused_at FROM quota_usage").fetchall()
    assert all(used == sum(purposes.values()) for _, used, purposes, _ in rows)
    assert {refused_at for *_, refused_at in rows} <= {None}, "YouTube had to say that a bucket is spent"
    return {bucket: Counter(purposes) for bucket, _, purposes, _ in rows}


async def test_a_whole_day_of_hunting_and_tracking_is_never_over(scene: OpenScene) -> None:
    limits: Mapping[Bucket, int] = {"search": 48, "stats": 18, "general": 150}
    async with scene(PLENTY, limits) as here:
        begin = reset_at(here.youtube.now())
        with here.site() as site:
            await seed(site, here.world, begin, terms=20, channels=20)
            for hour in range(24):
                async with at_work(here, site, begin + hour * HOUR) as tools:
                    hunted = await hunt(tools, every=HOUR)
                    tracked = await track(tools, every=HOUR)
                assert "spent" not in hunted["stopped_by"] + tracked["stopped_by"]

            here.assert_nothing_is_lost(site)
            by_purpose = books(site)
            assert all(here.quota()[bucket] <= limit for bucket, limit in limits.items())
            assert here.quota()["stats"] == limits["stats"], "tracking had more to do than its bucket allows"
            assert by_purpose["search"]["search"] > 24
            assert min(by_purpose["general"][purpose] for purpose in ("poll", "enrich")) > 10


async def test_a_general_bucket_of_fifty_units_a_day_wastes_no_page(scene: OpenScene) -> None:
    async with scene(PLENTY, AMPLE | {"search": 100, "general": 50}) as here:
        begin = reset_at(here.youtube.now())
        with here.site() as site:
            await seed(site, here.world, begin, terms=40, channels=40)
            runs: list[HunterSummary] = []
            for number in range(48):
                async with at_work(here, site, begin + number * HALF_HOUR) as tools:
                    runs.append(await hunt(tools, every=HALF_HOUR))

            here.assert_nothing_is_lost(site)
            by_purpose = books(site)
            read = by_purpose["search"]["search"] + by_purpose["general"]["poll"]
            assert read == sum(run["queries_processed"] + run["channels_polled"] for run in runs)
            assert by_purpose["search"]["search"] > 10
            assert sum(run["videos_discovered"] for run in runs) > 100
            assert not any(run["failed"] for run in runs)


async def test_two_hunters_that_ask_at_once_stay_within_the_day(scene: OpenScene) -> None:
    async with scene(PLENTY, AMPLE | {"search": 16, "general": 60}) as here:
        begin = reset_at(here.youtube.now())
        with here.site() as site:
            await seed(site, here.world, begin, terms=40, channels=40)
            for hour in range(0, 24, 6):
                async with at_work(here, site, begin + hour * HOUR) as one, tools_of(site) as other:
                    await asyncio.gather(hunt(one, every=6 * HOUR), hunt(other, every=6 * HOUR))

            here.assert_nothing_is_lost(site)
            books(site)
            assert here.quota()["search"] == 16
            assert here.quota()["general"] <= 60


def test_the_midnight_of_these_tests_is_one() -> None:
    assert began_at(MIDNIGHT) == MIDNIGHT


@pytest.mark.parametrize(("source", "units"), [("none", 0), ("owned", CAPTIONS)])
async def test_captions_are_planned_only_where_they_cost_units(
    database: DatabaseManager, settings_env: SetEnvironment, source: str, units: int
) -> None:
    dao, _ = await days_work(database, MIDNIGHT)
    async with database.get_connection() as conn:
        await conn.execute("INSERT INTO channels (id, added_at) VALUES ('UC', now())")
        await conn.execute(
            "INSERT INTO videos (id, channel_id, title, published_at, discovered_at)"
            " VALUES ('v', 'UC', '', now(), now())"
        )
        await conn.execute("INSERT INTO video_stage (video_id, stage, next_attempt_at) VALUES ('v', 'scribe', 'epoch')")
    owner = {f"YOUTUBE_OAUTH_{name}": "x" for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN")}
    settings_env(TRANSCRIPT_SOURCE=source, YOUTUBE_API_KEY_POOL_JSON='["AIza"]', **owner)
    ample = QuotaLedger(database, LIMITS | {"general": 10_000})

    assert plan(await outlook(dao, ample, ["p"], now=MIDNIGHT), HALF_HOUR).day["caption"] == units
