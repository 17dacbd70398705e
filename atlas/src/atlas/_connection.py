"""What a connection to PostgreSQL is here, and how a pool is made; imported when one is first needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from atlas.errors import DatabaseFull, DatabaseReadOnly, DatabaseUnavailable

STATEMENT_TIMEOUT_MS = 60_000
LOCK_TIMEOUT_MS = 10_000
MAX_CONNECTIONS = 20
CONNECT_TIMEOUT_S = 10
OPTIONS = f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection whose rows are dictionaries; parameters are given by name."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._afterwards: list[Callable[[], None]] = []

    def after_commit(self, act: Callable[[], None]) -> None:
        """Call ``act`` when the transaction was committed, and not at all when it, or its savepoint, is undone.

        Only a connection that a ``DatabaseManager`` lends keeps that promise.
        """
        self._afterwards.append(act)

    def afterwards(self) -> list[Callable[[], None]]:
        """Hand over what is to be done after the commit, to whoever lends the connection."""
        acts, self._afterwards = self._afterwards, []
        return acts

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """Begin a transaction, or a savepoint in one."""
        before = len(self._afterwards)
        kept = False
        try:
            async with super().transaction(savepoint_name, force_rollback) as transaction:
                yield transaction
            kept = transaction.status is transaction.Status.COMMITTED
        finally:
            if not kept:
                del self._afterwards[before:]

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


def new_pool(where: Callable[[], Awaitable[str]]) -> Pool:
    """Make a pool, not open yet, that asks ``where`` the database is for every new connection."""

    async def arguments() -> dict[str, Any]:
        return _arguments(await where())

    return AsyncConnectionPool(
        where,
        connection_class=Connection,
        kwargs=arguments,
        min_size=0,
        max_size=MAX_CONNECTIONS,
        timeout=CONNECT_TIMEOUT_S,
        check=_check,
        open=False,
        name="atlas",
    )


async def _check(conn: Connection) -> None:
    await Pool.check_connection(conn)


async def probe(conninfo: str) -> str | None:
    """Try to connect; return why that failed, in the server's or libpq's own words, or None."""
    try:
        conn = await Connection.connect(conninfo, **_arguments(conninfo))
    except psycopg.OperationalError as exc:
        words = str(exc).strip().splitlines() or [type(exc).__name__]
        return words[0].strip().removeprefix("connection failed: ")
    await conn.close()
    return None


def connect_in_thread(conninfo: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection that blocks, each statement a transaction of its own."""
    arguments: dict[str, Any] = {**_arguments(conninfo), "row_factory": tuple_row, "autocommit": True}
    return psycopg.connect(conninfo, **arguments)


async def connect(conninfo: str) -> Connection:
    """Open a connection outside any pool, each statement a transaction of its own."""
    return await Connection.connect(conninfo, **_arguments(conninfo), autocommit=True)


def address(conninfo: str, *, statement_timeout: timedelta) -> str:
    """Spell out an address with what else a connection of ours is told, for a driver that is not psycopg."""
    told = _arguments(conninfo)
    milliseconds = statement_timeout // timedelta(milliseconds=1)
    options = f"{told['options']} -c statement_timeout={milliseconds}"  # the last one holds
    return make_conninfo(
        conninfo,
        options=options,
        connect_timeout=told["connect_timeout"],
        application_name=told["application_name"],
    )


def failure_of(error: psycopg.Error, conn: Connection | None) -> DatabaseUnavailable | None:
    """Translate what is the matter with the database as such; None for an error of a statement."""
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return DatabaseReadOnly()
    if isinstance(error, psycopg.errors.DiskFull):
        return DatabaseFull(error.diag.message_primary or "no space left")
    if _is_connection_failure(error, conn):
        return DatabaseUnavailable(f"the database does not answer ({type(error).__name__})")
    return None


def _is_connection_failure(error: psycopg.Error, conn: Connection | None) -> bool:
    """Tell a connection that broke or could not be had from an error of a statement."""
    if isinstance(error, PoolTimeout):
        return True
    if isinstance(error, psycopg.InterfaceError):
        return conn is not None and conn.closed
    # Class 08: connection exceptions; 57P: the server shuts down or starts; 53300: too many connections.
    state = error.sqlstate
    return isinstance(error, psycopg.OperationalError) and (
        state is None or state.startswith(("08", "57P")) or state == "53300"
    )


def _arguments(conninfo: str) -> dict[str, Any]:
    # Options of the address come first, for a proxy may need them; ours are about what we promise.
    theirs = conninfo_to_dict(conninfo).get("options")
    return {
        "row_factory": dict_row,
        "options": f"{theirs} {OPTIONS}" if theirs else OPTIONS,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "pleiades",
    }
