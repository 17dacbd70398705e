from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from pydantic import SecretStr

from atlas import clock
from atlas.config import ApiKey
from atlas.db import DatabaseManager
from atlas.errors import Bucket, QuotaExhausted
from atlas.keys import KeyRing
from atlas.quota import SQL, QuotaLedger, Usage, pacific_day, reset_at

LIMITS: dict[Bucket, int] = {"search": 100, "stats": 10_000, "general": 10_000}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(autouse=True)
def now(frozen_clock: clock.VirtualClock) -> clock.VirtualClock:
    return frozen_clock


@pytest.fixture
def ledger(database: DatabaseManager) -> QuotaLedger:
    return QuotaLedger(database, LIMITS)


async def fits(ledger: QuotaLedger, bucket: Bucket, units: int = 1, project: str = "p") -> bool:
    try:
        await ledger.reserve(project, bucket, units)
    except QuotaExhausted:
        return False
    return True


def test_each_statement_has_its_method() -> None:
    assert set(SQL) <= set(dir(QuotaLedger))


async def uses(ledger: QuotaLedger, bucket: Bucket) -> list[Usage]:
    return [use for use in await ledger.usage() if use.bucket == bucket and use.used]


async def test_units_are_counted_by_project_bucket_and_day(ledger: QuotaLedger, now: clock.VirtualClock) -> None:
    await ledger.reserve("p", "search")
    await ledger.reserve("p", "general", 50)
    await ledger.reserve("q", "search", 2)
    now.advance(timedelta(days=1))
    await ledger.reserve("p", "search", 3)

    yesterday = pacific_day(now()) - timedelta(days=1)
    assert await ledger.left("search", ["p"]) == 97
    assert await ledger.left("search", ["p", "q", "never seen", "p"]) == 297
    assert [use[:4] for use in await ledger.usage(day=yesterday) if use.used] == [
        ("p", "search", yesterday, 1),
        ("p", "general", yesterday, 50),
        ("q", "search", yesterday, 2),
    ]


async def test_what_does_not_fit_is_refused_and_not_counted(ledger: QuotaLedger, now: clock.VirtualClock) -> None:
    await ledger.reserve("p", "search", 99)

    with pytest.raises(QuotaExhausted) as raised:
        await ledger.reserve("p", "search", 2)
    await ledger.reserve("p", "search", 1)

    assert (raised.value.bucket, raised.value.reset_at) == ("search", reset_at(now()))
    assert await ledger.left("search", ["p"]) == 0


async def test_the_first_call_of_a_day_does_not_pass_the_limit_either(ledger: QuotaLedger) -> None:
    assert not await fits(ledger, "search", 101)
    assert await fits(ledger, "search", 100)


async def test_a_bucket_of_nothing_gives_nothing(database: DatabaseManager) -> None:
    ledger = QuotaLedger(database, {"search": 0, "stats": 1, "general": 1})

    assert not await fits(ledger, "search")
    assert await ledger.left("search", ["p"]) == 0


async def test_a_limit_lowered_in_the_middle_of_the_day_leaves_nothing(database: DatabaseManager) -> None:
    await QuotaLedger(database, LIMITS).reserve("p", "search", 80)
    lower = QuotaLedger(database, LIMITS | {"search": 50})

    assert await lower.left("search", ["p"]) == 0
    assert not await fits(lower, "search")


async def test_limits_are_those_of_the_settings_unless_given(database: DatabaseManager, settings_env: object) -> None:
    settings_env(QUOTA_SEARCH_PER_DAY="3")  # type: ignore[operator]

    assert await QuotaLedger(database).left("search", ["p"]) == 3


async def test_many_connections_at_once_use_exactly_the_limit(conninfo: str, ledger: QuotaLedger) -> None:
    managers = [DatabaseManager(conninfo) for _ in range(3)]
    ledgers = [QuotaLedger(manager, LIMITS) for manager in managers]
    try:
        took = await asyncio.gather(*(fits(ledgers[number % 3], "search") for number in range(300)))
    finally:
        await asyncio.gather(*(manager.close() for manager in managers))

    assert sum(took) == 100
    assert [use.used for use in await ledger.usage() if use.bucket == "search"] == [100]


