"""Agents in this process, each in a thread and an event loop of its own, that faults befall at their steps.

To be killed here is an exception that no code of ours catches, after which nothing of that worker reaches the outside
any more: no statement, no commit, no call, no write. What was open is rolled back, as the server does for the dead.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar
from unittest import mock

from alkyone.agents import Agent, Site, Steps
from alkyone.scenes import work
from atlas import _connection
from atlas.db import Connection
from atlas.errors import VaultUnavailable
from atlas.vault import LocalVault, local

T = TypeVar("T")

Hook = Callable[["Worker", str, int], None]
"""Called at each step with its name, and how often there was such a one before."""

_working: ContextVar[Worker | None] = ContextVar("_working", default=None)


class Killed(BaseException):
    """The worker is dead."""


class Worker:
    """One cycle of an agent: the steps it took, and whether it was killed."""

    def __init__(self, agent: Agent, hook: Hook) -> None:
        self.agent: Agent = agent
        self.is_dead = False
        self.error: BaseException | None = None
        self._hook = hook
        self._taken: Counter[str] = Counter()

    def begin(self) -> None:
        """Go on, unless dead."""
        if self.is_dead:
            raise Killed

    def reach(self, name: str) -> None:
        """Take a step, and let happen what is to happen at it."""
        self.begin()
        nth = self._taken[name]
        self._taken[name] += 1
        self._hook(self, name, nth)
        self.begin()

    def kill(self) -> None:
        """Let this step be its last."""
        self.is_dead = True

    def run(self, site: Site, *, every: timedelta, timeout: timedelta) -> None:
        """Run the cycle to its end, whichever that is; not from a coroutine."""
        _working.set(self)
        vault = WatchedVault(site.vault, self)
        try:
            asyncio.run(work(self.agent, site, vault, every=every, timeout=timeout))
        except (Exception, Killed) as error:
            self.error = error


class WatchedVault(LocalVault):
    """A vault in a folder whose every change and reading is a step of a worker."""

    def __init__(self, root: Any, worker: Worker) -> None:
        super().__init__(root)
        self._worker = worker

    def write(self, objects: Any, message: str = "") -> None:  # noqa: D102
        self._step("vault write", super().write, objects, message)

    def delete(self, paths: Any, message: str = "") -> None:  # noqa: D102
        self._step("vault delete", super().delete, list(paths), message)

    def read(self, path: str) -> bytes:  # noqa: D102
        self._worker.reach("vault read")
        return super().read(path)

    def _finish(self, transaction: Any) -> None:
        # The journal is in place: who dies now has committed, and others finish it.
        self._worker.reach("inside vault write")
        super()._finish(transaction)

    def _step(self, name: str, act: Callable[..., None], *args: Any) -> None:
        self._worker.reach(f"before {name}")
        act(*args)
        self._worker.reach(f"after {name}")


class Watch(Steps):
    """Tells each step to the worker in whose context it is taken."""

    def begin(self) -> None:  # noqa: D102 - as promised above
        if worker := _working.get():
            worker.begin()

    async def changes(self, conn: Connection) -> bool:  # noqa: D102
        del conn
        return True  # the database may fail at a commit whatever was done

    def reach(self, name: str) -> None:  # noqa: D102
        if worker := _working.get():
            worker.reach(name)


@contextmanager
def watched() -> Iterator[None]:
    """Watch all workers of the block; a database that does not answer is waited for three seconds, not ten."""
    with (
        Watch().watched_work(),
        mock.patch.object(_connection, "CONNECT_TIMEOUT_S", 3),
    ):
        yield


@contextmanager
def disk(befall: Callable[[], OSError | None]) -> Iterator[None]:
    """Ask at each file that a vault writes whether the disk fails; half of the file is written then."""
    original = local._write_durably

    @functools.wraps(original)
    def write(path: Any, data: bytes) -> None:
        if error := befall():
            original(path, data[: len(data) // 2])
            raise error
        original(path, data)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(local, "_write_durably", write))
        yield


def unavailable(what: str) -> VaultUnavailable:
    """What a vault says that may heal."""
    return VaultUnavailable(what, provider="local", path="")
