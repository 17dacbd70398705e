"""Replays curves through the virality detector and what others use, and compares them at equal false alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alkyone.backtest.curves import Curves, Estimate, bootstrap
from alkyone.worlds.chance import Floats, Ints
from maia.virality import core
from maia.virality.core import Flags, Rules

HOUR_S = 3600.0
DAY = 24.0
SETTLED = core.SETTLED

HIT = core.HIT
HIT_COMES_WITHIN = 168.0
"""Hours before the crossing in which an alarm is about it."""
SURGE = 5.0
"""Times the day before that a day must bring to be a surge, and how many views at least."""
SURGE_VIEWS = 5_000.0
SIBLINGS = 3
"""Other videos of a channel that make a median."""

DETECTOR = "detector"
Scores = Floats
"""V × K: the score of each reading of each video, NaN where it says nothing."""


@dataclass(frozen=True)
class Followed:
    """V videos with at most K readings each, in rows filled up with NaN; times are hours."""

    at: Floats
    views: Floats
    published: Floats
    short: Flags
    channel: Ints

    @classmethod
    def of(cls, curves: Curves, *, every: float = 0.0) -> Followed:
        """Lay curves out as rows; with ``every`` only readings at least so many hours apart are kept."""
        rows = [curves.of(video) for video in range(len(curves))]
        times, views = curves.times / HOUR_S, curves.views
        kept = [_thinned(times[row], every) for row in rows]
        length = max((len(keep) for keep in kept), default=0)
        at, counts = np.full((len(rows), length), np.nan), np.full((len(rows), length), np.nan)
        for number, (row, keep) in enumerate(zip(rows, kept, strict=True)):
            at[number, : len(keep)], counts[number, : len(keep)] = times[row][keep], views[row][keep]
        return cls(at, counts, curves.published / HOUR_S, curves.seconds <= SHORT_S, curves.channels)

    def __len__(self) -> int:
        return len(self.at)

    @cached_property
    def age(self) -> Floats:
        """V × K ages."""
        return self.at - self.published[:, None]

    @cached_property
    def peak(self) -> Floats:
        """V × K: the most views shown so far."""
        return np.fmax.accumulate(self.views, axis=1)

    @cached_property
    def days(self) -> Floats:
        """V: for how long each was followed."""
        found: Floats = (np.nanmax(self.at, axis=1) - np.nanmin(self.at, axis=1)) / DAY
        return found

    def siblings(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """V medians and MADs of ``values`` over the other videos of the same channel and format, and their number."""
        median, spread, count = np.full(len(self), np.nan), np.full(len(self), np.nan), np.zeros(len(self))
        key = self.channel * 2 + self.short
        order = np.argsort(key, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            for video in group if len(group) > 1 else ():
                others = values[group[group != video]]
                median[video], count[video] = np.median(others), len(others)
                spread[video] = 1.4826 * np.median(np.abs(others - median[video]))
        return median, spread, count


SHORT_S = 180
"""Shorts last up to three minutes (YouTube Help, "Understand three-minute YouTube Shorts", since 2024-10-15)."""


def _thinned(times: Floats, every: float) -> Ints:
    kept: list[int] = []
    for number, instant in enumerate(times):
        if not kept or instant - times[kept[-1]] >= every:
            kept.append(number)
    return np.array(kept, np.int64)


# -- What is learned beforehand ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Learned:
    """What one half of the videos teaches: by format, long first, the median rate and the median count by age."""

    curves: core.Curves
    counts: tuple[core.Curve, core.Curve]
    growth: tuple[core.Curve, core.Curve]
    """Median log growth from an age to a week: Szabó and Huberman's log-linear model."""


