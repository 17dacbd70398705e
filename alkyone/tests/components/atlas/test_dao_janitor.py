"""Samples leave SQL only in exchange for shards that hold the very same rows; partitions appear and vanish safely."""

from __future__ import annotations

import asyncio
from dataclasses import astuple
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

import pyarrow as pa
import pytest

from alkyone.databases import NOON
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ClosedDay, Discovery, Failure, Sample
from atlas.db import DatabaseManager
from atlas.errors import DatabaseUnavailable, LeaseLost
from atlas.events import Event, events
from atlas.vault.shards import ShardInfo

TODAY = NOON.date()
YESTERDAY = TODAY - timedelta(days=1)
DAY = timedelta(days=1)
FAR = NOON + 100 * DAY
"""2027-02-18, for which no partition was made ahead."""


def shard(rows: int, day: date = YESTERDAY, digest: str = "d1") -> ShardInfo:
    begin = datetime.combine(day, time(), UTC)
    return ShardInfo(f"metrics/date={day}/part-{digest}.parquet", "metrics", day, digest, rows, 100, begin, begin)


def samples(count: int, when: datetime = NOON - DAY) -> list[Sample]:
    return [Sample(f"v{n:05}", when, n, None if n % 3 else n, n % 5) for n in range(count)]


async def table(database: DatabaseManager, query: str) -> list[Any]:
    async with database.get_connection() as conn:
        return await conn.fetch(query)  # type: ignore[arg-type]


async def claim(dao: MaiaDAO) -> UUID:
    token = await dao.claim_work("janitor", now=NOON)
    assert token is not None
    return token


async def partitions(database: DatabaseManager) -> set[str]:
    names = "SELECT relname AS name FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relkind = 'r'"
    return {row["name"] for row in await table(database, names)}


# -- Partitions ------------------------------------------------------------------------------------------------------


async def test_partitions_are_made_ahead_once(dao: MaiaDAO, database: DatabaseManager) -> None:
    made = await dao.ensure_partitions(now=FAR, days_ahead=21)
    assert len(made) == 22 + 2 + 22
    assert {"video_stats_log_20270218", "video_stats_log_20270301", "system_events_20270218"} <= set(made)
    assert {"channel_stats_log_202702", "channel_stats_log_202703"} <= set(made)
    assert await dao.ensure_partitions(now=FAR, days_ahead=21) == []
    assert set(made) <= await partitions(database)


async def test_two_that_make_partitions_at_once_make_each_once(dao: MaiaDAO) -> None:
    made = await asyncio.gather(*(dao.ensure_partitions(now=FAR) for _ in range(4)))
    names = [name for some in made for name in some]
    assert len(names) == len(set(names)) == 8 + 1 + 8


