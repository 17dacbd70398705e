"""When to look next: age tiers, or an interval that follows each video's rate at one price for all. Pure, in arrays.

A look at a video is worth more the longer it was not seen. Its worth after ``t`` hours is ``index * t**2``, where the
index weighs the views that go unseen, the error of a small video's curve, and a share for exploration. A video is due
when its worth reaches the market's price, so that at the margin every reading buys the same. The price is what makes
the demand of all videos meet the budget. docs/ghost-tracking.md has the reasons, the sources and the measurements.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from atlas.tiers import DAILY_UNTIL, HOURLY_UNTIL, INTERVALS, LONGEST, Tier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_HOUR = 3600.0
_BY_AGE: tuple[Tier, ...] = ("HOURLY", "DAILY", "WEEKLY")

NEW = 3.0
"""Hours during which a video that is found counts as a new upload."""

SHORTEST = 0.25
"""Hours: the shortest time between two looks, which is how often the Tracker runs."""

POWER = 0.85
"""How the worth of unseen views grows with the rate. One would count views alone."""

RELATIVE = 0.1
"""The weight of a curve's relative error beside unseen views; at 0 small videos are starved."""

EXPLORATION = 0.03
"""The weight of a look at a video of which nothing is expected."""

CAP = 20.0
"""Growth an hour, relative to the views so far, beyond which a small video gains no more weight."""

BURST = 0.1
"""A video is never believed slower than this share of its mean rate since publication."""

FADING = 0.3
"""A rate not confirmed since fades with this power of the age."""

BLEND = 0.4
"""How far a video's mean rate since publication speaks beside its rate of late, in logarithms: rates regress."""

DOUBT = 5.0
"""How many times the usual newcomer's rate a video may hide of which nothing was seen yet."""

FAMILIAR = 12.0
"""Hours of being watched, and of age, that each halve the doubt."""

JITTER = 0.1
"""An interval is shortened by up to this share, by a hash of the video's id."""

WORTHWHILE = 0.002
"""Growth that a video is left alone for even where readings are plenty: less tells nothing of its curve."""

AHEAD = timedelta(hours=6)
"""Where readings are scarce and yet some are left, what would be due within this time is read as well."""

URGE = 2.0
"""The price grows by this power of e for a day's budget of readings that are late."""

TOLERANCE = 0.002
"""How closely an appraisal meets its budget, as a share."""

_STEPS = 6


class Seen(NamedTuple):
    """What is known of V videos, each at its last reading: arrays of V floats, NaN where unknown."""

    age: Floats
    """Hours since publication."""
    views: Floats
    """The count."""
    rate: Floats
    """Smoothed views an hour; unknown before a second count."""
    observed: Floats
    """Hours between the first and the last reading: how well the rate is known."""
    spread: Floats
    """Shares of the interval, by ``spread``: what was found together is not due together."""


class Market(NamedTuple):
    """What a look must be worth, and the measures of worth: one for all videos, moved slowly."""

    price: float
    flow: float
    """The mean of rate ** POWER."""
    growth: float
    """The mean of the relative growth an hour."""
    newcomer: float
    """Views an hour of a usual young video."""


class Schedule(Protocol):
    """A strategy: how long to wait until the next look."""

    @property
    def ahead(self) -> timedelta:
        """How early a video may be read when there are readings left over."""
        ...

    def waits(self, seen: Seen) -> Floats:
        """Hours until the next look at each of V videos that were just read."""
        ...


class Tiers:
    """By age alone: hourly for a day, daily for a week, weekly ever after; ``scale`` stretches all three."""

    ahead = timedelta(0)

    def __init__(self, scale: float = 1.0) -> None:
        hours = (INTERVALS[tier].total_seconds() / _HOUR * scale for tier in _BY_AGE)
        self._intervals = np.array(list(hours))

    def waits(self, seen: Seen) -> Floats:
        """Hours until the next look at each of V videos that were just read."""
        waits: Floats = self._intervals[_tier(seen.age)]
        return waits


class Adaptive:
    """By each video's own rate, at the market's price."""

    def __init__(self, market: Market) -> None:
        self._market = market

    @property
    def ahead(self) -> timedelta:
        """How early a video may be read when there are readings left over: not where they cost nothing."""
        return AHEAD if self._market.price > 0 else timedelta(0)

    def waits(self, seen: Seen) -> Floats:
        """Hours until the next look at each of V videos that were just read: within ``SHORTEST`` and ``LONGEST``."""
        seen = _whole(seen, self._market.newcomer)
        most = longest(seen.age)
        least = _shortest(seen, most)
        price = max(self._market.price, 0.0)
        waits = most / 4
        # The index falls with the wait, but slower than its square grows, so each step at least halves what is wrong.
        for _ in range(_STEPS):
            waits = np.clip(np.sqrt(price / _index(seen, self._market, waits)), least, most)
        return waits * seen.spread

    def first_waits(self, seen: Seen) -> Floats:
        """The same for videos just found: a new upload, which may do anything, is looked at within the hour."""
        at_once = np.where(seen.age < NEW, (1 - seen.spread) / JITTER, np.inf)
        return np.minimum(self.waits(seen), at_once)


