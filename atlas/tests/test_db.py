from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress

import psycopg
import pytest

from alkyone.databases import taking_no_changes
from atlas.config import Settings
from atlas.db import Connection, DatabaseManager
from atlas.errors import ConfigurationError, DatabaseReadOnly, DatabaseUnavailable
from atlas.retry import can_heal

NOWHERE = "host=127.0.0.1 port=9 user=nobody dbname=nowhere"


@pytest.fixture
def table(conninfo: str) -> str:
    with psycopg.connect(conninfo) as conn:
        conn.execute("CREATE TABLE scratch (n integer PRIMARY KEY)")
    return "scratch"


async def numbers(database: DatabaseManager) -> list[int]:
    async with database.get_connection() as conn:
        return [row["n"] for row in await conn.fetch("SELECT n FROM scratch ORDER BY n")]


async def test_a_block_is_one_transaction(database: DatabaseManager, table: str) -> None:
    async with database.get_connection() as conn:
        await conn.execute("INSERT INTO scratch VALUES (1)")
        await conn.execute("INSERT INTO scratch VALUES (2)")
        assert await numbers(database) == []
    assert await numbers(database) == [1, 2]


async def test_nothing_of_a_block_that_raises_stays(database: DatabaseManager, table: str) -> None:
    async def stumble() -> None:
        async with database.get_connection() as conn:
            await conn.execute("INSERT INTO scratch VALUES (1)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stumble()
    assert await numbers(database) == []


async def test_rows_are_dictionaries_and_parameters_have_names(database: DatabaseManager) -> None:
    async with database.get_connection() as conn:
        assert await conn.fetchrow("SELECT %(a)s::int AS a, %(b)s::text AS b", a=1, b="x") == {"a": 1, "b": "x"}
        assert await conn.fetchrow("SELECT 1 WHERE false") is None
        assert await conn.fetchval("SELECT %(a)s::int", a=7) == 7
        assert await conn.fetchval("SELECT 1 WHERE false") is None


async def test_a_connection_keeps_utc_and_gives_up_in_time(database: DatabaseManager) -> None:
    async with database.get_connection() as conn:
        settings = [
            await conn.fetchval("SELECT current_setting(%(name)s)", name=name)
            for name in ("TimeZone", "statement_timeout", "lock_timeout")
        ]
    assert settings == ["UTC", "1min", "10s"]


async def test_options_of_the_address_are_kept(conninfo: str) -> None:
    async with DatabaseManager(f"{conninfo} options='-c work_mem=5MB'") as database, database.get_connection() as conn:
        assert await conn.fetchval("SELECT current_setting('work_mem')") == "5MB"
        assert await conn.fetchval("SELECT current_setting('lock_timeout')") == "10s"


async def test_an_error_of_a_statement_stays_what_it_is(database: DatabaseManager, table: str) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with database.get_connection() as conn:
            await conn.execute("INSERT INTO scratch VALUES (1), (1)")
    with pytest.raises(psycopg.errors.QueryCanceled):
        async with database.get_connection() as conn:
            await conn.execute("SET LOCAL statement_timeout = 1; SELECT pg_sleep(10)")


async def test_a_connection_that_breaks_is_told_as_database_unavailable_and_the_next_one_works(
    database: DatabaseManager, conninfo: str
) -> None:
    async def lose_it() -> None:
        async with database.get_connection() as conn:
            with psycopg.connect(conninfo, autocommit=True) as killer:
                killer.execute("SELECT pg_terminate_backend(%s)", [conn.info.backend_pid])
            await conn.execute("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await lose_it()
    assert await database.health_check()


async def test_a_database_that_takes_no_changes_says_what_to_do_and_is_tried_with_new_connections(
    database: DatabaseManager, table: str, conninfo: str
) -> None:
    async def store(number: int) -> None:
        async with database.get_connection() as conn:
            await conn.execute("INSERT INTO scratch VALUES (%(number)s)", {"number": number})

    with taking_no_changes(conninfo):
        with pytest.raises(DatabaseReadOnly, match="DATABASE_URL") as raised:
            await store(1)
        assert await database.health_check()
    # A connection of then takes no changes to its end, and may be met once; the next one is new.
    with suppress(DatabaseReadOnly):
        await store(2)
    await store(3)

    assert can_heal(raised.value)
    assert (await numbers(database))[-1] == 3


async def test_a_connection_that_broke_while_idle_is_replaced_unseen(database: DatabaseManager, conninfo: str) -> None:
    async with database.get_connection() as conn:
        pid = conn.info.backend_pid
    with psycopg.connect(conninfo, autocommit=True) as killer:
        killer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    async with database.get_connection() as conn:
        assert conn.info.backend_pid != pid


async def test_a_server_that_is_not_there_is_named_at_once() -> None:
    database = DatabaseManager(NOWHERE)
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1.*port 9"):
        async with database.get_connection():
            pass
    assert await database.health_check() is False


async def test_a_closed_manager_opens_again_on_the_next_use(database: DatabaseManager) -> None:
    assert await database.health_check()
    await database.close()
    await database.close()
    assert await database.health_check()


async def test_the_outermost_block_closes_the_pool(conninfo: str) -> None:
    database = DatabaseManager(conninfo)
    async with database:
        async with database, database.get_connection() as conn:
            first = conn.info.backend_pid
        async with database.get_connection() as conn:
            assert conn.info.backend_pid == first
    async with database, database.get_connection() as conn:
        assert conn.info.backend_pid != first


async def test_many_at_once_share_one_pool(database: DatabaseManager) -> None:
    async def one() -> int:
        async with database.get_connection() as conn:
            return int(await conn.fetchval("SELECT pg_backend_pid()"))

    assert 1 <= len(set(await asyncio.gather(*(one() for _ in range(60))))) <= 20


def test_each_event_loop_has_a_pool_of_its_own_and_closes_it(conninfo: str) -> None:
    database = DatabaseManager(conninfo)

    async def borrow() -> Connection:
        async with database.get_connection() as conn:
            assert not conn.closed
            return conn

    first, second = asyncio.run(borrow()), asyncio.run(borrow())
    assert first is not second
    assert first.closed
    assert second.closed


def test_a_program_that_never_closes_ends_without_a_warning(conninfo: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from atlas.db import DatabaseManager\n"
        "database = DatabaseManager(sys.argv[1])\n"
        "assert asyncio.run(database.health_check())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, conninfo],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("postgresql://me:se%zzcret@localhost/x", id="bad escape in the password"),
        pytest.param("postgresql://me:secret@localhost/x?colour=red", id="an option libpq does not know"),
    ],
)
def test_an_address_libpq_cannot_read_is_refused_without_its_password(address: str) -> None:
    settings = Settings(_env_file=None, DATABASE_URL=address)
    with pytest.raises(ConfigurationError, match="DATABASE_URL") as caught:
        _ = DatabaseManager(settings=settings).conninfo
    assert "cret" not in str(caught.value)
    assert caught.value.__cause__ is None
