"""Scratch databases: each a copy of a template, each able to prove that it may be destroyed.

The proof is a name that begins with ``PREFIX`` *and* a marker table; whatever destroys asks for both.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.setup import provision

PREFIX = "pleiades_test_"
MARKER = "pleiades_test_database"
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
"""When every test begins, unless it says otherwise."""

_TEMPLATE_LOCK = 0x9E3779B9  # an advisory lock: several workers of one run want the same template


class NotATestDatabaseError(RuntimeError):
    """The database does not prove that it may be destroyed."""


def require_test_database(conninfo: str) -> None:
    """Go on only when ``conninfo`` names a database that says, by name and by marker, that it is a test's.

    Raises:
        NotATestDatabaseError: it does not.
    """
    name = str(conninfo_to_dict(conninfo).get("dbname", ""))
    if not name.startswith(PREFIX):
        raise NotATestDatabaseError(f"{name!r} does not begin with {PREFIX}")
    with psycopg.connect(conninfo) as conn:
        row = conn.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{MARKER}"]).fetchone()
    if row is None or not row[0]:
        raise NotATestDatabaseError(f"{name!r} has no table {MARKER}")


def template_of(server: EmbeddedServer) -> str:
    """Give the name of this schema's template database, made if it is not there yet."""
    name = f"{PREFIX}template_{_schema_digest()}"
    with psycopg.connect(server.conninfo_of("postgres"), autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", [_TEMPLATE_LOCK])
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return name
        draft = f"{PREFIX}draft_{uuid4().hex}"
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(draft)))
        conninfo = server.conninfo_of(draft)
        # A thread of its own: a test's event loop may run in this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _provision(conninfo)).result()
        _mark(conninfo)
        admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(draft), sql.Identifier(name)))
    return name


@contextmanager
def scratch(server: EmbeddedServer, template: str = "template0") -> Iterator[str]:
    """Lend a fresh copy of ``template``, as a conninfo; it is gone after the block."""
    name = f"{PREFIX}{uuid4().hex}"
    with psycopg.connect(server.conninfo_of("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
    conninfo = server.conninfo_of(name)
    _mark(conninfo)
    try:
        yield conninfo
    finally:
        # The test may have killed the server, which starts again, or taken the marker away.
        require_test_database(server.conninfo_of(name))
        with psycopg.connect(server.conninfo_of("postgres"), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def taking_no_changes(conninfo: str) -> Iterator[None]:
    """Let every connection that is opened in the block refuse to write, to its end."""
    database = sql.Identifier(str(conninfo_to_dict(conninfo)["dbname"]))
    statement = sql.SQL("ALTER DATABASE {} {} default_transaction_read_only {}")
    with psycopg.connect(conninfo, autocommit=True) as owner:
        owner.execute(statement.format(database, sql.SQL("SET"), sql.SQL("= on")))
        try:
            yield
        finally:
            owner.execute(statement.format(database, sql.SQL("RESET"), sql.SQL("")))


def _mark(conninfo: str) -> None:
    with psycopg.connect(conninfo) as conn:
        conn.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} ()").format(sql.Identifier(MARKER)))


async def _provision(conninfo: str) -> None:
    async with DatabaseManager(conninfo) as database:
        await provision(database, now=NOON)


def _schema_digest() -> str:
    schema = resources.files("atlas").joinpath("schema.sql").read_bytes()
    return hashlib.sha256(schema).hexdigest()[:12]


def drop_roles(conninfo: str, roles: Iterable[str]) -> None:
    """Drop roles that a test made, and what they own in this database: the server is every test's."""
    require_test_database(conninfo)
    with psycopg.connect(conninfo, autocommit=True) as owner:
        for role in roles:
            if owner.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None:
                owner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
                owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
