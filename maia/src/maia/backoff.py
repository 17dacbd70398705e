"""When to try again: the one rule for every queue."""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST_RETRY = timedelta(minutes=15)


def retry_at(attempts: int, now: datetime, *, longest: timedelta, first: timedelta = FIRST_RETRY) -> datetime:
    """Wait for ``first``, doubled for each failure in a row before this one, ``longest`` at most."""
    doublings = min(max(attempts, 0), 12)
    return now + min(first * (1 << doublings), longest)
