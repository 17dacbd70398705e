"""A part of the house: a process that is started, watched, and started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from maia.up import lock, tether
from maia.up.journal import Journal

START_TIMEOUT_S = 180.0
"""A first start of the server makes its tables: 10 to 20 s on two busy cores."""

STOP_TIMEOUT_S = 60.0
ORPHANS_TIMEOUT_S = 30.0
"""What the runs of a killed worker get to give their work back; Prefect gives them as much."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
SETTLED_S = 60.0
"""A part that lived so long was well: its next pause is a short one again."""


class PartFailed(AtlasError):
    """A part did not start; the message has its last words."""


class Part(ABC):
    """What is started as ``command`` (a module and its arguments), and how one knows that it is well."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, home: Path, journal: Journal
    ) -> None:
        self.name = name
        self.pid: int | None = None
        self._command = command
        self._environment = {**environment, **lock.mark(home, name)}
        self._home = home
        self._journal = journal

    @abstractmethod
    async def ready(self) -> None:
        """Wait until it does its work."""

    @abstractmethod
    def heard(self, line: str) -> None:
        """Take note of a line it wrote."""

    async def ill(self) -> str:
        """Wait until it must be ended although it lives, and say why; most never are."""
        return await asyncio.Future()

    async def clear(self) -> None:
        """Clean up before a start what an earlier process left behind."""
        leftovers = await asyncio.to_thread(lock.members, self._home, self.name)
        await asyncio.to_thread(lock.end, leftovers, ORPHANS_TIMEOUT_S)

    @asynccontextmanager
    async def kept(self, hurry: asyncio.Event) -> AsyncIterator[asyncio.Task[None]]:
        """Have it running, and started again whenever it dies; give the task that sees to it.

        At the end it is stopped, by force once ``hurry`` is set.

        Raises:
            PartFailed: its first start fails.
        """
        started = asyncio.Event()
        keeper = asyncio.create_task(self._keep(started, hurry), name=self.name)
        up = asyncio.create_task(started.wait())
        try:
            await asyncio.wait({keeper, up}, return_when=asyncio.FIRST_COMPLETED)
            if keeper.done():
                await keeper
            yield keeper
        finally:
            up.cancel()
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def _keep(self, started: asyncio.Event, hurry: asyncio.Event) -> None:
        pause = FIRST_PAUSE_S
        while True:
            await self.clear()
            began = time.monotonic()
            async with self._running(hurry) as process:
                ended = await self._until_it_ends(process, started)
            if not started.is_set():
                raise PartFailed(f"the {self.name} does not start ({ended}): {self._journal.last_words(self.name)}")
            lived = time.monotonic() - began
            pause = FIRST_PAUSE_S if lived > SETTLED_S else pause
            self._journal.say(
                self.name, f"{ended} after {_span(lived)}; starting it again in {pause:g} s", "bad", event="ended"
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _until_it_ends(self, process: asyncio.subprocess.Process, started: asyncio.Event) -> str:
        exited = asyncio.create_task(process.wait())
        ready = asyncio.create_task(asyncio.wait_for(self.ready(), START_TIMEOUT_S))
        tasks: list[asyncio.Task[Any]] = [exited, ready]
        try:
            await asyncio.wait({exited, ready}, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                if ready.exception() is not None:
                    return f"process {process.pid} was not ready after {START_TIMEOUT_S:.0f} s"
                if started.is_set():
                    self._journal.say(self.name, f"up again as process {process.pid}", "good", event="up")
                started.set()
                ill = asyncio.create_task(self.ill())  # not before: a slow start is no illness
                tasks.append(ill)
                await asyncio.wait({exited, ill}, return_when=asyncio.FIRST_COMPLETED)
                if not exited.done():
                    process.kill()
                    await exited
                    return f"process {process.pid} {ill.result()}, and was killed"
            return f"process {process.pid} {_manner(exited.result())}"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def _running(self, hurry: asyncio.Event) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *(*tether.COMMAND, *self._command),
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for us; we stop the parts in their order
        )
        self.pid = process.pid
        listening = asyncio.create_task(self._listen(process))
        try:
            yield process
        finally:
            await self._stop(process, hurry)
            self.pid = None
            await asyncio.wait({listening}, timeout=1)  # its last words; its children may hold the pipe for longer
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _stop(self, process: asyncio.subprocess.Process, hurry: asyncio.Event) -> None:
        if process.returncode is not None:
            return
        process.terminate()
        exited, hurried = asyncio.create_task(process.wait()), asyncio.create_task(hurry.wait())
        await asyncio.wait({exited, hurried}, timeout=STOP_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await exited

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Write what it says to its log, line by line, however long a line."""
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        rest = b""
        while chunk := await process.stdout.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").rstrip()
                self._journal.write(self.name, text)
                self.heard(text)


def _manner(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _span(seconds: float) -> str:
    minutes = round(seconds) // 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
