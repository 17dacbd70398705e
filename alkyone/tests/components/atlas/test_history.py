"""The timeline: hot ∪ cold from a real database and a real vault, equal to a model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from atlas import history
from atlas.db import DatabaseManager
from atlas.errors import VaultCorrupt, VaultNotFound
from atlas.history import timeline
from atlas.vault import LocalVault, ShardInfo

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


class Reading(NamedTuple):
    video_id: str
    timestamp: datetime
    views: int | None
    likes: int | None
    comment_count: int | None


def reading(video_id: str, timestamp: datetime, views: int | None = 1) -> Reading:
    return Reading(video_id, timestamp, views, None, None)


async def put(database: DatabaseManager, readings: Sequence[Reading]) -> None:
    async with database.get_connection() as conn, conn.cursor() as cursor:
        await cursor.executemany("INSERT INTO video_stats_log VALUES (%s, %s, %s, %s, %s)", readings)


async def index(database: DatabaseManager, shards: Sequence[ShardInfo]) -> None:
    async with database.get_connection() as conn, conn.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO vault_manifest VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now()) ON CONFLICT DO NOTHING",
            [(s.path, s.kind, s.day, s.digest, s.rows, s.bytes, s.min_time, s.max_time) for s in shards],
        )


async def archive(database: DatabaseManager, vault: LocalVault, readings: Sequence[Reading]) -> None:
    """Move readings to the vault the way the Janitor does: index and deletion are one transaction."""
    shards = await asyncio.to_thread(vault.append_metrics, [item._asdict() for item in readings])
    async with database.get_connection() as conn:
        for shard in shards:
            await conn.execute(
                "INSERT INTO vault_manifest VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now())",
                [
                    shard.path,
                    shard.kind,
                    shard.day,
                    shard.digest,
                    shard.rows,
                    shard.bytes,
                    shard.min_time,
                    shard.max_time,
                ],
            )
        await conn.execute(
            "DELETE FROM video_stats_log "
            "WHERE (video_id, timestamp) IN (SELECT * FROM unnest(%s::text[], %s::timestamptz[]))",
            [[item.video_id for item in readings], [item.timestamp for item in readings]],
        )


async def read(
    database: DatabaseManager,
    vault: LocalVault,
    video_ids: str | list[str],
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[Reading]:
    table = await timeline(video_ids, start, end, database=database, vault=vault)
    return [Reading(*row) for row in zip(*(table[name].to_pylist() for name in Reading._fields), strict=True)]


def test_each_statement_has_its_function() -> None:
    assert {name.partition("__")[0] for name in history.SQL} <= set(dir(history))


@pytest.mark.parametrize("seed", range(3))
async def test_the_timeline_equals_a_model(database: DatabaseManager, vault: LocalVault, seed: int) -> None:
    chance = random.Random(seed)
    ids = [f"video-{number}" for number in range(6)]
    model = {}
    for _ in range(300):
        at = NOON + timedelta(minutes=chance.randrange(-6 * 1440, 6 * 1440), microseconds=chance.randrange(3))
        counts = [chance.choice([None, 0, chance.getrandbits(40)]) for _ in range(3)]
        item = Reading(chance.choice(ids), at, *counts)
        model[item.video_id, item.timestamp] = item
    hot: list[Reading] = []
    for item in model.values():
        place = chance.randrange(4)
        if place in (0, 1):
            hot.append(item)
        if place in (1, 2, 3):  # 1: between the vault's write and the deletion
            shards = vault.append_metrics([item._asdict()])
            if place == 2:
                await index(database, shards)
    await put(database, hot)

    for _ in range(25):
        wanted = chance.sample([*ids, "nobody"], chance.randrange(1, 5))
        start, end = (chance.choice([None, NOON + chance.randrange(-150, 150) * HOUR]) for _ in range(2))

        assert await read(database, vault, wanted, start, end) == sorted(
            item
            for item in model.values()
            if item.video_id in wanted
            and (start is None or item.timestamp >= start)
            and (end is None or item.timestamp < end)
        )


async def test_one_id_is_one_video_and_no_ids_are_none(database: DatabaseManager, vault: LocalVault) -> None:
    await put(database, [reading("abc", NOON), reading("a", NOON)])

    assert await read(database, vault, "abc") == [reading("abc", NOON)]
    assert await read(database, vault, []) == []
    assert await read(database, vault, ["abc", "abc", "a"]) == [reading("a", NOON), reading("abc", NOON)]


async def test_the_start_belongs_to_a_span_and_the_end_does_not(database: DatabaseManager, vault: LocalVault) -> None:
    readings = [reading("a", NOON + number * DAY, number) for number in range(4)]
    await put(database, readings[2:])
    await archive(database, vault, readings[:2])

    assert await read(database, vault, "a", NOON, NOON + 3 * DAY) == readings[:3]
    assert await read(database, vault, "a", NOON + timedelta(microseconds=1)) == readings[1:]


async def test_epochs_are_marked(database: DatabaseManager, vault: LocalVault) -> None:
    days = [datetime(2025, 3, 30), datetime(2025, 3, 31), datetime(2026, 8, 23), datetime(2026, 8, 24)]  # noqa: DTZ001
    readings = [reading("a", day.replace(tzinfo=UTC) + 23 * HOUR) for day in days]
    await put(database, readings[::2])
    vault.append_metrics([item._asdict() for item in readings[1::2]])

    table = await timeline("a", database=database, vault=vault)
    empty = await timeline("b", database=database, vault=vault)

    assert table["epoch"].to_pylist() == [0, 1, 1, 2]
    assert empty.schema == table.schema
    assert empty.num_rows == 0


async def test_nothing_is_missed_while_it_moves_from_hot_to_cold(database: DatabaseManager, vault: LocalVault) -> None:
    readings = [reading("a", NOON + number * HOUR, number) for number in range(60)]
    await put(database, readings)

    async def move() -> None:
        for number in range(0, len(readings), 6):
            await archive(database, vault, readings[number : number + 6])

    async with asyncio.TaskGroup() as group:
        moving = group.create_task(move())
        looks = 0
        while not moving.done():
            assert await read(database, vault, "a") == readings
            looks += 1
    assert looks > 2
    assert await read(database, vault, "a") == readings


async def test_a_reader_follows_a_shard_that_was_replaced(database: DatabaseManager, vault: LocalVault) -> None:
    readings = [reading("a", NOON, 1), reading("a", NOON + HOUR, 2)]
    small = [shard for item in readings for shard in vault.append_metrics([item._asdict()])]
    await index(database, small)

    class Compacting(LocalVault):
        """Puts one large shard in the place of two small ones, just as a reader opens the second."""

        opened = 0

        def _open(self, path: str) -> object:
            self.opened += 1
            if self.opened == 2:
                self.append_metrics([item._asdict() for item in readings])
                asyncio.run_coroutine_threadsafe(_forget(database, small), loop).result(30)
                self.delete([path for shard in small for path in (shard.path, shard.manifest_path)])
            return super()._open(path)

    loop = asyncio.get_running_loop()
    assert await read(database, Compacting(vault.root), "a") == readings


async def _forget(database: DatabaseManager, shards: Sequence[ShardInfo]) -> None:
    async with database.get_connection() as conn:
        await conn.execute("DELETE FROM vault_manifest WHERE path = ANY(%s)", [[shard.path for shard in shards]])


async def test_a_proven_shard_that_is_gone_is_never_a_gap(database: DatabaseManager, vault: LocalVault) -> None:
    (shard,) = vault.append_metrics([reading("a", NOON)._asdict()])
    await index(database, [shard])
    vault.delete([shard.path, shard.manifest_path])

    with pytest.raises(VaultNotFound) as caught:
        await read(database, vault, "a")
    assert caught.value.path == shard.path
    assert await read(database, vault, "a", NOON + DAY) == []


async def test_a_damaged_shard_is_never_a_gap(database: DatabaseManager, vault: LocalVault) -> None:
    (shard,) = vault.append_metrics([reading("a", NOON)._asdict()])
    (vault.root / shard.path).write_bytes(b"PAR1PAR1")

    with pytest.raises(VaultCorrupt):
        await read(database, vault, "a")


async def test_the_hot_part_looks_at_the_partitions_of_the_span_only(database: DatabaseManager) -> None:
    start = datetime(2031, 1, 1, tzinfo=UTC)  # far from the partitions that a new database has
    async with database.get_connection() as conn:
        for day in range(1, 5):
            await conn.execute(
                f"CREATE TABLE day_{day} PARTITION OF video_stats_log "  # type: ignore[arg-type]
                f"FOR VALUES FROM ('2031-01-{day:02}') TO ('2031-01-{day + 1:02}')"
            )
        parameters = {"video_ids": ["a"], "start": start + DAY, "stop": start + 2 * DAY}
        rows = await conn.execute("EXPLAIN " + history.SQL["timeline__hot"], parameters)
        plan = "\n".join([row["QUERY PLAN"] async for row in rows])

    assert [day for day in range(1, 5) if f"day_{day}" in plan] == [2]


@pytest.mark.parametrize("name", sorted(history.SQL))
async def test_every_statement_plans_with_and_without_bounds(database: DatabaseManager, name: str) -> None:
    async with database.get_connection() as conn:
        for bound in (None, NOON):
            parameters = {"video_ids": ["a"], "start": bound, "stop": bound}
            await conn.execute("EXPLAIN " + history.SQL[name], parameters)