def learn(videos: Followed) -> Learned:
    """Learn the curves of age from ``videos``."""
    log_ages = np.log(np.array(core.KNOTS))
    rates: list[core.Curve] = []
    counts: list[core.Curve] = []
    growth: list[core.Curve] = []
    for short in (False, True):
        gathered: tuple[list[list[float]], ...] = tuple([[] for _ in core.KNOTS] for _ in range(3))
        for video in np.flatnonzero(videos.short == short):
            _gather(videos, int(video), log_ages, gathered)
        medians = [np.array([np.median(found) if len(found) >= 8 else np.nan for found in each]) for each in gathered]
        for each, median in zip((rates, counts, growth), medians, strict=True):
            known = ~np.isnan(median)
            filled = np.interp(log_ages, log_ages[known], median[known]) if known.any() else np.zeros(len(log_ages))
            each.append(core.Curve(log_ages, filled))
    return Learned(core.Curves(*rates), (counts[0], counts[1]), (growth[0], growth[1]))


def _gather(videos: Followed, video: int, log_ages: Floats, into: tuple[list[list[float]], ...]) -> None:
    """Note a video's log rate, log count and log growth to a week at each knot it covers."""
    known = ~np.isnan(videos.at[video])
    age, views = videos.age[video][known], videos.peak[video][known]
    if age[0] < core.RULES.longest:
        age, views = np.concatenate([[0.0], age]), np.concatenate([[0.0], views])
    if len(age) < 3:
        return
    middle = np.log(np.maximum(np.sqrt(np.maximum(age[:-1], 0.25) * age[1:]), 0.25))
    speed = np.log(np.diff(views) / np.maximum(np.diff(age), 0.02) + 0.05)
    settled = np.log1p(np.interp(SETTLED, age, views)) if age[0] <= SETTLED <= age[-1] else np.nan
    for number, log_age in enumerate(log_ages):
        if middle[0] - 0.2 <= log_age <= middle[-1] + 0.2:
            into[0][number].append(float(np.interp(log_age, middle, speed)))
        if age[0] <= np.exp(log_age) <= age[-1]:
            log_count = float(np.log1p(np.interp(np.exp(log_age), age, views)))
            into[1][number].append(log_count)
            if not np.isnan(settled) and log_age <= np.log(SETTLED):
                into[2][number].append(float(settled) - log_count)


# -- The scores -------------------------------------------------------------------------------------------------------


class Replay(NamedTuple):
    """What the detector says of each reading: V × K scores, and the scores of what came since the last reading."""

    score: Scores
    fresh: Scores
    rate: Floats


def follow(videos: Followed, learned: Learned, rules: Rules) -> Replay:
    """Run the detector over all videos, as the Tracker does: a first time to learn each channel, then for real.

    What a channel lets expect is learned from its other videos only.
    """
    zero = np.zeros(len(videos))
    level = np.nan_to_num(_run(videos, learned, rules, (*core.expectation(zero, zero, zero), zero))[1].level)
    settled = np.array([_settled(videos, video, learned) for video in range(len(videos))])
    week = settled - np.log(learned.curves.between(videos.short, zero, np.full(len(videos), SETTLED)))
    usual = core.shrunk(_peers(videos, week), np.full(len(videos), len(videos)), trust=core.CONFIDENCE)
    expected = core.expectation(*_few_left_out(*videos.siblings(level)))
    median, _, count = _few_left_out(*videos.siblings(week))
    return _run(videos, learned, rules, (*expected, core.shrunk(median, count, towards=usual)))[0]


def _few_left_out(median: Floats, spread: Floats, count: Floats) -> tuple[Floats, Floats, Floats]:
    """Know nothing of channels with fewer than ``SIBLINGS`` other videos, as the Tracker does."""
    return median, spread, np.where(count >= SIBLINGS, count, 0.0)


def _peers(videos: Followed, values: Floats) -> Floats:
    """V: the median of ``values`` over all videos of the format."""
    medians = [np.median(values[videos.short == short]) if (videos.short == short).any() else np.nan
               for short in (False, True)]  # fmt: skip
    found: Floats = np.array(medians)[videos.short.astype(int)]
    return found


def _run(videos: Followed, learned: Learned, rules: Rules, expected: Sequence[Floats]) -> tuple[Replay, core.Memory]:
    memory = core.Memory.blank(len(videos))
    replay = Replay(*(np.full_like(videos.at, np.nan) for _ in Replay._fields))
    for step in range(videos.at.shape[1]):
        here = np.flatnonzero(~np.isnan(videos.at[:, step]))
        reading = core.Reading(
            videos.at[here, step], videos.views[here, step], videos.published[here], videos.short[here],
            *(column[here] for column in expected),
        )  # fmt: skip
        said = core.judge(memory.at(here), reading, learned.curves, rules)
        memory = memory.put(here, said.memory)
        for column, values in zip(replay, (said.score, said.fresh, said.rate), strict=True):
            column[here, step] = values
    return replay, memory


