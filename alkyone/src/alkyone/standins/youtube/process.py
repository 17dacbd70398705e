"""The stand-in as a process of its own, for tests that kill, restart or outlive it."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson

from alkyone.standins.youtube.server import DEFAULT_KEY
from atlas.errors import Bucket

START_SECONDS = 30.0
_POLL_SECONDS = 0.02


class Spawned(NamedTuple):
    """A stand-in in another process, spoken to over its admin addresses."""

    endpoint: str
    key: str
    pid: int

    async def clock(self, now: datetime | None = None) -> datetime:
        """Tell the stand-in's time, after setting it when ``now`` is given."""
        if now is None:
            answer = await self.admin("GET", "clock")
        else:
            answer = await self.admin("PUT", "clock", {"now": now.astimezone(UTC).isoformat()})
        return datetime.fromisoformat(answer["now"])

    async def faults(self, *faults: Mapping[str, Any]) -> None:
        """Put these faults in force instead of all others."""
        await self.admin("PUT", "faults", list(faults))

    async def quota(self) -> dict[str, dict[str, dict[str, int]]]:
        """Units used, as ``{project: {day: {bucket: units}}}``."""
        usage: dict[str, dict[str, dict[str, int]]] = await self.admin("GET", "quota?all=1")
        return usage

    async def refused(self) -> dict[Bucket, int]:
        """Calls turned away because the day's units were spent."""
        refused: dict[Bucket, int] = await self.admin("GET", "refused")
        return refused

    async def calls(self) -> dict[str, dict[str, list[int]]]:
        """Calls that were let in, as ``{method: {what was asked for: [first pages, further pages]}}``."""
        calls: dict[str, dict[str, list[int]]] = await self.admin("GET", "calls")
        return calls

    async def served(self) -> dict[str, list[Any]]:
        """Every reading that was delivered, column by column."""
        columns: dict[str, list[Any]] = await self.admin("GET", "served")
        return columns

    async def admin(self, method: str, what: str, body: Any = None) -> Any:
        """Call an admin address.

        Raises:
            aiohttp.ClientError: the stand-in is gone, or refuses.
        """
        data = None if body is None else orjson.dumps(body)
        async with (
            aiohttp.ClientSession(raise_for_status=True) as http,
            http.request(method, f"{self.endpoint}/_standin/{what}", data=data) as response,
        ):
            return orjson.loads(await response.read())


@asynccontextmanager
async def spawn(
    world: str | Path = "generated",
    *,
    clock: datetime | None = None,
    limits: Mapping[Bucket, int] | None = None,
    keys: Sequence[str] = (),
    port: int = 0,
    validate: bool = False,
) -> AsyncIterator[Spawned]:
    """Run ``alkyone youtube`` for the length of the block; ``keys`` are ``KEY`` or ``KEY:PROJECT``.

    Raises:
        RuntimeError: it did not start; the message has what it said.
    """
    with tempfile.TemporaryDirectory(prefix="alkyone-") as folder:
        port_file = Path(folder) / "port"
        command = [sys.executable, "-m", "alkyone", "youtube", "--world", str(world), "--port", str(port)]
        command += ["--port-file", str(port_file)]
        command += ["--clock", clock.astimezone(UTC).isoformat()] if clock is not None else []
        command += [part for bucket, limit in (limits or {}).items() for part in (f"--quota-{bucket}", str(limit))]
        command += [part for key in keys for part in ("--key", key)]
        command += ["--validate"] if validate else []
        log = Path(folder) / "log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not port_file.exists() and process.returncode is None:  # noqa: ASYNC110 - another process writes it
                    await asyncio.sleep(_POLL_SECONDS)
            if not port_file.exists():
                raise RuntimeError(f"the stand-in did not start: {log.read_text(errors='replace').strip()}")
            key = keys[0].partition(":")[0] if keys else DEFAULT_KEY
            yield Spawned(f"http://127.0.0.1:{int(port_file.read_text())}", key, process.pid)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await process.wait()
