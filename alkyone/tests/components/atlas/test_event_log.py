from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from atlas import clock
from atlas.db import DatabaseManager
from atlas.events import Event, EventBus

ALL = "SELECT event_type, entity_id, payload, created_at FROM system_events ORDER BY id"


async def logged(database: DatabaseManager) -> list[Any]:
    async with database.get_connection() as conn:
        return await conn.fetch(ALL)


async def test_an_event_carries_its_entity_payload_and_time(
    database: DatabaseManager, frozen_clock: clock.VirtualClock
) -> None:
    async with database.get_connection() as conn:
        await EventBus().record(conn, "video.discovered", "dQw4w9WgXcQ", {"title": "Ωé 🎈", "views": 2**40})

    assert await logged(database) == [
        {
            "event_type": "video.discovered",
            "entity_id": "dQw4w9WgXcQ",
            "payload": {"title": "Ωé 🎈", "views": 2**40},
            "created_at": frozen_clock(),
        }
    ]


async def test_entity_and_payload_may_be_absent(database: DatabaseManager) -> None:
    async with database.get_connection() as conn:
        await EventBus().record(conn, "partition.archived")

    (event,) = await logged(database)
    assert (event["entity_id"], event["payload"]) == (None, {})


async def test_dates_and_uuids_in_a_payload_become_text(database: DatabaseManager) -> None:
    token = UUID("12345678-1234-5678-1234-567812345678")
    noon = datetime(2026, 11, 10, 12, tzinfo=UTC)

    async with database.get_connection() as conn:
        await EventBus().record(conn, "x.y", payload={"token": token, "day": noon.date(), "at": noon})

    (event,) = await logged(database)
    assert event["payload"] == {"token": str(token), "day": "2026-11-10", "at": "2026-11-10T12:00:00+00:00"}


async def test_many_events_keep_their_order_and_share_one_statement(database: DatabaseManager) -> None:
    events = [Event("video.discovered", f"video-{number:06}", {"n": number}) for number in range(2_000)]

    async with database.get_connection() as conn:
        await EventBus().record_many(conn, iter(events))
        rows = await conn.fetch("SELECT DISTINCT xmin::text FROM system_events")

    assert len(rows) == 1
    assert [event["entity_id"] for event in await logged(database)] == [event.entity_id for event in events]


async def test_no_events_is_no_statement(database: DatabaseManager) -> None:
    async with database.get_connection() as conn:
        await EventBus().record_many(conn, [])

    assert await logged(database) == []


async def test_an_event_is_there_exactly_when_its_change_is(database: DatabaseManager) -> None:
    async def change() -> None:
        async with database.get_connection() as conn:
            await EventBus().record(conn, "video.discovered", "dQw4w9WgXcQ")
            await conn.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await change()

    assert await logged(database) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE system_events SET entity_id = 'x'",
        "DELETE FROM system_events",
        "TRUNCATE system_events",
        "TRUNCATE system_events_20261110",
        "TRUNCATE system_events_default",
    ],
)
async def test_nobody_rewrites_the_log(database: DatabaseManager, change: str) -> None:
    async with database.get_connection() as conn:
        await EventBus().record(conn, "video.discovered", "dQw4w9WgXcQ")

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="immutable"):
        async with database.get_connection() as conn:
            await conn.execute(change)  # type: ignore[arg-type]

    assert len(await logged(database)) == 1
