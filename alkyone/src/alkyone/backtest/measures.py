"""What a replay is judged by: views nobody saw, the error of the curve that is left, the delay of a burst."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from alkyone.backtest.curves import weighted_quantile
from alkyone.backtest.replay import Readings, Truth
from alkyone.worlds.chance import Floats, Ints

GRID = 1.0
"""Hours between the instants at which a curve is compared."""

BANDS = (("<1 d", 0.0, 24.0), ("1–3 d", 24.0, 72.0), ("3–7 d", 72.0, 168.0), ("7–30 d", 168.0, 720.0))


@dataclass(frozen=True)
class Judged:
    """A replay against the truth, on a grid of G instants in all: per instant what was unseen and how wrong it is."""

    owner: Ints
    age: Floats
    unseen: Floats
    error: Floats
    flow: Floats
    """V: views that came in while each video was followed."""
    delay: Floats
    """V: hours from a video's burst to the next reading, NaN without a burst."""
    readings: Floats
    """V: readings of each."""
    days: Floats
    """V: days followed."""

    def figures(self, weights: Floats) -> dict[str, float]:
        """Every figure, with each video counted as often as it weighs; NaN where nothing is counted."""
        by_error = weights[self._owners]
        found = {
            "unseen_hours": _share(weights, self._unseen * GRID, self.flow),
            "error_median": weighted_quantile(self._errors, by_error, 0.5),
            "error_mean": _share(weights, self._wrong[0], self._counted[0]),
            "error_p95": weighted_quantile(self._errors, by_error, 0.95),
            "burst_delay_hours": _share(weights, np.nan_to_num(self.delay), 1.0 - np.isnan(self.delay)),
        }
        for number, (name, _, _) in enumerate(BANDS, 1):
            found[f"error_mean {name}"] = _share(weights, self._wrong[number], self._counted[number])
        return found

    @property
    def per_day(self) -> float:
        """Readings a video and day."""
        return float(self.readings.sum() / self.days.sum())

    @cached_property
    def _unseen(self) -> Floats:
        return self._summed(self.unseen)

    @cached_property
    def _wrong(self) -> list[Floats]:
        """Per video the sum of the errors: of all ages, then of each band."""
        return [self._summed(self.error * band) for band in self._bands]

    @cached_property
    def _counted(self) -> list[Floats]:
        return [self._summed(band.astype(np.float64)) for band in self._bands]

    def _summed(self, values: Floats) -> Floats:
        return np.bincount(self.owner, values, len(self.flow)).astype(np.float64)

    @cached_property
    def _bands(self) -> list[NDArray[np.bool_]]:
        inside = [(self.age >= low) & (self.age < high) for _, low, high in BANDS]
        return [np.ones(len(self.age), np.bool_), *inside]

    @cached_property
    def _order(self) -> Ints:
        return np.argsort(self.error, kind="stable")

    @cached_property
    def _errors(self) -> Floats:
        return self.error[self._order]

    @cached_property
    def _owners(self) -> Ints:
        return self.owner[self._order]


def _share(weights: Floats, part: Floats, whole: Floats) -> float:
    total = float(weights @ whole)
    return float(weights @ part) / total if total else float("nan")


class Judge:
    """Knows the truth on a grid, and where it bursts; judges any number of replays of it."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        counts = ((truth.end - truth.begin) // GRID).astype(np.int64)
        self.owner = np.repeat(np.arange(len(counts)), counts)
        turn = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self.at = truth.begin[self.owner] + (turn + 1) * GRID
        self.views = truth.views(self.owner, self.at)
        every = np.arange(len(counts))
        self.flow = np.maximum(truth.views(every, truth.end) - truth.views(every, truth.begin), 0.0)
        self.bursts = self._bursts()

    def judge(self, readings: Readings) -> Judged:
        """Compare what ``readings`` show with the truth."""
        truth, size = self.truth, len(self.flow)
        every = np.arange(size)
        video = np.concatenate([every, readings.video])
        at = np.concatenate([truth.begin, readings.at])
        order = np.lexsort((at, video))
        video, at = video[order], at[order]
        views = truth.views(video, at)
        stride = truth.end.max(initial=0.0) + 1e3
        axis, where = video * stride + at, self.owner * stride + self.at
        held = np.searchsorted(axis, where, side="right") - 1
        curve = np.interp(where, axis, views)
        last = np.append(video[1:] != video[:-1], True)[held]
        curve = np.where(last, views[held], curve)
        delay = np.full(size, np.nan)
        burst = np.flatnonzero(~np.isnan(self.bursts))
        following = np.searchsorted(axis, burst * stride + self.bursts[burst], side="left")
        inside = (following < len(video)) & (video[np.minimum(following, len(video) - 1)] == burst)
        until = np.where(inside, at[np.minimum(following, len(video) - 1)], truth.end[burst])
        delay[burst] = until - self.bursts[burst]
        return Judged(
            owner=self.owner,
            age=self.at - truth.born[self.owner],
            unseen=np.maximum(self.views - views[held], 0.0),
            error=np.abs(curve - self.views) / np.maximum(self.views, 1.0),
            flow=self.flow,
            delay=delay,
            readings=np.bincount(readings.video, minlength=size).astype(np.float64),
            days=(truth.end - truth.begin) / 24,
        )

    def _bursts(self) -> Floats:
        """V: when a video first bursts: six hours with three times the flow of the day before, and 500 an hour."""
        truth = self.truth
        before = truth.views(self.owner, self.at - 24)
        ahead = truth.views(self.owner, self.at + 6)
        past, coming = (self.views - before) / 24, (ahead - self.views) / 6
        full = (self.at - truth.begin[self.owner] >= 24) & (truth.end[self.owner] - self.at >= 6)
        found = full & (coming >= 3 * past) & (coming >= 500)
        first = np.full(len(self.flow), np.nan)
        where = np.flatnonzero(found)[::-1]
        first[self.owner[where]] = self.at[where]
        return first
