"""Claims are leases: one holder at a time, and every claimed row ends in exactly one way."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from alkyone.databases import NOON
from alkyone.queues import QUEUES, Queue
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Failure, Miss, Sample, TrackOutcome, WatchEntry
from atlas.db import DatabaseManager
from atlas.errors import LeaseLost

SOON = NOON + timedelta(minutes=9)
LATE = NOON + timedelta(minutes=10)
NEXT = NOON + timedelta(hours=1)


def entry(number: int, due: datetime = NOON) -> WatchEntry:
    return WatchEntry(f"video{number:06}", NOON, "HOURLY", due)


@pytest.fixture(params=QUEUES.values(), ids=QUEUES.keys())
def queue(request: pytest.FixtureRequest) -> Queue:
    return request.param


def token_of(rows: list[Any]) -> UUID:
    (token,) = {row["lease_token"] for row in rows}
    assert isinstance(token, UUID)
    return token


async def finish(queue: Queue, dao: MaiaDAO, rows: list[Any]) -> None:
    await queue.done(dao, [row[queue.key] for row in rows], token_of(rows), NEXT, NOON)


async def test_a_claim_has_one_token_and_hides_its_rows_from_the_next(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(5), NOON)
    first = await queue.claim(dao, 3, NOON)
    second = await queue.claim(dao, 3, SOON)
    assert (len(first), len(second)) == (3, 2)
    assert token_of(first) != token_of(second)
    assert await queue.claim(dao, 3, SOON) == []


async def test_the_rows_of_a_dead_worker_come_back_when_its_lease_runs_out(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(3), NOON)
    dead = await queue.claim(dao, 3, NOON)
    assert await queue.claim(dao, 3, LATE - timedelta(seconds=1)) == []
    heir = await queue.claim(dao, 3, LATE)
    assert {row[queue.key] for row in heir} == {row[queue.key] for row in dead}


async def test_work_that_is_done_is_not_due_until_its_time(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(3), NOON)
    rows = await queue.claim(dao, 3, NOON)
    await finish(queue, dao, rows)
    assert await queue.claim(dao, 3, LATE) == []


async def test_who_completes_after_somebody_else_took_over_has_lost_the_lease(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(3), NOON)
    slow = await queue.claim(dao, 3, NOON)
    heir = await queue.claim(dao, 2, LATE)
    with pytest.raises(LeaseLost) as lost:
        await finish(queue, dao, slow)
    assert lost.value.missing == 2
    # Nothing of the slow worker's stays, not even of the one row that nobody took.
    assert len(await queue.claim(dao, 3, LATE)) == 1
    await finish(queue, dao, heir)


async def test_nobody_completes_twice_or_with_a_strange_token(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(3), NOON)
    rows = await queue.claim(dao, 3, NOON)
    with pytest.raises(LeaseLost):
        await queue.done(dao, [row[queue.key] for row in rows], uuid4(), NEXT, NOON)
    await finish(queue, dao, rows)
    with pytest.raises(LeaseLost):
        await finish(queue, dao, rows)


async def test_what_failed_is_counted_and_waits_for_its_next_attempt(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(2), NOON)
    rows = await queue.claim(dao, 2, NOON)
    await queue.fail(dao, [Failure(r[queue.key], r["lease_token"], "HTTP 503 " * 999, NEXT) for r in rows])
    assert await queue.claim(dao, 2, LATE) == []
    assert {row["attempts"] for row in await queue.claim(dao, 2, NEXT)} == {1}


async def test_a_failure_reported_with_a_lost_lease_changes_nothing(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(1), NOON)
    (row,) = await queue.claim(dao, 1, NOON)
    (heir,) = await queue.claim(dao, 1, LATE)
    with pytest.raises(LeaseLost):
        await queue.fail(dao, [Failure(row[queue.key], row["lease_token"], "late", NEXT)])
    await finish(queue, dao, [heir])


async def test_released_rows_are_due_at_once_and_nothing_is_counted(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(4), NOON)
    rows = await queue.claim(dao, 3, NOON)
    assert await queue.release(dao, token_of(rows), NOON) == 3
    assert await queue.release(dao, token_of(rows), NOON) == 0
    again = await queue.claim(dao, 9, NOON)
    assert len(again) == 4
    assert {row["attempts"] for row in again} == {0}


async def test_a_release_gives_back_only_what_was_not_settled(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(3), NOON)
    rows = await queue.claim(dao, 3, NOON)
    await finish(queue, dao, rows[:1])
    assert await queue.release(dao, token_of(rows), NOON) == 2


async def test_eight_workers_never_hold_the_same_row(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fill(dao, range(400), NOON)

    async def work() -> list[Any]:
        mine: list[Any] = []
        while rows := await queue.claim(dao, 7, NOON):
            mine += rows
        return mine

    claimed = [row[queue.key] for rows in await asyncio.gather(*(work() for _ in range(8))) for row in rows]
    assert len(claimed) == 400
    assert max(Counter(claimed).values()) == 1


async def test_an_empty_batch_is_no_loss(queue: Queue, dao: MaiaDAO) -> None:
    await queue.fail(dao, [])
    await queue.done(dao, [], uuid4(), NEXT, NOON)
    assert await dao.log_video_stats_batch([]) == 0


async def test_a_lost_lease_undoes_the_whole_transaction_even_when_it_is_caught(dao: MaiaDAO) -> None:
    await dao.add_to_watchlist([entry(1), entry(2)], now=NOON)
    rows = await dao.fetch_tracking_batch(now=NOON)
    (taken,) = await dao.fetch_tracking_batch(1, now=LATE)
    outcomes = [TrackOutcome(r["video_id"], r["lease_token"], "HOURLY", NEXT, 1, 1, 1, None) for r in rows]
    samples = [Sample(row["video_id"], NOON, 1, 1, 1) for row in rows]
    with pytest.raises(LeaseLost):  # noqa: PT012 - the block is what is tested
        async with dao.transaction() as together:
            assert await together.log_video_stats_batch(samples) == 2
            with pytest.raises(LeaseLost):
                await together.update_watchlist_schedule(outcomes, now=LATE)
    assert (await dao.overview(now=LATE))["samples_hot"] == 0
    (other,) = await dao.fetch_tracking_batch(now=LATE)
    assert {other["video_id"], taken["video_id"]} == {row["video_id"] for row in rows}


async def test_samples_and_schedule_of_a_transaction_that_fails_are_both_gone(dao: MaiaDAO) -> None:
    await dao.add_to_watchlist([entry(1)], now=NOON)
    (row,) = await dao.fetch_tracking_batch(now=NOON)
    with suppress(ZeroDivisionError):
        async with dao.transaction() as together:
            await together.log_video_stats_batch([Sample(row["video_id"], NOON, 1, 1, 1)])
            await together.update_watchlist_schedule(
                [TrackOutcome(row["video_id"], row["lease_token"], "DAILY", NEXT, 1, 1, 1, None)], now=NOON
            )
            raise ZeroDivisionError
    assert (await dao.overview(now=NOON))["samples_hot"] == 0
    assert len(await dao.fetch_tracking_batch(now=LATE)) == 1


async def test_a_video_given_up_and_the_event_of_it_are_there_together_or_not_at_all(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.add_to_watchlist([entry(1)], now=NOON)
    (row,) = await dao.fetch_tracking_batch(now=NOON)
    miss = Miss(row["video_id"], row["lease_token"], "DORMANT", NEXT)

    async def told() -> list[str]:
        async with database.get_connection() as conn:
            rows = await conn.fetch("SELECT event_type FROM system_events WHERE event_type <> 'video.watched'")
        return [row["event_type"] for row in rows]

    with suppress(ZeroDivisionError):
        async with dao.transaction() as together:
            await together.record_misses([miss], now=NOON)
            raise ZeroDivisionError
    assert await told() == []
    await dao.record_misses([miss], now=NOON)
    assert await told() == ["video.unavailable"]


async def test_a_stage_that_nobody_could_try_is_put_off_without_an_attempt(dao: MaiaDAO) -> None:
    await QUEUES["scribe stages"].fill(dao, range(2), NOON)
    rows = await dao.fetch_scribe_targets(now=NOON)
    late, lost = [Failure(row["video_id"], row["lease_token"], "no quota", NEXT) for row in rows]
    with pytest.raises(LeaseLost):
        await dao.put_off_stage([late, lost._replace(lease_token=uuid4())], "scribe")
    await dao.put_off_stage([late], "scribe")
    assert await dao.release_stage(token_of(rows), now=NOON) == 1
    assert [row["video_id"] for row in await dao.fetch_scribe_targets(now=SOON)] == [lost.id]
    (again,) = [row for row in await dao.fetch_scribe_targets(now=NEXT) if row["video_id"] == late.id]
    assert again["attempts"] == 0


WORKER = """
import asyncio, sys
from datetime import datetime
from atlas.adapters.maia import MaiaDAO
from atlas.db import DatabaseManager

