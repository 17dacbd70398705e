"""Least privilege: what the roles of ``atlas setup --roles`` may do, and what the server refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from alkyone import snapshots
from alkyone.agents import run_agent
from alkyone.databases import NOON, drop_roles
from alkyone.scenes import AMPLE, TINY, dao_of, open_scene, seed
from atlas import vitals
from atlas.adapters.maia import MaiaDAO
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.errors import ConfigurationError
from atlas.roles import grant

DAY = timedelta(days=1)
DENIED = psycopg.errors.InsufficientPrivilege


class Roles:
    """Two roles of this test's own, and where the database is for each."""

    def __init__(self, conninfo: str) -> None:
        self.writer, self.reader = (f"pleiades_{kind}_{uuid4().hex[:12]}" for kind in ("writer", "reader"))
        self.password = f"canary-{uuid4().hex}"
        self._conninfo = conninfo

    def url(self, role: str) -> SecretStr:
        where = conninfo_to_dict(self._conninfo)
        host = quote(str(where["host"]), safe="")
        return SecretStr(f"postgresql://{role}:{self.password}@/{where['dbname']}?host={host}&port={where['port']}")

    def settings(self) -> Settings:
        return Settings(
            _env_file=None, DATABASE_WRITER_URL=self.url(self.writer), DATABASE_READER_URL=self.url(self.reader)
        )

    def conninfo(self, role: str) -> str:
        return make_conninfo(self._conninfo, user=role, password=self.password)

    def drop(self, conninfo: str) -> None:
        drop_roles(conninfo, (self.writer, self.reader))


@pytest.fixture
def names(postgres: EmbeddedServer, conninfo: str) -> Iterator[Roles]:
    found = Roles(conninfo)
    yield found
    found.drop(conninfo)


@pytest.fixture
async def roles(names: Roles, database: DatabaseManager) -> Roles:
    assert await grant(names.settings(), database) == {"writer": names.writer, "reader": names.reader}
    return names


def refused(conninfo: str, statement: str) -> str:
    """Run a statement that must fail; tell the error's class."""
    with psycopg.connect(conninfo, autocommit=True) as conn, pytest.raises(psycopg.Error) as failed:
        conn.execute(statement.encode())
    return type(failed.value).__name__


FORBIDDEN = (
    "UPDATE system_events SET payload = '{}'",
    "DELETE FROM system_events",
    "TRUNCATE system_events",
    "UPDATE system_events_20261110 SET payload = '{}'",
    "DELETE FROM system_events_default",
    "TRUNCATE system_events_20261110",
    "ALTER TABLE system_events DISABLE TRIGGER USER",
    "DROP TABLE system_events_20261110",
    "ALTER TABLE system_events DETACH PARTITION system_events_20261110",
    "TRUNCATE watchlist",
    "TRUNCATE video_stats_log",
    "DROP TABLE watchlist",
    "ALTER TABLE watchlist ADD COLUMN more text",
    "CREATE TABLE mine (n integer)",
    "CREATE SCHEMA mine",
    "CREATE EXTENSION pg_trgm",
    "CREATE ROLE another",
    "CREATE DATABASE another",
    "CREATE FUNCTION more() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "INSERT INTO schema_migrations VALUES (9999, 'mine', now())",
    "COPY watchlist TO PROGRAM 'cat'",
    "COPY watchlist TO '/tmp/watchlist'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT drop_partition('system_events', 'system_events_default'), 1 / 0",
    "SELECT drop_partition('watchlist', 'watchlist')",
    "SELECT lock_partitioned('watchlist')",
    "SELECT make_partition('video_stats_log', 'mine', now(), now() + interval '1 day', interval '1 s')",
    "SELECT make_partition('watchlist', 'watchlist_20300101', now(), now() + interval '1 day', interval '1 s')",
)


async def test_the_writer_may_change_no_event_and_make_nothing(roles: Roles, database: DatabaseManager) -> None:
    """Each is refused for want of the right, but for a name that is none and a partition that there is none of."""
    async with database.get_connection() as conn:
        await conn.execute(
            "INSERT INTO system_events (event_type, created_at) VALUES ('video.discovered', %(at)s)", {"at": NOON}
        )
    other = {"InvalidName": "'mine', now()", "DivisionByZero": "1 / 0"}
    for statement in FORBIDDEN:
        reason = refused(roles.conninfo(roles.writer), statement)
        assert reason == "InsufficientPrivilege" or other[reason] in statement, statement
    async with database.get_connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM system_events") == 1


async def test_a_day_of_events_goes_only_when_the_vault_is_proven_to_hold_it(
    roles: Roles, database: DatabaseManager
) -> None:
    async with database.get_connection() as conn:
        await conn.execute(
            "INSERT INTO system_events (event_type, created_at) VALUES ('video.discovered', %(at)s)", {"at": NOON}
        )
    drop = "SELECT drop_partition('system_events', 'system_events_20261110')"
    assert refused(roles.conninfo(roles.writer), drop) == "InsufficientPrivilege"
    with psycopg.connect(roles.conninfo(roles.writer)) as conn:
        conn.execute(
            "INSERT INTO vault_manifest VALUES ('p', 'events', %s, 'd', 1, 1, %s, %s, %s)",
            [date(2026, 11, 10), NOON, NOON, NOON],
        )
        assert conn.execute(drop.encode()).fetchone() == (True,)