def medians(videos: Followed, learned: Learned) -> Floats:
    """V: the median views at a week of the channel's other videos; of the format where there are fewer than three."""
    settled = np.array([_settled(videos, video, learned) for video in range(len(videos))])
    median, _, count = videos.siblings(settled)
    return np.exp(np.where(count >= SIBLINGS, median, _peers(videos, settled)))


def _settled(videos: Followed, video: int, learned: Learned) -> float:
    """Log views at a week, or as far as the video was followed, carried on along its format's curve."""
    known = ~np.isnan(videos.at[video])
    age, views = videos.age[video][known], videos.peak[video][known]
    if age[-1] >= SETTLED >= age[0]:
        return float(np.log1p(np.interp(SETTLED, age, views)))
    curve = learned.counts[int(videos.short[video])]
    at = np.log(np.array([max(age[-1] if age[-1] < SETTLED else age[0], 1.0), SETTLED]))
    here, there = np.interp(at, curve.log_ages, curve.log_rates)
    return float(np.log1p(views[-1] if age[-1] < SETTLED else views[0]) + there - here)


def baselines(videos: Followed, learned: Learned, median: Floats) -> dict[str, Scores]:
    """What is used in its place, each as a score of every reading."""
    with np.errstate(invalid="ignore", divide="ignore"):
        gained, hours = np.diff(videos.views, axis=1), np.diff(videos.at, axis=1)
        last = np.full_like(videos.views, np.nan)
        last[:, 1:] = gained / np.maximum(hours, 0.1)
        log_age = np.log(np.maximum(videos.age, 1.0))
        usual, growth = (
            np.where(
                videos.short[:, None],
                *(np.interp(log_age, curve.log_ages, curve.log_rates) for curve in (pair[1], pair[0])),
            )
            for pair in (learned.counts, learned.growth)
        )
        log_views = np.log1p(videos.peak)
        level = np.nanmedian(log_views - usual, axis=1)
        offset, spread, count = videos.siblings(level)
        offset, spread = core.expectation(offset, spread, count)
        envelope = (log_views - usual - offset[:, None]) / spread[:, None]
        return {
            "views / age": videos.peak / np.maximum(videos.age, 1.0),
            "views / channel median": videos.peak / median[:, None],
            "last interval": last,
            "day-30 envelope": np.where(videos.age <= 30 * DAY, envelope, np.nan),
            "Szabó–Huberman": np.exp(log_views + np.where(videos.age < SETTLED, growth, 0.0)) / median[:, None],
        }


# -- What really happened ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What became of V videos, in hindsight; instants are hours, inf where it never came about."""

    hit: Floats
    """When it crossed ten times its channel's median; -inf when it had before it was first seen."""
    surges: tuple[Floats, ...]
    """For each video, the instants at which the last day had brought five times the day before, hour by hour."""

    @property
    def surge(self) -> Floats:
        """V: the first of them."""
        return np.array([found[0] if len(found) else np.inf for found in self.surges])

    @property
    def crossed(self) -> Flags:
        """V: did it become a hit while it was followed?"""
        return np.isfinite(self.hit)


def truth(videos: Followed, median: Floats) -> Truth:
    """Say what happened, from the whole curve and without any model."""
    hit, surges = np.full(len(videos), np.inf), []
    for video in range(len(videos)):
        known = ~np.isnan(videos.at[video])
        at, views = videos.at[video][known], videos.peak[video][known]
        bar = HIT * median[video]
        if views[0] >= bar:
            hit[video] = -np.inf
        elif views[-1] >= bar:
            hit[video] = np.interp(bar, views, at + np.arange(len(at)) * 1e-9)
        begin = at[0] + 2 * DAY
        hours = np.arange(begin, at[-1], 1.0)
        today, before, earlier = (np.interp(hours - back * DAY, at, views) for back in (0, 1, 2))
        day = today - before
        surges.append(hours[(day >= SURGE * (before - earlier)) & (day >= SURGE_VIEWS)])
    return Truth(hit, tuple(surges))


