"""When to try again: the one rule for every queue."""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST_RETRY = timedelta(minutes=15)


def retry_at(attempts: int, now: datetime, *, longest: timedelta) -> datetime:
    """Wait a quarter of an hour, doubled for each failure in a row before this one, ``longest`` at most."""
    return now + min(FIRST_RETRY * 2 ** min(attempts, 12), longest)
