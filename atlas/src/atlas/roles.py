"""Roles that may do what their work needs and no more: a writer for the agents, a reader for whoever only looks.

Names and passwords are those of ``DATABASE_WRITER_URL`` and ``DATABASE_READER_URL``; the tables stay with the role of
``DATABASE_URL``, which sets them up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from psycopg import ProgrammingError
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier, Literal
from pydantic import SecretStr

from atlas import db, sql
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.errors import ConfigurationError
from atlas.setup import table_names

if TYPE_CHECKING:
    from atlas.db import Connection

STATEMENTS = sql.load("atlas", "roles.sql")

LOG = ("system_events", "system_events_default")
"""What nobody rewrites."""
KEPT = ("schema_migrations", *LOG)
"""What the writer may not change: the schema's history, and the log of events."""


class Login(NamedTuple):
    """A role's name, and its password unless it logs in by another way."""

    name: str
    password: str | None


async def grant(settings: Settings, database: DatabaseManager = db) -> dict[str, str]:
    """Make the roles that ``settings`` name, or bring them up to date; tells their names, as writer and reader.

    Raises:
        ConfigurationError: none is named, one may do more than it should, or we may not make roles.
        DatabaseUnavailable: the database does not answer.
    """
    wanted = {
        kind: _login(variable, url)
        for kind, variable in (("writer", "DATABASE_WRITER_URL"), ("reader", "DATABASE_READER_URL"))
        if (url := getattr(settings, variable)) is not None
    }
    if not wanted:
        raise ConfigurationError(
            "neither DATABASE_WRITER_URL nor DATABASE_READER_URL is set: they say how the roles are named, "
            "postgresql://name:password@host:5432/database"
        )
    if len({login.name for login in wanted.values()}) < len(wanted):
        raise ConfigurationError("DATABASE_WRITER_URL and DATABASE_READER_URL name the same role: give each its own")
    try:
        async with database.get_connection() as conn:
            await conn.execute(STATEMENTS["take_turns"])
            for kind, login in wanted.items():
                await _make(conn, login)
                await (_let_write if kind == "writer" else _let_read)(conn, login.name)
    except pg.InsufficientPrivilege as exc:
        raise ConfigurationError(
            f"the role of DATABASE_URL may not make roles ({exc.diag.message_primary}): give it CREATEROLE"
        ) from exc
    return {kind: login.name for kind, login in wanted.items()}


async def _make(conn: Connection, login: Login) -> None:
    """Make a role that may enter and look round, and nothing else."""
    known = await conn.fetchrow(STATEMENTS["role"], name=login.name)
    if known is not None and known["mighty"]:
        raise ConfigurationError(f"the role {login.name} may do more than it should: name another, or take that away")
    if known is None:
        await _run(conn, "create", role=login.name)
    if login.password is not None:
        await _set_password(conn, login)
    for step in ("strip", "enter", "look_round", "nobody_creates"):
        await _run(conn, step, role=login.name)
    try:
        async with conn.transaction():
            await _run(conn, "statistics", role=login.name)
    except pg.InsufficientPrivilege:
        pass  # the age of others' transactions is then not known, and nothing else


async def _set_password(conn: Connection, login: Login) -> None:
    """Give the server what it checks a password by: the password itself would stand in its logs and its statistics."""
    verifier = conn.pgconn.encrypt_password((login.password or "").encode(), login.name.encode(), b"scram-sha-256")
    statement = SQL(STATEMENTS["password"]).format(role=Identifier(login.name), verifier=Literal(verifier.decode()))
    await conn.execute(statement)


async def _let_read(conn: Connection, role: str) -> None:
    await _run(conn, "read", role=role)
    await _run(conn, "read_only", role=role)


async def _let_write(conn: Connection, role: str) -> None:
    for step in ("read", "write", "append", "partitions"):
        await _run(conn, step, role=role)


async def _run(conn: Connection, name: str, *, role: str) -> None:
    where = await conn.fetchrow(STATEMENTS["here"])
    tables = [Identifier(table) for table in table_names() if table not in KEPT]
    await conn.execute(
        SQL(STATEMENTS[name]).format(
            role=Identifier(role),
            database=Identifier(where["database"]),
            schema=Identifier(where["schema"]),
            tables=SQL(", ").join(tables),
            log=Identifier(LOG[0]),
        )
    )


def _login(variable: str, url: SecretStr) -> Login:
    try:
        parts = conninfo_to_dict(url.get_secret_value())
    except ProgrammingError:
        # libpq's own words may repeat the password.
        raise ConfigurationError(f"{variable} is not an address that libpq understands") from None
    if not parts.get("user"):
        raise ConfigurationError(f"{variable} names no role: postgresql://name:password@host:5432/database")
    password = parts.get("password")
    return Login(str(parts["user"]), None if password is None else str(password))