# -- The comparison ---------------------------------------------------------------------------------------------------


class Tally(NamedTuple):
    """For each of V videos: its false alarms, and how early the alarms were (hours; NaN where there was none)."""

    false: Floats
    hit_lead: Floats
    surge_lead: Floats


Alarms = Callable[[float], NDArray[np.bool_]]
"""V × K: where alarms are raised at a threshold."""


def by_threshold(videos: Followed, score: Scores) -> Alarms:
    """Raise where a score passes the threshold, and not again before it was below for a day."""

    def alarms(threshold: float) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            hot = score > threshold
        seen = np.where(hot, videos.at, -np.inf)
        before = np.full_like(seen, -np.inf)
        before[:, 1:] = np.maximum.accumulate(seen, axis=1)[:, :-1]
        with np.errstate(invalid="ignore"):
            return hot & (videos.at - before > DAY)

    return alarms


def by_states(videos: Followed, replay: Replay, rules: Rules) -> Alarms:
    """Raise as the detector does, its three thresholds moved together."""

    def alarms(threshold: float) -> NDArray[np.bool_]:
        share = threshold / rules.enter
        moved = replace(rules, enter=threshold, far=rules.far * share, leave=rules.leave * share)
        raised = np.zeros(videos.at.shape, np.bool_)
        state, since = np.zeros(len(videos), np.int8), np.full(len(videos), np.nan)
        for step in range(videos.at.shape[1]):
            after = core.turn(state, since, videos.at[:, step], replay.score[:, step], replay.fresh[:, step], moved)
            state, since, raised[:, step] = after
        return raised

    return alarms


def tally(videos: Followed, what: Truth, raised: NDArray[np.bool_]) -> Tally:
    """Weigh the alarms of each video against what happened to it.

    An alarm is false where neither a crossing follows within a week, or preceded it, nor a surge is plain within two
    days, or was a day ago.
    """
    false, hit_lead, surge_lead = np.zeros(len(videos)), np.full(len(videos), np.nan), np.full(len(videos), np.nan)
    first = what.surge
    for video in np.flatnonzero(raised.any(axis=1)):
        alarms = videos.at[video][raised[video]]
        about_hit = alarms >= what.hit[video] - HIT_COMES_WITHIN
        surges = what.surges[video]
        near = np.array([len(surges) and np.any((surges >= a - DAY) & (surges <= a + 2 * DAY)) for a in alarms], bool)
        false[video] = np.sum(~about_hit & ~near)
        if what.crossed[video] and np.any(hits := about_hit & (alarms <= what.hit[video])):
            hit_lead[video] = what.hit[video] - alarms[hits][0]
        if np.isfinite(first[video]):
            about = (alarms >= first[video] - 2 * DAY) & (alarms <= first[video] + DAY)
            if about.any():
                surge_lead[video] = first[video] - alarms[about][0]
    return Tally(false, hit_lead, surge_lead)


class Figures(NamedTuple):
    """How a detector did at one threshold, each with its 95 % interval."""

    threshold: float
    false_alarms: Estimate
    """Per 1,000 video-days."""
    recall: Estimate
    """Share of hits and surges together: an alarm is false where it is about neither."""
    hit_recall: Estimate
    """Share of the hits raised before they crossed ten times their channel's median."""
    hit_lead: Estimate
    """Mean hours before the crossing, of all hits; 0 for those missed."""
    surge_recall: Estimate
    surge_lead: Estimate
    """Mean hours before a surge is plain, of all surges; 0 for those missed, negative after."""


