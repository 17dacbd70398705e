from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from alkyone.databases import MARKER, NOON
from atlas import setup
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.errors import ConfigurationError, DatabaseUnavailable
from atlas.setup import SetupReport, migrations, newest_version, provision, ready, schema_version

# What makes a schema, each as rows of text. Members of extensions and the tests' marker are left out.
CATALOG = {
    "tables": """
        SELECT c.relname, c.relkind, c.relpersistence, c.reloptions, c.relacl, obj_description(c.oid),
               pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), c.relispartition, c.relrowsecurity
          FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace""",
    "columns": """
        SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               a.attgenerated, a.attcollation::regcollation, a.attstorage, a.attcompression, a.attstattarget,
               pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
          FROM pg_class AS c
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
          LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'public'::regnamespace""",
    "constraints": """
        SELECT conrelid::regclass, conname, contype, condeferrable, convalidated, pg_get_constraintdef(oid)
          FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": """
        SELECT pg_get_functiondef(p.oid) FROM pg_proc AS p
         WHERE p.pronamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')""",
    "types": """
        SELECT t.typname, t.typtype, e.enumlabel, e.enumsortorder
          FROM pg_type AS t LEFT JOIN pg_enum AS e ON e.enumtypid = t.oid
         WHERE t.typnamespace = 'public'::regnamespace AND t.typtype IN ('e', 'd', 'r')""",
    "sequences": "SELECT * FROM pg_sequences",
    "extensions": "SELECT extname, extversion FROM pg_extension",
    "history": "SELECT version, name FROM schema_migrations",
}


def catalog(conninfo: str) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(conninfo) as conn:
        conn.execute(f"DROP TABLE IF EXISTS {MARKER}")  # type: ignore[arg-type]
        found = {name: sorted(map(str, conn.execute(query.encode()))) for name, query in CATALOG.items()}
        conn.rollback()
    return found  # type: ignore[return-value]


@pytest.fixture
async def empty(empty_conninfo: str) -> DatabaseManager:
    return DatabaseManager(empty_conninfo)


async def test_an_empty_database_gets_the_whole_schema_and_partitions_ahead(empty: DatabaseManager) -> None:
    report = await provision(empty, now=NOON)
    assert report.version == newest_version()
    assert report.created
    assert report.applied == ()
    assert {"video_stats_log_20261110", "video_stats_log_20261117", "system_events_20261110"} <= set(report.partitions)
    assert await schema_version(empty) == newest_version()


async def test_the_second_time_nothing_is_left_to_do(empty: DatabaseManager) -> None:
    await provision(empty, now=NOON)
    assert await provision(empty, now=NOON) == SetupReport(newest_version(), False, (), ())


async def test_both_roads_end_in_the_same_catalog(empty_conninfo: str, conninfo: str) -> None:
    """The template went the short road, by schema.sql; this database goes step by step."""
    async with DatabaseManager(empty_conninfo) as database:
        for step in migrations():
            await setup._apply(database, step.text, [step], NOON)
        assert (await provision(database, now=NOON)).applied == ()
    stepwise, at_once = catalog(empty_conninfo), catalog(conninfo)
    for part in CATALOG:
        assert stepwise[part] == at_once[part], part
        assert at_once[part], part


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("columns", "ALTER TABLE channels ALTER COLUMN in_roster DROP DEFAULT"),
        ("columns", "ALTER TABLE watchlist ALTER COLUMN rate TYPE double precision"),
        ("constraints", "ALTER TABLE search_queue DROP CONSTRAINT search_queue_priority_check"),
        ("indexes", "DROP INDEX watchlist_due"),
        ("tables", "ALTER TABLE watchlist RESET (fillfactor)"),
        ("tables", "ALTER TABLE video_stats_log DETACH PARTITION video_stats_log_default"),
        ("triggers", "ALTER TABLE system_events DISABLE TRIGGER system_events_immutable"),
        ("functions", "ALTER FUNCTION refuse_change() SET work_mem = '5MB'"),
        ("types", "ALTER TYPE tracking_tier ADD VALUE 'NEVER'"),
    ],
)
def test_the_comparison_of_the_roads_sees(part: str, change: str, conninfo: str) -> None:
    before = catalog(conninfo)[part]
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute(change.encode())
    assert catalog(conninfo)[part] != before


