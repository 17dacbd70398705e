"""A Prefect server of the demo's own, started beside the first virtual hours."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from atlas.errors import AtlasError
from maia.up import tether

START_TIMEOUT_S = 120
"""A first start migrates an empty database: 5 to 13 s on two idle cores."""


class EngineFailed(AtlasError):
    """The Prefect server did not start."""


class Engine:
    """A starting Prefect server; flows may run once ``ready()`` returns."""

    def __init__(self, process: subprocess.Popen[bytes], api: str, log: Path) -> None:
        self.api = api
        self._process = process
        self._log = log
        self._is_ready = False

    async def ready(self) -> None:
        """Wait until the server answers.

        Raises:
            EngineFailed: it does not within two minutes; the message names its log.
        """
        if self._is_ready:
            return
        deadline = time.monotonic() + START_TIMEOUT_S
        async with aiohttp.ClientSession() as session:
            while self._process.poll() is None and time.monotonic() < deadline:
                try:
                    async with session.get(f"{self.api}/health") as answer:
                        self._is_ready = answer.status == 200
                except aiohttp.ClientConnectionError:
                    pass
                if self._is_ready:
                    return
                await asyncio.sleep(0.1)
        raise EngineFailed(f"the Prefect server did not start; its log is {self._log}")


@asynccontextmanager
async def engine(folder: Path) -> AsyncIterator[Engine]:
    """Run a Prefect server in ``folder`` until the block ends, and point this process's flows at it.

    Enter it before Prefect is imported: Prefect reads its settings then.
    """
    os.environ |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    os.environ.pop("PREFECT_API_KEY", None)
    async with server(folder, os.environ) as started:
        os.environ["PREFECT_API_URL"] = started.api
        yield started


@asynccontextmanager
async def server(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Engine]:
    """Run a Prefect server with that environment until the block ends; its log is in ``folder``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api, log = f"http://127.0.0.1:{port}/api", folder / "prefect.log"
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - starts at once; ready() waits for it
            [*tether.COMMAND, *command],
            env={**environment, "PREFECT_API_URL": api},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Engine(process, api, log)
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        tether.let_go(process)
