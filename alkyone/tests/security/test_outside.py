"""No address, redirect or name makes us call this machine, its network or a cloud's metadata, unless configured."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.resolver import ThreadedResolver

from alkyone.fixtures import SetEnvironment
from atlas.breakers import Breakers
from atlas.config import Settings
from atlas.events.event import Event
from atlas.events.webhooks import Unavailable, Webhook
from atlas.outside import AddressRefused, connector, is_public
from maia.heartbeat.agent import ping
from maia.painter.frames import FramesUnavailable, YouTubeThumbnails


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("142.250.74.110", True), ("2a00:1450:4001::200e", True),
        ("127.0.0.1", False), ("127.8.8.8", False), ("0.0.0.0", False),  # noqa: S104
        ("::1", False), ("::", False),
        ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("100.64.0.1", False), ("fc00::1", False),
        ("169.254.169.254", False), ("fe80::1%eth0", False), ("224.0.0.1", False), ("255.255.255.255", False),
        ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True), ("2002:7f00:1::", False), ("64:ff9b::a00:1", False),
        ("no address", False),
    ],
)  # fmt: skip
def test_an_address_is_public_whatever_it_is_wrapped_in(address: str, public: bool) -> None:
    assert is_public(address) is public


class Inside:
    """A server on this machine that nobody outside should be able to make us call."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.called.append(request.path)
        if request.path == "/redirect":
            return web.Response(status=302, headers={"Location": f"http://127.0.0.2:{self.port}/secret"})
        return web.Response(text="secret")


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    found = Inside()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()  # all of loopback  # noqa: S104
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A name server of the attacker's; what it does not know, the machine's resolver does."""
    known: dict[str, str] = {}
    original = ThreadedResolver.resolve

    async def resolve(self: Any, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        if host not in known:
            return await original(self, host, port, family)
        return [{"hostname": host, "host": known[host], "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    return known


async def get(url: str, *configured: str) -> str:
    async with aiohttp.ClientSession(connector=connector(*configured)) as session, session.get(url) as answer:
        return await answer.text()


def was_refused(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, AddressRefused):
        error = error.__cause__ or error.__context__ or getattr(error, "os_error", None)
    return error is not None


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "[::ffff:127.0.0.1]", "localhost", "2130706433", "0x7f.1", "169.254.169.254"]
)
async def test_this_machine_is_not_called_by_number_or_by_name(
    host: str, inside: Inside, settings_env: SetEnvironment
) -> None:
    with pytest.raises(aiohttp.ClientError):
        await get(f"http://{host}:{inside.port}/", "https://hooks.example.com")
    assert inside.called == []


async def test_a_name_that_leads_inside_is_refused_until_the_operator_lets_it(
    inside: Inside, names: dict[str, str], settings_env: SetEnvironment
) -> None:
    name = f"rebound-{uuid4().hex}.example.com"
    names[name] = "127.0.0.1"
    url = f"http://{name}:{inside.port}/hook"
    with pytest.raises(aiohttp.ClientError) as refused:
        await get(url, url)  # that it is in a setting is no word on where it leads
    assert was_refused(refused.value)
    assert inside.called == []
    settings_env(PRIVATE_HOSTS=f'["{name}"]')
    assert await get(url, url) == "secret"


async def test_what_is_configured_by_its_number_is_called_and_a_redirect_from_it_goes_nowhere_else(
    inside: Inside, settings_env: SetEnvironment
) -> None:
    own = f"http://127.0.0.1:{inside.port}"
    assert await get(f"{own}/", own) == "secret"
    with pytest.raises(aiohttp.ClientError) as refused:
        await get(f"{own}/redirect", own)
    assert was_refused(refused.value)
    assert inside.called == ["/", "/redirect"]


async def test_metadata_of_a_cloud_is_for_nobody_even_when_configured(settings_env: SetEnvironment) -> None:
    url = "http://169.254.169.254/latest/meta-data/"
    with pytest.raises(aiohttp.ClientError) as refused:
        await get(url, url)
    assert was_refused(refused.value)


async def test_thumbnails_webhooks_and_the_heartbeat_are_kept_from_inside(
    inside: Inside, names: dict[str, str], settings_env: SetEnvironment
) -> None:
    name = f"rebound-{uuid4().hex}.example.com"
    names[name] = "127.0.0.1"
    url = f"http://{name}:{inside.port}"
    async with YouTubeThumbnails(url, breakers=Breakers(), sleep=no_wait) as frames:
        with pytest.raises(FramesUnavailable):
            await frames.fetch("dQw4w9WgXcQ")
    rules = Settings(_env_file=None, EVENT_BUS_WEBHOOK_URL=f"{url}/hook", HEARTBEAT_URL=f"{url}/ping")
    async with Webhook(rules=rules, sleep=no_wait) as webhook:
        with pytest.raises(Unavailable):
            await webhook.send(Event("video.viral", None, {}))
    assert await ping(rules, "Healthy") is False
    assert inside.called == []


async def test_a_heartbeat_does_not_follow_a_redirect(inside: Inside, settings_env: SetEnvironment) -> None:
    rules = Settings(_env_file=None, HEARTBEAT_URL=f"http://127.0.0.1:{inside.port}/redirect")
    assert await ping(rules, "Healthy") is False
    assert inside.called == ["/redirect"]


def test_every_session_of_ours_is_made_with_the_guard(request: pytest.FixtureRequest) -> None:
    """A new one that is not would be found by nobody else; Prefect's server and the demo's stand-in are on loopback."""
    loose = []
    for member in ("atlas", "maia"):
        for file in (request.config.rootpath / member / "src").rglob("*.py"):
            if file.parent.name in {"demo", "up"} or file.name == "outside.py":
                continue
            text = file.read_text()
            if "aiohttp.ClientSession(" in text and "connector(" not in text:
                loose.append(file.name)
            assert "TCPConnector(" not in text, file
    assert loose == []


async def no_wait(_: float) -> None:
    """Retries need not wait here."""