async def test_an_older_database_gets_the_steps_it_lacks(
    empty: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provision(empty, now=NOON)
    step = setup.Migration(newest_version() + 1, "moons", "CREATE TABLE moons (n integer)")
    steps = (*migrations(), step)
    monkeypatch.setattr(setup, "migrations", lambda: steps)
    with pytest.raises(ConfigurationError, match="run atlas setup"):
        await ready(empty)
    assert (await provision(empty, now=NOON)).applied == (f"{step.version:04}_moons",)
    await ready(empty)


async def test_a_step_that_fails_leaves_nothing_and_the_ones_before_stay(
    empty: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provision(empty, now=NOON)
    base = newest_version()
    good = setup.Migration(base + 1, "good", "CREATE TABLE moons (n integer)")
    bad = setup.Migration(base + 2, "bad", "CREATE TABLE suns (n integer); SELECT 1 / 0")
    steps = (*migrations(), good, bad)
    monkeypatch.setattr(setup, "migrations", lambda: steps)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await provision(empty, now=NOON)
    assert await schema_version(empty) == base + 1
    async with empty.get_connection() as conn:
        assert await conn.fetchval("SELECT to_regclass('suns')") is None


async def test_a_step_that_meets_a_lock_gives_up_soon_and_says_so(
    empty: DatabaseManager, empty_conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provision(empty, now=NOON)
    step = setup.Migration(newest_version() + 1, "wide", "ALTER TABLE watchlist ADD COLUMN wide integer")
    steps = (*migrations(), step)
    monkeypatch.setattr(setup, "migrations", lambda: steps)
    patience = setup.SQL["patience"].replace("5s", "50ms")
    monkeypatch.setattr(setup, "SQL", {**setup.SQL, "patience": patience})
    with psycopg.connect(empty_conninfo) as other:
        other.execute("LOCK TABLE watchlist IN SHARE MODE")
        with pytest.raises(DatabaseUnavailable, match="atlas setup again"):
            await provision(empty, now=NOON)


def test_six_processes_that_provision_at_once_make_one_schema(empty_conninfo: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from atlas.db import DatabaseManager\n"
        "from atlas.setup import provision\n"
        "print(asyncio.run(provision(DatabaseManager(sys.argv[1]))).created)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, empty_conninfo], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    answers = [process.communicate()[0].strip() for process in started]
    assert sorted(answers) == ["False"] * 5 + ["True"]


async def test_tables_of_others_are_not_touched(empty: DatabaseManager) -> None:
    async with empty.get_connection() as conn:
        await conn.execute("CREATE TABLE videos (id serial)")
    with pytest.raises(ConfigurationError, match=r"not ours \(videos\)"):
        await provision(empty)
    async with empty.get_connection() as conn:
        assert await conn.fetchval("SELECT to_regclass('watchlist')") is None


async def test_a_schema_migrations_of_another_program_is_recognised(empty: DatabaseManager) -> None:
    async with empty.get_connection() as conn:
        await conn.execute("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)")
    with pytest.raises(ConfigurationError, match="schema_migrations"):
        await provision(empty)


async def test_a_type_of_others_with_our_name_is_told(empty: DatabaseManager) -> None:
    async with empty.get_connection() as conn:
        await conn.execute("CREATE TYPE tracking_tier AS ENUM ('X')")
    with pytest.raises(ConfigurationError, match="database of its own"):
        await provision(empty)


async def test_a_database_newer_than_the_code_is_refused(database: DatabaseManager) -> None:
    async with database.get_connection() as conn:
        await conn.execute("INSERT INTO schema_migrations VALUES (9999, 'of the future', now())")
    for use in (provision, ready):
        with pytest.raises(ConfigurationError, match="upgrade Pleiades"):
            await use(database)


async def test_a_user_without_rights_is_told_what_to_ask_for(empty: DatabaseManager, empty_conninfo: str) -> None:
    async with empty.get_connection() as conn:
        await conn.execute("DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    guest = DatabaseManager(empty_conninfo.replace("user=pleiades", "user=guest"))
    with pytest.raises(ConfigurationError, match="administrator CREATE EXTENSION vector"):
        await provision(guest)
    await guest.close()


async def test_an_old_server_and_one_without_a_recent_pgvector_are_told_what_is_missing(
    empty: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "OLDEST_SERVER", 990_000)
    with pytest.raises(ConfigurationError, match="15 or later"):
        await provision(empty)
    monkeypatch.undo()
    without = setup.SQL["server"].replace("'vector'", "'no such extension'")
    monkeypatch.setattr(setup, "SQL", {**setup.SQL, "server": without})
    with pytest.raises(ConfigurationError, match="no pgvector"):
        await provision(empty)
    monkeypatch.undo()
    monkeypatch.setattr(setup, "OLDEST_PGVECTOR", [99, 1])
    with pytest.raises(ConfigurationError, match="ALTER EXTENSION vector UPDATE"):
        await provision(empty)


async def test_a_given_database_without_a_schema_is_not_provisioned_behind_its_owners_back(
    empty: DatabaseManager,
) -> None:
    with pytest.raises(ConfigurationError, match="no schema yet: run atlas setup"):
        await ready(empty)
    assert await schema_version(empty) == 0


async def test_a_database_that_is_not_there_is_a_wrong_setting_without_its_password() -> None:
    settings = Settings(_env_file=None, DATABASE_URL="postgresql://me:hush@127.0.0.1:9/x")
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL: .*port 9") as caught:
        await ready(DatabaseManager(settings=settings))
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_steps_are_numbered_without_a_gap() -> None:
    assert [step.version for step in migrations()] == list(range(1, newest_version() + 1))
    assert len(list(Path(setup.__file__).with_name("migrations").iterdir())) == newest_version()


def test_the_embedded_database_is_provisioned_on_first_use(tmp_path: Path) -> None:
    program = (
        "import asyncio\n"
        "from atlas import db\n"
        "from atlas.setup import ready, schema_version\n"
        "async def main():\n"
        "    await ready()\n"
        "    print(await schema_version())\n"
        "asyncio.run(main())\n"
    )
    with tempfile.TemporaryDirectory(prefix="pleiades-test-") as home:
        Path(home).chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "PLEIADES_HOME": home}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == (str(newest_version()), "")


async def test_two_loops_may_look_at_once(database: DatabaseManager, conninfo: str) -> None:
    other = asyncio.to_thread(asyncio.run, schema_version(DatabaseManager(conninfo)))
    assert await asyncio.gather(schema_version(database), other) == [newest_version()] * 2
