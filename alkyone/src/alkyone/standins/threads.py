"""A stand-in in a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

from aiohttp import web

_LOOPBACK = "127.0.0.1"
T = TypeVar("T")


@contextmanager
def entered(manager: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter ``manager`` in an event loop of a thread of its own, for the length of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stand-in", daemon=True)
    thread.start()

    async def enter() -> T:
        return await manager.__aenter__()

    async def leave() -> None:
        await manager.__aexit__(None, None, None)

    try:
        value = asyncio.run_coroutine_threadsafe(enter(), loop).result()
        try:
            yield value
        finally:
            asyncio.run_coroutine_threadsafe(leave(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def served(make: Callable[[], web.Application]) -> Iterator[str]:
    """Serve what ``make`` makes, in its own event loop, and give the address."""
    with entered(_serving(make)) as address:
        yield address


@asynccontextmanager
async def _serving(make: Callable[[], web.Application]) -> AsyncIterator[str]:
    runner = web.AppRunner(make(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, _LOOPBACK, 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
