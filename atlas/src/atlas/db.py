"""PostgreSQL: one pool per event loop, opened on first use; a connection is one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from atlas.config import Settings
from atlas.errors import ConfigurationError, DatabaseReadOnly, DatabaseUnavailable

if TYPE_CHECKING:
    from atlas._connection import Connection as Connection
    from atlas._connection import Pool

# psycopg is imported by the first use of a database, not by ``import atlas``.


@dataclass
class _OfLoop:
    """What an event loop has: a pool, kept by a generator, and how many ``async with`` blocks use it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    keeper: AsyncGenerator[Pool, None] | None = None
    pool: Pool | None = None
    users: int = 0


class DatabaseManager:
    """Connections to the database of the settings, or to ``conninfo``.

    A pool belongs to the event loop that opened it: in another loop it could neither grow nor heal. ``close``,
    the end of the outermost ``async with db:`` or the end of the loop closes it.
    """

    def __init__(self, conninfo: str | None = None, *, settings: Settings | None = None) -> None:
        self._conninfo = conninfo
        self._settings = settings
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = WeakKeyDictionary()

    @property
    def conninfo(self) -> str:
        """Where the database is; without a ``DATABASE_URL`` the embedded server, started unless it runs.

        Raises:
            ConfigurationError: the settings are wrong, or the embedded server cannot be had here.
            DatabaseUnavailable: the embedded server does not start.
        """
        return self._conninfo or _conninfo_of(self._of_settings)

    @property
    def is_embedded(self) -> bool:
        """Is it the embedded server, which is ours to provision?"""
        return self._conninfo is None and self._of_settings.DATABASE_URL is None

    @asynccontextmanager
    async def get_connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; the block is one transaction, rolled back when it raises.

        Raises:
            ConfigurationError: the settings are wrong.
            DatabaseUnavailable: no connection could be had, or it broke; or, as ``DatabaseReadOnly`` and
                ``DatabaseFull``, nothing can be written.
        """
        pool = await self._pool()
        from psycopg import Error

        from atlas._connection import failure_of

        conn: Connection | None = None
        try:
            async with pool.connection() as conn:
                try:
                    yield conn
                finally:
                    afterwards = conn.afterwards()  # not later: the connection may be somebody else's by then
        except Error as exc:
            if (failure := failure_of(exc, conn)) is None:
                raise
            if isinstance(failure, DatabaseReadOnly):
                await pool.drain()  # its connections stay as they are: new ones may find the primary
            raise failure from exc
        for act in afterwards:
            act()

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Connection]:
        """Lend a connection outside the pool, each statement a transaction of its own: for what lasts, as LISTEN does.

        Raises:
            ConfigurationError: the settings are wrong.
            DatabaseUnavailable: no connection could be had, or it broke; or, as ``DatabaseReadOnly`` and
                ``DatabaseFull``, nothing can be written.
        """
        from psycopg import Error

        from atlas._connection import connect, failure_of

        conn: Connection | None = None
        try:
            conn = await connect(await self._where())
            try:
                yield conn
            finally:
                await conn.close()
        except Error as exc:
            if (failure := failure_of(exc, conn)) is None:
                raise
            raise failure from exc

    async def health_check(self) -> bool:
        """Say whether the database answers."""
        try:
            async with self.get_connection() as conn:
                return bool(await conn.fetchval("SELECT true AS healthy"))
        except DatabaseUnavailable:
            return False

    async def close(self) -> None:
        """Close this event loop's pool; the next use opens another."""
        mine = self._loops.get(asyncio.get_running_loop())
        if mine is None:
            return
        async with mine.lock:
            keeper, pool, mine.keeper, mine.pool = mine.keeper, mine.pool, None, None
        if pool is not None and keeper is not None:
            await pool.close()
            await keeper.aclose()

    async def __aenter__(self) -> Self:
        self._mine().users += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        mine = self._mine()
        mine.users -= 1
        if not mine.users:
            await self.close()

    def _mine(self) -> _OfLoop:
        return self._loops.setdefault(asyncio.get_running_loop(), _OfLoop())

    async def _pool(self) -> Pool:
        mine = self._mine()
        if mine.pool is not None:
            return mine.pool
        async with mine.lock:
            if mine.pool is None:
                mine.keeper = self._keep()
                mine.pool = await anext(mine.keeper)
            return mine.pool

    async def _keep(self) -> AsyncGenerator[Pool, None]:
        """Open a pool and keep it until the generator is closed; a loop closes its generators when it ends."""
        from atlas import _connection

        # A pool only says, after its time-out, that it has no connection. The first one shall say why.
        if problem := await _connection.probe(await self._where()):
            raise DatabaseUnavailable(f"the database does not answer: {problem}")
        pool = _connection.new_pool(self._where)
        await pool.open()
        try:
            yield pool
        finally:
            if not pool.closed:
                # The loop ends, and has cancelled the pool's workers: close what they would have closed.
                await pool.drain()
                with suppress(asyncio.CancelledError):
                    await pool.close()

    async def _where(self) -> str:
        if self._conninfo is not None:
            return self._conninfo
        return await asyncio.to_thread(_conninfo_of, self._of_settings)

    @property
    def _of_settings(self) -> Settings:
        if self._settings is not None:
            return self._settings
        from atlas import settings  # the shared settings are bound after this module

        return settings


def _conninfo_of(settings: Settings) -> str:
    if settings.DATABASE_URL is None:
        from atlas.embedded import EmbeddedServer  # psutil and the wheel are an extra

        return EmbeddedServer.shared(settings.home, binaries=settings.PLEIADES_PG_BIN).conninfo
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    conninfo = settings.DATABASE_URL.get_secret_value()
    try:
        conninfo_to_dict(conninfo)
    except ProgrammingError:
        # libpq's own words may repeat the password.
        raise ConfigurationError(
            "DATABASE_URL is not an address that libpq understands: give "
            "postgresql://user:password@host:5432/name, special characters of the password percent-encoded"
        ) from None
    return conninfo


def __getattr__(name: str) -> Any:
    if name == "Connection":
        from atlas._connection import Connection

        return Connection
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


db = DatabaseManager()