async def test_rows_that_came_before_their_partition_move_into_it(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.log_video_stats_batch(samples(50, FAR) + samples(50, FAR + DAY) + samples(50, FAR - DAY))
    async with database.get_connection() as conn:
        await events.record_many(conn, [Event("video.discovered", "v", {"n": n}) for n in range(3)], now=FAR)
        await conn.execute("INSERT INTO channel_stats_log VALUES ('UC1', %(now)s, 1, 2, 3)", {"now": FAR})
    before = await table(database, "SELECT * FROM video_stats_log ORDER BY timestamp, video_id")
    told = await table(database, "SELECT * FROM system_events ORDER BY id")

    await dao.ensure_partitions(now=FAR)

    assert await table(database, "SELECT * FROM video_stats_log ORDER BY timestamp, video_id") == before
    assert await table(database, "SELECT * FROM system_events ORDER BY id") == told
    assert len(await table(database, "SELECT FROM ONLY video_stats_log_20270218")) == 50
    assert len(await table(database, "SELECT FROM ONLY video_stats_log_default")) == 50
    assert await table(database, "SELECT FROM ONLY system_events_default") == []
    assert await table(database, "SELECT FROM ONLY channel_stats_log_default") == []
    assert await dao.log_video_stats_batch(samples(50, FAR)) == 0


async def test_events_stay_immutable_after_they_moved(dao: MaiaDAO, database: DatabaseManager) -> None:
    async with database.get_connection() as conn:
        await events.record(conn, "video.discovered", "v", now=FAR)
        await events.record(conn, "video.discovered", "v", now=FAR - 9 * DAY)
    await dao.ensure_partitions(now=FAR)
    for statement in ("DELETE FROM system_events", "UPDATE system_events SET entity_id = 'w'"):
        for when in (FAR, FAR - 9 * DAY):
            with pytest.raises(Exception, match="immutable"):
                async with database.get_connection() as conn:
                    await conn.execute(f"{statement} WHERE created_at = '{when}'".encode())
    async with database.get_connection() as conn:
        await events.record(conn, "video.discovered", "w", now=FAR)
    ids = [row["id"] for row in await table(database, "SELECT id FROM system_events")]
    assert len(ids) == len(set(ids)) == 3


async def test_no_insert_fails_or_is_lost_while_partitions_are_made(dao: MaiaDAO, database: DatabaseManager) -> None:
    stop = asyncio.Event()

    async def write(worker: int) -> int:
        written = 0
        while not stop.is_set():
            when = FAR + timedelta(days=written % 9, microseconds=worker)
            written += await dao.log_video_stats_batch([Sample(f"w{worker}-{written}", when, 1, 1, 1)])
        return written

    writers = [asyncio.create_task(write(worker)) for worker in range(4)]
    for days_ahead in range(9):
        await dao.ensure_partitions(now=FAR, days_ahead=days_ahead)
    stop.set()
    total = sum(await asyncio.gather(*writers))
    assert len(await table(database, "SELECT FROM video_stats_log")) == total
    assert await table(database, "SELECT FROM ONLY video_stats_log_default") == []


# -- Closed days -----------------------------------------------------------------------------------------------------


async def test_closed_days_are_those_with_samples_or_an_empty_partition(dao: MaiaDAO) -> None:
    await dao.ensure_partitions(now=NOON - 2 * DAY, days_ahead=3)
    midnight = datetime.combine(YESTERDAY, time(), UTC)
    await dao.log_video_stats_batch(samples(3, midnight) + samples(2, midnight + DAY - timedelta(microseconds=1)))
    await dao.log_video_stats_batch(samples(4, NOON - 400 * DAY) + samples(9, NOON))
    old, empty, closed = await dao.closed_days(TODAY)
    assert old == ClosedDay(TODAY - 400 * DAY, 4, None, 0)
    assert empty[:3] == (TODAY - 2 * DAY, 0, "video_stats_log_20261108")
    assert closed[:3] == (YESTERDAY, 5, "video_stats_log_20261109")
    assert closed.bytes > empty.bytes > 0


async def read(dao: MaiaDAO, day: date) -> list[Sample]:
    async with dao.read_day(day) as reader:
        table = await asyncio.to_thread(reader.read_all)
    return sorted(Sample(**row) for row in table.to_pylist())


async def test_a_day_is_read_back_exactly_wherever_its_rows_lie(dao: MaiaDAO) -> None:
    wanted = [
        *samples(100, NOON - DAY),
        Sample('odd ",\n id', NOON - DAY + timedelta(microseconds=123456), 2**62, None, None),
        Sample("first", datetime.combine(YESTERDAY, time(), UTC), None, 0, 0),
    ]
    await dao.log_video_stats_batch(wanted)
    await dao.log_video_stats_batch(samples(5, NOON) + samples(5, NOON - 2 * DAY))
    assert await read(dao, YESTERDAY) == sorted(wanted)
    await dao.ensure_partitions(now=NOON - DAY)
    assert await read(dao, YESTERDAY) == sorted(wanted)
    assert await read(dao, TODAY - 30 * DAY) == []


async def test_a_day_is_read_in_batches_with_one_schema_and_may_be_left_early(
    dao: MaiaDAO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.adapters._samples.BATCH_BYTES", 4096)
    await dao.log_video_stats_batch(samples(2000))
    async with dao.read_day(YESTERDAY) as reader:
        batches = await asyncio.to_thread(list, reader)
    assert len(batches) > 10
    assert sum(batch.num_rows for batch in batches) == 2000
    assert {batch.schema for batch in batches} == {reader.schema}
    assert reader.schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
    async with dao.read_day(YESTERDAY) as reader:
        assert (await asyncio.to_thread(reader.read_next_batch)).num_rows
    assert await dao.database_size() > 0


async def test_a_database_that_goes_away_while_a_day_is_read_is_told(
    dao: MaiaDAO, database: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atlas.adapters._samples.BATCH_BYTES", 4096)
    await dao.log_video_stats_batch(samples(50_000))
    async with dao.read_day(YESTERDAY) as reader:
        await asyncio.to_thread(reader.read_next_batch)
        await table(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'COPY%%'",
        )
        with pytest.raises(DatabaseUnavailable):
            await asyncio.to_thread(reader.read_all)


async def test_a_database_that_does_not_answer_is_told_when_a_day_is_read() -> None:
    dao = MaiaDAO(DatabaseManager("host=/nowhere dbname=none password=secret"))
    async with dao.read_day(YESTERDAY) as reader:
        with pytest.raises(DatabaseUnavailable, match=r"^the database does not answer \(OperationalError\)$"):
            await asyncio.to_thread(reader.read_all)


async def test_a_day_cannot_be_read_within_a_transaction(dao: MaiaDAO) -> None:
    async with dao.transaction() as joined, joined.read_day(YESTERDAY) as reader:
        with pytest.raises(RuntimeError, match="not within a transaction"):
            await asyncio.to_thread(reader.read_all)


async def test_whoever_gives_up_a_day_while_a_thread_still_waits_for_it_is_not_held_up(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.log_video_stats_batch(samples(10))
    async with dao.transaction() as holding:
        async with holding._db.get_connection() as conn:
            await conn.execute("LOCK TABLE video_stats_log IN ACCESS EXCLUSIVE MODE")
        async with dao.read_day(YESTERDAY) as reader:
            waiting = asyncio.create_task(asyncio.to_thread(reader.read_all))
            await waits_for_a_lock(database)
        with pytest.raises(DatabaseUnavailable):
            await waiting
    assert len(await read(dao, YESTERDAY)) == 10


# -- Archive ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitioned", [True, False], ids=["in a partition", "in the default partition"])
async def test_an_archived_day_is_gone_and_its_shards_are_known(
    partitioned: bool, dao: MaiaDAO, database: DatabaseManager
) -> None:
    if partitioned:
        await dao.ensure_partitions(now=NOON - DAY)
    await dao.log_video_stats_batch(samples(50) + samples(7, NOON) + samples(3, NOON - 2 * DAY))
    shards = [shard(30), shard(20, digest="d2")]
    assert await dao.archive_cold_stats(YESTERDAY, shards, 50, token=await claim(dao), now=NOON)

    assert await read(dao, YESTERDAY) == []
    assert len(await table(database, "SELECT FROM video_stats_log")) == 10
    assert "video_stats_log_20261109" not in await partitions(database)
    manifest = await table(database, "SELECT * FROM vault_manifest ORDER BY digest")
    assert [tuple(row.values()) for row in manifest] == [(*astuple(one), NOON) for one in shards]
    (told,) = await table(database, "SELECT event_type, entity_id, payload FROM system_events")
    assert told == {
        "event_type": "partition.archived",
        "entity_id": "2026-11-09",
        "payload": {"rows": 50, "shards": [one.path for one in shards]},
    }


async def test_a_day_that_grew_since_it_was_read_stays_whole(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.ensure_partitions(now=NOON - DAY)
    await dao.log_video_stats_batch(samples(51))
    assert not await dao.archive_cold_stats(YESTERDAY, [shard(50)], 50, token=await claim(dao), now=NOON)
    assert len(await read(dao, YESTERDAY)) == 51
    assert await table(database, "SELECT FROM vault_manifest") == []
    assert await table(database, "SELECT FROM system_events") == []


async def test_a_sample_that_arrives_during_the_archive_waits_and_is_kept(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.ensure_partitions(now=NOON - DAY)
    await dao.log_video_stats_batch(samples(50))
    token = await claim(dao)
    late = Sample("late", NOON - DAY, 1, 1, 1)
    async with dao.transaction() as archiving:
        assert await archiving.archive_cold_stats(YESTERDAY, [shard(50)], 50, token=token, now=NOON)
        arriving = asyncio.create_task(dao.log_video_stats_batch([late]))
        await waits_for_a_lock(database)
    assert await arriving == 1
    assert await read(dao, YESTERDAY) == [late]
    assert await dao.closed_days(TODAY) == [ClosedDay(YESTERDAY, 1, None, 0)]
    assert await dao.archive_cold_stats(YESTERDAY, [shard(1, digest="d2")], 1, token=token, now=NOON)


async def test_a_sample_that_is_not_committed_yet_counts(
    dao: MaiaDAO, database: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dao.ensure_partitions(now=NOON - DAY)
    await dao.log_video_stats_batch(samples(50))
    token = await claim(dao)
    async with dao.transaction() as writing:
        await writing.log_video_stats_batch([Sample("late", NOON - DAY, 1, 1, 1)])
        archiving = asyncio.create_task(dao.archive_cold_stats(YESTERDAY, [shard(50)], 50, token=token, now=NOON))
        await waits_for_a_lock(database)
    assert await archiving is False
    assert len(await read(dao, YESTERDAY)) == 51


async def test_archiving_gives_up_when_the_table_is_not_let_go(dao: MaiaDAO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.adapters.maia_archive.PATIENCE", timedelta(milliseconds=50))
    await dao.ensure_partitions(now=NOON - DAY)
    await dao.log_video_stats_batch(samples(50))
    token = await claim(dao)
    async with dao.transaction() as writing:
        await writing.log_video_stats_batch(samples(1, NOON))
        assert await dao.archive_cold_stats(YESTERDAY, [shard(50)], 50, token=token, now=NOON) is False
    assert await dao.archive_cold_stats(YESTERDAY, [shard(50)], 50, token=token, now=NOON) is True


async def test_archiving_a_day_again_changes_nothing(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.log_video_stats_batch(samples(5))
    token = await claim(dao)
    assert await dao.archive_cold_stats(YESTERDAY, [shard(5)], 5, token=token, now=NOON)
    assert not await dao.archive_cold_stats(YESTERDAY, [shard(5)], 5, token=token, now=NOON)
    assert await dao.archive_cold_stats(YESTERDAY, [], 0, token=token, now=NOON)
    assert len(await table(database, "SELECT FROM system_events")) == 1


async def test_an_empty_partition_is_dropped_without_a_shard(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.ensure_partitions(now=NOON - DAY)
    assert await dao.archive_cold_stats(YESTERDAY, [], 0, token=await claim(dao), now=NOON)
    assert "video_stats_log_20261109" not in await partitions(database)


async def test_shards_that_do_not_hold_the_rows_are_refused(dao: MaiaDAO) -> None:
    await dao.log_video_stats_batch(samples(5))
    token = await claim(dao)
    with pytest.raises(ValueError, match="hold 4 rows, not 5"):
        await dao.archive_cold_stats(YESTERDAY, [shard(4)], 5, token=token, now=NOON)
    assert len(await read(dao, YESTERDAY)) == 5


# -- Videos ----------------------------------------------------------------------------------------------------------


def video(number: int, **changes: Any) -> Discovery:
    return Discovery(
        f"v{number:05}", "UC1", f"Title {number}", NOON, channel_title="Name", tracking_tier="HOURLY",
        next_track_at=NOON, observed_at=NOON - DAY, views=1, **changes,
    )  # fmt: skip


async def test_deleting_a_video_leaves_its_watchlist_row_samples_and_tracking_untouched(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.ingest_video_metadata([video(1), video(2)], now=NOON)
    watched = await table(database, "SELECT * FROM watchlist")
    sampled = await table(database, "SELECT * FROM video_stats_log")
    token = await claim(dao)
    assert await dao.run_janitor(["v00001"], [shard(2)], token=token, stages_ended=False, now=NOON) == 1
    assert await table(database, "SELECT id FROM videos") == [{"id": "v00002"}]
    assert await table(database, "SELECT * FROM watchlist") == watched
    assert await table(database, "SELECT * FROM video_stats_log") == sampled
    assert len(await dao.fetch_tracking_batch(now=NOON)) == 2
    (told,) = await table(database, "SELECT payload FROM system_events WHERE event_type = 'videos.retired'")
    assert told["payload"] == {"videos": ["v00001"], "shards": [shard(2).path]}
    assert await dao.run_janitor(["v00001"], [shard(2)], token=token, stages_ended=False, now=NOON) == 0


async def test_a_video_with_work_left_is_neither_listed_nor_deleted(dao: MaiaDAO) -> None:
    await dao.ingest_video_metadata([video(1)], stages=(), now=NOON)
    await dao.ingest_video_metadata([video(2)], stages=("painter",), now=NOON)
    await dao.ingest_video_metadata([video(3)], stages=("scribe",), now=NOON)
    (row,) = await dao.fetch_scribe_targets(now=NOON)
    await dao.fail_stage([Failure("v00003", row["lease_token"], "dead", NOON)], "scribe", dead_after=1)
    later = NOON + timedelta(seconds=1)
    assert [row["id"] for row in await dao.fetch_expired_videos(later)] == ["v00001", "v00003"]
    assert len(await dao.fetch_expired_videos(later, stages_ended=False)) == 3
    assert await dao.fetch_expired_videos(NOON) == []
    assert await dao.run_janitor(["v00001", "v00002", "v00003"], [], token=await claim(dao), now=NOON) == 2


async def test_expired_videos_are_listed_page_by_page(dao: MaiaDAO) -> None:
    await dao.ingest_video_metadata([video(n) for n in range(5)], stages=(), now=NOON)
    await dao.ingest_video_metadata([video(n) for n in range(5, 8)], stages=(), now=NOON - DAY)
    seen: list[str] = []
    page = await dao.fetch_expired_videos(NOON + DAY, 3)
    while page:
        seen += [row["id"] for row in page]
        page = await dao.fetch_expired_videos(NOON + DAY, 3, after=page[-1])
    assert seen == ["v00005", "v00006", "v00007", "v00000", "v00001", "v00002", "v00003", "v00004"]


# -- Work that has no queue ------------------------------------------------------------------------------------------


async def test_of_many_janitors_one_works(dao: MaiaDAO) -> None:
    tokens = await asyncio.gather(*(dao.claim_work("janitor", now=NOON) for _ in range(8)))
    (mine,) = [token for token in tokens if token is not None]
    assert await dao.claim_work("hunter", now=NOON) is not None
    assert await dao.release_work("janitor", mine)
    assert await dao.claim_work("janitor", now=NOON) is not None
    assert not await dao.release_work("janitor", mine)


async def test_a_janitor_whose_lease_ran_out_deletes_nothing(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.ingest_video_metadata([video(1)], stages=(), now=NOON)
    slow = await claim(dao)
    heir = await dao.claim_work("janitor", now=NOON + timedelta(minutes=10))
    assert heir is not None
    with pytest.raises(LeaseLost):
        await dao.run_janitor(["v00001"], [], token=slow, now=NOON)
    with pytest.raises(LeaseLost):
        await dao.archive_cold_stats(YESTERDAY, [shard(1)], 1, token=slow, now=NOON)
    with pytest.raises(LeaseLost):
        await dao.renew_work("janitor", slow, now=NOON)
    with pytest.raises(LeaseLost):
        await dao.run_janitor(["v00001"], [], token=uuid4(), now=NOON)
    await dao.renew_work("janitor", heir, now=NOON + timedelta(minutes=19))
    assert await dao.claim_work("janitor", now=NOON + timedelta(minutes=28)) is None
    assert len(await table(database, "SELECT FROM videos")) == 1


# -- Overview --------------------------------------------------------------------------------------------------------


async def test_the_overview_of_an_empty_system_names_every_queue_and_tier(dao: MaiaDAO) -> None:
    seen = await dao.overview(now=NOON)
    assert seen["tiers"] == {"HOURLY": 0, "DAILY": 0, "WEEKLY": 0, "DORMANT": 0}
    kinds = "search channels walk chart feed tracking painter scribe"
    assert " ".join(seen["backlog"]) == kinds
    assert (seen["watchlist"], seen["videos"], seen["samples_hot"], seen["vault"]) == (0, 0, 0, {})


async def test_the_overview_counts_what_waits_and_what_is_archived(dao: MaiaDAO) -> None:
    await dao.ingest_video_metadata([video(n) for n in range(5)], now=NOON - timedelta(hours=1))
    await dao.fetch_tracking_batch(2, now=NOON)
    assert await dao.archive_cold_stats(YESTERDAY, [shard(5)], 5, token=await claim(dao), now=NOON)
    seen = await dao.overview(now=NOON)
    assert seen["backlog"]["tracking"] == {"total": 5, "due": 5, "leased": 2, "oldest_due_at": NOON}
    assert seen["backlog"]["painter"]["due"] == 5
    assert (seen["videos"], seen["channels"], seen["watchlist"], seen["samples_hot"]) == (5, 1, 5, 0)
    assert seen["tiers"]["HOURLY"] == 5
    assert seen["vault"] == {"metrics": {"shards": 1, "rows": 5, "bytes": 100}}
    assert seen["sql_bytes"] > 1_000_000


async def waits_for_a_lock(database: DatabaseManager) -> None:
    """Come back when somebody in this database waits for a lock."""
    waiting = (
        "SELECT count(*) AS n FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE NOT granted AND datname = current_database()"
    )
    for _ in range(2000):
        (row,) = await table(database, waiting)
        if row["n"]:
            return
    raise AssertionError("nobody waits")
