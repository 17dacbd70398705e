"""The pytest plugin of the proving ground: a real database and vault for each test, a clock that stands."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict

from atlas import clock
from atlas import settings as shared_settings
from atlas._besteffort import losses
from atlas._lazy import forget
from atlas.breakers import breakers
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.logs import OURS

if TYPE_CHECKING:
    from alkyone.standins.youtube import YouTubeStandin
    from atlas.adapters.maia import MaiaDAO
    from atlas.vault import LocalVault


@pytest.hookimpl(tryfirst=True)  # before Hypothesis looks up the profile of the command line
def pytest_configure(config: pytest.Config) -> None:
    """Search properties as the suite does, unless the command line names another profile."""
    from hypothesis import settings

    from alkyone import properties

    properties.register()
    if not config.getoption("--hypothesis-profile", None):
        settings.load_profile(properties.SUITE)


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    """Let no test hear of what others lost, which services failed them, or how loud they set the loggers."""
    losses.clear()
    breakers.forget()
    if runs := sys.modules.get("maia.runs"):
        runs._told.clear()
    loggers = [logging.getLogger(name) for name in OURS]
    before = [(logger.level, logger.disabled) for logger in loggers]
    yield
    for logger, (level, disabled) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.disabled = disabled


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedServer]:
    """Give this run's PostgreSQL, shared by the workers of pytest-xdist."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}"
    # Not below tmp_path: root's is closed to the account that the server runs as.
    home = Path(tempfile.gettempdir()) / f"pleiades-test-{run}"
    binaries = os.environ.get("PLEIADES_PG_BIN")
    # Tests survive kill -9, not a power cut; commits stay synchronous.
    server = EmbeddedServer(
        home,
        binaries=Path(binaries) if binaries else None,
        settings={"fsync": "off", "max_connections": "300"},
    )
    server.acquire()
    yield server
    if server.release():
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def template(postgres: EmbeddedServer) -> str:
    """Name the provisioned, empty database that each test gets a copy of."""
    from alkyone.databases import template_of

    return template_of(postgres)


@pytest.fixture
def conninfo(postgres: EmbeddedServer, template: str) -> Iterator[str]:
    """Say, for libpq, where this test's own database is."""
    from alkyone.databases import scratch

    with scratch(postgres, template) as where:
        yield where


@pytest.fixture
def database_url(conninfo: str) -> str:
    """Say where this test's own database is, as a ``DATABASE_URL`` for another process."""
    where = conninfo_to_dict(conninfo)
    host = quote(str(where["host"]), safe="")
    return f"postgresql://{where['user']}@/{where['dbname']}?host={host}&port={where['port']}"


@pytest.fixture
def empty_conninfo(postgres: EmbeddedServer) -> Iterator[str]:
    """Say, for libpq, where a database is that nobody has provisioned yet."""
    from alkyone.databases import scratch

    with scratch(postgres) as where:
        yield where


@pytest_asyncio.fixture
async def database(conninfo: str) -> AsyncIterator[DatabaseManager]:
    """Give connections to this test's own database."""
    async with DatabaseManager(conninfo) as manager:
        yield manager


@pytest.fixture
def dao(database: DatabaseManager) -> MaiaDAO:
    """Give the data access of this test's own database."""
    from atlas.adapters.maia import MaiaDAO

    return MaiaDAO(database)


@pytest.fixture
def vault(tmp_path: Path) -> LocalVault:
    """Give a vault in a folder of this test's own."""
    from atlas.vault import LocalVault

    return LocalVault(tmp_path / "vault")


@pytest.fixture
def frozen_clock() -> Iterator[clock.VirtualClock]:
    """Stop the clock at noon, 2026-11-10 UTC; the test may move it."""
    from alkyone.databases import NOON

    with clock.stopped(NOON) as frozen:
        yield frozen


@pytest_asyncio.fixture
async def youtube_standin(frozen_clock: clock.VirtualClock) -> AsyncIterator[YouTubeStandin]:
    """Serve a small generated world over HTTP; its clock is the test's."""
    from alkyone.standins.youtube import YouTubeStandin

    async with YouTubeStandin("generated:seed=7,channels=40", clock=frozen_clock) as standin:
        yield standin


class SetEnvironment(Protocol):
    """Sets variables of the environment for the rest of the test; ``None`` takes one away."""

    def __call__(self, **variables: str | None) -> None:
        """Set them."""


@pytest.fixture
def settings_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SetEnvironment]:
    """Give an environment without any setting but a home of the test's own, and a way to set some."""
    for name in (*Settings.model_fields, "HF_REPO_ID"):  # and the one alias
        monkeypatch.delenv(name, raising=False)
    elsewhere = tmp_path / "no-env-file"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def set_environment(**variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        forget(shared_settings)

    set_environment(PLEIADES_HOME=str(tmp_path / "home"), PLEIADES_SECRETS_DIR=str(elsewhere))
    yield set_environment
    forget(shared_settings)


@pytest.fixture(scope="session")
def recorded_data(request: pytest.FixtureRequest) -> Path:
    """Give the folder of recorded real answers and curves; skip where it is absent."""
    folder = recorded_folder(request.config)
    if not folder.is_dir():
        pytest.skip("no recorded data here: set PLEIADES_RECORDED_DATA")
    return folder


def recorded_folder(config: pytest.Config) -> Path:
    """Say where recorded answers and curves would be; for tests that are made of one each."""
    return Path(os.environ.get("PLEIADES_RECORDED_DATA", config.rootpath.parent / "shared" / "data"))
