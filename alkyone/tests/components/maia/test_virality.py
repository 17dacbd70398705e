"""What is learned from a watchlist, and how rises are told, on a real database and a Discord stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from alkyone.databases import NOON
from alkyone.fixtures import SetEnvironment
from alkyone.standins.discord import DiscordStandin
from atlas import clock, notifier
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Rise, Sample
from atlas.clock import VirtualClock
from atlas.db import DatabaseManager
from atlas.testing import override
from maia.cli import app
from maia.virality import alerts
from maia.virality.detector import Detector, curves_of, learn

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def now(frozen_clock: VirtualClock) -> VirtualClock:
    return frozen_clock


@pytest.fixture
def discord() -> Iterator[DiscordStandin]:
    with DiscordStandin("watch") as standin:
        yield standin


FILL = """
INSERT INTO watchlist (video_id, channel_id, published_at, tracking_tier, next_track_at, last_tracked_at, last_views,
                       rate, short, level, evidence, added_at)
SELECT 'v' || n, 'UC' || n %% 4, %(now)s - n * interval '1 hour', 'DAILY', %(now)s, %(now)s, 1000, 400, false,
       n %% 4 + CASE WHEN n %% 8 < 4 THEN 0.5 ELSE -0.5 END, CASE WHEN n %% 4 = 3 THEN 1 ELSE 30 END, %(now)s
  FROM generate_series(1, 400) AS n
"""
"""A hundred videos of each of four channels, the last of which was hardly watched yet; all at 400 views an hour."""


async def test_what_to_expect_is_learned_from_the_watchlist_and_takes_the_place_of_the_old(
    database: DatabaseManager, dao: MaiaDAO, now: VirtualClock
) -> None:
    async with database.get_connection() as conn:
        await conn.execute(FILL, {"now": clock.now()})

    assert await learn(dao, now=clock.now()) == 3
    known = {row["channel_id"]: row for row in await dao.fetch_expectations({"UC0", "UC1", "UC2", "UC3"})}
    assert known.keys() == {"", "UC0", "UC1", "UC2"}, "the last has too few, and all videos are known under no name"
    assert (known[""]["videos"], known[""]["level"]) == (300, pytest.approx(1, abs=0.5))
    for number in range(3):
        row = known[f"UC{number}"]
        assert (row["short"], row["videos"]) == (False, 100)
        assert row["level"] == pytest.approx(number)
        assert row["spread"] == pytest.approx(1.4826 / 2, rel=1e-4)
        assert row["week_videos"] == pytest.approx(58, abs=1)  # those older than 168 hours
    curve = curves_of(await dao.fetch_expected_rates()).long
    middle = curve.rate(np.array([200.0]))[0]
    assert 200 < middle < 400, "blended with what was believed before, which was far less"

    rates = await dao.fetch_expected_rates()
    assert await asyncio.gather(*(learn(dao, now=clock.now()) for _ in range(2))) == [3, 3]
    assert await dao.fetch_expected_rates() == rates, "a day counts once, whoever learns again"
    now.advance(timedelta(days=1))
    assert await learn(dao, now=clock.now()) == 3
    later = curves_of(await dao.fetch_expected_rates()).long.rate(np.array([200.0]))[0]
    assert middle < later < 400


async def test_a_channel_of_which_nothing_is_known_is_held_against_all_videos(
    database: DatabaseManager, dao: MaiaDAO, now: VirtualClock
) -> None:
    async with database.get_connection() as conn:
        await conn.execute(FILL, {"now": clock.now()})
    await learn(dao, now=clock.now())
    row = next(row for row in await dao.fetch_tracking_batch(400) if row["video_id"] == "v203")
    all_videos = await dao.fetch_expectations({str(row["channel_id"])})
    assert [known["channel_id"] for known in all_videos] == [""]

    now.advance(6 * HOUR)
    detector = await Detector.open(dao)
    # All others have a thousand views, far fewer than the curve lets expect: this one will soon have ten times that.
    (rise,) = detector.look([row], [6_000], all_videos, {}, clock.now()).rises
    assert (rise.state, rise.turned) == ("VIRAL", True)
    assert rise.times > 10
    assert not detector.look([row], [6_000], [], {}, clock.now()).rises


async def test_a_rise_is_told_once_with_all_that_is_known_of_it(
    database: DatabaseManager,
    dao: MaiaDAO,
    now: VirtualClock,
    discord: DiscordStandin,
    settings_env: SetEnvironment,
) -> None:
    settings_env(DISCORD_WEBHOOK_SURVEILLANCE=discord.address("watch"))
    at = clock.now()
    async with database.get_connection() as conn:
        await conn.execute(FILL, {"now": at})
    await dao.log_video_stats_batch(
        [Sample("v30", at - hour * HOUR, 30_000 - 900 * hour, None, None) for hour in range(30)]
    )
    quiet = Rise("v31", "RISING", at, at, None, 3.4, 120.0, 4.0, 900, True)
    await dao.record_rises([Rise("v30", "VIRAL", at, at - HOUR, at, 5.5, 900.0, 12.3, 30_000, True), quiet], now=at)

    assert await alerts.tell(dao) == 1
    assert await alerts.tell(dao) == 0
    await notifier.close()

    (embed,) = discord.embeds
    assert embed["title"] == "Viral: v30"
    assert embed["description"].startswith("https://youtu.be/v30\n`")
    assert "the last 29 h" in embed["description"]
    told = {field["name"]: field["value"] for field in embed["fields"]}
    assert told == {
        "age": "30 h", "views": "30,000", "views an hour": "900", "times expected": "12.3 ×", "channel": "UC2",
    }  # fmt: skip


def test_top_lists_what_rises_the_raised_first(conninfo: str, now: VirtualClock) -> None:
    at = clock.now()

    async def fill() -> None:
        async with DatabaseManager(conninfo) as database:
            async with database.get_connection() as conn:
                await conn.execute(FILL, {"now": at})
            rises = [
                Rise("v1", "RISING", at, at, None, 9.0, 120.0, 4.0, 900, True),
                Rise("v2", "VIRAL", at, at, at, 5.0, 120.0, 4.0, 900, True),
                Rise("v3", "COOLING", at, at, at, 1.0, 120.0, 4.0, 900, True),
            ]
            await MaiaDAO(database).record_rises(rises, now=at)
            await MaiaDAO(database).record_rises([], ["v9"], now=at)

    asyncio.run(fill())
    with override(db_=DatabaseManager(conninfo)):
        shown = CliRunner().invoke(app, ["top"])
        told = orjson.loads(CliRunner().invoke(app, ["top", "--cooling", "--json"]).output)
    assert shown.exit_code == 0, shown.output
    assert [line.split()[:2] for line in shown.output.splitlines()[1:]] == [["viral", "v2"], ["rising", "v1"]]
    assert [riser["video_id"] for riser in told["risers"]] == ["v2", "v1", "v3"]


def test_a_sparkline_shows_the_speed_and_never_divides_by_nothing() -> None:
    begin = NOON
    slow = [(begin + hour * HOUR, 10 * hour) for hour in range(10)]
    fast = [(begin + hour * HOUR, 90 + 1_000 * (hour - 9)) for hour in range(10, 13)]
    drawn = alerts.sparkline([*slow, *fast], 12)
    assert len(drawn) == 12
    assert drawn.startswith("▁▁▁▁")
    assert drawn.endswith("██")
    assert alerts.sparkline(slow[:1], 12) == ""
    assert alerts.sparkline([slow[0], slow[0]], 12) == ""
    assert set(alerts.sparkline([(at, 5) for at, _ in slow], 4)) == {"▁"}
