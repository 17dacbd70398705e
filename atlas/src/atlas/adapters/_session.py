"""What the parts of the DAO share: where connections come from, how batches travel, how a lease is settled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple, Protocol

from atlas.errors import LeaseLost

if TYPE_CHECKING:
    from atlas.db import Connection

REASON_LENGTH = 500


class Database(Protocol):
    """Lends connections; a block is one transaction."""

    @property
    def conninfo(self) -> str:
        """Where the database is, in libpq's words."""
        ...

    def get_connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection for the length of a block."""
        ...


class Joined:
    """A transaction that is already open, passed off as a database, so that every method joins it."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.lost: LeaseLost | None = None

    @property
    def conninfo(self) -> str:
        """There is none: another connection would not see this transaction."""
        raise RuntimeError("not within a transaction")

    @asynccontextmanager
    async def get_connection(self) -> AsyncIterator[Connection]:
        """Lend the one connection; remember a lost lease, which dooms the whole transaction."""
        try:
            yield self._conn
        except LeaseLost as exc:
            self.lost = exc
            raise


def columns(rows: Sequence[NamedTuple]) -> dict[str, list[Any]]:
    """Turn a batch, which must not be empty, into one list per field: the arrays of an ``unnest``.

    The statements take them in binary (``%(name)b::type[]``), which costs psycopg a tenth of what text does.
    """
    return dict(zip(rows[0]._fields, map(_column, zip(*rows, strict=True)), strict=True))


def _column(values: tuple[Any, ...]) -> list[Any]:
    # psycopg refuses a list with both ints and floats; a caller's 0 for 0.0 is no reason to fail.
    if float in map(type, values):
        return [None if value is None else float(value) for value in values]
    return list(values)


async def settle(
    conn: Connection, query: LiteralString, what: str, rows: Sequence[NamedTuple], **params: Any
) -> list[Any]:
    """End the leases of ``rows`` with one statement that returns a row for each it still held.

    Raises:
        LeaseLost: some were no longer ours; the block that lent ``conn`` must let it pass, so that none changes.
    """
    if not rows:
        return []
    settled = await conn.fetch(query, **columns(rows), **params)
    if len(settled) != len(rows):
        raise LeaseLost(what, len(rows) - len(settled))
    return settled


async def count(database: Database, query: LiteralString, **params: Any) -> int:
    """Run a statement in a transaction of its own and return how many rows it touched."""
    async with database.get_connection() as conn:
        return (await conn.execute(query, params)).rowcount
