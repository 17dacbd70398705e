"""The price of a look in the database, and who is read early."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from alkyone.databases import NOON
from alkyone.fixtures import SetEnvironment
from atlas import clock
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery, Failure, Miss, TrackOutcome, WatchEntry
from maia.tracker.market import APPRAISAL, first_looks, schedule_of
from maia.tracker.schedule import AHEAD, Adaptive, Tiers

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
QUARTER = timedelta(minutes=15)


async def watched(dao: MaiaDAO, count: int = 400) -> None:
    """Watch videos a month old, at rates from 1 to 2**9 an hour; all were read at noon."""
    ids = [f"{'-0Aa_z'[number % 6]}{number:010}" for number in range(count)]
    await dao.add_to_watchlist([WatchEntry(name, NOON - 30 * DAY, "WEEKLY", NOON) for name in ids], now=NOON - 20 * DAY)
    rows = await dao.fetch_tracking_batch(count, now=NOON)
    outcomes = [
        TrackOutcome(
            row["video_id"], row["lease_token"], "WEEKLY", NOON + HOUR, 10**5, None, None, float(2 ** (number % 10))
        )
        for number, row in enumerate(rows)
    ]
    await dao.update_watchlist_schedule(outcomes, now=NOON)


async def test_of_two_that_appraise_at_once_one_moves_the_price_and_both_go_by_it(dao: MaiaDAO) -> None:
    await watched(dao)
    with clock.stopped(NOON):
        await asyncio.gather(*(schedule_of(dao, readings, QUARTER) for readings in (10, 40, 20)))
    row = await dao.fetch_market()
    assert row is not None
    assert not await dao.move_market(1.0, 1.0, 1.0, 1.0, since=NOON - HOUR, now=NOON + HOUR)
    assert not await dao.move_market(1.0, 1.0, 1.0, 1.0, since=None, now=NOON + HOUR)
    assert await dao.fetch_market() == row
    assert await dao.move_market(2.0, 1.0, 1.0, 1.0, since=NOON, now=NOON + HOUR)


async def test_a_price_stands_for_an_hour_and_then_follows_the_quota(dao: MaiaDAO) -> None:
    await watched(dao)

    async def price(readings: int, hours: float) -> float:
        with clock.stopped(NOON + hours * HOUR):
            await schedule_of(dao, readings, QUARTER)
        row = await dao.fetch_market()
        assert row is not None
        return row["price"]

    first = await price(20, 0)
    assert await price(2, 0.9) == first
    assert await price(0, 5) == first  # nothing to spend tells nothing of a price
    cut = await price(2, 5)
    assert cut > 3 * first
    assert await price(2, 5 + APPRAISAL / HOUR) > cut


async def test_what_is_due_soon_is_read_early_but_for_the_fresh_the_failed_and_the_missed(dao: MaiaDAO) -> None:
    await dao.add_to_watchlist([WatchEntry(name, NOON, "DAILY", NOON) for name in "abcde"], now=NOON - DAY)
    rows = {row["video_id"]: row["lease_token"] for row in await dao.fetch_tracking_batch(now=NOON - HOUR)} or {
        row["video_id"]: row["lease_token"] for row in await dao.fetch_tracking_batch(now=NOON)
    }
    soon, late = NOON + 3 * HOUR, NOON + 9 * HOUR
    read = [TrackOutcome(name, rows[name], "DAILY", at, 1, 1, 1, 1.0) for name, at in (("a", soon), ("b", late))]
    await dao.update_watchlist_schedule(read, now=NOON)
    await dao.record_misses([Miss("c", rows["c"], "DAILY", soon)], now=NOON)
    await dao.fail_tracking([Failure("d", rows["d"], "down", soon)])
    await dao.update_watchlist_schedule(
        [TrackOutcome("e", rows["e"], "DAILY", soon, 1, 1, 1, 1.0)], now=NOON + HOUR - QUARTER / 2
    )

    now = NOON + HOUR
    assert await dao.fetch_tracking_batch(now=now) == []
    (early,) = await dao.fetch_tracking_batch(ahead=AHEAD, now=now)
    assert early["video_id"] == "a"
    assert await dao.release_tracking(early["lease_token"], ahead=AHEAD, now=now) == 1
    assert len(await dao.fetch_tracking_batch(ahead=AHEAD, now=now)) == 1


async def test_a_video_just_found_is_looked_at_by_the_price_and_a_new_upload_within_the_hour(dao: MaiaDAO) -> None:
    def found(name: str, age: timedelta, views: int) -> Discovery:
        return Discovery(name, "UC", "", NOON - age, "DAILY", NOON + DAY, observed_at=NOON, views=views)

    videos = [found("new", HOUR, 5), found("quiet", 6 * DAY, 500), found("loud", 6 * DAY, 5 * 10**7)]
    assert await first_looks(dao, videos, NOON) == videos  # there is no price yet
    await watched(dao)
    with clock.stopped(NOON):
        await schedule_of(dao, 20, QUARTER)
    new, quiet, loud = (video.next_track_at - NOON for video in await first_looks(dao, videos, NOON))
    assert new <= HOUR
    assert loud < quiet <= 7 * DAY


@pytest.mark.parametrize(("name", "kind"), [("tiers", Tiers), ("adaptive", Adaptive)])
async def test_the_setting_chooses_the_schedule(
    dao: MaiaDAO, settings_env: SetEnvironment, name: str, kind: type
) -> None:
    settings_env(TRACKER_SCHEDULE=name)
    assert isinstance(await schedule_of(dao, 100, QUARTER), kind)
    assert (await dao.fetch_market() is None) == (name == "tiers")
