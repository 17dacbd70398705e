"""Where alerts go: a Discord webhook, or any chat that Apprise knows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import orjson

from atlas.errors import ConfigurationError
from atlas.notifications.alerts import GRAVITY, AlertLevel, Message

if TYPE_CHECKING:
    import aiohttp
    from apprise import Apprise

BLOCKED = timedelta(minutes=10)
"""How long to leave a destination in peace that refused us without saying for how long."""


class DeliveryError(Exception):
    """A message was not taken; the text never holds the address, for whoever has that can post."""


class Unreachable(DeliveryError):
    """No answer, or one of a server that is unwell: trying later may work."""


class Refused(DeliveryError):
    """This message is not taken, now or later."""


class Blocked(DeliveryError):
    """Nothing is taken before ``wait`` is over; ``everywhere``: by no webhook of Discord."""

    def __init__(self, why: str, wait: timedelta, *, everywhere: bool = False) -> None:
        super().__init__(f"{why}: left in peace for {wait.total_seconds():g} s")
        self.wait = wait
        self.everywhere = everywhere


class Destination(Protocol):
    """Takes messages."""

    @property
    def name(self) -> str:
        """What a person calls it, without secrets."""
        ...

    async def post(self, message: Message) -> timedelta:
        """Deliver ``message``; tells how long to wait before the next one, mostly not at all.

        Raises:
            DeliveryError: it was not taken.
        """
        ...


class Webhook:
    """A webhook of Discord."""

    def __init__(
        self, name: str, address: str, session: Callable[[], Awaitable[aiohttp.ClientSession]], patience: timedelta
    ) -> None:
        self.name = name
        self._address = address
        self._session = session
        self._patience = patience

    async def post(self, message: Message) -> timedelta:
        """Make one call."""
        import aiohttp  # heavy, and needed only where there is a webhook

        session = await self._session()
        try:
            async with (
                asyncio.timeout(self._patience.total_seconds()),
                session.post(
                    self._address,
                    data=body_of(message),
                    headers={"Content-Type": "application/json"},
                    allow_redirects=False,
                ) as answer,
            ):
                return _judge(answer.status, answer.headers, await answer.read())
        except TimeoutError:
            raise Unreachable(f"no answer within {self._patience.total_seconds():g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            # Their messages, and the chain, may hold the address.
            raise Unreachable(type(exc).__name__) from None


class Chat:
    """A chat by its Apprise address, such as ``slack://…``."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self._address = address
        self._apprise: Apprise | None = None

    async def post(self, message: Message) -> timedelta:
        """Let Apprise make its calls, in threads of its own; it has its own time limits, of seconds."""
        if self._apprise is None:
            self._apprise = await asyncio.to_thread(self._open)  # its import takes a while
        if not await self._apprise.async_notify(
            title=message[0].title if len(message) == 1 else f"{message[0].title} and more",
            body=text_of(message) or message[0].title,  # Apprise says nothing without a body
            notify_type=_APPRISE_TYPES[min((alert.level for alert in message), key=GRAVITY.index)],
            body_format="markdown",
        ):
            raise Unreachable("not delivered; Apprise's log says why")
        return timedelta(0)

    def _open(self) -> Apprise:
        """Read the address.

        Raises:
            ConfigurationError: Apprise is not installed, or makes nothing of the address.
        """
        try:
            from apprise import Apprise, AppriseAsset
        except ImportError:
            raise ConfigurationError("NOTIFY_URLS needs Apprise: install pleiades-atlas[notify], or unset it") from None
        logging.getLogger("apprise").addFilter(_Unspoken(self._address))
        opened = Apprise(asset=AppriseAsset(app_id="Pleiades", app_desc="Pleiades", app_url=""))
        if not opened.add(self._address):
            raise ConfigurationError(f"NOTIFY_URLS: Apprise makes nothing of an address ({self.name})")
        return opened