async def test_many_connections_with_unlike_costs_never_pass_the_limit(ledger: QuotaLedger) -> None:
    costs = [(number * 7) % 13 + 1 for number in range(120)]

    took = await asyncio.gather(*(fits(ledger, "search", cost) for cost in costs))

    used = sum(cost for cost, fitted in zip(costs, took, strict=True) if fitted)
    left = await ledger.left("search", ["p"])
    assert used + left == 100
    assert left < min(cost for cost, fitted in zip(costs, took, strict=True) if not fitted)


async def test_the_server_knows_better(ledger: QuotaLedger) -> None:
    await ledger.reserve("p", "stats", 40)
    await ledger.reserve("p", "stats", 1)

    await ledger.refused("p", "stats", 1)

    assert not await fits(ledger, "stats")
    assert await ledger.left("stats", ["p"]) == 0
    assert await fits(ledger, "general")
    assert await fits(ledger, "stats", project="q")
    (use,) = [use for use in await ledger.usage() if use.refused_at and use.project == "p"]
    assert (use.bucket, use.used, use.left) == ("stats", 40, 0)


async def test_many_refusals_at_once_give_back_what_each_reserved(ledger: QuotaLedger, now: clock.VirtualClock) -> None:
    await ledger.reserve("p", "stats", 60)
    first = now()

    await asyncio.gather(*(ledger.refused("p", "stats", 2) for _ in range(20)))
    await ledger.refused("p", "stats", 1, now=now.advance(timedelta(hours=1)))

    (use,) = [use for use in await ledger.usage() if use.bucket == "stats"]
    assert (use.used, use.refused_at) == (19, first)


async def test_a_refusal_that_the_ledger_has_no_row_for_still_counts(ledger: QuotaLedger) -> None:
    await ledger.refused("p", "stats", 5)

    assert not await fits(ledger, "stats")
    assert [use.used for use in await ledger.usage() if use.bucket == "stats"] == [0]


async def test_a_refused_bucket_opens_again_at_midnight_pacific(ledger: QuotaLedger, now: clock.VirtualClock) -> None:
    await ledger.refused("p", "search", 1)

    now.set(reset_at(now()) - timedelta(microseconds=1))
    assert not await fits(ledger, "search")
    now.advance(timedelta(microseconds=1))
    assert await fits(ledger, "search")


@pytest.mark.parametrize(
    ("begin", "hours"),
    [
        pytest.param("2026-11-10 08:00", 24, id="a common day"),
        pytest.param("2026-03-08 08:00", 23, id="summer time begins"),
        pytest.param("2026-11-01 07:00", 25, id="summer time ends"),
        pytest.param("2026-12-31 08:00", 24, id="the last day of a year"),
    ],
)
async def test_a_day_lasts_from_midnight_to_midnight_pacific(
    ledger: QuotaLedger, now: clock.VirtualClock, begin: str, hours: int
) -> None:
    for hour in range(hours):
        now.set(utc(begin) + timedelta(hours=hour, minutes=59, seconds=59))
        await ledger.reserve("p", "search")
        assert await ledger.left("search", ["p"]) == 99 - hour

    now.set(utc(begin) + timedelta(hours=hours))
    assert await ledger.left("search", ["p"]) == 100
    now.set(utc(begin) - timedelta(microseconds=1))
    assert await ledger.left("search", ["p"]) == 100


async def test_a_call_made_across_midnight_is_corrected_on_its_own_day(
    ledger: QuotaLedger, now: clock.VirtualClock
) -> None:
    now.set(utc("2026-11-11 07:59:59"))
    reserved_at = now()
    await ledger.reserve("p", "search", 5)
    await ledger.reserve("p", "stats", 5)
    now.advance(timedelta(seconds=2))
    await ledger.reserve("p", "search", 1)

    await ledger.refund("p", "search", 5, now=reserved_at)
    await ledger.refused("p", "stats", 5, now=reserved_at)

    assert await ledger.left("search", ["p"]) == 99
    assert await ledger.left("search", ["p"], now=reserved_at) == 100
    assert await ledger.left("stats", ["p"]) == 10_000
    assert await ledger.left("stats", ["p"], now=reserved_at) == 0


