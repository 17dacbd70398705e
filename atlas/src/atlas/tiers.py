"""The tiers of ghost tracking: labels for how closely a video is watched, and the longest time between two looks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

Tier = Literal["HOURLY", "DAILY", "WEEKLY", "DORMANT"]

INTERVALS: dict[Tier, timedelta] = {
    "HOURLY": timedelta(hours=1),
    "DAILY": timedelta(days=1),
    "WEEKLY": timedelta(days=7),
    "DORMANT": timedelta(days=30),
}
"""The time between two looks at a video of a tier, where tiers are what the schedule goes by."""

LONGEST: dict[Tier, timedelta] = {
    "HOURLY": INTERVALS["DAILY"],
    "DAILY": INTERVALS["WEEKLY"],
    "WEEKLY": INTERVALS["DORMANT"],
    "DORMANT": INTERVALS["DORMANT"],
}
"""The longest time between two looks by any schedule: each the next tier's own interval."""

CONFIRMED_MISSES = 3
"""Confirmed misses in a row after which a video counts as unavailable, and is DORMANT."""

HOURLY_UNTIL = timedelta(days=1)
DAILY_UNTIL = timedelta(days=7)


class NextTrack(NamedTuple):
    """How closely to watch a video, and when to look next."""

    tier: Tier
    next_track_at: datetime


def next_track(published_at: datetime, now: datetime) -> NextTrack:
    """Choose the tier of a video by its age, and the next look by its tier.

    DORMANT is not a matter of age: only missing videos become it.
    """
    age = now - published_at
    tier: Tier = "HOURLY" if age < HOURLY_UNTIL else "DAILY" if age < DAILY_UNTIL else "WEEKLY"
    return NextTrack(tier, now + INTERVALS[tier])
