"""Agents as processes of their own: several at once, or killed between any two of their steps.

A step is whatever changes the world outside the process: a commit of what was written, a call to YouTube, a write to
the vault and each request of it, where that is in a bucket. The process stops *at* a step, before or after it, by
SIGKILL: no clean-up runs. Nothing in Atlas or Maia knows of this.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Literal, TypeVar
from unittest import mock

import orjson
from psycopg.pq import TransactionStatus
from pydantic import SecretStr

from atlas import clock, settings
from atlas import db as shared_database
from atlas._lazy import swapped
from atlas.config import Settings
from atlas.db import Connection, DatabaseManager
from atlas.hydra import HydraExecutor
from atlas.vault import LocalVault, VaultStrategy, get_vault
from atlas.vault.buckets import BucketVault
from maia.youtube.oauth import OwnerExecutor

Agent = Literal["hunter", "tracker", "painter", "scribe", "janitor", "heartbeat"]
T = TypeVar("T")

HOUR = timedelta(hours=1)
START_TIMEOUT_S = 60

BUCKETS = frozenset({"gcs", "s3"})
"""Providers whose vault is a bucket; their SDKs send every request through urllib3, and nothing else here does."""

READING = frozenset({"GET", "HEAD"})

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        "alkyone.agents",
        "maia.hunter.agent",
        "maia.tracker.agent",
        "maia.scribe.agent",
        "maia.janitor.agent",
        "maia.painter.agent",
        "alkyone.warm",
        "atlas._connection",
        "pyarrow.parquet",
        "google.cloud.storage",  # where it is not installed, that is passed over
    ]
)


@dataclass(frozen=True)
class Site:
    """Where agents work: a database, a vault, a YouTube, and settings that differ from the defaults.

    ``vault`` is a folder. A vault elsewhere is what the ``changes`` name, with what its SDK reads from the
    ``environment``; its cache lies beside the folder.
    """

    conninfo: str
    vault: Path
    endpoint: str
    key: str
    changes: tuple[tuple[str, Any], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def settings(self) -> Settings:
        """The settings of an agent at this site; the process's environment has no say."""
        return Settings.model_construct(
            **{name: field.get_default() for name, field in Settings.model_fields.items()}
            | {
                "LOCAL_VAULT_PATH": self.vault,
                "VAULT_CACHE_DIR": self.vault.with_name(f"{self.vault.name}-cache"),
                "YOUTUBE_API_ENDPOINT": self.endpoint,
                "YOUTUBE_API_KEY_POOL_JSON": SecretStr(orjson.dumps([self.key]).decode()),
                "RUNS_PER_AGENT": 0,  # agents that overlap are what these sites are for
            }
            | dict(self.changes)
        )

    def open_vault(self) -> VaultStrategy:
        """The vault of this site, for the test's own process; what an SDK reads from the environment must be there."""
        return get_vault(self.settings())


@dataclass(frozen=True)
class Run:
    """How a process ended: its exit code (-9 when killed), the steps it took, and the agent's summary."""

    exitcode: int
    steps: tuple[str, ...] = ()
    summary: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def killed(self) -> bool:
        """Did it die at the step it was told to?"""
        return self.exitcode == -signal.SIGKILL


async def run_together(agents: Sequence[Agent], site: Site, at: datetime, *, every: timedelta = HOUR) -> list[Run]:
    """Run a cycle of each of ``agents`` in a process of its own; all begin at the same moment."""
    start = _processes.Barrier(len(agents))
    return list(await asyncio.gather(*(run_agent(agent, site, at, every=every, start=start) for agent in agents)))


