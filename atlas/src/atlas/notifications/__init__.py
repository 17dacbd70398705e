"""Alerts to people, by Discord and other chats: never raises, never waits, says nothing twice in an hour."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from pydantic import SecretStr

from atlas import clock
from atlas._besteffort import best_effort, lost
from atlas.config import Settings
from atlas.notifications.alerts import LOG_LEVELS, Alert, AlertChannel, AlertLevel, compose
from atlas.notifications.destinations import Chat, Destination, Sessions, Webhook
from atlas.notifications.lane import Lane, Waiting
from atlas.notifications.pace import Pace, Timer

if TYPE_CHECKING:
    from atlas.breakers import Breakers

__all__ = ["PATIENCE", "WINDOW", "AlertChannel", "AlertLevel", "DiscordNotifier", "notifier"]

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=5)
"""How long one call may take, and how long the end of a run waits for what is still to be said."""
WINDOW = timedelta(hours=1)
"""How long an alert is not said again."""


class DiscordNotifier:
    """Delivers alerts to the webhooks and chats of the settings; logs them where there is none.

    ``send`` only notes what is to be said. A task for each destination says it: the first alerts within a second or
    two, and what comes soon after them together in one message. A digest counts them when they are many.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        patience: timedelta = PATIENCE,
        timer: Timer | None = None,
        breakers: Breakers | None = None,
    ) -> None:
        self._settings = settings
        self._patience = patience
        self._timer = timer or Timer()
        self._breakers = breakers
        self._repeats = Repeats()
        self._sessions = Sessions(self._addresses)
        self._paces: dict[str, Pace] = {}
        self._lanes: dict[tuple[asyncio.AbstractEventLoop, str], Lane] = {}

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
        """Have an alert delivered, and return at once: True when it is on its way.

        ``send(level="warning", message="…", metadata={…})`` is the same with a title made from the level. The same
        alert is said once in an hour; the next time it tells how often it was repeated. Nothing is raised, and what
        cannot be delivered is logged and counted.
        """
        with best_effort("alert"):
            alert = compose(title, description or message, channel, level, fields or metadata or ())
            return self._put(alert)
        return False

    async def drain(self, timeout: timedelta = PATIENCE) -> bool:
        """Deliver what waits, without gathering more, in at most ``timeout``; True when nothing is left."""
        deadline = self._timer.now() + timeout.total_seconds()
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                # What one passes on makes another busy.
                while busy := [lane for lane in self._mine().values() if not lane.idle]:
                    for lane in busy:
                        lane.hurry(deadline)
                    await asyncio.gather(*(lane.emptied() for lane in busy))
        except TimeoutError:
            return False
        finally:
            for lane in self._mine().values():
                lane.relax()
        return True

    async def close(self, timeout: timedelta = PATIENCE) -> None:
        """Deliver what waits in at most ``timeout``, log and count the rest; the next ``send`` begins anew."""
        await self.drain(timeout)
        lanes = self._mine()
        for key in lanes:
            del self._lanes[key]  # what is said from now on has lanes of its own
        for lane in lanes.values():
            lane.task.cancel()
        await asyncio.gather(*(lane.task for lane in lanes.values()), return_exceptions=True)
        await self._sessions.close()

    def _put(self, alert: Alert) -> bool:
        repeated = self._repeats.count(alert, clock.now())
        if repeated is None:
            return False
        destinations = list(self._destinations(alert.channel))
        if not destinations:
            logger.log(LOG_LEVELS[alert.level], "%s", alert)
            return False
        for address, destination in destinations:
            self._lane(address, destination).put(alert._replace(repeated=repeated))
        return True

    def _destinations(self, channel: AlertChannel) -> Iterator[tuple[str, Destination]]:
        """Find where an alert goes, each by its address: a webhook, and every chat."""
        if (webhook := self._webhook(channel)) or (webhook := self._webhook(AlertChannel.ALERTS)):
            yield webhook
        schemes: dict[str, int] = {}
        for secret in self._of_settings.NOTIFY_URLS:
            address = secret.get_secret_value()
            scheme = address.partition("://")[0]
            schemes[scheme] = number = schemes.get(scheme, 0) + 1
            yield address, Chat(f"notify {scheme}" + (f" {number}" if number > 1 else ""), address)

    def _addresses(self) -> Iterator[str]:
        for channel in AlertChannel:
            if (webhook := self._webhook(channel)) is not None:
                yield webhook[0]

    def _webhook(self, channel: AlertChannel) -> tuple[str, Webhook] | None:
        secret: SecretStr | None = getattr(self._of_settings, f"DISCORD_WEBHOOK_{channel.name}")
        if secret is None:
            return None
        address = secret.get_secret_value()
        return address, Webhook(f"discord {channel.value}", address, self._sessions.get, self._patience)

    def _lane(self, address: str, destination: Destination) -> Lane:
        """The lane to an address, begun if need be."""
        key = asyncio.get_running_loop(), address
        if key not in self._lanes:
            from atlas.breakers import breakers as shared  # its library is not worth an import of atlas

            lane = Lane(
                destination,
                self._paces.setdefault(address, Pace()),
                self._timer,
                self._breakers or shared,
                pass_on=partial(self._pass_on, address, destination.name),
                lose=partial(self._lose, destination.name),
                block_all=self._block_all,
            )
            lane.task.add_done_callback(lambda _: self._forget(key, lane))
            self._lanes[key] = lane
        return self._lanes[key]

    def _forget(self, key: tuple[asyncio.AbstractEventLoop, str], lane: Lane) -> None:
        if self._lanes.get(key) is lane:
            del self._lanes[key]

    def _mine(self) -> dict[tuple[asyncio.AbstractEventLoop, str], Lane]:
        loop = asyncio.get_running_loop()
        return {key: lane for key, lane in self._lanes.items() if key[0] is loop}

    def _pass_on(self, address: str, name: str, waiting: Waiting) -> None:
        """Let ALERTS have what another webhook did not take."""
        fallback = self._webhook(AlertChannel.ALERTS)
        if not name.startswith("discord") or fallback is None or fallback[0] == address:
            self._lose(name, waiting)
        else:
            self._lane(*fallback).take_over(waiting)

    def _lose(self, name: str, waiting: Waiting) -> None:
        lost("alert", len(waiting), why=f"not taken by {name}")
        for alert in waiting.alerts:
            self._repeats.forget(alert._replace(repeated=0))
            logger.log(LOG_LEVELS[alert.level], "%s", alert)

    def _block_all(self, until: float) -> None:
        for pace in self._paces.values():
            pace.block(until)

    @property
    def _of_settings(self) -> Settings:
        if self._settings is not None:
            return self._settings
        from atlas import settings  # the shared settings are bound after this module

        return settings


class Repeats:
    """Counts how often an alert is said within its window."""

    def __init__(self) -> None:
        self._said: dict[Alert, tuple[datetime, int]] = {}  # the oldest first

    def count(self, alert: Alert, now: datetime) -> int | None:
        """None for a repetition; else how many of those there were after the last time, if that is not long ago."""
        before = self._said.get(alert)
        if before is not None and now - before[0] < WINDOW:
            self._said[alert] = before[0], before[1] + 1
            return None
        self.forget(alert)
        while self._said and now - next(iter(self._said.values()))[0] >= 2 * WINDOW:
            old, (at, repeated) = next(iter(self._said.items()))
            if repeated:
                logger.info("repeated %d times after %s UTC: %s", repeated, f"{at:%H:%M}", old)
            del self._said[old]
        self._said[alert] = now, 0
        return before[1] if before else 0

    def forget(self, alert: Alert) -> None:
        """Let it be said again."""
        self._said.pop(alert, None)


notifier = DiscordNotifier()
