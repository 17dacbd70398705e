"""The ledger against a server's own count: real HTTP, real error bodies, many calls at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from pydantic import SecretStr

from alkyone.standins.youtube.faults import Kind
from alkyone.standins.youtube.server import YouTubeStandin
from atlas import clock
from atlas.adapters.maia import MaiaDAO
from atlas.config import ApiKey, Settings
from atlas.db import DatabaseManager
from atlas.errors import ApiError, Bucket, NoLiveKey, QuotaExhausted
from atlas.hydra import HydraExecutor
from atlas.keys import KeyRing
from atlas.notifications import DiscordNotifier
from atlas.quota import QuotaLedger, reset_at
from maia.planner import plan
from maia.toolbox import outlook
from maia.youtube.client import YouTube

KEY, SPARE = "AIza-first", "AIza-spare"
PROJECT = "ours"
LIMITS: dict[Bucket, int] = {"search": 6, "stats": 25, "general": 40}


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
async def server(frozen_clock: clock.VirtualClock) -> AsyncIterator[YouTubeStandin]:
    world = "generated:seed=3,channels=5,videos=60"
    keys = {KEY: PROJECT, SPARE: PROJECT}
    async with YouTubeStandin(world, clock=frozen_clock, keys=keys, limits=LIMITS) as server:
        yield server


@pytest.fixture
def ledger(database: DatabaseManager) -> QuotaLedger:
    return QuotaLedger(database, LIMITS)


@pytest.fixture
async def youtube(database: DatabaseManager, ledger: QuotaLedger, server: YouTubeStandin) -> AsyncIterator[YouTube]:
    keys = [ApiKey(SecretStr(key), PROJECT) for key in (KEY, SPARE)]
    executor = HydraExecutor(
        KeyRing("hunting", keys=keys, database=database),
        "hunter",
        ledger=ledger,
        notifier=DiscordNotifier(),
        settings=Settings(_env_file=None, COMPLIANCE_MODE=False),  # type: ignore[call-arg]
        sleep=no_sleep,
    )
    async with YouTube(executor, endpoint=server.endpoint) as youtube:
        yield youtube


async def counted(database: DatabaseManager) -> dict[str, dict[str, dict[str, int]]]:
    """The ledger's books, in the form of the server's."""
    books: dict[str, dict[str, dict[str, int]]] = {}
    async with database.get_connection() as conn:
        for row in await conn.fetch("SELECT project, day, bucket, used FROM quota_usage WHERE used > 0"):
            books.setdefault(row["project"], {}).setdefault(row["day"].isoformat(), {})[row["bucket"]] = row["used"]
    return books


async def try_all(calls: list[Callable[[], Awaitable[object]]]) -> Counter[type]:
    results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    unexpected = [
        result
        for result in results
        if isinstance(result, BaseException) and not isinstance(result, (ApiError, QuotaExhausted, NoLiveKey))
    ]
    assert unexpected == []
    return Counter(type(result) for result in results)


def calls_of(youtube: YouTube, times: int) -> list[Callable[[], Awaitable[object]]]:
    one_round: list[Callable[[], Awaitable[object]]] = [
        lambda: youtube.search("music"),
        lambda: youtube.batch_stats(["dQw4w9WgXcQ"]),
        lambda: youtube.videos(["dQw4w9WgXcQ"]),
        lambda: youtube.channels(["UC_x5XG1OV2P6uZZ5FSM9Ttw"]),
    ]
    return one_round * times


async def test_every_bucket_is_spent_to_the_last_unit_and_both_count_the_same(
    youtube: YouTube, database: DatabaseManager, server: YouTubeStandin, frozen_clock: clock.VirtualClock
) -> None:
    for _ in range(2):
        outcomes = await try_all(calls_of(youtube, 30))
        assert outcomes[QuotaExhausted] == 120 - sum(LIMITS.values())
        frozen_clock.set(reset_at(frozen_clock()))

    assert await counted(database) == server.quota.usage()
    assert set(server.quota.usage()[PROJECT]) == {"2026-11-10", "2026-11-11"}
    assert all(day == LIMITS for day in server.quota.usage()[PROJECT].values())


async def test_where_others_use_the_project_too_the_server_has_the_last_word(
    youtube: YouTube,
    database: DatabaseManager,
    ledger: QuotaLedger,
    server: YouTubeStandin,
    frozen_clock: clock.VirtualClock,
) -> None:
    elsewhere: dict[Bucket, int] = {"search": 2, "stats": 20, "general": 33}
    for bucket, units in elsewhere.items():
        server.quota.charge(PROJECT, bucket, units, frozen_clock())

    outcomes = await try_all(calls_of(youtube, 30))

    assert outcomes[QuotaExhausted] == 120 - sum(LIMITS.values()) + sum(elsewhere.values())
    ours = (await counted(database))[PROJECT]["2026-11-10"]
    assert ours == {bucket: LIMITS[bucket] - units for bucket, units in elsewhere.items()}
    assert [await ledger.left(bucket, [PROJECT]) for bucket in LIMITS] == [0, 0, 0]


@pytest.mark.parametrize("kind", ["status_500", "status_503", "burst_429", "truncated", "html", "reset"])
async def test_calls_that_fail_on_the_way_are_counted_the_same_by_both(
    youtube: YouTube, database: DatabaseManager, server: YouTubeStandin, kind: Kind
) -> None:
    server.faults.replace([{"kind": kind, "probability": 0.4, "seed": 5}])

    await try_all(calls_of(youtube, 12))

    assert await counted(database) == server.quota.usage()


@pytest.mark.parametrize("kind", ["key_invalid", "api_disabled", "key_blocked"])
async def test_a_rejected_key_costs_nothing_and_the_next_one_serves(
    youtube: YouTube, database: DatabaseManager, server: YouTubeStandin, kind: Kind
) -> None:
    server.faults.replace([{"kind": kind, "key": KEY}])

    outcomes = await try_all(calls_of(youtube, 3))

    assert not set(outcomes) & {QuotaExhausted, NoLiveKey}
    assert await counted(database) == server.quota.usage()


async def test_a_server_that_is_away_costs_nothing(
    youtube: YouTube, database: DatabaseManager, server: YouTubeStandin
) -> None:
    await server.__aexit__(None, None, None)

    outcomes = await try_all(calls_of(youtube, 3))

    assert sum(outcomes.values()) == 12
    assert await counted(database) == {}


async def test_runs_that_keep_to_their_share_make_the_day_last(
    youtube: YouTube,
    database: DatabaseManager,
    ledger: QuotaLedger,
    server: YouTubeStandin,
    frozen_clock: clock.VirtualClock,
) -> None:
    dao = MaiaDAO(database)
    frozen_clock.set(reset_at(frozen_clock()))
    end, every, answered = reset_at(frozen_clock()), timedelta(hours=3), 0
    while frozen_clock() < end:
        share = plan(await outlook(dao, ledger, [PROJECT]), every).run["track"]
        assert share >= 3
        outcomes = await try_all([lambda: youtube.batch_stats(["dQw4w9WgXcQ"])] * share)
        answered += sum(outcomes.values()) - outcomes[QuotaExhausted]
        frozen_clock.advance(every)

    assert answered == LIMITS["stats"]
    assert await counted(database) == server.quota.usage()
