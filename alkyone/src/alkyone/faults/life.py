"""One run: a fresh site, turns in which things go wrong, calm ones until nothing is left to do, and the invariants."""

from __future__ import annotations

import asyncio
import errno
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString, cast

import aiohttp
import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from alkyone import snapshots
from alkyone.agents import Run, Site, run_agent, run_together
from alkyone.faults.schedule import AGENTS, DAY, MINUTE, STEPS, Fault, Kind, Schedule, Turn
from alkyone.faults.workers import Killed, Worker, disk, unavailable, watched
from alkyone.invariants import SKEW, Breach, check
from alkyone.invariants.truth import Instant, Truth
from alkyone.scenes import AMPLE, Scene, seed
from alkyone.standins.youtube import YouTubeStandin
from alkyone.standins.youtube.faults import Kind as YouTubeKind
from alkyone.worlds import World, open_world
from atlas import clock, settings
from atlas._lazy import swapped
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.errors import AtlasError, ConfigurationError, DatabaseUnavailable, VaultError

CONNECTIONS = 40
"""What the server of the runs allows: few enough to be used up."""

TIMEOUT = timedelta(seconds=1)
"""How long a call to YouTube may take."""

CALM = (65 * MINUTE, DAY)
"""When the calm turns come, one after another: past every lease, and every retry."""

RULES: Mapping[str, Any] = {
    "JANITOR_RETENTION_DAYS": 1,
    "JANITOR_EVENT_RETENTION_DAYS": 1,
    "VAULT_RETENTION_DAYS": 6,
    "HUNTER_NEW_TERMS": 2,
    "FRAME_WIDTH": 320,
}
"""So that within days something is archived, retired, merged and expired."""

EXPECTED: dict[str, tuple[type[BaseException], ...]] = {
    "kill": (Killed,),
    "vault": (VaultError, ConfigurationError),  # the second says what to do where the first folder cannot be made
    "database": (DatabaseUnavailable,),
}
"""What a cycle may end with when a fault of a layer befell it; in all other cases it ends well."""


@dataclass
class Outcome:
    """What befell a run, by kind, and which promises it broke; turns are counted for those who want to know."""

    schedule: Schedule
    struck: Counter[Kind] = field(default_factory=Counter)
    breaches: list[Breach] = field(default_factory=list)
    cycles: int = 0
    readings: int = 0
    leftovers: int = 0


