"""A minute with a thousand alerts: what Discord gets of them, and what a run waits for when Discord is not there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import aiohttp
from aiohttp.test_utils import unused_port
from pydantic import SecretStr

from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_most
from alkyone.standins.discord import DiscordStandin
from atlas.breakers import Breakers
from atlas.config import Settings
from atlas.notifications import DiscordNotifier

MINUTE = 60.0
SENDS = 2_000
"""Alerts whose sending is timed."""


async def measure(lab: Lab) -> Result:
    """Send a thousand alerts in a minute of real time, then some to a Discord that is dead, or hangs."""
    alerts, seconds = lab.size(1_000, 50), lab.size(60, 2)
    with _quiet(), DiscordStandin("ops") as discord:
        await _a_minute(discord, alerts, seconds)
        told, refused, hasty, invalid = _told(discord), discord.refused, discord.hasty, len(discord.invalid)
        messages = len(discord.taken)
    with _quiet(), DiscordStandin("ops") as discord:
        naive = await _one_by_one(discord, alerts)
    with _quiet():
        caller = await _caller()
        nowhere = await _a_run(None)
        dead = await _a_run(f"http://127.0.0.1:{unused_port()}/api/webhooks/1/x")
        with DiscordStandin("ops") as discord:
            well = await _a_run(discord.address("ops"))
            discord.mishaps.add("hang", times=1_000)
            hanging = await _a_run(discord.address("ops"))
    return Result(
        [
            Figure(f"messages for {alerts:,} alerts in {seconds:.0f} s", messages, "calls", 1.0),
            Figure("the same, a call each: refused", naive, "calls", naive / messages),
            Figure("to send, at the caller", caller * 1e6, "µs"),
            Figure("a run with an alert, its end included: no webhook", nowhere, "s", 1.0),
            Figure("the same, Discord as it should be", well, "s", well / nowhere),
            Figure("the same, nobody listens", dead, "s", dead / nowhere),
            Figure("the same, no answer ever", hanging, "s", hanging / nowhere),
        ],
        [
            at_most(10, "a handful of messages", messages),
            at_most(0, "alerts that no message counts", alerts - told),
            at_most(0, "calls before the time that a 429 had named", hasty),
            at_most(0, "calls that a limit of embeds refused", invalid),
            at_most(0.1, "a dead Discord costs a run nothing: seconds", dead - nowhere),
            at_most(6, "one that hangs costs its end no more than the patience: seconds", hanging - nowhere),
        ],
        [f"{refused} of the calls were answered by 429, and repeated when its time was over"],
    )


async def _a_minute(discord: DiscordStandin, alerts: int, seconds: float) -> None:
    """Send alerts at an even pace."""
    notifier = _notifier(discord.address("ops"))
    begun = time.monotonic()
    for number in range(alerts):
        await notifier.send("Rising", f"video {number}", "ops", "success" if number % 10 else "warning")
        await asyncio.sleep(max(begun + (number + 1) * seconds / alerts - time.monotonic(), 0))
    await notifier.close(timedelta(seconds=MINUTE))


def _told(discord: DiscordStandin) -> int:
    """Count the alerts that the messages account for: in a digest by its figures, else one by one."""
    total = 0
    for message in discord.taken:
        first = message.embeds[0]
        counted = [field["name"].partition(" × ") for field in first.get("fields", ())]
        if first["title"].endswith(" alerts"):
            total += sum(int(number.replace(",", "")) for number, _, _ in counted)
        else:
            total += len(message.embeds)
    return total


async def _one_by_one(discord: DiscordStandin, alerts: int) -> int:
    """Call for each alert, as it comes; tells how many calls were refused."""
    address = discord.address("ops")
    async with aiohttp.ClientSession() as http:
        for number in range(alerts):
            async with http.post(address, json={"content": f"Rising: video {number}"}) as answer:
                await answer.read()
    return discord.refused


async def _caller() -> float:
    """Seconds that a send takes whoever sends."""
    notifier = _notifier(f"http://127.0.0.1:{unused_port()}/api/webhooks/1/x")
    begun = time.perf_counter()
    for number in range(SENDS):
        await notifier.send("Rising", f"video {number}", "ops")
    taken = time.perf_counter() - begun
    await notifier.close(timedelta(0))
    return taken / SENDS


async def _a_run(address: str | None) -> float:
    """Seconds that a run takes which sends an alert, works for a tenth of a second, and ends."""
    notifier = _notifier(address)
    begun = time.perf_counter()
    await notifier.send("A key was rejected", "Mend it.", "ops", "critical")
    await asyncio.sleep(0.1)
    await notifier.close()
    return time.perf_counter() - begun


def _notifier(address: str | None) -> DiscordNotifier:
    rules: dict[str, Any] = {name: field.get_default() for name, field in Settings.model_fields.items()}
    rules["DISCORD_WEBHOOK_OPS"] = None if address is None else SecretStr(address)
    return DiscordNotifier(Settings.model_construct(**rules), breakers=Breakers())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what cannot be delivered out of the bench's table."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
