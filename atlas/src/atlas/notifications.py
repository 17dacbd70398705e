"""Alerts to people, by Discord webhooks: never raises, never waits long, says nothing twice in an hour."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import orjson
from pydantic import SecretStr

from atlas import clock
from atlas._besteffort import best_effort
from atlas.config import Settings

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=5)
"""How long one webhook may take, a wait that Discord asks for included."""
WINDOW = timedelta(hours=1)
"""How long an alert that was delivered is not delivered again."""
BLOCKED = timedelta(minutes=10)
"""How long to leave a webhook in peace that refused us without saying for how long."""

# Limits of an embed in characters (Discord developer documentation, "Embed Limits", as of November 2026).
TITLE_LIMIT = 256
DESCRIPTION_LIMIT = 4096
FIELD_LIMIT = 25
NAME_LIMIT = 256
VALUE_LIMIT = 1024
EMBED_LIMIT = 6000


Sessions: TypeAlias = "AsyncGenerator[aiohttp.ClientSession]"


class AlertLevel(Enum):
    """How grave it is; the value is the colour of the embed."""

    INFO = 0x3498DB
    SUCCESS = 0x2ECC71
    WARNING = 0xF1C40F
    CRITICAL = 0xE74C3C


class AlertChannel(Enum):
    """Who should see it; ALERTS also takes what its own channel cannot."""

    ALERTS = "alerts"
    HUNT = "hunt"
    SURVEILLANCE = "watch"
    OPS = "ops"


_LOG_LEVELS = {
    AlertLevel.INFO: logging.INFO,
    AlertLevel.SUCCESS: logging.INFO,
    AlertLevel.WARNING: logging.WARNING,
    AlertLevel.CRITICAL: logging.CRITICAL,
}


class Alert(NamedTuple):
    """What is said, cut to Discord's limits."""

    title: str
    description: str
    channel: AlertChannel
    level: AlertLevel
    fields: tuple[tuple[str, str], ...]

    @property
    def body(self) -> bytes:
        """The request that delivers it; names in it mention (and wake) nobody."""
        embed = {
            "title": self.title,
            "description": self.description,
            "color": self.level.value,
            "fields": [{"name": name, "value": value, "inline": True} for name, value in self.fields],
        }
        return orjson.dumps({"embeds": [embed], "allowed_mentions": {"parse": []}})


class DeliveryError(Exception):
    """A webhook did not take the alert; the message never holds its address."""


