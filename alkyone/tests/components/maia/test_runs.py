"""A run leaves behind how it ended, whatever way that was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import TypedDict
from uuid import uuid4

import pytest

from alkyone.fixtures import SetEnvironment
from alkyone.standins.discord import DiscordStandin
from atlas import breakers, db, notifier
from atlas._besteffort import best_effort
from atlas.adapters.maia import MaiaDAO
from atlas.clock import VirtualClock
from atlas.errors import DatabaseUnavailable, NoLiveKey
from atlas.logs import Run, of_run
from atlas.notifications import Repeats
from maia.runs import run_of


class Summary(TypedDict):
    videos: int


@pytest.fixture(autouse=True)
def here(settings_env: SetEnvironment, database_url: str, frozen_clock: VirtualClock) -> None:
    settings_env(DATABASE_URL=database_url)


@run_of("hunter")
async def well(lost: int = 0) -> Summary:
    for _ in range(lost):
        with best_effort("alert"):
            raise ValueError("no")
    return {"videos": 3}


@run_of("hunter")
async def badly(error: BaseException) -> Summary:
    raise error


async def test_a_run_that_completed_is_noted_with_its_summary(dao: MaiaDAO) -> None:
    assert await well() == {"videos": 3}

    (run,) = await dao.runs()
    assert (run["agent"], run["reason"], run["summary"]) == ("hunter", None, {"videos": 3})
    assert run["completed_at"] == run["ended_at"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(NoLiveKey("every key is disabled"), "every key is disabled", id="an error of ours"),
        pytest.param(ValueError("postgresql://me:secret@host"), "ValueError", id="one that may hold a secret"),
    ],
)
async def test_a_run_that_failed_is_noted_with_the_reason(dao: MaiaDAO, error: Exception, reason: str) -> None:
    with pytest.raises(type(error)):
        await badly(error)

    (run,) = await dao.runs()
    assert (run["reason"], run["completed_at"]) == (reason, None)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(143)], ids=lambda error: type(error).__name__)
async def test_a_run_that_was_ended_from_outside_is_not_noted(dao: MaiaDAO, error: BaseException) -> None:
    with pytest.raises(type(error)):
        await badly(error)

    assert await dao.runs() == []


async def test_without_a_database_the_error_is_the_callers_and_nothing_is_logged_as_lost(
    settings_env: SetEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    settings_env(DATABASE_URL="postgresql://me@127.0.0.1:9/nowhere")

    with pytest.raises(DatabaseUnavailable):
        await badly(DatabaseUnavailable("gone"))
    assert await well() == {"videos": 3}

    assert "lost" not in caplog.text
    assert "could not be noted" in caplog.text


@pytest.fixture
def discord(
    settings_env: SetEnvironment, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DiscordStandin]:
    monkeypatch.setattr(notifier, "_repeats", Repeats())
    with DiscordStandin("ops") as standin:
        settings_env(DATABASE_URL=database_url, DISCORD_WEBHOOK_OPS=standin.address("ops"))
        yield standin


async def test_ops_hears_once_of_an_agent_that_fails_and_once_that_it_works_again(
    dao: MaiaDAO, discord: DiscordStandin, frozen_clock: VirtualClock
) -> None:
    begun = frozen_clock()
    failures: list[Exception] = [
        NoLiveKey("none left"),
        NoLiveKey("still none"),
        ValueError("other"),
        NoLiveKey("none"),
    ]
    for error in failures:
        with pytest.raises(type(error)):
            await badly(error)
        frozen_clock.advance(timedelta(hours=2))
    await well()
    await well()

    told = [(embed["title"], embed["description"]) for embed in discord.embeds]
    assert told == [
        ("The hunter fails", "none left"),
        ("The hunter fails", "ValueError"),
        ("The hunter works again", f"It had failed since {begun:%Y-%m-%d %H:%M} UTC."),
    ]


@pytest.mark.engine
async def test_ops_hears_of_a_deployed_run_whose_process_died_and_of_none_that_somebody_ended_by_hand(
    dao: MaiaDAO, discord: DiscordStandin
) -> None:
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import Crashed

    from maia.tracker.flow import run_tracker_cycle

    (hook,) = run_tracker_cycle.on_crashed_hooks
    died = Crashed(message="Process exited with status code: -9.")
    deployed, by_hand = (FlowRun(flow_id=uuid4(), deployment_id=made_by) for made_by in (uuid4(), None))

    for flow_run in (by_hand, deployed, deployed):
        await hook(flow=run_tracker_cycle, flow_run=flow_run, state=died)  # type: ignore[call-arg, misc]

    assert [(embed["title"], embed["description"]) for embed in discord.embeds] == [
        ("The tracker fails", "Process exited with status code: -9.")
    ]
    (run,) = await dao.runs()
    assert (run["agent"], run["run_id"], run["completed_at"]) == ("tracker", str(deployed.id), None)


async def test_of_runs_that_fail_at_once_one_tells_ops(dao: MaiaDAO, discord: DiscordStandin) -> None:
    await asyncio.gather(*(badly(NoLiveKey("none left")) for _ in range(4)), return_exceptions=True)
    await asyncio.gather(*(well() for _ in range(4)))

    assert [embed["title"] for embed in discord.embeds] == ["The hunter fails", "The hunter works again"]


async def test_losses_are_noted_once(dao: MaiaDAO) -> None:
    from atlas.vitals import read

    for lost in (2, 0, 1):
        await well(lost)

    async with db:
        assert (await read(db)).losses["alert"].lost == 3


async def test_breakers_are_noted(dao: MaiaDAO) -> None:
    async with breakers.breakers.guard("the test's own"):
        pass
    await well()

    assert "the test's own" in {breaker["name"] for breaker in await dao.breakers()}


async def test_what_a_run_logs_carries_its_id(dao: MaiaDAO) -> None:
    from atlas import logs

    seen: list[Run | None] = []

    @run_of("tracker")
    async def look() -> Summary:
        seen.append(logs._current.get())
        return {"videos": 0}

    with of_run(Run("outer", "1")):
        await look()
        seen.append(logs._current.get())

    (run,) = await dao.runs()
    assert seen == [Run("tracker", run["run_id"]), Run("outer", "1")]
