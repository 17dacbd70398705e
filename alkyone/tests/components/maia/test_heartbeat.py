"""The heartbeat in a real database, with a real vault, OPS and a dead man's switch over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from alkyone.databases import taking_no_changes
from alkyone.fixtures import SetEnvironment
from alkyone.standins.discord import DiscordStandin
from atlas import notifier, vault
from atlas._besteffort import losses
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import WatchEntry
from atlas.adapters.vault_index import VaultIndex
from atlas.clock import VirtualClock
from atlas.db import DatabaseManager
from atlas.notifications import Repeats
from atlas.testing import MemoryVault, override
from maia.heartbeat.agent import run_once

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def now(frozen_clock: VirtualClock) -> VirtualClock:
    return frozen_clock


class Switch:
    """A service that notices silence."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.status = 200

    async def take(self, request: web.Request) -> web.Response:
        self.called.append(request.path_qs)
        return web.Response(status=self.status)


@pytest.fixture
async def switch() -> AsyncIterator[tuple[Switch, str]]:
    switch = Switch()
    app = web.Application()
    app.router.add_get("/{path:.*}", switch.take)
    async with TestServer(app) as server:
        yield switch, str(server.make_url("/beat-uuid?of=pleiades"))


@pytest.fixture
def discord() -> Iterator[DiscordStandin]:
    with DiscordStandin("ops") as standin:
        yield standin


@pytest.fixture
def here(
    settings_env: SetEnvironment,
    database_url: str,
    discord: DiscordStandin,
    switch: tuple[Switch, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SetEnvironment]:
    """Settings that name the test's own database, vault, OPS and switch; nothing was said before."""
    monkeypatch.setattr(notifier, "_repeats", Repeats())
    settings_env(DATABASE_URL=database_url, DISCORD_WEBHOOK_OPS=discord.address("ops"), HEARTBEAT_URL=switch[1])
    with override(vault_=MemoryVault()):
        yield settings_env


@pytest.mark.usefixtures("here")
async def test_ops_hears_of_changes_and_the_switch_of_every_beat(
    dao: MaiaDAO, discord: DiscordStandin, switch: tuple[Switch, str], now: VirtualClock
) -> None:
    well = await run_once()
    await run_once()
    await dao.add_to_watchlist([WatchEntry("v", now(), "HOURLY", now())])
    now.advance(26 * HOUR)
    unwell = await run_once()
    now.advance(HOUR)
    await run_once()

    assert (well["state"], well["reasons"], well["told"], well["pinged"]) == ("Healthy", [], True, True)
    assert unwell["state"] == "Degraded"
    assert [embed["title"] for embed in discord.embeds] == ["Pleiades: Healthy", "Pleiades: Degraded"]
    assert "oldest due work of tracking has been waiting for 26 h" in discord.embeds[1]["description"]
    assert switch[0].called == ["/beat-uuid?of=pleiades"] * 2 + ["/beat-uuid/fail?of=pleiades"] * 2
    assert [run["agent"] for run in await dao.runs()] == ["heartbeat"]


@pytest.mark.usefixtures("here")
async def test_a_vault_that_is_another_than_before_is_told(database: DatabaseManager, now: VirtualClock) -> None:
    await run_once()
    shards = vault.append_metrics([{"video_id": "dQw4w9WgXcQ", "timestamp": now(), "views": 1}])
    await VaultIndex(database).replace((), shards, now=now())
    with override(vault_=MemoryVault()):
        found = await run_once()

    assert found["state"] == "Degraded"
    assert found["reasons"][0].startswith("the vault cannot be used: ")


async def test_a_database_that_does_not_answer_is_told_without_it(
    here: SetEnvironment, discord: DiscordStandin, switch: tuple[Switch, str]
) -> None:
    here(DATABASE_URL="postgresql://me:secret-word@127.0.0.1:9/nowhere")

    found = await run_once()

    assert (found["state"], found["since"], found["told"]) == ("Degraded", None, True)
    assert "does not answer" in discord.embeds[0]["description"]
    assert "secret-word" not in f"{found} {discord.embeds}"
    assert switch[0].called == ["/beat-uuid/fail?of=pleiades"]


@pytest.mark.usefixtures("here")
async def test_a_database_that_takes_no_changes_is_told_without_it(
    conninfo: str, discord: DiscordStandin, switch: tuple[Switch, str]
) -> None:
    with taking_no_changes(conninfo):
        found = await run_once()

    assert (found["state"], found["since"], found["told"]) == ("Degraded", None, True)
    assert "the database takes no changes" in discord.embeds[0]["description"]
    assert switch[0].called == ["/beat-uuid/fail?of=pleiades"]
    assert losses == {}, "nobody tried to note what could not be noted"


@pytest.mark.parametrize("status", [404, 500])
@pytest.mark.usefixtures("here")
async def test_a_switch_that_does_not_take_it_is_counted_and_no_more(
    switch: tuple[Switch, str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    losses.clear()
    switch[0].status = status

    assert not (await run_once())["pinged"]

    assert losses == {"heartbeat's ping": 1}
    assert "beat-uuid" not in caplog.text


@pytest.mark.usefixtures("here")
async def test_two_heartbeats_at_once_tell_ops_once(discord: DiscordStandin) -> None:
    await asyncio.gather(run_once(), run_once())

    assert len(discord.embeds) == 1