@dataclass(frozen=True)
class _Unspoken:
    """Keeps an address out of a log."""

    address: str

    def filter(self, record: logging.LogRecord) -> bool:
        return self.address not in record.getMessage()


_APPRISE_TYPES = {
    AlertLevel.INFO: "info",
    AlertLevel.SUCCESS: "success",
    AlertLevel.WARNING: "warning",
    AlertLevel.CRITICAL: "failure",
}


def body_of(message: Message) -> bytes:
    """The request that delivers ``message``; names in it mention (and wake) nobody."""
    embeds = [
        {
            "title": alert.title,
            "description": alert.description,
            "color": alert.level.value,
            "fields": [{"name": name, "value": value, "inline": True} for name, value in alert.fields],
        }
        | ({"footer": {"text": alert.footer}} if alert.footer else {})
        for alert in message
    ]
    return orjson.dumps({"embeds": embeds, "allowed_mentions": {"parse": []}})


def text_of(message: Message) -> str:
    """Say ``message`` in Markdown."""
    return "\n\n".join(
        "\n".join(
            part
            for part in (
                f"**{alert.title}**" if len(message) > 1 else "",
                alert.description,
                *(f"- {name}: {value}" for name, value in alert.fields),
                alert.footer,
            )
            if part
        )
        for alert in message
    )


class Sessions:
    """A client session for each event loop, closed with it; it reaches public addresses and ``configured`` ones."""

    def __init__(self, configured: Callable[[], Iterable[str]]) -> None:
        self._configured = configured
        self._keepers: dict[asyncio.AbstractEventLoop, AsyncGenerator[aiohttp.ClientSession]] = {}

    async def get(self) -> aiohttp.ClientSession:
        """This event loop's session."""
        loop = asyncio.get_running_loop()
        if loop not in self._keepers:
            self._keepers[loop] = self._keep(loop)
        return await anext(self._keepers[loop])

    async def close(self) -> None:
        """Close this event loop's session; the next use opens another."""
        # Taken out first: of two who close at once, one does it.
        keeper = self._keepers.pop(asyncio.get_running_loop(), None)
        if keeper is not None:
            await keeper.aclose()

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[aiohttp.ClientSession]:
        """Hold a session; the loop closes the generators that are left when it ends, and so the session."""
        import aiohttp  # heavy, and needed only where there is a webhook

        from atlas.outside import connector

        try:
            async with aiohttp.ClientSession(connector=connector(*self._configured())) as session:
                while True:
                    yield session
        finally:
            self._keepers.pop(loop, None)


def _judge(status: int, headers: Mapping[str, str], body: bytes) -> timedelta:
    """Read Discord's answer: how long to wait after a message that was taken.

    Raises:
        DeliveryError: it was not taken.
    """
    if status == 429:
        raise Blocked("rate limited", _retry_after(body, headers), everywhere=_is_global(body, headers))
    if status in (401, 403, 404):  # it was deleted: each further call counts towards a ban
        raise Blocked(f"HTTP {status}", BLOCKED)
    if status >= 500:
        raise Unreachable(f"HTTP {status}")
    if status >= 300:
        raise Refused(f"HTTP {status}")
    if headers.get("X-RateLimit-Remaining") == "0":
        return _seconds(headers.get("X-RateLimit-Reset-After")) or timedelta(0)
    return timedelta(0)


def _retry_after(body: bytes, headers: Mapping[str, str]) -> timedelta:
    """How long a 429 asks us to wait; a ban by Discord's front end gives no time at all."""
    wish = _said(body).get("retry_after")
    wait = _seconds(headers.get("Retry-After") if wish is None else wish)
    return BLOCKED if wait is None else wait


def _is_global(body: bytes, headers: Mapping[str, str]) -> bool:
    return _said(body).get("global") is True or "X-RateLimit-Global" in headers


def _said(body: bytes) -> Mapping[str, object]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _seconds(wish: object) -> timedelta | None:
    try:
        seconds = timedelta(seconds=float(str(wish)))
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= timedelta(0) else None
