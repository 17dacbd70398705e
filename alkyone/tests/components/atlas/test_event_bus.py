"""Emitting in passing: into a real database, from anywhere, and never in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from alkyone.fixtures import SetEnvironment
from atlas import clock
from atlas._besteffort import losses
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.events import Event, EventBus

VIDEO = "dQw4w9WgXcQ"
SOON = timedelta(milliseconds=200)
NOWHERE = "host=/nowhere dbname=none connect_timeout=2"
RULES = Settings.model_construct(EVENT_BUS_ENABLED=True)


@pytest_asyncio.fixture
async def bus(database: DatabaseManager) -> AsyncIterator[EventBus]:
    bus = EventBus(database, settings=RULES)
    yield bus
    await bus.close()


async def log(database: DatabaseManager) -> list[Any]:
    async with database.get_connection() as conn:
        return await conn.fetch("SELECT event_type, entity_id, payload, created_at FROM system_events ORDER BY id")


@pytest.mark.parametrize(
    ("arguments", "entity", "payload"),
    [
        pytest.param((VIDEO, {"views": 1}), VIDEO, {"views": 1}, id="entity and payload"),
        pytest.param((VIDEO,), VIDEO, {}, id="entity alone"),
        pytest.param((), None, {}, id="neither"),
        pytest.param(({"video_id": VIDEO, "n": 1},), VIDEO, {"video_id": VIDEO, "n": 1}, id="a payload with a video"),
        pytest.param(({"channel_id": "UC1"},), "UC1", {"channel_id": "UC1"}, id="a payload with a channel"),
        pytest.param(({"n": 1},), None, {"n": 1}, id="a payload about nobody"),
    ],
)
async def test_both_call_forms_are_stored(
    bus: EventBus,
    database: DatabaseManager,
    frozen_clock: clock.VirtualClock,
    arguments: tuple[Any, ...],
    entity: str | None,
    payload: dict[str, Any],
) -> None:
    bus.emit("x.y", *arguments)
    await bus.close()

    assert await log(database) == [
        {"event_type": "x.y", "entity_id": entity, "payload": payload, "created_at": frozen_clock()}
    ]


async def test_a_payload_is_stored_as_it_was_when_it_was_emitted(bus: EventBus, database: DatabaseManager) -> None:
    payload = {"n": 1}
    bus.emit("x.y", payload)
    payload["n"] = 2
    await bus.close()

    assert [event["payload"] for event in await log(database)] == [{"n": 1}]


async def test_events_from_many_threads_are_all_stored_in_the_order_of_each(
    bus: EventBus, database: DatabaseManager
) -> None:
    def work(name: str) -> None:
        for number in range(2_000):
            bus.emit("x.y", name, {"n": number})

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    await bus.close()

    events = await log(database)
    assert (len(events), bus.stored, bus.lost, bus.waiting) == (8_000, 8_000, 0, 0)
    for name in ("t0", "t1", "t2", "t3"):
        assert [e["payload"]["n"] for e in events if e["entity_id"] == name] == list(range(2_000))


async def test_switched_off_it_stores_nothing_and_tells_nobody(database: DatabaseManager) -> None:
    bus = EventBus(database, settings=Settings.model_construct(EVENT_BUS_ENABLED=False))
    told: list[Event] = []

    @bus.on("*")
    async def observe(event: Event) -> None:
        told.append(event)

    bus.emit("x.y", VIDEO)
    await bus.close()

    assert (await log(database), told, bus.lost) == ([], [], 0)


async def test_settings_that_cannot_be_read_cost_an_event_and_nothing_else(settings_env: SetEnvironment) -> None:
    settings_env(EVENT_BUS_ENABLED="perhaps")
    before = losses["event"]

    EventBus().emit("x.y", VIDEO)

    assert losses["event"] == before + 1


async def test_what_is_no_json_is_lost_and_counted(bus: EventBus, database: DatabaseManager) -> None:
    before = losses["event"]
    bus.emit("x.y", VIDEO, {"what": object()})
    bus.emit("x.y", VIDEO, {"what": 1})
    await bus.close()

    assert len(await log(database)) == 1
    assert losses["event"] == before + 1


async def test_one_event_that_the_database_refuses_takes_no_other_with_it(
    bus: EventBus, database: DatabaseManager
) -> None:
    for number in range(100):
        bus.emit("x.y", f"v{number}", {"text": "\0" if number in {13, 77} else "fine"})
    await bus.close()

    events = await log(database)
    assert [event["entity_id"] for event in events if event["event_type"] == "x.y"] == [
        f"v{number}" for number in range(100) if number not in {13, 77}
    ]
    assert [event["payload"] for event in events if event["event_type"] == "events.lost"] == [{"count": 2}]
    assert (bus.stored, bus.lost) == (98, 2)


async def test_without_a_database_nothing_blocks_and_the_overflow_is_counted_exactly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = EventBus(DatabaseManager(NOWHERE), settings=RULES, queue_limit=50)
    caplog.set_level(logging.ERROR)
    before = losses["event"]
    for number in range(400):
        bus.emit("x.y", f"v{number}")
    assert bus.lost + bus.waiting == 400

    await bus.close(SOON)

    assert (bus.stored, bus.lost, bus.waiting) == (0, 400, 0)
    assert losses["event"] == before + 400
    assert "the database did not take them in time" in caplog.text


async def test_when_the_database_comes_back_what_waited_is_stored_and_what_was_lost_is_told(
    database: DatabaseManager, conninfo: str
) -> None:
    away = DatabaseManager(NOWHERE)
    bus = EventBus(away, settings=RULES, queue_limit=50)
    for number in range(80):
        bus.emit("x.y", f"v{number}")
    assert not await asyncio.to_thread(bus.drain, SOON)

    away._conninfo = conninfo  # it is back
    bus.emit("x.y", "late")
    await bus.close()

    events = await log(database)
    stored = [event["entity_id"] for event in events if event["event_type"] == "x.y"]
    told = sum(event["payload"]["count"] for event in events if event["event_type"] == "events.lost")
    assert stored == [*stored[:-1], "late"]
    assert bus.lost == told == 81 - len(stored)
    assert stored[:50] == [f"v{number}" for number in range(50)]


async def test_a_batch_whose_answer_was_lost_is_not_stored_twice(
    bus: EventBus, database: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = psycopg.Connection.execute
    failures = iter([True])

    def lose_the_answer(conn: Any, query: Any, *args: Any, **options: Any) -> Any:
        answer = execute(conn, query, *args, **options)
        if "OVERRIDING" in str(query) and next(failures, False):
            raise psycopg.OperationalError("the connection broke after the commit")
        return answer

    monkeypatch.setattr(psycopg.Connection, "execute", lose_the_answer)
    for number in range(10):
        bus.emit("x.y", f"v{number}")
    await bus.close()

    assert [event["entity_id"] for event in await log(database)] == [f"v{number}" for number in range(10)]
    assert (bus.stored, bus.lost) == (10, 0)


async def test_a_closed_bus_can_be_used_again(bus: EventBus, database: DatabaseManager) -> None:
    for number in range(3):
        bus.emit("x.y", f"v{number}")
        await bus.close()

    assert len(await log(database)) == 3


def test_a_short_program_without_an_event_loop_stores_what_it_emitted_before_it_ends(
    conninfo: str, database_url: str
) -> None:
    program = "from atlas import events; [events.emit('x.y', f'v{n}') for n in range(100)]"
    subprocess.run([sys.executable, "-c", program], env={"DATABASE_URL": database_url}, check=True, timeout=60)

    with psycopg.connect(conninfo) as conn:
        assert conn.execute("SELECT count(*) FROM system_events").fetchone() == (100,)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking beside a thread is what is tested
def test_a_forked_child_stores_its_own_events_and_not_its_parents(conninfo: str) -> None:
    bus = EventBus(DatabaseManager(conninfo), settings=RULES)
    bus.emit("x.y", "parent")

    def child() -> None:
        bus.emit("x.y", "child")
        bus.drain()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    bus.drain()

    with psycopg.connect(conninfo) as conn:
        rows = conn.execute("SELECT entity_id FROM system_events ORDER BY 1").fetchall()
    assert rows == [("child",), ("parent",)]


# -- Observers of this process ----------------------------------------------------------------------------------------


async def test_observers_are_told_of_what_they_asked_for(bus: EventBus) -> None:
    told: dict[str, list[str]] = {"exact": [], "videos": [], "all": []}

    @bus.on("video.viral")
    async def exact(event: Event) -> None:
        told["exact"].append(event.event_type)

    @bus.on("video.*")
    async def videos(event: Event) -> None:
        told["videos"].append(event.event_type)

    @bus.on()
    async def everything(event: Event) -> None:
        told["all"].append(event.event_type)

    for event_type in ("video.viral", "video.revived", "videos.retired", "channel.renamed"):
        bus.emit(event_type, VIDEO)
    await bus.close()

    assert {name: sorted(types) for name, types in told.items()} == {
        "exact": ["video.viral"],
        "videos": ["video.revived", "video.viral"],
        "all": ["channel.renamed", "video.revived", "video.viral", "videos.retired"],
    }


async def test_an_entitys_events_are_observed_in_order_and_others_meanwhile(bus: EventBus) -> None:
    seen: list[tuple[str | None, Any]] = []
    gate = asyncio.Event()

    @bus.on("x.y")
    async def observe(event: Event) -> None:
        if event.entity_id == "slow":
            await gate.wait()
        seen.append((event.entity_id, (event.payload or {})["n"]))
        if len(seen) == 200:
            gate.set()

    for number in range(100):
        for entity in ("slow", "a", "b"):
            bus.emit("x.y", entity, {"n": number})
    await bus.close()

    for entity in ("a", "b", "slow"):
        assert [n for who, n in seen if who == entity] == list(range(100))


async def test_an_observer_that_fails_harms_neither_emitter_nor_others(
    bus: EventBus, database: DatabaseManager
) -> None:
    told: list[str | None] = []

    @bus.on("x.y")
    async def broken(event: Event) -> None:
        raise RuntimeError("no")

    @bus.on("x.y")
    async def sound(event: Event) -> None:
        told.append(event.entity_id)

    before = losses["observed event"]
    for number in range(3):
        bus.emit("x.y", f"v{number}")
    await bus.close()

    assert sorted(told) == ["v0", "v1", "v2"]
    assert losses["observed event"] == before + 3
    assert len(await log(database)) == 3


async def test_what_is_recorded_is_observed_once_it_is_committed_and_never_when_it_is_not(
    bus: EventBus, database: DatabaseManager
) -> None:
    told: list[str | None] = []

    @bus.on("*")
    async def observe(event: Event) -> None:
        told.append(event.entity_id)

    async def undone() -> None:
        async with database.get_connection() as conn:
            await bus.record(conn, "x.y", "undone")
            raise KeyError

    with pytest.raises(KeyError):
        await undone()
    async with database.get_connection() as conn:
        await bus.record(conn, "x.y", "kept")
        async with conn.transaction():
            await bus.record(conn, "x.y", "kept too")
        async with conn.transaction(force_rollback=True):
            await bus.record(conn, "x.y", "in a savepoint that is undone")
        await asyncio.sleep(0)
        assert told == []
    await bus.close()

    assert sorted(filter(None, told)) == ["kept", "kept too"]


async def test_observers_are_told_in_the_event_loop_of_their_process_whoever_emits(bus: EventBus) -> None:
    seen: asyncio.Queue[str | None] = asyncio.Queue()

    @bus.on("x.y")
    async def observe(event: Event) -> None:
        seen.put_nowait(event.entity_id)

    bus.emit("x.y", "from the loop")
    await asyncio.to_thread(bus.emit, "x.y", "from a thread")

    assert {await seen.get(), await seen.get()} == {"from the loop", "from a thread"}


def test_observers_are_told_without_an_event_loop_too(conninfo: str) -> None:
    bus = EventBus(DatabaseManager(conninfo), settings=RULES)
    told = threading.Event()

    @bus.on("x.y")
    async def observe(event: Event) -> None:
        told.set()

    bus.emit("x.y", "from a program without a loop")

    assert told.wait(30)
    bus.drain()


async def test_an_observer_may_emit_and_may_leave(bus: EventBus, database: DatabaseManager) -> None:
    @bus.on("x.y")
    async def observe(event: Event) -> None:
        bus.off(observe)
        bus.emit("x.seen", event.entity_id)

    bus.emit("x.y", "one")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    bus.emit("x.y", "two")
    await bus.close()

    assert sorted((e["event_type"], e["entity_id"]) for e in await log(database)) == [
        ("x.seen", "one"),
        ("x.y", "one"),
        ("x.y", "two"),
    ]
