"""Alerts reach Discord over HTTP within its limits, and no state of Discord reaches the agents."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from alkyone.standins.discord import DiscordStandin
from atlas import clock
from atlas._besteffort import losses
from atlas._lazy import lazy
from atlas.breakers import Breakers
from atlas.config import Settings
from atlas.errors import ConfigurationError
from atlas.notifications import WINDOW, AlertChannel, AlertLevel, DiscordNotifier
from atlas.notifications.destinations import BLOCKED
from atlas.notifications.lane import FAILURES, MOST_WAITING, PAUSE
from atlas.notifications.pace import BURST, Timer

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
OPS = AlertChannel.OPS


class Hastened(Timer):
    """A timer whose waits are over at once, and remembered."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.seconds

    async def wait(self, seconds: float, sooner: asyncio.Event) -> None:
        if not sooner.is_set():
            self.waits.append(round(seconds, 3))
            self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def time() -> Iterator[clock.VirtualClock]:
    with clock.stopped(NOON) as stopped:
        yield stopped


@pytest.fixture
def timer() -> Hastened:
    return Hastened()


@pytest.fixture
def discord(timer: Hastened) -> Iterator[DiscordStandin]:
    with DiscordStandin("alerts", "ops", "watch", now=timer.now) as standin:
        yield standin


@pytest.fixture
def breakers() -> Breakers:
    return Breakers()


@pytest.fixture
async def notifier(discord: DiscordStandin, timer: Hastened, breakers: Breakers) -> AsyncIterator[DiscordNotifier]:
    settings = webhooks(
        ALERTS=discord.address("alerts"), OPS=discord.address("ops"), SURVEILLANCE=discord.address("watch")
    )
    notifier = DiscordNotifier(settings, timer=timer, breakers=breakers)
    yield notifier
    await notifier.close()


def webhooks(*chats: str, **addresses: str) -> Settings:
    fields: dict[str, Any] = {
        f"DISCORD_WEBHOOK_{channel.name}": addresses.get(channel.name) for channel in AlertChannel
    }
    return Settings(**fields | {"_env_file": None, "NOTIFY_URLS": chats})


def where(discord: DiscordStandin) -> list[str]:
    return [message.webhook for message in discord.taken]


def calls(discord: DiscordStandin) -> list[str]:
    return [path.split("/")[3] for _, path in discord.mishaps.seen]


async def settled(notifier: DiscordNotifier) -> None:
    """Wait, without hurry, until nothing is left to deliver."""
    while busy := [lane for lane in notifier._mine().values() if not lane.idle]:
        await asyncio.gather(*(lane.emptied() for lane in busy))


def test_the_notifier_keeps_its_name_beside_its_module_and_loads_no_http_client_before_use() -> None:
    program = (
        "import sys, atlas.notifier, atlas.hydra; from atlas import notifier; "
        "print(type(notifier).__name__, {'aiohttp', 'purgatory', 'apprise'} & set(sys.modules))"
    )

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    assert told.stdout.split() == ["DiscordNotifier", "set()"]


# -- What arrives -----------------------------------------------------------------------------------------------------


async def test_an_alert_arrives_in_its_channel_as_an_embed(notifier: DiscordNotifier, discord: DiscordStandin) -> None:
    assert await notifier.send(
        "Rising",
        "12,000 views an hour",
        AlertChannel.SURVEILLANCE,
        AlertLevel.SUCCESS,
        {"video": "dQw4w9WgXcQ"},
    )
    assert await notifier.drain()

    assert where(discord) == ["watch"]
    assert discord.embeds == [
        {
            "title": "Rising",
            "description": "12,000 views an hour",
            "color": 0x2ECC71,
            "fields": [{"name": "video", "value": "dQw4w9WgXcQ", "inline": True}],
        }
    ]


async def test_an_alert_can_be_a_message_with_metadata(notifier: DiscordNotifier, discord: DiscordStandin) -> None:
    await notifier.send(level="warning", message="The disk fills", metadata={"free": 3})
    await notifier.drain()

    assert where(discord) == ["alerts"]
    assert discord.embeds == [
        {
            "title": "Warning",
            "description": "The disk fills",
            "color": 0xF1C40F,
            "fields": [{"name": "free", "value": "3", "inline": True}],
        }
    ]


