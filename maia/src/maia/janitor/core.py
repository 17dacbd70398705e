"""What the Janitor decides: which closed days leave SQL now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

# A day is closed when its samples can hardly come any more: an hour after its end at the earliest.
CLOSING_TIME = timedelta(hours=1)


# A compacted day should not need it again: videos leave SQL days after they were found, samples may come late.
SETTLING_DAYS = 2

# What may be kept for so many days must reach the vault, from which it is removed, in time.
_MARGIN_DAYS = 2


class Day(NamedTuple):
    """A day of samples in SQL."""

    day: date
    bytes: int


def due_days(
    days: Sequence[Day], *, today: date, retention_days: int, database_bytes: int, budget_bytes: int
) -> list[date]:
    """Name the days to archive, oldest first: those past retention, and closed ones early while SQL is over its budget.

    ``days`` are closed days, ``today`` is the last day that is not. A day early counts as gone with all its bytes.
    """
    horizon = today - timedelta(days=retention_days)
    chosen: list[date] = []
    size = database_bytes
    for day in sorted(days):
        if day.day >= horizon and size <= budget_bytes:
            break
        chosen.append(day.day)
        size -= day.bytes
    return chosen


def settled_before(today: date, *, retention_days: int) -> date:
    """Say from which day on shards may still come: those of earlier days are compacted."""
    return today - timedelta(days=retention_days + SETTLING_DAYS)


def days_in_sql(retention_days: int, *, vault_days: int | None) -> int:
    """Say how long samples may stay in SQL when they may be kept for ``vault_days`` altogether (None: for ever)."""
    return retention_days if vault_days is None else max(1, min(retention_days, vault_days - _MARGIN_DAYS))


def kept_from(now: datetime, *, days: int | None) -> datetime | None:
    """From when on readings are kept that may be kept for ``days``; None: for ever.

    The day on which they become too old goes as a whole, as it does in the vault: the next run is a day away.
    """
    if days is None:
        return None
    return datetime.combine((now - timedelta(days=days - 1)).date(), time(), UTC)
