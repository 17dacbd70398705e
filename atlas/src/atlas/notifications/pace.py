"""When a destination may be called again: what it asks for, and what we ask of ourselves."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

BURST = 2
"""Messages that may go to a destination at once."""

INTERVAL = 20.0
"""Seconds after which one more may go: whatever comes meanwhile is said together."""

GATHERING = 1.0
"""Seconds that the first alert waits for others."""


class Timer:
    """Seconds that pass while we wait; a test has one that needs no waiting.

    Not our clock: a demo's fortnight takes a minute, and Discord counts its own seconds.
    """

    def now(self) -> float:
        """Tell the time since some moment."""
        return time.monotonic()

    async def wait(self, seconds: float, sooner: asyncio.Event) -> None:
        """Wait for so long, or until ``sooner`` is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await sooner.wait()


class Pace:
    """Keeps calls of one destination apart."""

    def __init__(self) -> None:
        self._full_at = 0.0
        self._blocked_until = 0.0

    def block(self, until: float) -> None:
        """Let no call through before ``until``: the destination asks for it."""
        self._blocked_until = max(self._blocked_until, until)

    def spend(self, now: float) -> None:
        """Count a call."""
        self._full_at = max(self._full_at, now) + INTERVAL

    def delay(self, now: float, *, hurried: bool = False) -> float:
        """Seconds until a call may be made; who is ``hurried`` heeds only what the destination asks for."""
        ours = 0.0 if hurried else self._full_at - (BURST - 1) * INTERVAL - now
        return max(self._blocked_until - now, ours, 0.0)