def longest(age: Floats) -> Floats:
    """Hours until the next look at most, by the age in hours."""
    bounds: Floats = np.array([LONGEST[tier].total_seconds() / _HOUR for tier in _BY_AGE])[_tier(age)]
    return bounds


def worth(seen: Seen, market: Market, waited: Floats) -> Floats:
    """What a look at each of V videos is worth, ``waited`` hours after the last one; due when that is the price."""
    return _index(_whole(seen, market.newcomer), market, waited) * waited**2


def spread(video_ids: Sequence[str]) -> Floats:
    """Shares of an interval, a tenth less than one at most, each the same for a video for ever."""
    hashes = np.fromiter((zlib.crc32(video_id.encode()) for video_id in video_ids), np.float64, len(video_ids))
    return 1 - JITTER * hashes / 2**32


def appraise(seen: Seen, budget: float, *, before: Market | None = None, late: float = 0.0) -> Market:
    """Find the price at which V videos, a sample of all, ask for ``budget`` readings an hour and video.

    The price is raised while readings are ``late``, in days of the budget, and goes half the way from the one
    ``before``, in logarithms, so that a sample's chance and a day's end do not shake it. It is 0 where even the
    shortest intervals ask for less than the budget.
    """
    newcomer = _between(before and before.newcomer, _newcomer(seen))
    seen = _whole(seen, newcomer)
    if not len(seen.age):
        return before or Market(0.0, 1.0, 1.0, newcomer)
    waits = np.ones_like(seen.age)
    rate = _rate(seen, waits)
    flow = _between(before and before.flow, float(np.mean(rate**POWER)) or 1.0)
    growth = _between(before and before.growth, float(np.mean(_growth(seen, rate, waits, newcomer))) or 1.0)
    market = Market(1.0, flow, growth, newcomer)

    def asked(price: float) -> float:
        return float(np.mean(1 / Adaptive(market._replace(price=price)).waits(seen)))

    # As powers of e: from every quarter of an hour to once a month, whatever the index. Demand falls about with the
    # root of the price, so a secant in logarithms is nearly there at once; the bracket keeps it from leaving.
    low, high, tried = -30.0, 40.0, 0.0
    if asked(0.0) <= budget:
        return market._replace(price=0.0)
    for _ in range(60):
        over = math.log(asked(math.exp(tried)) / max(budget, 1e-12))
        if abs(over) < TOLERANCE:
            break
        low, high = (tried, high) if over > 0 else (low, tried)
        step = tried + 2 * over
        tried = step if low < step < high and abs(over) < 3 else (low + high) / 2
        if high - low < TOLERANCE:
            break
    price = math.exp(tried + URGE * min(late, 2.0))
    return market._replace(price=_between(before and (before.price or None), price))


def _between(before: float | None, now: float) -> float:
    return now if before is None else math.sqrt(before * now)


def _tier(age: Floats) -> NDArray[np.int64]:
    return np.searchsorted([HOURLY_UNTIL.total_seconds() / _HOUR, DAILY_UNTIL.total_seconds() / _HOUR], age, "right")


def _newcomer(seen: Seen) -> float:
    """The median rate of videos of less than a day; 100 when there are none."""
    young = seen.rate[(seen.age < HOURLY_UNTIL.total_seconds() / _HOUR) & (seen.rate > 0)]
    return float(np.median(young)) if len(young) else 100.0


def _whole(seen: Seen, newcomer: float) -> Seen:
    """Fill in what is unknown: the mean rate since publication for the rate, a newcomer's for that."""
    age = np.maximum(np.nan_to_num(seen.age), SHORTEST)
    unseen = np.isnan(seen.views)
    views = np.where(unseen, newcomer * age, np.maximum(seen.views, 0.0))
    rate = np.where(np.isnan(seen.rate), views / age, np.maximum(seen.rate, 0.0))
    return Seen(age, views, rate, np.maximum(np.nan_to_num(seen.observed), 0.0), seen.spread)


def _shortest(seen: Seen, most: Floats) -> Floats:
    growing = np.maximum(seen.rate, BURST * seen.views / seen.age)
    return np.clip(WORTHWHILE * seen.views / np.maximum(growing, 1e-9), SHORTEST, most)


def _rate(seen: Seen, waited: Floats) -> Floats:
    """Views an hour as they may be by now."""
    older = seen.age / (seen.age + waited)
    rate = seen.rate ** (1 - BLEND) * (seen.views / seen.age) ** BLEND * older**FADING
    return np.maximum(rate, BURST * seen.views / (seen.age + waited))


def _growth(seen: Seen, rate: Floats, waited: Floats, newcomer: float) -> Floats:
    """Relative growth an hour as it may be; a video hardly seen may hide a newcomer's rate."""
    doubt = DOUBT * newcomer * FAMILIAR / (FAMILIAR + seen.observed) * FAMILIAR / (FAMILIAR + seen.age)
    return np.minimum((rate + doubt) / np.maximum(seen.views, 1.0), CAP)


def _index(seen: Seen, market: Market, waited: Floats) -> Floats:
    rate = _rate(seen, waited)
    growth = _growth(seen, rate, waited, market.newcomer)
    return rate**POWER / market.flow + RELATIVE * growth / market.growth + EXPLORATION
