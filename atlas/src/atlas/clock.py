"""The only clock: ``now()``, and ways to put another one in its place.

Tests and the demo set the clock so that a month of life runs in a minute; everything in Pleiades that needs the time
asks here, and SQL receives it as a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta


def _system() -> datetime:
    return datetime.now(UTC)


_source: Callable[[], datetime] = _system


def now() -> datetime:
    """Tell the time, in UTC."""
    return _source()


class VirtualClock:
    """A clock that stands still until it is set or moved."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def __call__(self) -> datetime:
        """Tell where the clock stands."""
        return self._now

    def set(self, instant: datetime) -> None:
        """Stand at ``instant`` from now on."""
        self._now = instant.astimezone(UTC)

    def advance(self, step: timedelta) -> datetime:
        """Move on by ``step`` and tell the new time."""
        self._now += step
        return self._now


@contextmanager
def use(source: Callable[[], datetime]) -> Iterator[None]:
    """Take the time of this process from ``source`` for the length of the block."""
    global _source
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before


@contextmanager
def stopped(instant: datetime) -> Iterator[VirtualClock]:
    """Stop the clock of this process at ``instant``; the block may move it."""
    clock = VirtualClock(instant)
    with use(clock):
        yield clock
