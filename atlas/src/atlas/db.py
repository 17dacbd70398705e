"""PostgreSQL: one pool per event loop, opened on first use; a connection is one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, LiteralString, Self, cast
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from atlas.config import Settings
from atlas.errors import DatabaseUnavailable

STATEMENT_TIMEOUT_MS = 60_000
LOCK_TIMEOUT_MS = 10_000
MAX_CONNECTIONS = 20
CONNECT_TIMEOUT_S = 10


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection whose rows are dictionaries; parameters are given by name."""

    async def fetch(self, query: LiteralString, /, **params: Any) -> list[Any]:
        """Run a statement and return all its rows."""
        return await (await self.execute(query, params)).fetchall()

    async def fetchrow(self, query: LiteralString, /, **params: Any) -> Any:
        """Run a statement and return its first row, or None."""
        return await (await self.execute(query, params)).fetchone()

    async def fetchval(self, query: LiteralString, /, **params: Any) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        row = await self.fetchrow(query, **params)
        return None if row is None else next(iter(row.values()))


Pool = AsyncConnectionPool[Connection]


class DatabaseManager:
    """Connections to the database of the settings, or to ``conninfo``.

    A pool belongs to the event loop that opened it: in another loop it could neither grow nor heal. ``async with db:``
    closes this loop's pool when the outermost block ends.
    """

    def __init__(self, conninfo: str | None = None, *, settings: Settings | None = None) -> None:
        self._conninfo = conninfo
        self._settings = settings
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = WeakKeyDictionary()
        self._users: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()

    @property
    def conninfo(self) -> str:
        """Where the database is; starts the embedded server when no ``DATABASE_URL`` is set.

        Raises:
            ConfigurationError: the settings are wrong, or the embedded server cannot be had here.
            DatabaseUnavailable: the embedded server does not start.
        """
        if self._conninfo is None:
            self._conninfo = _conninfo_of(self._settings)
        return self._conninfo

    @asynccontextmanager
    async def get_connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; the block is one transaction, rolled back when it raises.

        Raises:
            DatabaseUnavailable: no connection could be had, or it broke.
        """
        pool = await self._pool()
        try:
            async with pool.connection() as conn:
                yield conn
        except (PoolTimeout, psycopg.OperationalError, psycopg.InterfaceError) as exc:
            if isinstance(exc, psycopg.OperationalError) and not _is_connection_failure(exc):
                raise
            raise DatabaseUnavailable(f"the database does not answer ({type(exc).__name__})") from exc

    async def health_check(self) -> bool:
        """Say whether the database answers."""
        try:
            async with self.get_connection() as conn:
                return bool(await conn.fetchval("SELECT true AS healthy"))
        except DatabaseUnavailable:
            return False

    async def close(self) -> None:
        """Close this event loop's pool."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._users[loop] = self._users.get(loop, 0) + 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        self._users[loop] -= 1
        if not self._users[loop]:
            await self.close()

    async def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            conninfo = self._conninfo or await asyncio.to_thread(lambda: self.conninfo)
            # No await between look and set: two tasks of one loop never open two pools.
            if loop not in self._pools:
                self._pools[loop] = _new_pool(conninfo)
                await self._pools[loop].open()
        return self._pools[loop]


def _new_pool(conninfo: str) -> Pool:
    options = f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
    return cast(
        "Pool",
        AsyncConnectionPool(
            conninfo,
            connection_class=Connection,
            kwargs={
                "row_factory": dict_row,
                "options": options,
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "pleiades",
            },
            min_size=0,
            max_size=MAX_CONNECTIONS,
            timeout=CONNECT_TIMEOUT_S,
            check=AsyncConnectionPool.check_connection,
            open=False,
            name="atlas",
        ),
    )


def _conninfo_of(settings: Settings | None) -> str:
    if settings is None:
        from atlas import settings  # noqa: PLC0415 - the shared settings are bound after this module
    if settings.DATABASE_URL is not None:
        return str(settings.DATABASE_URL)
    from atlas.embedded import EmbeddedServer  # noqa: PLC0415 - psutil and the wheel are an extra

    return EmbeddedServer.shared(settings.home).conninfo


def _is_connection_failure(error: psycopg.OperationalError) -> bool:
    """Tell a broken or refused connection (no SQLSTATE, class 08, 57P) from an operational error of a statement."""
    state = error.sqlstate
    return state is None or state.startswith(("08", "57P")) or state in {"53300"}


db = DatabaseManager()