async def test_an_alert_wakes_nobody_by_mention(notifier: DiscordNotifier, discord: DiscordStandin) -> None:
    await notifier.send("@everyone look at <@1234>")
    await notifier.drain()

    assert discord.taken[0].body["allowed_mentions"] == {"parse": []}


async def test_a_channel_without_a_webhook_falls_back_to_alerts(
    notifier: DiscordNotifier, discord: DiscordStandin
) -> None:
    await notifier.send("Found 12", channel=AlertChannel.HUNT)
    await notifier.drain()

    assert where(discord) == ["alerts"]


async def test_without_any_webhook_an_alert_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        sent = await DiscordNotifier(webhooks()).send("Disk", "full", OPS, AlertLevel.CRITICAL, {"left": 0})

    assert not sent
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("CRITICAL", "Disk: full (left 0)")
    ]
    assert not losses


async def test_everything_that_can_be_said_is_within_the_limits_of_discord(
    notifier: DiscordNotifier, discord: DiscordStandin
) -> None:
    for level in AlertLevel:
        fields = [(f"{n}" * 300, "v" * 2000) for n in range(40)]
        for more in range(2):
            await notifier.send("t" * 300, "d" * 9000, OPS, level, fields[more:])
        await notifier.drain()
        await notifier.send("", "", OPS, level, {"": "", " ": None})
        await notifier.drain()

    assert discord.invalid == []
    assert len(discord.taken) == 2 * len(AlertLevel)


# -- Many -------------------------------------------------------------------------------------------------------------


async def test_what_is_said_together_arrives_together(notifier: DiscordNotifier, discord: DiscordStandin) -> None:
    for number in range(10):
        await notifier.send(f"number {number}", channel=OPS)
    await settled(notifier)

    assert [[embed["title"] for embed in message.embeds] for message in discord.taken] == [
        [f"number {number}" for number in range(10)]
    ]


