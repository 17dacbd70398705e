"""The whole of ``maia up``: what is started in which order, kept, and stopped in the opposite one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from atlas import db, settings
from atlas.errors import AtlasError, ConfigurationError
from maia.toolbox import open_workshop
from maia.up import lock
from maia.up.engine import Engine, database_url
from maia.up.journal import Journal
from maia.up.part import FIRST_PAUSE_S, LONGEST_PAUSE_S, STOP_TIMEOUT_S, Part

if TYPE_CHECKING:
    from atlas.embedded import EmbeddedServer

PORT = 4200
"""Prefect's own."""

LOOK_S = 1.0
"""How often the database is looked after; a look at the embedded one is two small files and a process's name."""

GIVEN_LOOK_S = 15.0
CHECK_S = 15.0
SILENT_LIMIT_S = 90.0
"""A server that does not answer for so long is not busy."""

SERVING = '"event":"serving"'
"""What `maia serve --json` says once the deployments are registered."""


@dataclass(frozen=True, slots=True)
class Up:
    """What runs where, for the screen."""

    home: Path
    database: str
    page: str
    limit: int
    logs: Path

    def facts(self) -> Mapping[str, Any]:
        """The same for machines."""
        return {"database": self.database, "page": self.page, "runs_at_once": self.limit, "logs": str(self.logs)}


class Server(Part):
    """The Prefect server."""

    def __init__(self, engine: Engine, *, home: Path, journal: Journal) -> None:
        command = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(engine.port))
        super().__init__("server", command, engine.environment, home=home, journal=journal)
        self._engine = engine

    async def ready(self) -> None:
        """Wait until it answers."""
        while not await self._engine.answers():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)

    async def ill(self) -> str:
        """Wait until it has not answered for long."""
        silent = 0.0
        while silent < SILENT_LIMIT_S:
            await asyncio.sleep(CHECK_S)
            silent = 0.0 if await self._engine.answers() else silent + CHECK_S
        return f"has not answered for {SILENT_LIMIT_S:.0f} s"

    def heard(self, line: str) -> None:
        """Nothing it writes matters to us."""


class Worker(Part):
    """The process that serves the deployments."""

    def __init__(self, engine: Engine, deployments: Path, limit: int, *, home: Path, journal: Journal) -> None:
        command = ("maia", "serve", "--json", "--limit", str(limit), "--deployments", str(deployments))
        super().__init__("worker", command, engine.environment, home=home, journal=journal)
        self._engine = engine
        self._serving = asyncio.Event()

    async def clear(self) -> None:
        """End the runs of an earlier worker, and let Prefect know."""
        self._serving.clear()
        await super().clear()
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # the server may be on its way back
            if ended := await self._engine.end_unfinished():
                self._journal.say(self.name, f"runs left unfinished, shown as crashed: {ended}", event="swept")

    async def ready(self) -> None:
        """Wait until the deployments are registered."""
        await self._serving.wait()

    def heard(self, line: str) -> None:
        """Learn that they are."""
        if SERVING in line:
            self._serving.set()