async def main(conninfo, now):
    async with DatabaseManager(conninfo) as database:
        dao = MaiaDAO(database)
        while rows := await dao.fetch_tracking_batch(20, now=now):
            for row in rows:
                print(row["video_id"], flush=True)
    print("end", flush=True)
    sys.stdin.read()

asyncio.run(main(sys.argv[1], datetime.fromisoformat(sys.argv[2])))
"""


@pytest.mark.engine
async def test_eight_processes_share_the_watchlist_and_those_killed_leave_their_rows_to_the_next(
    conninfo: str, dao: MaiaDAO
) -> None:
    await dao.add_to_watchlist([entry(number) for number in range(2000)], now=NOON)
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, conninfo, NOON.isoformat(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(8)
    ]  # fmt: skip

    async def claims(worker: asyncio.subprocess.Process) -> list[str]:
        assert worker.stdout is not None
        return [line async for line in until_end(worker.stdout)]

    held = await asyncio.gather(*map(claims, workers))
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
        await worker.communicate()
    everything = [video_id for ids in held for video_id in ids]
    assert len(everything) == 2000
    assert len(set(everything)) == 2000
    assert await dao.fetch_tracking_batch(1, now=SOON) == []
    assert len(await dao.fetch_tracking_batch(5000, now=LATE)) == 2000


async def until_end(lines: asyncio.StreamReader) -> Any:
    while (line := (await lines.readline()).decode().strip()) != "end":
        assert line, "the worker died"
        yield line


async def test_the_clock_may_be_in_any_zone(dao: MaiaDAO) -> None:
    await dao.add_to_watchlist([entry(1)], now=NOON)
    (row,) = await dao.fetch_tracking_batch(now=NOON.astimezone())
    assert row["published_at"] == NOON
    assert row["published_at"].utcoffset() == timedelta(0)
    assert row["next_track_at"].astimezone(UTC) == NOON
