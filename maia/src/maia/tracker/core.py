"""What the Tracker decides about one video: how fast it grows, and what a miss or a failure means."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from atlas.tiers import CONFIRMED_MISSES, INTERVALS, Tier

GONE = frozenset({"deleted", "failed", "rejected"})
"""Values of status.uploadStatus that mean nobody can watch the video (YouTube Data API, videos resource)."""

MISS_INTERVAL = timedelta(days=1)  # so that three misses span days

RATE_MEMORY = timedelta(hours=12)  # the past fades by half in this time

STILL = 1e-6
"""Views an hour that are none: one in a hundred years. What fades on would leave what a ``real`` can hold."""

LONGEST_RETRY = timedelta(days=1)


class AfterMiss(NamedTuple):
    """What follows a confirmed miss."""

    tier: Tier
    next_track_at: datetime


def smoothed_rate(
    rate: float | None, *, last_views: int | None, last_at: datetime | None, views: int | None, now: datetime
) -> float | None:
    """Views an hour, smoothed with a half-life of twelve hours; the old value where two counts are not at hand.

    A counter that went down (an audit) counts as standing still.
    """
    if last_views is None or last_at is None or views is None or now <= last_at:
        return rate
    elapsed = now - last_at
    current = max(views - last_views, 0) / (elapsed / timedelta(hours=1))
    if rate is None:
        return current
    past: float = 0.5 ** (elapsed / RATE_MEMORY)
    smoothed = past * rate + (1 - past) * current
    return smoothed if smoothed >= STILL else 0.0


def after_miss(tier: Tier, misses: int, now: datetime) -> AfterMiss:
    """Schedule a video that YouTube confirmed missing, ``misses`` times in a row before this one."""
    if misses + 1 >= CONFIRMED_MISSES:
        return AfterMiss("DORMANT", now + INTERVALS["DORMANT"])
    return AfterMiss(tier, now + MISS_INTERVAL)
