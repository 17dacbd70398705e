"""The stand-in YouTube of the demo: ``alkyone youtube`` as a process of its own, reached over HTTP alone."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

import aiohttp
import orjson

from atlas.errors import AtlasError, ConfigurationError
from maia.up import tether

START_TIMEOUT_S = 60


class World(TypedDict):
    """What the stand-in says of the world it serves."""

    start: str
    end: str
    terms: list[str]
    channels: list[str]
    videos: int


class StandinFailed(AtlasError):
    """The stand-in YouTube did not start, or went away."""


class Standin:
    """A running stand-in, and its control side."""

    def __init__(self, endpoint: str, session: aiohttp.ClientSession) -> None:
        self.endpoint = endpoint
        self._session = session

    async def world(self) -> World:
        """Describe the world that is served."""
        world: World = await self._ask("GET", "world")
        return world

    async def set_clock(self, now: datetime) -> None:
        """Let it be ``now`` on YouTube."""
        await self._ask("PUT", "clock", {"now": now.isoformat()})

    async def quota(self) -> dict[str, dict[str, dict[str, int]]]:
        """Units it charged, by project, Pacific day and bucket."""
        charged: dict[str, dict[str, dict[str, int]]] = await self._ask("GET", "quota?all=1")
        return charged

    async def served(self) -> dict[str, list[Any]]:
        """Every reading it delivered, as columns."""
        columns: dict[str, list[Any]] = await self._ask("GET", "served")
        return columns

    async def _ask(self, method: str, what: str, document: Any = None) -> Any:
        async with self._session.request(method, f"{self.endpoint}/_standin/{what}", json=document) as answer:
            answer.raise_for_status()
            return orjson.loads(await answer.read())


@asynccontextmanager
async def standin(world: str, *, key: str, folder: Path) -> AsyncIterator[Standin]:
    """Serve ``world`` (a specification or a path) on a free port until the block ends; its log is in ``folder``.

    Raises:
        ConfigurationError: pleiades-alkyone is not installed.
        StandinFailed: it does not start; the message carries its last words.
    """
    if importlib.util.find_spec("alkyone") is None:
        raise ConfigurationError("the demo needs its stand-in YouTube: install pleiades-alkyone")
    port_file, log = folder / "standin.port", folder / "standin.log"
    command = [*tether.COMMAND, "alkyone", "youtube", "--port", "0", "--port-file", str(port_file)]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - starts at once; we wait for its port below
            [*command, "--world", world, "--key", key],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        port = await _port(process, port_file, log)
        async with aiohttp.ClientSession() as session:
            yield Standin(f"http://127.0.0.1:{port}", session)
    finally:
        process.terminate()
        process.wait()
        tether.let_go(process)


async def _port(process: subprocess.Popen[bytes], port_file: Path, log: Path) -> int:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if port := _written(port_file):
            return int(port)
        await asyncio.sleep(0.05)
    last_words = _written(log).splitlines()[-1:] or ["it said nothing"]
    raise StandinFailed(f"the stand-in YouTube did not start: {last_words[0]}")


def _written(file: Path) -> str:
    return file.read_text(errors="replace").strip() if file.exists() else ""
