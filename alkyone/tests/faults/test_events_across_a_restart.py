"""An observer in another process, and a PostgreSQL that is killed while both are at work."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from alkyone.databases import NOON
from alkyone.fixtures import SetEnvironment
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.errors import DatabaseUnavailable
from atlas.events import EventBus
from atlas.setup import provision

pytestmark = pytest.mark.engine

OBSERVER = """
import asyncio, sys
from atlas import db, events
from atlas.db import DatabaseManager

over = asyncio.Event()
seen = open(sys.argv[1], "w", buffering=1)

@events.on("*")
async def observe(event):
    await asyncio.sleep(0)
    print(event.id, event.event_type, event.entity_id, file=seen)
    if event.event_type == "x.end":
        over.set()

async def main():
    async with db, events.following():
        print("ready", flush=True)
        await over.wait()

asyncio.run(main())
"""
WORKERS, ROUNDS = 4, 40


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    # Not below tmp_path: root's is closed to the account that the server runs as.
    home = Path(tempfile.mkdtemp(prefix="pleiades-test-restart-"))
    home.chmod(0o711)
    server = EmbeddedServer(home)  # with synchronous commits, as in real life
    server.acquire()
    yield server
    server.release()
    shutil.rmtree(home, ignore_errors=True)


async def test_an_observer_elsewhere_sees_every_event_once_and_in_order_though_the_database_is_killed(
    server: EmbeddedServer, tmp_path: Path, settings_env: SetEnvironment
) -> None:
    database = DatabaseManager(server.conninfo)
    await provision(database, now=NOON)
    seen = tmp_path / "seen"
    observer = subprocess.Popen(  # noqa: ASYNC220 - starts at once
        [sys.executable, "-c", OBSERVER, seen],
        env={**os.environ, "DATABASE_URL": _url(server)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert observer.stdout is not None
        assert await asyncio.to_thread(observer.stdout.readline) == "ready\n"
        bus, halfway = EventBus(database), asyncio.Event()
        async with database, asyncio.TaskGroup() as work:
            for worker in range(WORKERS):
                work.create_task(_life(database, bus, worker, halfway))
            await halfway.wait()
            postmaster = psutil.Process(server.pid)
            postmaster.kill()
            await asyncio.to_thread(postmaster.wait)
            await asyncio.to_thread(lambda: server.conninfo)  # starts it again
        async with database:
            await bus.close()
            async with database.get_connection() as conn:
                await bus.record(conn, "x.end", now=NOON)
        assert await asyncio.to_thread(observer.wait, 60) == 0
    finally:
        observer.kill()
        observer.wait()
        observer.stdout.close()  # type: ignore[union-attr]
    with psycopg.connect(server.conninfo) as conn:
        stored = conn.execute("SELECT id, event_type, entity_id FROM system_events ORDER BY id").fetchall()
    told = [(int(number), what, who) for number, what, who in (line.split() for line in seen.read_text().splitlines())]
    assert bus.lost == 0
    assert len(stored) > WORKERS * ROUNDS * 2
    assert sorted(told) == [(number, what, str(who)) for number, what, who in stored]
    for entity in {who for _, _, who in told}:
        numbers = [number for number, _, who in told if who == entity]
        assert numbers == sorted(numbers), entity


async def _life(database: DatabaseManager, bus: EventBus, worker: int, halfway: asyncio.Event) -> None:
    """Discover, mention terms that others mention too, and then emit, however often the database goes away."""
    dao = MaiaDAO(database)
    for number in range(ROUNDS):
        if worker == 0 and number == ROUNDS // 2:
            halfway.set()
        video_id = f"v{worker}-{number:07}"
        found = Discovery(video_id, f"UC{number % 5}", "A title", NOON, "DAILY", NOON, channel_title="A channel")
        while True:
            try:
                async with dao.transaction() as tx:
                    await tx.ingest_video_metadata([found], stages=(), now=NOON)
                    await tx.add_to_search_queue([f"term {n}" for n in range(number % 7)], now=NOON)
                bus.emit("x.done", video_id)
                break
            except DatabaseUnavailable:
                await asyncio.sleep(0.05)


def _url(server: EmbeddedServer) -> str:
    from urllib.parse import quote

    from psycopg.conninfo import conninfo_to_dict

    where = conninfo_to_dict(server.conninfo)
    host = quote(str(where["host"]), safe="")
    return f"postgresql://{where['user']}@/{where['dbname']}?host={host}&port={where['port']}"
