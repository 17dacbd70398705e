"""Provisioning: an empty database gets ``schema.sql``, an older one the migrations it lacks; both end the same."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from psycopg import errors as pg

from atlas import clock, db, sql
from atlas.db import DatabaseManager
from atlas.errors import ConfigurationError, DatabaseUnavailable

if TYPE_CHECKING:
    from atlas.db import Connection

SQL = sql.load("atlas", "setup.sql")
OLDEST_SERVER = 150_000
"""The oldest ``server_version_num`` that has what schema.sql needs."""

OLDEST_PGVECTOR = [0, 8]
"""Half precision came with 0.7; a search that goes on until it has enough of one model, with 0.8."""


class Migration(NamedTuple):
    """A forward step: ``migrations/NNNN_name.sql``."""

    version: int
    name: str
    text: str


class SetupReport(NamedTuple):
    """What provisioning did: ``applied`` names the steps, ``partitions`` the partitions made ahead."""

    version: int
    created: bool
    applied: tuple[str, ...]
    partitions: tuple[str, ...]


@cache
def migrations() -> tuple[Migration, ...]:
    """Give every forward step, in order."""
    files = resources.files("atlas").joinpath("migrations").iterdir()
    named = ((file, re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)) for file in files)
    found = (Migration(int(m[1]), m[2], file.read_text(encoding="utf-8")) for file, m in named if m)
    return tuple(sorted(found))


def newest_version() -> int:
    """The version of the schema that this code works with."""
    return migrations()[-1].version


async def provision(database: DatabaseManager = db, *, now: datetime | None = None) -> SetupReport:
    """Bring ``database`` to the current schema, with partitions ahead; does nothing where nothing is to do.

    Two at once take turns. Each step is a transaction of its own: what was applied stays when a later one fails.

    Raises:
        ConfigurationError: the server cannot be reached, or the database not be used; the message says what to do.
        DatabaseUnavailable: others kept a lock; trying later may work.
    """
    from atlas.adapters.maia import MaiaDAO  # not needed to look at a version

    now = now or clock.now()
    await _reached(database)
    async with _explained(), database.get_connection() as turn:
        await turn.execute(SQL["take_turns"])
        version = await _version(turn)
        _refuse_newer(version)
        if created := version == 0:
            await _refuse_unfit(turn)
            schema = resources.files("atlas").joinpath("schema.sql").read_text(encoding="utf-8")
            await _apply(database, schema, migrations(), now)
        missing = [step for step in migrations() if step.version > version and not created]
        for step in missing:
            await _apply(database, step.text, [step], now)
        partitions = await MaiaDAO(database).ensure_partitions(now=now)
    applied = tuple(f"{step.version:04}_{step.name}" for step in missing)
    return SetupReport(newest_version(), created, applied, tuple(partitions))


async def ready(database: DatabaseManager = db, *, now: datetime | None = None) -> None:
    """Make sure that ``database`` can be worked with: one look; the embedded one is provisioned when it must be.

    Raises:
        ConfigurationError: it cannot be reached, or is not at this code's schema; the message says what to do.
    """
    version = await _reached(database)
    _refuse_newer(version)
    if version == newest_version():
        return
    if not database.is_embedded:
        state = "has no schema yet" if version == 0 else f"is at schema {version} of {newest_version()}"
        raise ConfigurationError(f"the database {state}: run atlas setup")
    await provision(database, now=now)


async def schema_version(database: DatabaseManager = db) -> int:
    """Tell which step ``database`` is at; zero when it has no schema of ours.

    Raises:
        DatabaseUnavailable: it does not answer.
    """
    async with database.get_connection() as conn:
        return await _version(conn)


async def _reached(database: DatabaseManager) -> int:
    """Tell the version of the schema; a DATABASE_URL where nobody answers is a setting to mend."""
    try:
        return await schema_version(database)
    except DatabaseUnavailable as exc:
        if database.is_embedded:
            raise
        raise ConfigurationError(f"DATABASE_URL: {exc}; start the server or mend the address") from exc


async def _version(conn: Connection) -> int:
    if not await conn.fetchval(SQL["has_history"]):
        return 0
    return int(await conn.fetchval(SQL["version"]))


def _refuse_newer(version: int) -> None:
    if version > newest_version():
        raise ConfigurationError(
            f"the database is at schema {version}, this Pleiades knows {newest_version()}: upgrade Pleiades"
        )


async def _refuse_unfit(conn: Connection) -> None:
    """Refuse a server that lacks something, and a database where other people's tables have our names."""
    server = await conn.fetchrow(SQL["server"])
    if server["version"] < OLDEST_SERVER:
        raise ConfigurationError(f"the server is PostgreSQL {server['version'] // 10_000}: Pleiades needs 15 or later")
    if server["encoding"] != "UTF8":
        raise ConfigurationError(f"the database is encoded in {server['encoding']}: create one with ENCODING 'UTF8'")
    if server["vector"] is None:
        raise ConfigurationError(
            "the server has no pgvector: install it (package postgresql-NN-pgvector, image pgvector/pgvector)"
        )
    if server["vector"] < OLDEST_PGVECTOR:
        found = ".".join(map(str, server["vector"]))
        raise ConfigurationError(
            f"the server has pgvector {found}: Pleiades needs 0.8 or later; where an older one is in the database "
            "already, ALTER EXTENSION vector UPDATE"
        )
    if taken := await conn.fetch(SQL["taken"], names=table_names()):
        raise ConfigurationError(
            f"the database already has tables that are not ours ({', '.join(row['name'] for row in taken)}): "
            "give Pleiades a database of its own"
        )


async def _apply(database: DatabaseManager, text: str, steps: Sequence[Migration], now: datetime) -> None:
    async with database.get_connection() as conn:
        await conn.execute(SQL["patience"])
        await conn.execute(text.encode())
        versions, names = [step.version for step in steps], [step.name for step in steps]
        await conn.execute(SQL["record"], {"versions": versions, "names": names, "now": now})


@asynccontextmanager
async def _explained() -> AsyncIterator[None]:
    """Say what to do about the errors that an operator can mend."""
    try:
        yield
    except pg.LockNotAvailable as exc:
        raise DatabaseUnavailable(
            "others keep a lock on the database: let the agents finish and run atlas setup again"
        ) from exc
    except pg.InsufficientPrivilege as exc:
        raise ConfigurationError(
            f"the database user may not set up Pleiades ({exc.diag.message_primary}): "
            "let the database's owner run atlas setup, and an administrator CREATE EXTENSION vector"
        ) from exc
    except (pg.DuplicateObject, pg.DuplicateTable, pg.DuplicateFunction) as exc:
        raise ConfigurationError(
            f"the database holds something that is not ours ({exc.diag.message_primary}): "
            "give Pleiades a database of its own"
        ) from exc


def table_names() -> list[str]:
    """The tables of the schema, without the partitions that are made later."""
    schema = resources.files("atlas").joinpath("schema.sql").read_text(encoding="utf-8")
    return re.findall(r"^CREATE TABLE (\w+)", schema, re.MULTILINE)