def figures(videos: Followed, what: Truth, found: Tally, threshold: float) -> Figures:
    """Sum up, with intervals by bootstrap over videos."""

    def estimate(amount: Floats, of: Floats, scale: float = 1.0) -> Estimate:
        return bootstrap(lambda weights: scale * _ratio(float(weights @ amount), float(weights @ of)), len(videos))

    crossed, surged = what.crossed.astype(float), np.isfinite(what.surge).astype(float)
    hits, surges = crossed * ~np.isnan(found.hit_lead), surged * ~np.isnan(found.surge_lead)
    return Figures(
        threshold,
        estimate(found.false, videos.days, 1000.0),
        estimate(hits + surges, crossed + surged),
        estimate(hits, crossed),
        estimate(crossed * np.nan_to_num(found.hit_lead), crossed),
        estimate(surges, surged),
        estimate(surged * np.nan_to_num(found.surge_lead), surged),
    )


def _ratio(amount: float, of: float) -> float:
    return amount / of if of else float("nan")


def at_false_alarms(
    videos: Followed, what: Truth, alarms: Alarms, scores: Scores, wanted: float
) -> tuple[float, Tally]:
    """Find the lowest threshold with at most ``wanted`` false alarms per 1,000 video-days, and what it does."""
    known = scores[np.isfinite(scores)]
    ladder = np.unique(np.quantile(known, 1 - np.geomspace(1e-6, 0.7, 200)))
    low, high = 0, len(ladder) - 1
    best = tally(videos, what, alarms(ladder[high]))
    while low < high:
        middle = (low + high) // 2
        found = tally(videos, what, alarms(ladder[middle]))
        if found.false.sum() <= wanted * videos.days.sum() / 1000:
            high, best = middle, found
        else:
            low = middle + 1
    return float(ladder[high]), best


def precision_at(videos: Followed, what: Truth, scores: Scores, count: int) -> float:
    """Of the ``count`` videos with the highest scores, the share that became a hit or surged."""
    most = np.nanmax(np.where(np.isnan(scores), -np.inf, scores), axis=1)
    best = np.argsort(-most, kind="stable")[:count]
    return float(np.mean(what.crossed[best] | np.isfinite(what.surge)[best]))


class Report(NamedTuple):
    """The comparison: at each rate of false alarms the figures of each detector."""

    videos: int
    video_days: float
    hits: int
    surges: int
    precision: Mapping[str, float]
    rounds: Mapping[float, Mapping[str, Figures]]
    as_set: Figures
    """The detector with its thresholds as they are."""

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            **{name: getattr(self, name) for name in ("videos", "video_days", "hits", "surges")},
            "precision": dict(self.precision),
            "as_set": _plain(self.as_set),
            "at_false_alarms": {
                f"{wanted:g}": {name: _plain(found) for name, found in by_name.items()}
                for wanted, by_name in self.rounds.items()
            },
        }


def _plain(found: Figures) -> dict[str, Any]:
    return {name: value._asdict() if isinstance(value, Estimate) else value for name, value in found._asdict().items()}


def compare(
    curves: Curves,
    teachers: Curves,
    wanted: Sequence[float],
    *,
    rules: Rules = core.RULES,
    every: float = 0.0,
    best: int = 20,
) -> Report:
    """Run all detectors over ``curves`` with what ``teachers`` taught, and compare them at equal false alarms."""
    learned = learn(Followed.of(teachers, every=every))
    videos = Followed.of(curves, every=every)
    median = medians(videos, learned)
    what = truth(videos, median)
    replay = follow(videos, learned, rules)
    scores = {DETECTOR: replay.score} | baselines(videos, learned, median)
    raising = {name: by_threshold(videos, score) for name, score in scores.items()}
    raising[DETECTOR] = by_states(videos, replay, rules)
    rounds: dict[float, dict[str, Figures]] = {}
    for target in wanted:
        rounds[target] = {}
        for name, score in scores.items():
            threshold, found = at_false_alarms(videos, what, raising[name], score, target)
            rounds[target][name] = figures(videos, what, found, threshold)
    as_set = tally(videos, what, raising[DETECTOR](rules.enter))
    return Report(
        len(videos),
        float(videos.days.sum()),
        int(what.crossed.sum()),
        int(np.isfinite(what.surge).sum()),
        {name: precision_at(videos, what, score, best) for name, score in scores.items()},
        rounds,
        figures(videos, what, as_set, rules.enter),
    )