async def test_a_thousand_alerts_at_once_are_one_message_that_counts_them(
    notifier: DiscordNotifier, discord: DiscordStandin, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for number in range(3 * MOST_WAITING):
            await notifier.send("Rising", f"video {number}", channel=OPS)
        await settled(notifier)

    (message,) = discord.taken
    assert message.embeds[0]["title"] == "3,000 alerts"
    assert message.embeds[0]["fields"][0]["name"] == "3,000 × Rising"
    assert len({record.getMessage() for record in caplog.records if "Rising" in record.getMessage()}) == 3_000
    assert not losses


async def test_a_stream_of_alerts_is_said_in_few_messages(
    notifier: DiscordNotifier, discord: DiscordStandin, timer: Hastened
) -> None:
    for number in range(6):
        await notifier.send(f"number {number}", channel=OPS)
        await settled(notifier)

    gaps = [later.at - earlier.at for earlier, later in zip(discord.taken, discord.taken[1:], strict=False)]
    assert len(discord.taken) == 6
    assert [gap >= 19 for gap in gaps] == [False] * (BURST - 1) + [True] * (6 - BURST)


async def test_the_end_of_a_run_gathers_nothing_any_more(
    notifier: DiscordNotifier, discord: DiscordStandin, timer: Hastened
) -> None:
    for number in range(4):
        await notifier.send(f"number {number}", channel=OPS)
        assert await notifier.drain()

    assert len(discord.taken) == 4
    assert timer.seconds == 0


# -- Repetition -------------------------------------------------------------------------------------------------------


async def test_the_same_alert_is_not_said_twice_within_its_window_and_then_says_how_often(
    notifier: DiscordNotifier, discord: DiscordStandin, time: clock.VirtualClock
) -> None:
    sent = [await notifier.send("Quota", "spent") for _ in range(3)]
    time.advance(WINDOW - timedelta(seconds=1))
    sent.append(await notifier.send("Quota", "spent"))
    time.advance(timedelta(seconds=1))
    sent.append(await notifier.send("Quota", "spent"))
    await notifier.drain()

    assert sent == [True, False, False, False, True]
    assert [embed.get("footer") for embed in discord.embeds] == [
        None,
        {"text": "repeated 3 times since it was last said"},
    ]


async def test_a_repetition_that_nobody_was_told_of_is_logged(
    notifier: DiscordNotifier, time: clock.VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await notifier.send("Quota", "spent")
    await notifier.send("Quota", "spent")
    time.advance(2 * WINDOW)
    with caplog.at_level(logging.INFO):
        await notifier.send("Disk", "full")

    assert "repeated 1 times after 12:00 UTC: Quota: spent" in caplog.messages


async def test_alerts_that_differ_in_anything_are_all_sent(notifier: DiscordNotifier, discord: DiscordStandin) -> None:
    await notifier.send("Rising", fields={"video": "a"})
    await notifier.send("Rising", fields={"video": "b"})
    await notifier.send("Rising", fields={"video": "b"}, level=AlertLevel.SUCCESS)
    await notifier.send("Rising", fields={"video": "b"}, channel=AlertChannel.HUNT)
    await notifier.drain()

    assert len(discord.embeds) == 4


async def test_an_alert_that_was_not_delivered_may_be_sent_again(
    notifier: DiscordNotifier, discord: DiscordStandin
) -> None:
    discord.mishaps.add("status", status=500)
    assert await notifier.send("Quota", "spent")
    await notifier.drain()

    assert await notifier.send("Quota", "spent")
    await notifier.drain()
    assert len(discord.taken) == 1


# -- Discord is unwell ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 400, 404, 500, 503])
async def test_a_webhook_that_refuses_falls_back_to_alerts(
    notifier: DiscordNotifier, discord: DiscordStandin, status: int
) -> None:
    discord.mishaps.add("status", path="/ops/", status=status, headers={"Location": "http://elsewhere.invalid/"})

    await notifier.send("Key rejected", channel=OPS)
    await notifier.drain()

    assert calls(discord) == ["ops", "alerts"]
    assert where(discord) == ["alerts"]
    assert not losses


async def test_a_webhook_that_was_deleted_is_left_in_peace(
    notifier: DiscordNotifier, discord: DiscordStandin, timer: Hastened
) -> None:
    discord.remove("ops")
    for number in range(20):
        await notifier.send(f"number {number}", channel=OPS)
        await notifier.drain()
    timer.seconds += BLOCKED.total_seconds()
    await notifier.send("later", channel=OPS)
    await notifier.drain()

    assert calls(discord).count("ops") == 2
    assert len(discord.embeds) == 21


async def test_what_can_heal_is_tried_again(
    notifier: DiscordNotifier, discord: DiscordStandin, timer: Hastened
) -> None:
    discord.mishaps.add("status", times=FAILURES - 1)
    await notifier.send("Key rejected", channel=OPS)
    await settled(notifier)

    assert calls(discord) == ["ops"] * FAILURES
    assert where(discord) == ["ops"]
    assert not losses


async def test_a_dead_discord_is_left_in_peace_and_what_it_did_not_take_is_logged_and_counted(
    notifier: DiscordNotifier,
    discord: DiscordStandin,
    breakers: Breakers,
    time: clock.VirtualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    dead = discord.mishaps.add("reset", times=1000)
    for number in range(50):
        await notifier.send(f"number {number}", channel=OPS)
        await settled(notifier)

    assert dead.hits == 2 * FAILURES
    assert losses == {"alert": 50}
    assert {name: state.state for name, state in breakers.states().items()} == {
        "discord alerts": "opened", "discord ops": "opened",
    }  # fmt: skip
    assert {f"number {number}: " for number in range(50)} <= set(caplog.messages)
    discord.mishaps.clear()
    time.advance(PAUSE)
    await notifier.send("back", channel=OPS)
    await notifier.drain()
    assert where(discord) == ["ops"]


async def test_a_webhook_that_never_answers_is_not_waited_for(discord: DiscordStandin) -> None:
    discord.mishaps.add("hang", path="/ops/")
    notifier = DiscordNotifier(
        webhooks(ALERTS=discord.address("alerts"), OPS=discord.address("ops")),
        patience=timedelta(seconds=2),
        breakers=Breakers(),
    )

    await notifier.send("Key rejected", channel=OPS)
    await notifier.close()

    assert where(discord) == ["alerts"]


async def test_the_end_of_a_run_waits_for_a_while_and_no_longer(
    discord: DiscordStandin, caplog: pytest.LogCaptureFixture
) -> None:
    discord.mishaps.add("hang", times=1000)
    notifier = DiscordNotifier(webhooks(OPS=discord.address("ops")), breakers=Breakers())

    await notifier.send("Key rejected", channel=OPS, level="warning")
    assert not await notifier.drain(timedelta(milliseconds=50))
    await notifier.close(timedelta(0))

    assert losses == {"alert": 1}
    assert caplog.messages == ["lost: alert (1 so far): not taken by discord ops", "Key rejected: "]


# -- Its rate limits --------------------------------------------------------------------------------------------------


async def test_the_time_that_a_429_names_is_waited_for(
    notifier: DiscordNotifier, discord: DiscordStandin, timer: Hastened
) -> None:
    for number in range(40):
        await notifier.send(f"number {number}", channel=OPS)
        assert await notifier.drain(timedelta(seconds=59))

    assert discord.refused > 0
    assert discord.hasty == 0
    assert len(discord.embeds) == 40
    assert not losses


async def test_a_spent_rate_in_the_headers_is_heeded_before_there_is_a_429(
    notifier: DiscordNotifier, discord: DiscordStandin
) -> None:
    for number in range(12):
        await notifier.send(f"number {number}", channel=OPS)
        assert await notifier.drain()

    assert discord.refused == 0
    assert len(discord.taken) == 12


async def test_the_global_limit_holds_for_every_webhook(
    notifier: DiscordNotifier, discord: DiscordStandin, timer: Hastened
) -> None:
    discord.block(3)
    await notifier.send("first", channel=OPS)
    await notifier.drain()
    await notifier.send("second")
    await notifier.send("third", channel=AlertChannel.SURVEILLANCE)
    await notifier.drain()

    assert (discord.refused, discord.hasty) == (1, 0)
    assert where(discord)[0] == "ops"
    assert sorted(where(discord)) == ["alerts", "ops", "watch"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, b'{"retry_after": 64.57, "global": false}', id="in the body"),
        pytest.param({"Retry-After": "65"}, b'{"message": "no"}', id="in the header"),
        pytest.param({"Retry-After": "65"}, b"<html>", id="of no JSON"),
    ],
)
async def test_a_long_wait_is_not_waited_but_kept_to(
    notifier: DiscordNotifier, discord: DiscordStandin, timer: Hastened, headers: dict[str, str], body: bytes
) -> None:
    discord.mishaps.add("status", path="/ops/", status=429, headers=headers, body=body)
    for pause in (30, 36, 0):
        await notifier.send(f"before {pause}", channel=OPS)
        await notifier.drain()
        timer.seconds += pause

    assert calls(discord) == ["ops", "alerts", "alerts", "ops"]


async def test_a_ban_that_names_no_time_leaves_the_webhook_in_peace(
    notifier: DiscordNotifier, discord: DiscordStandin, timer: Hastened, recorded_data: Path
) -> None:
    ban = (recorded_data / "other/discord/ip_ban_429_2023.json").read_bytes()
    discord.mishaps.add("status", status=429, body=ban)
    for pause in (0, BLOCKED.total_seconds(), 0):
        await notifier.send(f"before {pause} and {timer.now()}")
        await notifier.drain()
        timer.seconds += pause

    assert calls(discord) == ["alerts", "alerts"]
    assert losses == {"alert": 2}


@pytest.mark.parametrize(
    "wish", ["soon", None, [], {"seconds": 1}, "nan", "inf", 1e300, -5], ids=lambda wish: f"{wish!r}"
)
async def test_a_429_that_makes_no_sense_is_no_harm(
    notifier: DiscordNotifier, discord: DiscordStandin, wish: object
) -> None:
    discord.mishaps.add("status", status=429, body=orjson.dumps({"retry_after": wish}))

    await notifier.send("first")
    await notifier.drain()

    assert losses == {"alert": 1}


# -- Never any harm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "webhook",
    [
        pytest.param("http://127.0.0.1:9/webhooks/1/TOKEN", id="nobody listens"),
        pytest.param("http://no-such-host.invalid/TOKEN", id="no such host"),
        pytest.param("http://[TOKEN", id="no address at all"),
        pytest.param("gopher://127.0.0.1/TOKEN", id="another protocol"),
    ],
)
async def test_an_undelivered_alert_is_logged_and_counted_without_the_address(
    caplog: pytest.LogCaptureFixture, webhook: str
) -> None:
    notifier = DiscordNotifier(webhooks(ALERTS=webhook), breakers=Breakers())
    with caplog.at_level(logging.DEBUG):
        await notifier.send("Disk", "full", level="critical")
        await notifier.close()

    assert losses == {"alert": 1}
    assert "Disk: full" in caplog.text
    assert "TOKEN" not in caplog.text


