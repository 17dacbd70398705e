from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from hypothesis import given
from hypothesis import strategies as st

from atlas import clock
from atlas._besteffort import losses
from atlas._lazy import lazy
from atlas.config import Settings
from atlas.errors import ConfigurationError
from atlas.notifications import (
    BLOCKED,
    WINDOW,
    AlertChannel,
    AlertLevel,
    DiscordNotifier,
    compose,
)

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
TOKEN = "the-token-in-the-address"


class Discord:
    """Takes webhook calls as Discord does: 204 and no body, unless told otherwise."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        self.arrived = asyncio.Event()
        self.answers: dict[str, deque[web.Response | asyncio.Event]] = {}

    async def take(self, request: web.Request) -> web.StreamResponse:
        channel = request.match_info["channel"]
        self.received.append((channel, orjson.loads(await request.read())))
        self.arrived.set()
        planned = self.answers.get(channel)
        answer = planned.popleft() if planned else web.Response(status=204)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return web.Response(status=204)
        return answer

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(f"/webhooks/{{channel}}/{TOKEN}", self.take)
        return app

    def plan(self, channel: str, *answers: web.Response | asyncio.Event) -> None:
        self.answers[channel] = deque(answers)

    @property
    def channels(self) -> list[str]:
        return [channel for channel, _ in self.received]

    @property
    def embeds(self) -> list[dict[str, Any]]:
        return [embed for _, body in self.received for embed in body["embeds"]]


class Naps:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def too_fast(body: object, **headers: str) -> web.Response:
    return web.json_response(body, status=429, headers=headers)


@pytest.fixture(autouse=True)
def time() -> Iterator[clock.VirtualClock]:
    with clock.stopped(NOON) as stopped:
        yield stopped


@pytest.fixture(autouse=True)
def _nothing_lost_yet() -> None:
    losses.clear()


@pytest.fixture
def discord() -> Discord:
    return Discord()


@pytest.fixture
async def address(discord: Discord) -> AsyncIterator[str]:
    async with TestServer(discord.app()) as server:
        yield str(server.make_url("/webhooks"))


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def notifier(address: str, naps: Naps) -> DiscordNotifier:
    return DiscordNotifier(
        webhooks(
            ALERTS=f"{address}/alerts/{TOKEN}",
            OPS=f"{address}/ops/{TOKEN}",
            SURVEILLANCE=f"{address}/watch/{TOKEN}",
        ),
        sleep=naps,
    )


def webhooks(**addresses: str) -> Settings:
    fields: dict[str, Any] = {
        f"DISCORD_WEBHOOK_{channel.name}": addresses.get(channel.name) for channel in AlertChannel
    }
    return Settings(**fields | {"_env_file": None})


def test_levels_are_colours_and_channels_have_their_fixed_names() -> None:
    assert {level.name: level.value for level in AlertLevel} == {
        "INFO": 0x3498DB, "SUCCESS": 0x2ECC71, "WARNING": 0xF1C40F, "CRITICAL": 0xE74C3C,
    }  # fmt: skip
    assert {channel.name: channel.value for channel in AlertChannel} == {
        "ALERTS": "alerts", "HUNT": "hunt", "SURVEILLANCE": "watch", "OPS": "ops",
    }  # fmt: skip


def test_the_notifier_keeps_its_name_beside_its_module_and_loads_no_http_client_before_use() -> None:
    program = (
        "import sys, atlas.notifier, atlas.hydra; from atlas import notifier; "
        "print(type(notifier).__name__, 'aiohttp' in sys.modules)"
    )

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    assert told.stdout.split() == ["DiscordNotifier", "False"]


async def test_an_alert_arrives_in_its_channel_as_an_embed(notifier: DiscordNotifier, discord: Discord) -> None:
    sent = await notifier.send(
        "Rising",
        "12,000 views an hour",
        AlertChannel.SURVEILLANCE,
        AlertLevel.SUCCESS,
        {"video": "dQw4w9WgXcQ"},
    )

    assert sent
    assert discord.channels == ["watch"]
    assert discord.embeds == [
        {
            "title": "Rising",
            "description": "12,000 views an hour",
            "color": 0x2ECC71,
            "fields": [{"name": "video", "value": "dQw4w9WgXcQ", "inline": True}],
        }
    ]


async def test_an_alert_can_be_a_message_with_metadata(notifier: DiscordNotifier, discord: Discord) -> None:
    assert await notifier.send(level="warning", message="The disk fills", metadata={"free": 3})

    assert discord.channels == ["alerts"]
    assert discord.embeds == [
        {
            "title": "Warning",
            "description": "The disk fills",
            "color": 0xF1C40F,
            "fields": [{"name": "free", "value": "3", "inline": True}],
        }
    ]


async def test_an_alert_wakes_nobody_by_mention(notifier: DiscordNotifier, discord: Discord) -> None:
    await notifier.send("@everyone look at <@1234>")

    assert discord.received[0][1]["allowed_mentions"] == {"parse": []}


async def test_a_channel_without_a_webhook_falls_back_to_alerts(notifier: DiscordNotifier, discord: Discord) -> None:
    assert await notifier.send("Found 12", channel=AlertChannel.HUNT)

    assert discord.channels == ["alerts"]


@pytest.mark.parametrize("status", [301, 404, 500, 503])
async def test_a_webhook_that_refuses_falls_back_to_alerts(
    notifier: DiscordNotifier, discord: Discord, status: int
) -> None:
    discord.plan("ops", web.Response(status=status, headers={"Location": "http://elsewhere.invalid/"}))

    assert await notifier.send("Key rejected", channel=AlertChannel.OPS)

    assert discord.channels == ["ops", "alerts"]
    assert losses == {"alert delivery": 1}


async def test_without_any_webhook_an_alert_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        sent = await DiscordNotifier(webhooks()).send(
            "Disk", "full", AlertChannel.OPS, AlertLevel.CRITICAL, {"left": 0}
        )

    assert not sent
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("CRITICAL", "Disk: full {'left': '0'}")
    ]
    assert not losses


async def test_a_short_wait_that_discord_asks_for_is_granted_once(
    notifier: DiscordNotifier, discord: Discord, naps: Naps
) -> None:
    discord.plan("ops", too_fast({"message": "You are being rate limited.", "retry_after": 0.75, "global": False}))

    assert await notifier.send("Key rejected", channel=AlertChannel.OPS)

    assert naps.seconds == [0.75]
    assert discord.channels == ["ops", "ops"]


async def test_a_second_429_is_not_waited_for(notifier: DiscordNotifier, discord: Discord, naps: Naps) -> None:
    discord.plan("ops", *(too_fast({"retry_after": 0.75, "global": False}) for _ in range(2)))

    assert await notifier.send("Key rejected", channel=AlertChannel.OPS)

    assert naps.seconds == [0.75]
    assert discord.channels == ["ops", "ops", "alerts"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(too_fast({"retry_after": 64.57, "global": False}), id="in the body"),
        pytest.param(too_fast({"message": "no"}, **{"Retry-After": "65"}), id="in the header"),
        pytest.param(web.Response(status=429, body=b"<html>", headers={"Retry-After": "65"}), id="of no JSON"),
    ],
)
async def test_a_long_wait_is_not_waited_but_kept_to(
    notifier: DiscordNotifier, discord: Discord, naps: Naps, time: clock.VirtualClock, answer: web.Response
) -> None:
    discord.plan("ops", answer)

    await notifier.send("first", channel=AlertChannel.OPS)
    time.advance(timedelta(seconds=60))
    await notifier.send("second", channel=AlertChannel.OPS)
    time.advance(timedelta(seconds=6))
    await notifier.send("third", channel=AlertChannel.OPS)

    assert naps.seconds == []
    assert discord.channels == ["ops", "alerts", "alerts", "ops"]


async def test_a_ban_that_names_no_time_leaves_the_webhook_in_peace(
    notifier: DiscordNotifier, discord: Discord, time: clock.VirtualClock, recorded_data: Path
) -> None:
    ban = (recorded_data / "other/discord/ip_ban_429_2023.json").read_bytes()
    discord.plan("alerts", web.Response(status=429, body=ban))

    assert not await notifier.send("first")
    assert not await notifier.send("second")
    time.advance(BLOCKED)
    assert await notifier.send("third")

    assert discord.channels == ["alerts", "alerts"]


@pytest.mark.parametrize("wish", ["soon", None, [], {"seconds": 1}, "nan", "inf", 1e300], ids=lambda wish: f"{wish!r}")
async def test_a_429_that_makes_no_sense_is_no_harm(notifier: DiscordNotifier, discord: Discord, wish: object) -> None:
    discord.plan("alerts", too_fast({"retry_after": wish}))

    assert not await notifier.send("first")

    assert losses == {"alert delivery": 1}


async def test_the_same_alert_is_not_sent_twice_within_its_window(
    notifier: DiscordNotifier, discord: Discord, time: clock.VirtualClock
) -> None:
    sent = [await notifier.send("Quota", "spent")]
    time.advance(WINDOW - timedelta(seconds=1))
    sent.append(await notifier.send("Quota", "spent"))
    time.advance(timedelta(seconds=1))
    sent.append(await notifier.send("Quota", "spent"))

    assert sent == [True, False, True]
    assert len(discord.received) == 2


async def test_an_alert_said_by_many_at_once_is_sent_once(notifier: DiscordNotifier, discord: Discord) -> None:
    sent = await asyncio.gather(*(notifier.send("Quota", "spent") for _ in range(10)))

    assert sum(sent) == 1
    assert len(discord.received) == 1


async def test_alerts_that_differ_in_anything_are_all_sent(notifier: DiscordNotifier, discord: Discord) -> None:
    await notifier.send("Rising", fields={"video": "a"})
    await notifier.send("Rising", fields={"video": "b"})
    await notifier.send("Rising", fields={"video": "b"}, level=AlertLevel.SUCCESS)
    await notifier.send("Rising", fields={"video": "b"}, channel=AlertChannel.HUNT)

    assert len(discord.received) == 4


async def test_an_alert_that_was_not_delivered_may_be_sent_again(notifier: DiscordNotifier, discord: Discord) -> None:
    discord.plan("alerts", web.Response(status=500))

    assert not await notifier.send("Quota", "spent")
    assert await notifier.send("Quota", "spent")


async def test_a_webhook_that_never_answers_is_not_waited_for(address: str, discord: Discord) -> None:
    never = asyncio.Event()
    discord.plan("ops", never)
    notifier = DiscordNotifier(
        webhooks(ALERTS=f"{address}/alerts/{TOKEN}", OPS=f"{address}/ops/{TOKEN}"),
        patience=timedelta(milliseconds=100),
    )

    assert await notifier.send("Key rejected", channel=AlertChannel.OPS)

    assert discord.channels == ["ops", "alerts"]
    never.set()


@pytest.mark.parametrize(
    "webhook",
    [
        pytest.param(f"http://127.0.0.1:{unused_port()}/webhooks/1/{TOKEN}", id="nobody listens"),
        pytest.param(f"http://no-such-host.invalid/{TOKEN}", id="no such host"),
        pytest.param(f"http://[{TOKEN}", id="no address at all"),
        pytest.param(f"gopher://127.0.0.1/{TOKEN}", id="another protocol"),
    ],
)
async def test_an_undelivered_alert_is_logged_and_counted_without_the_address(
    caplog: pytest.LogCaptureFixture, webhook: str
) -> None:
    with caplog.at_level(logging.DEBUG):
        sent = await DiscordNotifier(webhooks(ALERTS=webhook)).send("Disk", "full", level="critical")

    assert not sent
    assert losses == {"alert delivery": 1}
    assert "Disk: full" in caplog.text
    assert TOKEN not in caplog.text


async def test_wrong_settings_raise_nothing() -> None:
    def broken() -> Settings:
        raise ConfigurationError("VAULT_PROVIDER: unknown")

    assert not await DiscordNotifier(lazy(broken, Settings)).send("Disk", "full")

    assert losses == {"alert": 1}


@pytest.mark.parametrize("name", ["level", "channel"])
async def test_a_level_or_channel_that_does_not_exist_raises_nothing(
    notifier: DiscordNotifier, discord: Discord, name: str
) -> None:
    arguments: dict[str, Any] = {name: "nonsense"}

    assert not await notifier.send("Disk", "full", **arguments)

    assert losses == {"alert": 1}
    assert discord.received == []


async def test_cancellation_passes(notifier: DiscordNotifier, discord: Discord) -> None:
    never = asyncio.Event()
    discord.plan("alerts", never)
    task = asyncio.create_task(notifier.send("Disk", "full"))
    await discord.arrived.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not losses
    never.set()


def test_one_notifier_serves_one_event_loop_after_another_and_leaves_nothing_open() -> None:
    port = unused_port()
    notifier = DiscordNotifier(webhooks(ALERTS=f"http://127.0.0.1:{port}/webhooks/alerts/{TOKEN}"))

    async def life(number: int) -> list[bool]:
        async with TestServer(Discord().app(), port=port):
            return [await notifier.send(f"{number}.{alert}") for alert in range(3)]

    # A session left open would warn, and warnings are errors.
    assert [asyncio.run(life(number)) for number in range(2)] == [[True] * 3] * 2


text = st.text(max_size=5000)


@given(text, text, st.lists(st.tuples(text, text), max_size=40), st.sampled_from(AlertLevel))
def test_whatever_is_said_fits_into_an_embed(
    title: str, description: str, fields: list[tuple[str, str]], level: AlertLevel
) -> None:
    alert = compose(title, description, AlertChannel.OPS, level, fields)

    assert 1 <= len(alert.title) <= 256
    assert len(alert.description) <= 4096
    assert len(alert.fields) <= 25
    assert all(1 <= len(name) <= 256 and 1 <= len(value) <= 1024 for name, value in alert.fields)
    assert all(name.strip() and value.strip() for name, value in alert.fields)
    spoken = len(alert.title) + len(alert.description) + sum(len(name + value) for name, value in alert.fields)
    assert spoken <= 6000
    assert orjson.loads(alert.body)["embeds"][0]["title"] == alert.title


def test_what_is_too_long_ends_in_an_ellipsis() -> None:
    alert = compose("t" * 300, "d" * 5000, "ops", "info", {"n" * 300: "v" * 2000})

    assert (alert.title, alert.description[-2:]) == ("t" * 255 + "…", "d…")
    assert alert.fields == (("n" * 255 + "…", "v" * 1023 + "…"),)
