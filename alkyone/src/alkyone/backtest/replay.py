"""Curves replayed through a schedule: who is read when, within how many readings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from alkyone.backtest.curves import Curves
from alkyone.worlds.chance import Floats, Ints
from maia.tracker.schedule import SHORTEST, Adaptive, Schedule, Seen, appraise, longest, spread

TICK = 0.25
"""Hours between two runs, unless another is given."""

NEAR = 0.005
"""How near to the same number of readings two schedules are compared, as a share."""

SAMPLE = 2_000
"""Videos that the price is appraised on."""

_HOUR = timedelta(hours=1)

MEMORY = 12.0
"""Hours in which the past of a smoothed rate fades by half, as ``maia.tracker.core`` has it."""


class Readings(NamedTuple):
    """N readings, video after video, by time within each: the number of the video, hours since the replay's start."""

    video: Ints
    at: Floats


class Truth:
    """The views of V videos at any hour of the replay: as recorded, on a straight line in between."""

    def __init__(self, curves: Curves) -> None:
        self.curves = curves
        self.zero = float(curves.times.min()) if len(curves.times) else 0.0
        self.spread = spread(curves.ids.tolist())
        self.born = (curves.published - self.zero) / 3600
        self.begin = (curves.first - self.zero) / 3600
        self.end = (curves.last - self.zero) / 3600
        self._times = (curves.times - self.zero) / 3600
        # One ascending axis for all videos: a video's hours lie after the ones of those before it.
        self._stride = float(self._times.max(initial=0.0)) + 1e4
        self._axis = self._times + curves.owner * self._stride

    def views(self, videos: Ints, at: Floats) -> Floats:
        """The counts of ``videos`` at one hour each, within the hours they were recorded in."""
        inside = np.clip(at, self.begin[videos], self.end[videos])
        return np.interp(videos * self._stride + inside, self._axis, self.curves.views)


@dataclass
class Standing:
    """Where V videos stand in a replay."""

    last: Floats
    views: Floats
    rate: Floats
    due: Floats

    def seen(self, truth: Truth, videos: Ints) -> Seen:
        """What a schedule is told of some of them."""
        at = self.last[videos]
        return Seen(
            at - truth.born[videos],
            self.views[videos],
            self.rate[videos],
            at - truth.begin[videos],
            truth.spread[videos],
        )


def free_running(truth: Truth, schedule: Schedule, *, most: float = math.inf) -> Readings:
    """Read every video whenever it is due, however many readings that takes; the first ones are not counted.

    It stops early when there are more than ``most``.
    """
    every = np.arange(len(truth.begin))
    standing = _born(truth)
    standing.due[:] = standing.last + schedule.waits(standing.seen(truth, every))
    found: list[Readings] = []
    while len(every := every[standing.due[every] <= truth.end[every]]) and sum(len(part.at) for part in found) <= most:
        _read(truth, standing, every, _tick(standing.due[every]))
        found.append(Readings(every, standing.last[every]))
        standing.due[every] = standing.last[every] + schedule.waits(standing.seen(truth, every))
    return _sorted(found)


class Uniform:
    """Every video after the same hours."""

    ahead = timedelta(0)

    def __init__(self, hours: float) -> None:
        self._hours = hours

    def waits(self, seen: Seen) -> Floats:
        """Hours until the next look."""
        return np.full(len(seen.age), self._hours)


class Proportional:
    """Every video after ``views`` more views at its rate of late, within the bounds of the adaptive schedule."""

    ahead = timedelta(0)

    def __init__(self, views: float) -> None:
        self._views = views

    def waits(self, seen: Seen) -> Floats:
        """Hours until the next look."""
        rate = np.where(np.isnan(seen.rate), seen.views / np.maximum(seen.age, SHORTEST), seen.rate)
        return np.clip(self._views / np.maximum(rate, 1e-9), SHORTEST, longest(seen.age))


def at_equal_readings(truth: Truth, make: Callable[[float], Schedule], per_day: float) -> Readings:
    """Replay ``make(x)`` at the ``x`` that gives ``per_day`` readings a video and day; it must ask for less the more.

    That ``x`` is chosen in hindsight, which is more than the adaptive schedule gets.
    """
    wanted = per_day * float((truth.end - truth.begin).sum()) / 24
    low, high = -12.0, 25.0  # as powers of e
    readings = free_running(truth, make(1.0))
    for _ in range(40):
        middle = (low + high) / 2
        readings = free_running(truth, make(math.exp(middle)), most=2 * wanted)
        if abs(len(readings.at) / wanted - 1) < NEAR or high - low < NEAR:
            break
        low, high = (middle, high) if len(readings.at) > wanted else (low, middle)
    return readings