async def test_wrong_settings_raise_nothing() -> None:
    def broken() -> Settings:
        raise ConfigurationError("VAULT_PROVIDER: unknown")

    assert not await DiscordNotifier(lazy(broken, Settings)).send("Disk", "full")

    assert losses == {"alert": 1}


@pytest.mark.parametrize("name", ["level", "channel"])
async def test_a_level_or_channel_that_does_not_exist_raises_nothing(
    notifier: DiscordNotifier, discord: DiscordStandin, name: str
) -> None:
    arguments: dict[str, Any] = {name: "nonsense"}

    assert not await notifier.send("Disk", "full", **arguments)

    assert losses == {"alert": 1}
    assert discord.mishaps.seen == []


async def test_what_waits_when_the_loop_ends_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    def life() -> None:
        async def live() -> None:
            notifier = DiscordNotifier(webhooks(ALERTS="http://127.0.0.1:9/"), breakers=Breakers())
            await notifier.send("Disk", "full", level="warning")
            await asyncio.sleep(0)

        asyncio.run(live())

    await asyncio.to_thread(life)

    assert losses == {"alert": 1}
    assert caplog.messages == ["lost: alert (1 so far): not taken by discord alerts", "Disk: full"]


def test_one_notifier_serves_one_event_loop_after_another_and_leaves_nothing_open() -> None:
    with DiscordStandin("alerts") as discord:
        notifier = DiscordNotifier(webhooks(ALERTS=discord.address("alerts")), breakers=Breakers())

        async def life(number: int) -> None:
            await notifier.send(f"number {number}")
            await notifier.drain()

        for number in range(2):
            asyncio.run(life(number))  # a session left open would warn, and warnings are errors

        assert len(discord.taken) == 2