class DiscordNotifier:
    """Delivers alerts to the webhooks of the settings; logs them where there is none."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        patience: timedelta = PATIENCE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._patience = patience
        self._sleep = sleep
        self._delivered: dict[Alert, datetime] = {}
        self._blocked: dict[str, datetime] = {}
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[aiohttp.ClientSession]] = (
            WeakKeyDictionary()
        )

    async def send(
        self,
        title: str = "",
        description: str = "",
        channel: AlertChannel | str = AlertChannel.ALERTS,
        level: AlertLevel | str = AlertLevel.INFO,
        fields: Mapping[str, object] | Sequence[tuple[str, object]] = (),
        *,
        message: str = "",
        metadata: Mapping[str, object] | None = None,
    ) -> bool:
        """Deliver an alert, and say whether a webhook took it.

        ``send(level="warning", message="…", metadata={…})`` is the same with a title made from the level.
        Takes at most ``PATIENCE`` for the channel's webhook, and as much for the one of ALERTS. What cannot
        be delivered is logged and counted, and nothing is raised.
        """
        with best_effort("alert"):
            alert = compose(title, description or message, channel, level, fields or metadata or ())
            return await self._deliver_once(alert)
        return False

    async def _deliver_once(self, alert: Alert) -> bool:
        now = clock.now()
        self._delivered = {known: at for known, at in self._delivered.items() if now - at < WINDOW}
        if alert in self._delivered:
            return False
        # Marked before the call: two tasks that say the same at once say it once.
        self._delivered[alert] = now
        delivered = False
        try:
            delivered = await self._deliver(alert)
        finally:
            if not delivered:
                self._delivered.pop(alert, None)
        return delivered

    async def _deliver(self, alert: Alert) -> bool:
        for webhook in self._webhooks(alert.channel):
            with best_effort("alert delivery"):
                await self._post(webhook, alert.body)
                return True
        level = _LOG_LEVELS[alert.level]
        logger.log(level, "%s: %s %s", alert.title, alert.description, dict(alert.fields) or "")
        return False

    def _webhooks(self, channel: AlertChannel) -> list[str]:
        """The addresses to try, in order."""
        from atlas import settings as shared  # bound after this module

        settings = self._settings or shared
        secrets: list[SecretStr | None] = [
            getattr(settings, f"DISCORD_WEBHOOK_{channel.name}"),
            settings.DISCORD_WEBHOOK_ALERTS,
        ]
        return list(dict.fromkeys(secret.get_secret_value() for secret in secrets if secret is not None))

    async def _post(self, webhook: str, body: bytes) -> None:
        """Hand ``body`` to ``webhook``; grant one wait that Discord asks for, if it fits into the patience.

        Raises:
            DeliveryError: it did not take it.
        """
        blocked_until = self._blocked.get(webhook)
        if blocked_until is not None and clock.now() < blocked_until:
            raise DeliveryError(f"Discord wants no more before {blocked_until:%H:%M:%S} UTC")
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                wait = await self._attempt(webhook, body)
                if wait is not None and wait < self._patience:
                    await self._sleep(wait.total_seconds())
                    wait = await self._attempt(webhook, body)
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._patience.total_seconds():g} s") from None
        if wait is not None:
            self._blocked[webhook] = clock.now() + wait
            raise DeliveryError(f"rate limited for {wait.total_seconds():g} s")

    async def _attempt(self, webhook: str, body: bytes) -> timedelta | None:
        """Call ``webhook`` once; return None when it took the alert, or how long Discord wants us to wait."""
        import aiohttp  # heavy, and needed only where there is a webhook

        session = await self._session()
        try:
            async with session.post(
                webhook, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False
            ) as answer:
                if answer.status == 429:
                    return _retry_after(await answer.read(), answer.headers)
                if answer.status >= 300:
                    raise DeliveryError(f"HTTP {answer.status}")
                return None
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            if isinstance(exc, TimeoutError):
                raise
            # Their messages, and the chain, may hold the address, and whoever has the address can post.
            raise DeliveryError(type(exc).__name__) from None

    async def _session(self) -> aiohttp.ClientSession:
        """This event loop's session."""
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            self._sessions[loop] = self._open_session(loop)
        return await anext(self._sessions[loop])

    async def _open_session(self, loop: asyncio.AbstractEventLoop) -> Sessions:
        """Hold a session; the loop closes the generators that are left when it ends, and so the session."""
        import aiohttp  # heavy, and needed only where there is a webhook

        try:
            async with aiohttp.ClientSession() as session:
                while True:
                    yield session
        finally:
            self._sessions.pop(loop, None)


def compose(
    title: str,
    description: str,
    channel: AlertChannel | str,
    level: AlertLevel | str,
    fields: Mapping[str, object] | Sequence[tuple[str, object]],
) -> Alert:
    """Make an alert that Discord accepts whatever the lengths; channels and levels may be given by name.

    Raises:
        ValueError, KeyError: there is no such channel or level.
    """
    level = AlertLevel[level.upper()] if isinstance(level, str) else level
    channel = AlertChannel(channel.lower()) if isinstance(channel, str) else channel
    title = _cut(title, TITLE_LIMIT) or level.name.capitalize()
    description = _cut(description, DESCRIPTION_LIMIT)
    room = EMBED_LIMIT - len(title) - len(description)
    kept: list[tuple[str, str]] = []
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    for name, value in list(pairs)[:FIELD_LIMIT]:
        field = (_cut(name, NAME_LIMIT) or "–", _cut(str(value), VALUE_LIMIT) or "–")
        room -= len(field[0]) + len(field[1])
        if room < 0:
            break
        kept.append(field)
    return Alert(title, description, channel, level, tuple(kept))


def _cut(text: str, limit: int) -> str:
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _retry_after(body: bytes, headers: Mapping[str, str]) -> timedelta:
    """How long a 429 asks us to wait; a ban by Discord's front end gives no time at all."""
    wish: object = None
    try:
        answer = orjson.loads(body)
        wish = answer.get("retry_after") if isinstance(answer, dict) else None
    except orjson.JSONDecodeError:
        logger.debug("a 429 that is no JSON")
    try:
        return timedelta(seconds=float(str(headers.get("Retry-After") if wish is None else wish)))
    except (ValueError, OverflowError):
        return BLOCKED


notifier = DiscordNotifier()
