"""The proving ground proves itself: what it lends is real, and it destroys nothing that is not its own."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import psycopg
import pytest

from alkyone.databases import MARKER, NOON, NotATestDatabaseError, require_test_database, scratch
from alkyone.fixtures import SetEnvironment
from alkyone.standins.youtube import YouTubeStandin
from atlas import clock, settings
from atlas.clock import VirtualClock
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.setup import newest_version, schema_version


def test_a_database_without_the_name_of_a_test_is_refused(postgres: EmbeddedServer) -> None:
    with pytest.raises(NotATestDatabaseError, match="does not begin with"):
        require_test_database(postgres.conninfo)


def test_a_database_that_only_has_the_name_of_a_test_is_refused(conninfo: str) -> None:
    require_test_database(conninfo)
    with psycopg.connect(conninfo) as conn:
        conn.execute(f"ALTER TABLE {MARKER} RENAME TO something_else".encode())
    with pytest.raises(NotATestDatabaseError, match=MARKER):
        require_test_database(conninfo)
    with psycopg.connect(conninfo) as conn:
        conn.execute(f"ALTER TABLE something_else RENAME TO {MARKER}".encode())


def test_a_scratch_database_is_gone_after_its_block(postgres: EmbeddedServer, template: str) -> None:
    with scratch(postgres, template) as conninfo:
        psycopg.connect(conninfo).close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(conninfo)


async def test_each_test_gets_a_provisioned_database_of_its_own(
    database: DatabaseManager, postgres: EmbeddedServer, template: str
) -> None:
    assert await schema_version(database) == newest_version()
    with scratch(postgres, template) as another:
        assert another != database.conninfo


def test_the_clock_stands_at_noon_and_moves_when_told(frozen_clock: VirtualClock) -> None:
    assert clock.now() == NOON
    frozen_clock.set(NOON.replace(day=11))
    assert clock.now() == NOON.replace(day=11)


def test_the_environment_is_the_tests_own(settings_env: SetEnvironment, tmp_path: Path) -> None:
    assert settings.home.is_relative_to(tmp_path.resolve())
    settings_env(QUOTA_SEARCH_PER_DAY="3")
    assert settings.QUOTA_SEARCH_PER_DAY == 3
    settings_env(QUOTA_SEARCH_PER_DAY=None)
    assert settings.QUOTA_SEARCH_PER_DAY == 100


def test_another_process_finds_the_database_by_its_address(database_url: str, conninfo: str) -> None:
    with psycopg.connect(database_url) as one, psycopg.connect(conninfo) as two:
        assert one.info.dbname == two.info.dbname


async def test_the_stand_in_answers_at_the_tests_time(
    youtube_standin: YouTubeStandin, frozen_clock: VirtualClock
) -> None:
    assert youtube_standin.clock() == NOON
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{youtube_standin.endpoint}/_standin/health") as answer,
    ):
        assert answer.status == 200