async def keep_up(
    home: Path,
    journal: Journal,
    *,
    deployments: Path,
    port: int | None,
    limit: int,
    on_up: Callable[[Up], None] = lambda _: None,
) -> None:
    """Have it all up until SIGINT, SIGTERM or SIGHUP; then stop it, by force at a second signal.

    ``port`` None: Prefect's own where it is free, else any that is.

    Raises:
        ConfigurationError: a setting is wrong, or the port is taken.
        DatabaseUnavailable: the embedded database does not start.
        PartFailed: the server or the worker does not start.
    """
    hurry = asyncio.Event()
    stopping = False
    whole = asyncio.current_task()

    def stop() -> None:
        nonlocal stopping
        if stopping:
            hurry.set()
            return
        stopping = True
        journal.say("up", "stopping: runs at work give back what they hold", event="stopping")
        if whole is not None:
            whole.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        async with AsyncExitStack() as house:
            await _clear(home, journal)
            async with open_workshop("hunter"):
                pass  # what is missing is told before anything is started
            database = await house.enter_async_context(_database(journal))
            engine = Engine(home / "prefect", _port(port), await database_url(await asyncio.to_thread(_conninfo)))
            server = Server(engine, home=home, journal=journal)
            worker = Worker(engine, deployments, limit, home=home, journal=journal)
            keepers = [await house.enter_async_context(part.kept(hurry)) for part in (server, worker)]
            on_up(Up(home, database.words, engine.page, limit, journal.folder))
            done, _ = await asyncio.wait([database.keeper, *keepers], return_when=asyncio.FIRST_COMPLETED)
            for keeper in done:
                keeper.result()
    except asyncio.CancelledError:
        if not stopping:
            raise
    journal.say("up", "stopped", "good", event="stopped")


async def _clear(home: Path, journal: Journal) -> None:
    """End what a killed ``maia up`` left behind; it is about to end by itself."""
    leftovers = await asyncio.to_thread(lock.members, home)
    if leftovers:
        journal.say("up", f"ending {len(leftovers)} processes that a killed one left behind", event="cleared")
        await asyncio.to_thread(lock.end, leftovers, STOP_TIMEOUT_S)


def _port(wanted: int | None) -> int:
    for port in (PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            # As the server will do it: the last one's connections may linger.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as exc:
                if port == wanted:
                    raise ConfigurationError(f"port {port} cannot be used ({exc.strerror}): give another") from None
            else:
                found: int = probe.getsockname()[1]
                return found
    raise ConfigurationError("no port of this machine is free")


# -- The database -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kept:
    """The database, looked after by ``keeper``; ``words`` say what it is."""

    words: str
    keeper: asyncio.Task[None]


@asynccontextmanager
async def _database(journal: Journal) -> AsyncIterator[_Kept]:
    if not db.is_embedded:
        async with _looked_after(_watch_given(journal)) as keeper:
            yield _Kept("PostgreSQL, as DATABASE_URL says", keeper)
        return
    from atlas.embedded import EmbeddedServer

    server = await asyncio.to_thread(EmbeddedServer.shared, settings.home, binaries=settings.PLEIADES_PG_BIN)
    try:
        async with _looked_after(_keep_embedded(server, journal)) as keeper:
            yield _Kept(f"PostgreSQL, embedded, process {server.pid}", keeper)
    finally:
        if not await asyncio.to_thread(server.release):
            journal.say("database", "left running: other processes use it", event="left")


@asynccontextmanager
async def _looked_after(look: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    keeper = asyncio.create_task(look, name="database")
    try:
        yield keeper
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def _keep_embedded(server: EmbeddedServer, journal: Journal) -> None:
    """Start the embedded server again whenever it is gone; a run may have done so before us."""
    known, pause = server.pid, FIRST_PAUSE_S
    while True:
        await asyncio.sleep(LOOK_S)
        pid = await asyncio.to_thread(lambda: server.pid)
        if pid == known:
            continue
        try:
            await asyncio.to_thread(lambda: server.conninfo)
        except AtlasError as exc:
            journal.say("database", f"does not start: {exc}; again in {pause:g} s", "bad", event="failed")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            continue
        gone, known, pause = known, server.pid, FIRST_PAUSE_S
        journal.say("database", f"process {gone} was gone; up again as process {known}", "bad", event="up", pid=known)


async def _watch_given(journal: Journal) -> None:
    """Say when a database that is not ours to keep goes away, and when it is back."""
    well = True
    async with db:
        while True:
            await asyncio.sleep(GIVEN_LOOK_S)
            if (answers := await db.health_check()) != well:
                well = answers
                words = "answers again" if well else "does not answer; what needs it waits"
                journal.say("database", words, "good" if well else "bad", event="up" if well else "ended")


def _conninfo() -> str:
    return db.conninfo