class Ground:
    """A PostgreSQL, a template and worlds, for many runs."""

    def __init__(self, postgres: EmbeddedServer, template: str, folder: Path) -> None:
        self.postgres = postgres
        self._template = template
        self._folder = folder
        self._worlds: dict[str, World] = {}

    def restart(self) -> None:
        """Stop the server at once, as a crash does, and start it again, which recovers."""
        pid = self.postgres.pid
        assert pid is not None
        process = psutil.Process(pid)
        process.send_signal(signal.SIGQUIT)
        process.wait(60)
        _ = self.postgres.conninfo

    async def run(self, schedule: Schedule, *, processes: bool = False) -> Outcome:
        """Live through a schedule; with ``processes`` each agent is a process, and to be killed is kill -9."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            async with self._scene(schedule.world, Path(folder)) as here:
                return await self._live(schedule, here, processes=processes)

    async def _live(self, schedule: Schedule, here: Scene, *, processes: bool) -> Outcome:
        with ExitStack() as stack:
            site = stack.enter_context(here.site(**RULES))
            stack.enter_context(clock.use(here.youtube.clock))
            stack.enter_context(swapped(settings, site.settings()))
            stack.enter_context(watched())
            await seed(site, here.world, here.youtube.now(), terms=1, channels=2)
            life = _Life(self, here, site, schedule, processes=processes)
            await life.live()
            return life.outcome

    @asynccontextmanager
    async def _scene(self, spec: str, folder: Path) -> AsyncIterator[Scene]:
        world = self._worlds.setdefault(spec, open_world(spec))
        now = clock.VirtualClock(world.start + timedelta(days=10))
        async with YouTubeStandin(world, clock=now, limits=AMPLE) as youtube:
            yield Scene(self.postgres, self._template, folder, youtube, AMPLE)


class _Life:
    """A run under way."""

    def __init__(self, ground: Ground, here: Scene, site: Site, schedule: Schedule, *, processes: bool) -> None:
        self.outcome = Outcome(schedule)
        self._ground = ground
        self._here = here
        self._site = site
        self._processes = processes
        self._now = cast("clock.VirtualClock", here.youtube.clock)
        self._excused: set[Instant] = set()
        self._moved: dict[Instant, Instant] = {}
        self._denied: set[str] = set()
        """Videos that YouTube said were not there: they are found again when their channel is listed next, in days."""
        self._skew = SKEW
        self._admin: psycopg.Connection[Any] | None = None
        self._counting = threading.Lock()

    async def live(self) -> None:
        """Go through all turns, and look."""
        try:
            await self._turns()
            await self._look()
        finally:
            if self._admin is not None:
                self._admin.close()

    async def _turns(self) -> None:
        for turn in self.outcome.schedule.turns:
            self._now.advance(turn.after)
            await self._turn(turn)
        for after in CALM:
            self._now.advance(after + self._skew - SKEW if after is CALM[0] else after)
            for agent in AGENTS:
                await self._turn(Turn((agent,), timedelta(0), ()))

    async def _look(self) -> None:
        async with DatabaseManager(self._site.conninfo) as database:
            report = await check(
                database,
                self._site.open_vault(),
                rules=self._site.settings(),
                now=self._now(),
                truth=self._truth(),
                at_rest=True,
                patience=2 * DAY,
                skew=self._skew,
            )
        self.outcome.breaches += report.breaches
        self.outcome.leftovers = len(report.leftovers)
        self.outcome.readings = len(self._here.youtube.served.readings)

    def _truth(self) -> Truth:
        truth = Truth.of_standin(self._here.youtube)
        layers = {kind.partition(".")[0] for kind in self.outcome.struck}
        return replace(
            truth,
            served={self._moved.get(key, key): reading for key, reading in truth.served.items()},
            excused=frozenset(self._excused),
            gone=truth.gone | self._denied,
            may_exceed=bool(layers & {"kill", "database"} or UNHEARD & self.outcome.struck.keys()),
            days_may_differ="clock.jump" in self.outcome.struck,
        )

    # -- A turn -------------------------------------------------------------------------------------------------------

    async def _turn(self, turn: Turn) -> None:
        before, began = len(self._here.youtube.served.readings), self._now()
        struck: Counter[Kind] = Counter()
        with self._befallen(turn.faults, struck) as hook:
            if self._processes:
                errors = await self._in_processes(turn, struck)
            else:
                workers = [Worker(agent, hook) for agent in turn.agents]
                await asyncio.gather(
                    *(asyncio.to_thread(worker.run, self._site, every=DAY, timeout=TIMEOUT) for worker in workers)
                )
                errors = [worker.error for worker in workers]
        await self._heard()
        self.outcome.cycles += len(turn.agents)
        self.outcome.struck += struck
        layers = {kind.partition(".")[0] for kind in struck}
        for agent, error in zip(turn.agents, errors, strict=True):
            if error is not None and not any(isinstance(error, EXPECTED.get(layer, ())) for layer in layers):
                told = f"{type(error).__name__}: {error}"
                self.outcome.breaches.append(
                    Breach("ends_well", "A cycle fails only for what befell it", 1, (f"{agent}: {told}",))
                )
        self._skew += sum((fault.span for fault in turn.faults if fault.kind == "clock.back"), timedelta(0))
        fresh = [(name, datetime.fromisoformat(at)) for name, at, _ in self._here.youtube.served.readings[before:]]
        if layers & {"kill", "database"}:
            self._excused.update(fresh)
        if self._now() != began:
            self._follow_the_clock(fresh, began)

    async def _heard(self) -> None:
        """Let YouTube hear, before the clock goes on, what a worker had asked when it died: it came before this."""
        async with aiohttp.ClientSession(raise_for_status=True) as http:
            for _ in range(2):
                async with http.get(f"{self._here.youtube.endpoint}/_standin/clock") as answer:
                    await answer.read()

    def _follow_the_clock(self, fresh: Sequence[Instant], began: datetime) -> None:
        """Find readings that were taken before the clock jumped and stored after it, or the other way round."""
        stored = snapshots.known(self._site.conninfo, self._site.open_vault())
        served = Truth.of_standin(self._here.youtube).served
        for video_id, at in fresh:
            for other in (began, self._now()):
                key = (video_id, other)
                if (video_id, at) not in stored and key not in served and stored.get(key) == served[video_id, at]:
                    self._moved[video_id, at] = key

    async def _in_processes(self, turn: Turn, struck: Counter[Kind]) -> list[BaseException | None]:
        kill = next((fault for fault in turn.faults if fault.layer == "kill"), None)
        if len(turn.agents) > 1:
            runs = await run_together(turn.agents, self._site, self._now(), every=DAY)
        else:
            at = kill.nth * 3 + len(kill.kind) % 3 if kill else None
            runs = [await run_agent(next(iter(turn.agents)), self._site, self._now(), kill_at=at, every=DAY)]
            if kill is not None and runs[0].killed:
                struck[kill.kind] += 1
        return [_error(run) for run in runs]

    # -- What befalls it ----------------------------------------------------------------------------------------------

    @contextmanager
    def _befallen(self, faults: Sequence[Fault], struck: Counter[Kind]) -> Iterator[Any]:
        """Let things go wrong for the length of the block; gives what is called at each step."""
        youtube = self._here.youtube
        self._as_admin()  # before all connections are used up
        pending = list(faults)
        with ExitStack() as stack:
            asked = []
            for fault in faults:
                match fault.layer:
                    case "youtube":
                        asked.append((fault, self._spoil(fault)))
                    case "together":
                        struck[fault.kind] += 1
                    case "clock" if fault.kind != "clock.jump":
                        struck[fault.kind] += 1
                    case "database" if fault.kind not in STEPS:
                        stack.enter_context(self._without_database(fault))
                        struck[fault.kind] += 1
                    case "vault" if fault.what in DISK:
                        stack.enter_context(self._failing_disk(fault, struck))
                    case _:
                        pass

            def hook(worker: Worker, name: str, nth: int) -> None:
                for fault in list(pending):
                    if fault.layer != "youtube" and fault.nth == nth and name == STEPS.get(fault.kind):
                        with self._counting:
                            if fault not in pending:
                                continue
                            pending.remove(fault)
                            struck[fault.kind] += 1
                        self._befall(fault, worker)

            yield hook
            for fault, spoiled in asked:
                if spoiled.hits:
                    struck[fault.kind] += 1
            youtube.faults.clear()

    def _spoil(self, fault: Fault) -> Any:
        kind = cast("YouTubeKind", fault.what)
        if kind == "missing_ids":
            ids = tuple(self._here.world.search("", None, None, "date", self._now())[:3])
            self._denied.update(ids)
            return self._here.youtube.faults.add(kind, ids=ids, times=fault.times)
        return self._here.youtube.faults.add(kind, times=fault.times)

    def _befall(self, fault: Fault, worker: Worker) -> None:
        match fault.kind:
            case "database.terminated":
                self._terminate()
            case "database.restarted":
                self._ground.restart()
            case "clock.jump":
                self._now.advance(fault.span)
            case "vault.timeout":
                raise unavailable("no answer in time")
            case "vault.lost answer":
                raise unavailable("the answer was lost")
            case "vault.unreadable":
                raise unavailable("cannot be read now")
            case _:
                worker.kill()

    @contextmanager
    def _failing_disk(self, fault: Fault, struck: Counter[Kind]) -> Iterator[None]:
        written = 0

        def befall() -> OSError | None:
            nonlocal written
            written += 1
            if written != fault.nth + 1:
                return None
            struck[fault.kind] += 1
            return OSError(DISK[fault.what], "as told")

        with disk(befall):
            yield

    @contextmanager
    def _without_database(self, fault: Fault) -> Iterator[None]:
        if fault.kind == "database.read-only":
            self._alter("ALTER DATABASE {} SET default_transaction_read_only = on")
            try:
                yield
            finally:
                self._alter("ALTER DATABASE {} RESET default_transaction_read_only")
            return
        others = []
        try:
            while True:
                try:
                    others.append(psycopg.connect(self._site.conninfo))
                except psycopg.OperationalError:
                    break
            yield
        finally:
            for other in others:
                other.close()

    def _alter(self, statement: LiteralString) -> None:
        self._as_admin().execute(sql.SQL(statement).format(sql.Identifier(self._database)))

    def _terminate(self) -> None:
        self._as_admin().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._database]
        )

    def _as_admin(self) -> psycopg.Connection[Any]:
        """Give a connection to another database of the server, kept while all others are used up."""
        try:
            if self._admin is not None:
                self._admin.execute("SELECT 1")
        except psycopg.OperationalError:
            self._admin = None
        if self._admin is None:
            self._admin = psycopg.connect(make_conninfo(self._site.conninfo, dbname="postgres"), autocommit=True)
        return self._admin

    @property
    def _database(self) -> str:
        return str(conninfo_to_dict(self._site.conninfo)["dbname"])


UNHEARD: frozenset[Kind] = frozenset({"youtube.hang", "youtube.drip", "youtube.reset", "youtube.oversized"})
"""After which nobody here can know whether YouTube counted the call."""

DISK = {"partial write": errno.EIO, "denied": errno.EACCES, "full": errno.ENOSPC}
"""What a disk says."""


def _error(run: Run) -> BaseException | None:
    if run.killed:
        return Killed()
    return AtlasError(run.error) if run.error else None
