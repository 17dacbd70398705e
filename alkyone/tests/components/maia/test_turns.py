"""Of an agent one run is at work, and whoever dies with the turn does not keep it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TypedDict

import pytest
from psycopg.conninfo import conninfo_to_dict

from alkyone import snapshots
from alkyone.fixtures import SetEnvironment
from atlas import db
from atlas.adapters.maia import MaiaDAO
from atlas.clock import VirtualClock
from atlas.db import DatabaseManager
from atlas.errors import ConfigurationError
from maia import turns
from maia.reporting import AT_WORK
from maia.turns import LEASE, in_turn, turn

LEASED = "SELECT leased_until FROM work_leases"


class Summary(TypedDict):
    done: int


@pytest.fixture(autouse=True)
def here(settings_env: SetEnvironment, database_url: str, frozen_clock: VirtualClock) -> SetEnvironment:
    settings_env(DATABASE_URL=database_url)
    return settings_env


class Work:
    """A cycle that goes on until it may end, and how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.at_work = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, dry_run: bool = False) -> Summary:
        del dry_run
        self.begun += 1
        self.at_work.set()
        await self.may_end.wait()
        return {"done": 1}


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks go on until it holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the database has nothing to await
            await asyncio.sleep(0)


@pytest.fixture
def work() -> Work:
    return Work()


async def test_three_at_once_do_the_work_once(work: Work) -> None:
    run = in_turn("hunter")(work)
    first = asyncio.create_task(run())
    await work.at_work.wait()

    assert [await run(), await run()] == [{"stopped_by": AT_WORK}] * 2

    work.may_end.set()
    assert await first == {"done": 1}
    assert work.begun == 1
    assert await run() == {"done": 1}, "the turn was given back"


async def test_agents_do_not_wait_for_each_other(work: Work) -> None:
    async with db, turn("hunter") as ours, turn("tracker") as theirs:
        assert (ours, theirs) == (True, True)


async def test_there_may_be_as_many_as_the_setting_says(here: SetEnvironment, work: Work) -> None:
    here(RUNS_PER_AGENT="2")
    run = in_turn("hunter")(work)
    first, second = asyncio.create_task(run()), asyncio.create_task(run())
    await until(lambda: work.begun == 2)

    assert await run() == {"stopped_by": AT_WORK}

    work.may_end.set()
    assert [await first, await second] == [{"done": 1}] * 2


@pytest.mark.parametrize(
    ("places", "dry_run"), [pytest.param("0", False, id="no limit"), pytest.param("1", True, id="changes nothing")]
)
async def test_some_wait_for_no_turn(
    here: SetEnvironment, conninfo: str, work: Work, places: str, dry_run: bool
) -> None:
    here(RUNS_PER_AGENT=places)
    work.may_end.set()
    async with db, turn("hunter"):
        assert await in_turn("hunter", unless="dry_run")(work)(dry_run=dry_run) == {"done": 1}
    assert snapshots.column(conninfo, "SELECT name FROM work_leases") == []


async def test_who_dies_with_the_turn_keeps_it_for_its_lease_and_no_longer(
    dao: MaiaDAO, frozen_clock: VirtualClock
) -> None:
    assert await dao.claim_work("run hunter", lease=LEASE) is not None  # and is never heard of again
    async with db:
        frozen_clock.advance(LEASE - timedelta(seconds=1))
        async with turn("hunter") as ours:
            assert not ours
        frozen_clock.advance(timedelta(seconds=1))
        async with turn("hunter") as ours:
            assert ours


async def test_the_turn_is_renewed_while_the_run_works(
    conninfo: str, frozen_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "RENEW_S", 0.0)
    async with db, turn("hunter"):
        for _ in range(3):
            now = frozen_clock.advance(LEASE - timedelta(seconds=1))
            await until(lambda end=now + LEASE: snapshots.column(conninfo, LEASED) == [end])
        async with turn("hunter") as another:
            assert not another


async def test_a_turn_that_was_lost_ends_no_work_and_is_not_taken_back(
    database: DatabaseManager, conninfo: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turns, "RENEW_S", 0.0)
    async with db, turn("hunter"):
        async with database.get_connection() as conn:  # as a run does that finds the lease over
            await conn.execute("UPDATE work_leases SET lease_token = gen_random_uuid()")
        await until(lambda: "another run has begun" in caplog.text)

    assert snapshots.column(conninfo, "SELECT name FROM work_leases") == ["run hunter"], "it is the other's"


async def test_a_turn_is_given_back_by_a_run_that_fails_or_is_cancelled(dao: MaiaDAO, work: Work) -> None:
    @in_turn("hunter")
    async def fail() -> Summary:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await fail()
    cancelled = asyncio.create_task(in_turn("hunter")(work)())
    await work.at_work.wait()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled

    assert await dao.claim_work("run hunter", lease=LEASE) is not None


async def test_a_database_that_is_not_set_up_is_told_of(
    here: SetEnvironment, database_url: str, conninfo: str, empty_conninfo: str, work: Work
) -> None:
    ours, empty = (conninfo_to_dict(where)["dbname"] for where in (conninfo, empty_conninfo))
    here(DATABASE_URL=database_url.replace(f"/{ours}?", f"/{empty}?"))

    with pytest.raises(ConfigurationError, match="atlas setup"):
        await in_turn("hunter")(work)()