async def test_a_temporary_table_does_not_stand_in_for_one_of_ours(roles: Roles) -> None:
    with psycopg.connect(roles.conninfo(roles.writer)) as conn:
        conn.execute("CREATE TEMP TABLE vault_manifest (kind text, day date, rows bigint)")
        conn.execute("CREATE TEMP TABLE video_stats_log (video_id text, timestamp timestamptz)")
        conn.execute("INSERT INTO vault_manifest VALUES ('events', '2026-11-10', 1000000)")
        conn.execute("INSERT INTO public.system_events (event_type, created_at) VALUES ('x', %s)", [NOON])
        with pytest.raises(DENIED, match="not proven"):
            conn.execute("SELECT drop_partition('system_events', 'system_events_20261110')")


CHANGING = (
    "INSERT INTO rejected VALUES ('v', 'why', now())",
    "UPDATE watchlist SET next_track_at = now()",
    "DELETE FROM videos",
    "TRUNCATE videos",
    "CREATE TABLE mine (n integer)",
    "SELECT lock_partitioned('video_stats_log')",
    "SELECT drop_partition('video_stats_log', 'video_stats_log_20261110')",
)


async def test_the_reader_may_change_nothing_even_when_it_insists(roles: Roles) -> None:
    with psycopg.connect(roles.conninfo(roles.reader), autocommit=True) as conn:
        assert conn.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
        for statement in CHANGING:
            with pytest.raises((psycopg.errors.ReadOnlySqlTransaction, DENIED)):
                conn.execute(statement.encode())
        conn.execute("SET default_transaction_read_only = off")
        for statement in CHANGING:
            with pytest.raises(DENIED):
                conn.execute(statement.encode())


async def test_the_reader_reads_what_the_metrics_tell(roles: Roles, dao: MaiaDAO) -> None:
    await dao.add_to_search_queue(["jazz"], now=NOON)
    async with DatabaseManager(roles.conninfo(roles.reader)) as reader:
        seen = await vitals.read(reader, now=NOON)
    assert 1 in {queue.waiting for queue in seen.queues.values()}


async def test_roles_are_made_once_and_what_was_given_too_much_is_taken_away(
    roles: Roles, database: DatabaseManager
) -> None:
    async with database.get_connection() as conn:
        await conn.execute(
            sql.SQL("GRANT DELETE, TRUNCATE ON system_events, watchlist TO {}").format(sql.Identifier(roles.writer))
        )
    await grant(roles.settings(), database)
    assert refused(roles.conninfo(roles.writer), "DELETE FROM system_events") == "InsufficientPrivilege"
    assert refused(roles.conninfo(roles.writer), "TRUNCATE watchlist") == "InsufficientPrivilege"


async def test_the_server_never_sees_a_password(names: Roles, database: DatabaseManager, conninfo: str) -> None:
    """It would stand in its log and its statistics."""
    seen: list[str] = []
    execute = psycopg.AsyncConnection.execute

    async def listening(self, query, *args, **options):  # type: ignore[no-untyped-def]
        seen.append(query.as_string(self) if hasattr(query, "as_string") else str(query))
        return await execute(self, query, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "execute", listening)
        await grant(names.settings(), database)
    assert any("SCRAM-SHA-256$" in statement for statement in seen)
    assert not any(names.password in statement for statement in seen)
    with psycopg.connect(conninfo) as owner:
        stored = owner.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [names.writer]).fetchone()
    assert stored is not None
    assert stored[0].startswith("SCRAM-SHA-256$")


async def test_a_role_that_may_more_is_no_role_for_the_agents(names: Roles, database: DatabaseManager) -> None:
    async with database.get_connection() as conn:
        owner = await conn.fetchval("SELECT current_user")
    with pytest.raises(ConfigurationError, match="may do more than it should"):
        await grant(Settings(_env_file=None, DATABASE_WRITER_URL=names.url(owner)), database)
    same = names.url(names.writer)
    with pytest.raises(ConfigurationError, match="name the same role"):
        await grant(Settings(_env_file=None, DATABASE_WRITER_URL=same, DATABASE_READER_URL=same), database)
    with pytest.raises(ConfigurationError, match="neither DATABASE_WRITER_URL nor"):
        await grant(Settings(_env_file=None), database)


@pytest.mark.engine
@pytest.mark.timeout(900)
async def test_the_agents_do_all_their_work_as_the_writer(
    postgres: EmbeddedServer, template: str, tmp_path: Path
) -> None:
    """From a search term to archived days: partitions are made and dropped, videos retired, shards compacted."""
    async with open_scene(postgres, template, tmp_path, TINY, AMPLE) as here:
        at = here.youtube.now()
        with here.site() as owners:
            await seed(owners, here.world, at, terms=2, channels=2)
            names = Roles(owners.conninfo)
            async with DatabaseManager(owners.conninfo) as database:
                await grant(names.settings(), database)
            site = replace(owners, conninfo=names.conninfo(names.writer))
            try:
                for day in (0, 1, 10):
                    here.youtube.set_clock(at + day * DAY)
                    for agent in ("hunter", "tracker", "painter", "scribe", "janitor"):
                        run = await run_agent(agent, site, here.youtube.now())
                        assert run.error is None, f"day {day}: {agent}: {run.error}"
                        assert run.exitcode == 0
                assert snapshots.leased(owners.conninfo) == 0
                async with dao_of(owners) as dao, dao._db.get_connection() as conn:  # type: ignore[attr-defined]
                    kinds = await conn.fetch("SELECT DISTINCT kind FROM vault_manifest")
                    held = await conn.fetchval("SELECT min(timestamp) FROM video_stats_log")
                assert {"metrics", "metadata", "events"} <= {row["kind"] for row in kinds}
                assert held > at, "the oldest days have left SQL"
            finally:
                names.drop(owners.conninfo)