async def run_agent(
    agent: Agent,
    site: Site,
    at: datetime,
    *,
    kill_at: int | None = None,
    every: timedelta = HOUR,
    start: Barrier | None = None,
) -> Run:
    """Run one cycle of ``agent`` in a process whose clock stands at ``at``; kill it at step ``kill_at``.

    With ``start`` it waits for the others before it begins.
    """
    ours, theirs = _processes.Pipe(duplex=False)
    parameters = {} if agent in {"janitor", "heartbeat"} else {"every": every}
    process = _processes.Process(target=_work, args=(agent, site, at, kill_at, parameters, start, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        received = await asyncio.to_thread(_receive, ours)
        await asyncio.to_thread(process.join)
        return Run(process.exitcode or 0, *received)
    finally:
        if process.is_alive():
            process.kill()
        ours.close()


def _receive(pipe: Pipe) -> tuple[Any, ...]:
    try:
        report: tuple[Any, ...] = pipe.recv()
    except EOFError:  # it died
        return ()
    return report


def _work(
    agent: Agent,
    site: Site,
    at: datetime,
    kill_at: int | None,
    parameters: dict[str, Any],
    start: Barrier | None,
    report: Pipe,
) -> None:
    """Be the agent."""
    shared_database.__init__(site.conninfo)  # type: ignore[misc] # the shared object is bound everywhere already
    os.environ.update(site.environment)
    rules = site.settings()
    steps = Steps(kill_at)
    with ExitStack() as stack:
        stack.enter_context(swapped(settings, rules))
        stack.enter_context(clock.stopped(at))
        stack.enter_context(steps.watched())
        if rules.VAULT_PROVIDER in BUCKETS:
            stack.enter_context(steps.watched_requests())
        cycle = import_module(f"maia.{agent}.agent").run_once
        if start is not None:
            start.wait(START_TIMEOUT_S)
        try:
            summary = asyncio.run(cycle(**parameters))
        except Exception as error:
            report.send((tuple(steps.taken), None, f"{type(error).__name__}: {error}"))
            os._exit(1)
    report.send((tuple(steps.taken), summary, None))


class Steps:
    """Counts the steps of this process, and ends it at one of them."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.taken: list[str] = []
        self._kill_at = kill_at
        self._one_at_a_time = threading.Lock()  # a bucket is written to by several threads

    def reach(self, name: str) -> None:
        """Take a step, or die at it."""
        with self._one_at_a_time:
            if len(self.taken) == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.taken.append(name)

    def begin(self) -> None:
        """Begin a transaction, which is no step: nothing outside has changed."""

    async def changes(self, conn: Connection) -> bool:
        """Say whether the commit that follows is a step: to die at one that only read is to die at the step before."""
        if conn.info.transaction_status is not TransactionStatus.INTRANS:
            return False
        return bool(await conn.fetchval("SELECT pg_current_xact_id_if_assigned() IS NOT NULL"))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice every commit, call and vault write of the block."""
        with (
            self.watched_work(),
            mock.patch.object(LocalVault, "write", self._around("vault write", LocalVault.write)),
            mock.patch.object(LocalVault, "delete", self._around("vault delete", LocalVault.delete)),
            mock.patch.object(BucketVault, "write", self._around("vault write", BucketVault.write)),
            mock.patch.object(BucketVault, "delete", self._around("vault delete", BucketVault.delete)),
        ):
            yield

    @contextmanager
    def watched_work(self) -> Iterator[None]:
        """Notice every commit and call of the block."""
        with (
            mock.patch.object(DatabaseManager, "get_connection", self._transactions(DatabaseManager.get_connection)),
            mock.patch.object(HydraExecutor, "execute_async", self._calls(HydraExecutor.execute_async)),
            mock.patch.object(OwnerExecutor, "execute_async", self._calls(OwnerExecutor.execute_async)),
        ):
            yield

    @contextmanager
    def watched_requests(self) -> Iterator[None]:
        """Notice every request of the block that changes a bucket; after it means: the server has answered."""
        from urllib3 import HTTPConnectionPool  # comes with the SDKs

        original: Callable[..., Any] = HTTPConnectionPool.urlopen

        @functools.wraps(original)
        def urlopen(pool: HTTPConnectionPool, method: str, url: str, *args: Any, **options: Any) -> Any:
            if method in READING:
                return original(pool, method, url, *args, **options)
            self.reach(f"before vault {method}")
            answer = original(pool, method, url, *args, **options)
            self.reach(f"after vault {method}")
            return answer

        with mock.patch.object(HTTPConnectionPool, "urlopen", urlopen):
            yield

    def _transactions(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @asynccontextmanager
        async def get_connection(manager: DatabaseManager) -> AsyncIterator[Any]:
            self.begin()
            async with original(manager) as conn:
                yield conn
                if changes := await self.changes(conn):
                    self.reach("before commit")
            if changes:
                self.reach("after commit")

        return get_connection

    def _calls(self, original: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        @functools.wraps(original)
        async def execute_async(
            executor: HydraExecutor | OwnerExecutor, make_request: Callable[[str], Awaitable[T]], **options: Any
        ) -> T:
            async def request(key: str) -> T:
                self.reach("before call")
                answer = await make_request(key)
                self.reach("after call")
                return answer

            return await original(executor, request, **options)

        return execute_async

    def _around(self, name: str, original: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(original)
        def act(*args: Any, **options: Any) -> T:
            self.reach(f"before {name}")
            result = original(*args, **options)
            self.reach(f"after {name}")
            return result

        return act