def in_hindsight(truth: Truth, per_day: float) -> Readings:
    """Read each video at even intervals, by the root of its true mean rate: the best where rates stand still.

    Nobody knows that rate beforehand. It tells how much there is to gain.
    """
    hours = truth.end - truth.begin
    every = np.arange(len(hours))
    rate = np.maximum(truth.views(every, truth.end) - truth.views(every, truth.begin), 0.0) / np.maximum(hours, TICK)
    wanted = per_day * float(hours.sum()) / 24

    def apart(scale: float) -> Floats:
        return np.maximum(math.exp(scale) / np.sqrt(np.maximum(rate, 1e-9)), SHORTEST)

    low, high = -20.0, 30.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if (hours // apart(middle)).sum() > wanted else (low, middle)
    intervals = apart(high)
    counts = (hours // intervals).astype(np.int64)
    video = np.repeat(every, counts)
    turn = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    return Readings(video, truth.begin[video] + turn * intervals[video])


def within_budget(truth: Truth, per_day: float, *, tick: float = TICK) -> Readings:
    """Read by the adaptive schedule at its price, in runs every ``tick`` hours, never over ``per_day`` a video and day.

    As the Tracker does it: what is due first, then what would be due soon; the price is appraised every hour; what a
    run leaves of its share the later ones have, of which each takes at most twice its own.
    """
    dice = np.random.default_rng(5)
    standing = _born(truth)
    known = np.zeros(len(truth.begin), np.bool_)
    bank, late, market, found = 0.0, 0, None, list[Readings]()
    for turn in range(math.ceil(truth.end.max(initial=0.0) / tick) + 1):
        now = turn * tick
        fresh = np.flatnonzero(~known & (truth.begin <= now))
        known[fresh] = True
        active = np.flatnonzero(known & (truth.end >= now))
        if not len(active):
            continue
        pace = per_day / 24 * tick * len(active)
        bank = min(bank + pace, 24 / tick * pace)
        if turn % round(1 / tick) == 0 or market is None:
            sample = dice.choice(active, min(SAMPLE, len(active)), replace=False)
            market = appraise(
                standing.seen(truth, sample), per_day / 24, before=market, late=late * tick / 24 / max(pace, 1e-9)
            )
        adaptive = Adaptive(market)
        standing.due[fresh] = standing.last[fresh] + adaptive.first_waits(standing.seen(truth, fresh))
        horizon = adaptive.ahead / _HOUR
        soon = active[(standing.due[active] <= now + horizon) & (standing.last[active] <= now - SHORTEST)]
        chosen = soon[np.argsort(standing.due[soon], kind="stable")[: min(int(bank), math.ceil(2 * pace))]]
        late = int(np.count_nonzero(standing.due[active] <= now) - np.count_nonzero(standing.due[chosen] <= now))
        bank -= len(chosen)
        _read(truth, standing, chosen, np.full(len(chosen), now))
        found.append(Readings(chosen, standing.last[chosen]))
        standing.due[chosen] = now + adaptive.waits(standing.seen(truth, chosen))
    return _sorted(found)


def _tick(at: Floats) -> Floats:
    return np.ceil(at / TICK - 1e-9) * TICK


def _born(truth: Truth) -> Standing:
    size = len(truth.begin)
    views = truth.views(np.arange(size), truth.begin)
    return Standing(truth.begin.copy(), views, np.full(size, np.nan), truth.begin.copy())


def _read(truth: Truth, standing: Standing, videos: Ints, at: Floats) -> None:
    """Read ``videos`` and smooth their rates, as ``maia.tracker.core.smoothed_rate`` does for one."""
    at = np.maximum(at, standing.last[videos] + 1e-6)
    views = truth.views(videos, at)
    elapsed = at - standing.last[videos]
    current = np.maximum(views - standing.views[videos], 0.0) / elapsed
    past = np.where(np.isnan(standing.rate[videos]), 0.0, 0.5 ** (elapsed / MEMORY))
    standing.rate[videos] = past * np.nan_to_num(standing.rate[videos]) + (1 - past) * current
    standing.last[videos], standing.views[videos] = at, views


def _sorted(found: list[Readings]) -> Readings:
    if not found:
        return Readings(np.empty(0, np.int64), np.empty(0))
    video, at = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((at, video))
    return Readings(video[order], at[order])
