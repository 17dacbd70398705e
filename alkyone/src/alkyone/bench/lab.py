"""Where benches are run: a PostgreSQL as it ships, with synchronous commits, and an eye on what others use."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

from alkyone.databases import scratch, template_of
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer

CpuSeconds = float


@dataclass
class Meanwhile:
    """What the machine did during a block: ``others`` is how many cores were busy with what is not ours."""

    seconds: float = 0.0
    others: float = 0.0


class Lab:
    """A server with scratch databases, and a folder; ``quick`` asks only whether the benches work."""

    def __init__(self, *, quick: bool = False, large: bool = False) -> None:
        self.quick = quick
        self.large = large
        # Not below a private folder: root's is closed to the account that the server runs as.
        self._home = Path(tempfile.gettempdir()) / f"pleiades-bench-{os.getpid()}"
        self._server = EmbeddedServer(self._home)  # with its own settings: fsync on, as in real life

    def __enter__(self) -> Self:
        self._server.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server.release():
            shutil.rmtree(self._home, ignore_errors=True)

    def size(self, full: int, quick: int) -> int:
        """How much of something to do."""
        return quick if self.quick else full

    @property
    def repeats(self) -> int:
        """How often to measure what is cheap."""
        return self.size(3, 1)

    @property
    def server_version(self) -> str:
        """PostgreSQL's version."""
        with psycopg.connect(self._server.conninfo_of("postgres")) as conn:
            return str(conn.info.server_version // 10_000)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Lend a folder."""
        with tempfile.TemporaryDirectory(prefix="pleiades-bench-") as name:
            yield Path(name)

    @contextmanager
    def address(self, copy_of: str | None = None) -> Iterator[str]:
        """Lend a provisioned, empty database, or a copy of another one that nobody is connected to."""
        template = template_of(self._server) if copy_of is None else str(conninfo_to_dict(copy_of)["dbname"])
        with scratch(self._server, template) as conninfo:
            yield conninfo

    @asynccontextmanager
    async def database(self, copy_of: str | None = None) -> AsyncIterator[DatabaseManager]:
        """Lend connections to what ``address`` lends."""
        with self.address(copy_of) as conninfo:
            async with DatabaseManager(conninfo) as database:
                yield database

    async def settle(self, database: DatabaseManager) -> None:
        """Bring a database that was just filled to rest, so that no vacuum or checkpoint of that falls into a bench."""
        async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as conn:
            await conn.execute("VACUUM (ANALYZE)")
            await conn.execute("CHECKPOINT")

    @contextmanager
    def watched(self) -> Iterator[Meanwhile]:
        """Watch what others take of the processor during the block."""
        meanwhile = Meanwhile()
        begun, busy, ours = time.monotonic(), _busy(), self.used()
        yield meanwhile
        meanwhile.seconds = time.monotonic() - begun
        others = (_busy() - busy) - (self.used() - ours)
        meanwhile.others = max(others / max(meanwhile.seconds, 0.01), 0.0)

    def used(self) -> CpuSeconds:
        """What this process and the server used, with all their children, ended ones too."""
        roots = [psutil.Process(), *([psutil.Process(self._server.pid)] if self._server.pid else [])]
        total = 0.0
        for root in roots:
            for process in (root, *root.children(recursive=True)):
                try:
                    total += sum(process.cpu_times()[:4])  # user, system, and those of children that ended
                except psutil.NoSuchProcess:  # it ended meanwhile, and counts as its parent's
                    continue
        return total


def environment_of(folder: Path, conninfo: str | None = None) -> dict[str, str]:
    """The environment of a process that works in this folder and at this database, whatever else is set here."""
    elsewhere = {
        name: value
        for name, value in os.environ.items()
        if name not in Settings.model_fields and not name.startswith("PREFECT_")
    }
    homes = {"PLEIADES_HOME": str(folder), "PREFECT_HOME": str(folder / "prefect")}
    return elsewhere | homes | ({} if conninfo is None else {"DATABASE_URL": _url(conninfo)})


def _url(conninfo: str) -> str:
    where = conninfo_to_dict(conninfo)
    host = quote(str(where["host"]), safe="")
    return f"postgresql://{where['user']}@/{where['dbname']}?host={host}&port={where['port']}"


def _busy() -> CpuSeconds:
    """What all processes of the machine used so far, and what the host took away."""
    times = psutil.cpu_times()
    spent = times.user + times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
    return float(spent + times.nice + getattr(times, "steal", 0.0))
