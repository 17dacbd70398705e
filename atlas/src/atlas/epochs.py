"""Metric epochs: when the meaning of a number changed, so that counts on the two sides cannot be compared."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from typing import Literal, NamedTuple

SHORT_SECONDS = 180
"""The longest a Short may be (YouTube Help, "Understand three-minute YouTube Shorts", since 2024-10-15).

A video of that length that is wide instead of tall is none, but the API does not tell.
"""


class Epoch(NamedTuple):
    """A span of time, from ``begins`` until the next epoch, in which a view means one thing."""

    number: int
    begins: datetime
    changed: Literal["nothing", "shorts", "all"]
    """Whose views changed their meaning when it began."""
    meaning: str
    source: str


EPOCHS: tuple[Epoch, ...] = (
    Epoch(
        0,
        datetime(2005, 4, 23, tzinfo=UTC),
        "nothing",
        "a view is a play of some undisclosed length",
        "the day of YouTube's first video",
    ),
    Epoch(
        1,
        datetime(2025, 3, 31, tzinfo=UTC),
        "shorts",
        "every start or replay of a Short is a view",
        "YouTube Data API, revision history, entry of 2025-03-26: videos.statistics.viewCount",
    ),
    Epoch(
        2,
        datetime(2026, 8, 24, tzinfo=UTC),
        "all",
        "every start of any video is a view",
        "YouTube's announcement that views of all formats are counted alike from that day",
    ),
)
"""In order. Google names days and no hours, so the change is taken to begin with the UTC day."""


def epoch_of(instant: datetime) -> Epoch:
    """Tell the epoch in which a count was read."""
    return EPOCHS[max(bisect_right(EPOCHS, instant, key=lambda epoch: epoch.begins) - 1, 0)]
