"""PostgreSQL stopped, restarted, read-only, out of connections, its disk full, its vacuum pinned: nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from alkyone.agents import Site
from alkyone.databases import NOON, scratch, template_of
from alkyone.disks import MountRefusedError, fill, small_disk
from alkyone.faults.life import CONNECTIONS, Ground
from alkyone.faults.schedule import AGENTS, DAY, WORLDS, Fault, Kind, Schedule, Turn
from alkyone.invariants.truth import Truth
from alkyone.scenes import AMPLE, TINY, Scene, assert_sound, cycle, open_scene, seed
from atlas import clock, vitals
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.errors import DatabaseFull, DatabaseUnavailable
from atlas.events import EventBus
from atlas.events.writer import BATCH
from atlas.retry import can_heal
from maia.heartbeat import core

HOUR = timedelta(hours=1)

EVENTS_A_SECOND, EVENTS_KEPT = 300, 6_000
"""More in a minute than are kept, by more than the batch that is on its way."""

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedServer]:
    """Give a server that nobody else uses, with few connections."""
    home = Path(tempfile.gettempdir()) / f"pleiades-test-own-{os.getpid()}"
    binaries = os.environ.get("PLEIADES_PG_BIN")
    options = {"fsync": "off", "max_connections": str(CONNECTIONS)}
    server = EmbeddedServer(home, binaries=Path(binaries) if binaries else None, settings=options)
    server.acquire()
    yield server
    if server.release():
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def gone(server: EmbeddedServer) -> Iterator[None]:
    """Have no server for the length of the block."""
    assert server.pid is not None
    postmaster = psutil.Process(server.pid)
    postmaster.send_signal(signal.SIGINT)
    postmaster.wait(60)
    yield
    _ = server.conninfo  # starts it


@contextmanager
def hung(server: EmbeddedServer) -> Iterator[None]:
    """Have a server that takes everything and answers nothing."""
    assert server.pid is not None
    postmaster = psutil.Process(server.pid)
    postmaster.suspend()
    processes = [postmaster, *postmaster.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in reversed(processes):
            process.resume()


@pytest.mark.parametrize(
    "kind", ["database.terminated", "database.restarted", "database.read-only", "database.out of connections"]
)
async def test_every_agent_loses_its_database_and_nothing_else(own: EmbeddedServer, tmp_path: Path, kind: Kind) -> None:
    turns = tuple(Turn((agent,), HOUR, (Fault(kind, nth=3),)) for agent in ("hunter", *AGENTS))

    outcome = await Ground(own, template_of(own), tmp_path).run(Schedule(0, WORLDS[0], turns))

    assert outcome.struck[kind] >= 3
    assert [str(breach) for breach in outcome.breaches] == []


async def test_agents_end_at_once_while_the_server_is_stopped_and_go_on_when_it_is_back(
    own: EmbeddedServer, tmp_path: Path
) -> None:
    async with open_scene(own, template_of(own), tmp_path, TINY, AMPLE) as here:
        with clock.use(here.youtube.clock), here.site() as site:
            await seed(site, here.world, here.youtube.now(), terms=1, channels=2)
            with gone(own):
                for agent in AGENTS:
                    with pytest.raises(DatabaseUnavailable):
                        await cycle(agent, site, every=DAY)
                assert here.youtube.calls.counts == {}, "a call was made that nothing could keep"

            for agent in AGENTS:
                await cycle(agent, site, every=DAY)
            await assert_sound(site, Truth.of_standin(here.youtube), now=here.youtube.now())


@pytest.mark.parametrize("without", [gone, hung])
async def test_a_minute_without_a_database_holds_up_no_emitter_and_what_is_lost_is_counted(
    own: EmbeddedServer, without: Callable[[EmbeddedServer], AbstractContextManager[None]]
) -> None:
    now, second = clock.VirtualClock(NOON), timedelta(seconds=1)
    emitted = [f"v{number}" for number in range(60 * EVENTS_A_SECOND)]
    with scratch(own, template_of(own)) as conninfo, clock.use(now):
        rules = Settings.model_construct(EVENT_BUS_ENABLED=True)
        bus = EventBus(DatabaseManager(conninfo), settings=rules, queue_limit=EVENTS_KEPT)
        bus.emit("x.before")
        assert bus.drain()
        with without(own):  # whoever waited for it would wait for ever
            for number, entity in enumerate(emitted, 1):
                bus.emit("x.y", entity)
                if number % EVENTS_A_SECOND == 0:
                    now.advance(second)
            assert (bus.stored, bus.lost + bus.waiting) == (1, len(emitted))
            assert EVENTS_KEPT <= bus.waiting <= EVENTS_KEPT + BATCH
        assert bus.drain(timedelta(minutes=2))
        bus.emit("x.after")
        await bus.close()

        with psycopg.connect(conninfo) as conn:
            stored = conn.execute(
                "SELECT entity_id, created_at FROM system_events WHERE event_type = 'x.y' ORDER BY id"
            ).fetchall()
            (told,) = conn.execute(
                "SELECT sum((payload ->> 'count')::int) FROM system_events WHERE event_type = 'events.lost'"
            ).fetchall()[0]
            (after,) = conn.execute("SELECT count(*) FROM system_events WHERE event_type = 'x.after'").fetchall()[0]
    assert (len(stored) + bus.lost, after) == (len(emitted), 1)
    assert told == bus.lost
    when = {entity: NOON + number // EVENTS_A_SECOND * second for number, entity in enumerate(emitted)}
    kept = {entity for entity, _ in stored}  # a batch on its way makes room for some that come late
    assert stored == [(entity, when[entity]) for entity in emitted if entity in kept]


async def test_a_full_disk_under_the_database_loses_nothing(own: EmbeddedServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk("64m"))
        except MountRefusedError as refused:
            pytest.skip(f"no disk can be mounted here: {refused}")
        async with open_scene(own, template_of(own), tmp_path, TINY, AMPLE) as here:
            with clock.use(here.youtube.clock), here.site(FRAME_WIDTH=320) as site:
                begin = here.youtube.now()
                await seed(site, here.world, begin, terms=1, channels=2)
                await cycle("hunter", site, every=DAY)
                move(site, disk / "tables")
                filler = disk / "filler"
                fill(filler)
                with psycopg.connect(site.conninfo) as conn, pytest.raises(psycopg.errors.DiskFull):
                    conn.execute("CREATE TABLE large AS SELECT generate_series(1, 100000)")

                here.youtube.set_clock(begin + DAY)
                before = len(here.youtube.served.readings)
                told: list[DatabaseFull] = []
                for agent in AGENTS:  # what there is room for goes well, what there is none for fails as a whole
                    try:
                        await cycle(agent, site, every=DAY)
                    except DatabaseFull as error:
                        told.append(error)
                with pytest.raises(DatabaseFull):
                    await take_room(site)
                for error in told:
                    assert "No space left on device" in str(error)
                    assert "Make room" in str(error)
                    assert not can_heal(error)
                unheard = {(name, begin + DAY) for name, _, _ in here.youtube.served.readings[before:]}

                filler.unlink()
                here.youtube.set_clock(begin + 2 * DAY)
                for agent in AGENTS:
                    await cycle(agent, site, every=DAY)
                truth = replace(Truth.of_standin(here.youtube), excused=frozenset(unheard), may_exceed=True)
                await assert_sound(site, truth, now=here.youtube.now(), patience=DAY)
                home(site)


async def take_room(site: Site) -> None:
    """Store more than a small disk holds."""
    async with DatabaseManager(site.conninfo) as database, database.get_connection() as conn:
        await conn.execute("CREATE TABLE large AS SELECT generate_series(1, 100000)")


def move(site: Site, folder: Path) -> None:
    """Let the database's tables lie in a folder."""
    folder.mkdir()
    with psycopg.connect(make_conninfo(site.conninfo, dbname="postgres"), autocommit=True) as admin:
        account = Path(admin.execute("SHOW data_directory").fetchall()[0][0]).stat()
        os.chown(folder, account.st_uid, account.st_gid)
        admin.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(folder))))
        admin.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE small").format(database_of(site)))