async def test_a_refund_never_goes_below_nothing(ledger: QuotaLedger) -> None:
    await ledger.reserve("p", "search", 3)

    await ledger.refund("p", "search", 2)
    await ledger.refund("p", "search", 2)
    await ledger.refund("never seen", "search", 2)

    assert await ledger.left("search", ["p"]) == 100


async def test_units_are_counted_by_what_they_are_used_for_too(ledger: QuotaLedger) -> None:
    await asyncio.gather(*(ledger.reserve("p", "general", 2, purpose=purpose) for purpose in ["poll", "enrich"] * 10))
    await ledger.reserve("p", "general")
    await ledger.refund("p", "general", 5, purpose="poll")
    await ledger.refund("p", "general", 5, purpose="never named")
    await ledger.refused("p", "general", 3, purpose="enrich")

    (use,) = await uses(ledger, "general")
    assert {purpose: units for purpose, units in use.purposes.items() if units} == {
        "poll": 15,
        "enrich": 17,
        "other": 1,
    }
    assert use.used == 33


async def test_a_refusal_that_was_not_counted_is_not_counted_for_a_purpose_either(ledger: QuotaLedger) -> None:
    await ledger.reserve("p", "search", 98, purpose="search")

    assert not await fits(ledger, "search", 3)

    assert [use.purposes for use in await uses(ledger, "search")] == [{"search": 98}]


async def test_usage_may_be_asked_of_some_projects_only_known_or_not(ledger: QuotaLedger) -> None:
    await ledger.reserve("busy", "stats", 7)
    await ledger.reserve("other", "stats", 7)

    found = await ledger.usage(["new", "busy", "busy"])

    assert [(use.project, use.bucket, use.used) for use in found] == [
        (project, bucket, 7 if (project, bucket) == ("busy", "stats") else 0)
        for project in ("busy", "new")
        for bucket in get_args(Bucket)
    ]


async def test_usage_names_every_known_project_and_bucket(
    database: DatabaseManager, ledger: QuotaLedger, now: clock.VirtualClock
) -> None:
    await KeyRing("hunting", keys=[ApiKey(SecretStr("AIza"), "idle")], database=database).live()
    await ledger.reserve("busy", "stats", 7)

    day = pacific_day(now())
    assert await ledger.usage() == [
        Usage(project, bucket, day, 7 if busy else 0, LIMITS[bucket], None, {"other": 7} if busy else {})
        for project in ("busy", "idle")
        for bucket in get_args(Bucket)
        for busy in [(project, bucket) == ("busy", "stats")]
    ]


async def test_a_spent_bucket_is_announced_once_a_day_whoever_notices(
    database: DatabaseManager, ledger: QuotaLedger, now: clock.VirtualClock
) -> None:
    first = await asyncio.gather(*(ledger.announce("p", "search") for _ in range(20)))
    other = [await ledger.announce("p", "stats"), await ledger.announce("q", "search")]
    now.set(reset_at(now()) - timedelta(microseconds=1))
    again = await ledger.announce("p", "search")
    now.advance(timedelta(microseconds=1))
    tomorrow = await ledger.announce("p", "search")

    assert (sum(first), other, again, tomorrow) == (1, [True, True], False, True)
    async with database.get_connection() as conn:
        events = await conn.fetch("SELECT entity_id, payload FROM system_events ORDER BY id")
    assert [(event["entity_id"], event["payload"]["bucket"], event["payload"]["day"]) for event in events] == [
        ("p", "search", "2026-11-10"),
        ("p", "stats", "2026-11-10"),
        ("q", "search", "2026-11-10"),
        ("p", "search", "2026-11-11"),
    ]