# -- Other chats ------------------------------------------------------------------------------------------------------


apprise = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # an import of Apprise's


class Chat:
    """Takes what Apprise's ``json://`` posts."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200

    async def take(self, request: web.Request) -> web.Response:
        self.received.append(orjson.loads(await request.read()))
        return web.Response(status=self.status)


@pytest.fixture
async def chat() -> AsyncIterator[tuple[Chat, str]]:
    chat = Chat()
    app = web.Application()
    app.router.add_post("/chat", chat.take)
    async with TestServer(app) as server:
        yield chat, f"json://127.0.0.1:{server.port}/chat"


@apprise
async def test_other_chats_get_every_alert_as_well(discord: DiscordStandin, chat: tuple[Chat, str]) -> None:
    receiver, address = chat
    notifier = DiscordNotifier(webhooks(address, OPS=discord.address("ops")), breakers=Breakers())

    await notifier.send("Key rejected", "mend it", OPS, "critical", {"agent": "hunter"})
    await notifier.send("Found 12", channel=AlertChannel.HUNT, level="success")
    await notifier.close()

    assert [embed["title"] for embed in discord.embeds] == ["Key rejected"]
    (told,) = receiver.received
    assert (told["title"], told["type"]) == ("Key rejected and more", "failure")
    assert told["message"] == "**Key rejected**\nmend it\n- agent: hunter\n\n**Found 12**"


@apprise
async def test_a_chat_that_fails_is_left_in_peace_and_harms_no_other(
    discord: DiscordStandin, chat: tuple[Chat, str], timer: Hastened
) -> None:
    receiver, address = chat
    receiver.status = 500
    breakers = Breakers()
    notifier = DiscordNotifier(webhooks(address, OPS=discord.address("ops")), timer=timer, breakers=breakers)
    for number in range(6):
        await notifier.send(f"number {number}", channel=OPS)
        await settled(notifier)
    await notifier.close()

    assert len(receiver.received) == FAILURES
    assert breakers.states()["notify json"].state == "opened"
    assert losses == {"alert": 6}
    assert len(discord.embeds) == 6


@apprise
async def test_an_address_that_apprise_does_not_know_is_told_without_it(caplog: pytest.LogCaptureFixture) -> None:
    notifier = DiscordNotifier(webhooks("nonsense://TOKEN"), breakers=Breakers())
    with caplog.at_level(logging.DEBUG):
        await notifier.send("Disk", "full")
        await notifier.close()

    assert losses == {"alert": 1}
    assert "NOTIFY_URLS" in caplog.text
    assert "TOKEN" not in caplog.text