def home(site: Site) -> None:
    """Let them lie where all others do."""
    with psycopg.connect(make_conninfo(site.conninfo, dbname="postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE pg_default").format(database_of(site)))
        admin.execute("DROP TABLESPACE small")


def database_of(site: Site) -> sql.Identifier:
    return sql.Identifier(str(conninfo_to_dict(site.conninfo)["dbname"]))


async def test_a_long_transaction_pins_the_vacuum_and_the_days_and_is_told(
    own: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_scene(own, template_of(own), tmp_path, TINY, AMPLE) as here:
        with clock.use(here.youtube.clock), here.site(JANITOR_RETENTION_DAYS=1, VIDEO_STAGES=()) as site:
            begin = here.youtube.now()
            await lived(here, site)
            with psycopg.connect(site.conninfo) as reader:
                rows = reader.execute("SELECT count(*) FROM video_stats_log").fetchone()
                here.youtube.set_clock(begin + 4 * DAY)
                await cycle("janitor", site, every=DAY)  # does not wait for ever for a table that somebody reads
                with psycopg.connect(site.conninfo) as other:
                    assert other.execute("SELECT count(*) FROM video_stats_log").fetchone() == rows

                async with DatabaseManager(site.conninfo) as database:
                    seen = await vitals.read(database)
                assert seen.oldest_transaction > timedelta(0)
                monkeypatch.setattr(core, "TRANSACTION", timedelta(0))
                told = [reason.text for reason in core.judge(seen, site.settings()).reasons]
                assert any("nothing can be vacuumed" in text for text in told)

            await cycle("janitor", site, every=DAY)
            with psycopg.connect(site.conninfo) as other:
                assert other.execute("SELECT count(*) FROM video_stats_log").fetchone() != rows
            await assert_sound(site, Truth.of_standin(here.youtube), now=here.youtube.now())


async def lived(here: Scene, site: Site) -> None:
    begin = here.youtube.now()
    await seed(site, here.world, begin, terms=1, channels=2)
    await cycle("hunter", site, every=DAY)
    here.youtube.set_clock(begin + DAY)
    await cycle("tracker", site, every=DAY)
