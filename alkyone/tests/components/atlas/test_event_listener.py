"""Reading the log as it grows: nothing missed that commits late, nothing twice, whatever happens to the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from alkyone.databases import NOON
from atlas.adapters.maia import MaiaDAO
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.errors import DatabaseUnavailable
from atlas.events import BEGINNING, Event, EventBus, Listener, Position

RULES = Settings.model_construct(EVENT_BUS_ENABLED=True)


@pytest_asyncio.fixture
async def bus(database: DatabaseManager) -> AsyncIterator[EventBus]:
    bus = EventBus(database, settings=RULES)
    yield bus
    await bus.close()


async def record(bus: EventBus, database: DatabaseManager, *entities: str, event_type: str = "x.y") -> None:
    async with database.get_connection() as conn:
        await bus.record_many(conn, [Event(event_type, entity) for entity in entities], now=NOON)


async def take(listener: Listener, count: int) -> list[str | None]:
    async with asyncio.timeout(30):
        return [(await anext(listener)).entity_id for _ in range(count)]


async def test_a_listener_is_given_what_is_committed_after_it_began(bus: EventBus, database: DatabaseManager) -> None:
    await record(bus, database, "before")
    async with bus.listen() as heard:
        await record(bus, database, "a", "b")
        bus.emit("x.y", "c", {"n": 1})
        event = [await anext(heard) for _ in range(3)][2]
    assert (event.event_type, event.entity_id, event.payload) == ("x.y", "c", {"n": 1})
    assert event.id
    assert event.created_at


async def test_it_is_given_only_the_types_it_asked_for(bus: EventBus, database: DatabaseManager) -> None:
    async with bus.listen("video.*", "key.disabled") as heard:
        for event_type in ("videos.retired", "video.viral", "key.enabled", "key.disabled"):
            await record(bus, database, event_type, event_type=event_type)
        assert await take(heard, 2) == ["video.viral", "key.disabled"]


async def test_transactions_that_commit_late_are_given_when_they_do_and_nothing_twice(
    bus: EventBus, database: DatabaseManager
) -> None:
    """Ids say nothing of who commits first: of ten transactions the last to begin commits first."""
    async with bus.listen() as heard, AsyncExitStack() as stack:
        transactions = []
        for number in range(10):
            conn = await stack.enter_async_context(database.dedicated())
            transaction = conn.transaction()
            await transaction.__aenter__()
            await bus.record(conn, "x.y", f"early {number}", now=NOON)
            transactions.append((conn, transaction))
        given: list[str | None] = []
        for number, (conn, transaction) in reversed(list(enumerate(transactions))):
            await bus.record(conn, "x.y", f"late {number}", now=NOON)
            await transaction.__aexit__(None, None, None)
            given += await take(heard, 2)
            await record(bus, database, f"between {number}")
            given += await take(heard, 1)
        await record(bus, database, "end")
        assert await take(heard, 1) == ["end"]
    expected = [f"{when} {n}" for n in reversed(range(10)) for when in ("early", "late", "between")]
    assert given == expected


async def test_two_that_change_one_thing_are_given_in_the_order_of_their_changes(
    bus: EventBus, database: DatabaseManager
) -> None:
    """Whoever waits for a row has the smaller transaction, and still comes second."""
    await MaiaDAO(database).add_to_search_queue(["term"], now=NOON)
    change = "UPDATE search_queue SET priority = priority + 1"
    async with bus.listen("x.*") as heard, database.dedicated() as second, database.dedicated() as first:
        async with second.transaction():
            await second.execute("SELECT pg_current_xact_id()")
            async with first.transaction():
                await first.execute(change)
                waiting = asyncio.create_task(second.execute(change))
                await bus.record(first, "x.y", "first", now=NOON)
            await waiting
            await bus.record(second, "x.y", "second", now=NOON)
            assert await take(heard, 1) == ["first"]
        assert await take(heard, 1) == ["second"]


async def test_more_than_a_page_is_given_in_order(bus: EventBus, database: DatabaseManager) -> None:
    names = [f"v{number:05}" for number in range(3_500)]
    await record(bus, database, *names)
    async with bus.listen(after=BEGINNING) as heard:
        assert await take(heard, len(names)) == names
        await record(bus, database, "more")
        assert await take(heard, 1) == ["more"]


async def test_a_later_listener_goes_on_where_one_was(bus: EventBus, database: DatabaseManager) -> None:
    names = [f"v{number}" for number in range(10)]
    given: list[str | None] = []
    position: Position | None = BEGINNING
    await record(bus, database, *names[:6])
    for batch in (2, 2, 2, 4):
        async with bus.listen(after=position) as heard:
            if batch == 4:
                await record(bus, database, *names[6:])
            given += await take(heard, batch)
            position = Position(*heard.position)
    assert given == names


async def test_a_connection_that_is_cut_is_replaced_and_the_gap_is_read(
    bus: EventBus, database: DatabaseManager, conninfo: str
) -> None:
    cut = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
    async with bus.listen() as heard:
        given: list[str | None] = []
        for number in range(3):
            await record(bus, database, f"{number}a")
            given += await take(heard, 1)
            with psycopg.connect(conninfo, autocommit=True) as admin:
                admin.execute(cut)
            await record(bus, database, f"{number}b")
            given += await take(heard, 1)
    assert given == ["0a", "0b", "1a", "1b", "2a", "2b"]


async def test_a_database_that_is_not_there_at_the_beginning_is_an_error() -> None:
    bus = EventBus(DatabaseManager("host=/nowhere dbname=none"), settings=RULES)
    with pytest.raises(DatabaseUnavailable):
        async with bus.listen():
            pass


async def test_following_the_log_tells_observers_of_everybodys_events_once(
    bus: EventBus, database: DatabaseManager
) -> None:
    other = EventBus(database, settings=RULES)
    told: list[Any] = []

    @bus.on("x.*")
    async def observe(event: Event) -> None:
        told.append((event.entity_id, event.id is not None))

    async with bus.following() as heard:
        await record(other, database, "recorded elsewhere")
        other.emit("x.y", "emitted elsewhere")
        await other.close()
        await record(bus, database, "recorded here")
        bus.emit("x.y", "emitted here")
        assert await asyncio.to_thread(bus.drain)
    assert sorted(told) == [
        (name, True) for name in ("emitted elsewhere", "emitted here", "recorded elsewhere", "recorded here")
    ]
    told.clear()
    async with bus.following(after=heard.position):
        pass
    assert told == []
    bus.emit("x.y", "here, and told here again")
    await bus.close()
    assert told == [("here, and told here again", False)]
