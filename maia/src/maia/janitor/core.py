"""What the Janitor decides: which closed days leave SQL now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

# A day is closed when its samples can hardly come any more: an hour after its end at the earliest.
CLOSING_TIME = timedelta(hours=1)


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
