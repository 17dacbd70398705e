"""What the detector decides: is a video faster than its channel, its format, its age and its own past let expect?

Every function takes and returns arrays, an element a video, so that a batch of readings and a backtest over thousands
of curves run the same lines. Instants are hours since 1970, ages hours since publication, views counts; NaN is
"not known", as of a hidden counter. docs/virality.md has the formulas, their sources, and how the rules were tuned.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from atlas.adapters.records import RiseState
from atlas.epochs import EPOCHS

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int8]
Indices = NDArray[np.int64]

STATES: tuple[RiseState, ...] = ("QUIET", "RISING", "VIRAL", "COOLING")
QUIET, RISING, VIRAL, COOLING = range(4)

HOUR_S = 3600.0
HIT = 10.0
"""Times the median first week of its channel that make a video a hit."""
SHORTEST = 0.25
"""Hours: the least age that a rate is carried on from."""
SETTLED = 168.0
"""The age at which a video's views are compared with its channel's: after a week most have come."""

_EPOCHS = tuple(
    np.array([epoch.begins.timestamp() / HOUR_S for epoch in EPOCHS if epoch.changed in changed])
    for changed in ({"all"}, {"shorts", "all"})
)
"""When a view changed its meaning, for long videos and for Shorts."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What was tuned; on what, docs/virality.md tells."""

    window: float = 6.0
    """Hours over which velocity is measured."""
    longest: float = 36.0
    """Hours without news from where on a window is not covered: nothing is said across such a gap."""
    memory: float = 24.0
    """Hours in which what a video did fades by half from what is expected of it."""
    trust: float = 6.0
    """Hours of a video's own past that weigh as much as what its channel lets expect."""
    clip: float = 1.0
    """The most by which a reading's log rate may differ from its expectation when that learns from it."""
    wobble: float = 0.5
    """Standard deviation of a video's log rate around its own past: what is left when the counting is exact."""
    frozen: float = 8.0
    """Views expected where none came from where on the counter stands, and not the video."""
    ahead: float = 96.0
    """Hours that the outlook looks ahead; a video that it has become a hit by then scores ``far``."""
    slope: float = 3.0
    """Score for each unit of log views that the outlook is above or below a hit's."""
    enter: float = 3.3
    """Score that makes a video RISING, and a second time VIRAL."""
    far: float = 3.7
    """Score that makes it VIRAL at once."""
    leave: float = 1.6
    """Score below which a rise is over."""
    cool: float = 24.0
    """Hours for which a rise stays over before the video is QUIET again."""
    least: float = 50.0
    """Views an hour below which nothing is worth an alarm."""


RULES = Rules()


@dataclass(frozen=True, slots=True)
class Curve:
    """The median log rate (views an hour) by age: straight over log age between the knots, flat beyond them."""

    log_ages: Floats
    log_rates: Floats

    def rate(self, age: Floats) -> Floats:
        """Views an hour at an age."""
        return np.exp(np.interp(np.log(np.maximum(age, 1e-3)), self.log_ages, self.log_rates))

    def count(self, begin: Floats, end: Floats) -> Floats:
        """Views between two ages, which may be far apart: Simpson's rule on eight equal pieces of log age."""
        low = np.log(np.maximum(begin, 0.0) + 1.0)
        steps = np.linspace(0.0, 1.0, 17).reshape(-1, *([1] * low.ndim))
        log_age = low + (np.log(np.maximum(end, begin) + 1.0) - low) * steps
        span = np.exp(log_age)
        height = self.rate(span - 1.0) * span  # the age itself, as an integral over log (age + 1)
        weights = np.array([1.0] + [4.0, 2.0] * 7 + [4.0, 1.0]).reshape(steps.shape)
        found: Floats = (height * weights).sum(axis=0) * (log_age[1] - log_age[0]) / 3.0
        return found


KNOTS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 18.0, 24.0, 36.0, 48.0, 72.0, 96.0, 144.0, 240.0, 480.0, 1000.0, 3000.0, 9000.0)
"""Ages at which a curve is learned."""


PRIOR_LONG = (
    4.3, 4.5, 4.5, 4.5, 4.4, 4.3, 4.1, 4.0, 3.6, 3.5, 3.4, 3.3, 3.1, 2.0, 1.6, 0.8, -0.4, -1.5
)  # fmt: skip
PRIOR_SHORT = (
    3.0, 4.1, 4.1, 4.1, 4.0, 3.8, 3.7, 3.5, 3.0, 3.0, 3.0, 2.9, 2.8, 2.0, 1.6, 0.8, -0.4, -1.5
)  # fmt: skip
"""What is believed before anything was learned: the shape of recorded trending curves, at 1 / 150 of their rates."""

SIBLINGS = 0.5
"""Videos of a channel whose median weighs as much as that of all videos."""

CONFIDENCE = 30.0
"""Videos whose median at an age weighs as much as what was believed before."""


class Curves(NamedTuple):
    """The curve of each format."""

    long: Curve
    short: Curve

    @classmethod
    def known(cls, long: Sequence[tuple[float, float]] = (), short: Sequence[tuple[float, float]] = ()) -> Curves:
        """Make them of (age, log rate) points, what is believed beforehand where there are none."""
        believed = (zip(KNOTS, prior, strict=True) for prior in (PRIOR_LONG, PRIOR_SHORT))
        points = (np.array(list(given or prior)) for given, prior in zip((long, short), believed, strict=True))
        return cls(*(Curve(np.log(ages), rates) for ages, rates in (each.T for each in points)))

    def between(self, short: Flags, begin: Floats, end: Floats) -> Floats:
        """Views between two ages of videos of either format."""
        return np.where(short, self.short.count(begin, end), self.long.count(begin, end))


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of each of N videos; NaN where nothing is.

    ``older`` and ``newer`` are readings before the last one, the older at least a window old, so that the count at the
    window's beginning can be interpolated. While the counter stands or is below where it was, ``newer`` is where it
    last moved. ``level`` is the video's log rate over its format's curve, smoothed; ``evidence`` is how many hours it
    was learned from, faded.
    """

    older_at: Floats
    older_views: Floats
    newer_at: Floats
    newer_views: Floats
    last_at: Floats
    last_views: Floats
    level: Floats
    evidence: Floats
    state: Codes
    since: Floats

    @classmethod
    def blank(cls, videos: int) -> Memory:
        """Remember nothing of ``videos`` videos."""
        nothing = np.full(videos, np.nan)
        return cls(
            *(nothing,) * 6, level=nothing, evidence=np.zeros(videos), state=np.zeros(videos, np.int8), since=nothing
        )

    def at(self, index: Indices) -> Memory:
        """What is remembered of some of them."""
        return Memory(*(getattr(self, field.name)[index] for field in fields(self)))

    def put(self, index: Indices, new: Memory) -> Memory:
        """Remember something else of some of them."""
        columns = [getattr(self, field.name).copy() for field in fields(self)]
        for column, field in zip(columns, fields(self), strict=True):
            column[index] = getattr(new, field.name)
        return Memory(*columns)


class Reading(NamedTuple):
    """A new reading of each of N videos, and what its channel lets expect.

    ``offset`` is the channel's median log rate over its format's curve, ``spread`` the standard deviation of its videos
    around it, by ``expectation``; ``week`` is its median log count of the first week over that of the curve, by
    ``shrunk``.
    """

    at: Floats
    views: Floats
    published: Floats
    short: Flags
    offset: Floats
    spread: Floats
    week: Floats


class Verdict(NamedTuple):
    """What N readings say; NaN where they say nothing: no window covered, another epoch, a counter that stands.

    ``rate`` is views an hour over the window, ``times`` how many times what was expected that is, of its channel or of
    its own past, whichever is more; where the outlook scores more, it is how many of its channel's weeks lie ahead.
    """

    memory: Memory
    score: Floats
    rate: Floats
    times: Floats
    fresh: Floats
    """The score of what came since the last reading alone."""


def expectation(
    offset: Floats, spread: Floats, videos: Floats, *, within: float = 1.2, among: float = 1.9
) -> tuple[Floats, Floats]:
    """Shrink a channel's median and MAD to those of all videos, the more the fewer ``videos`` they were learned from.

    ``among`` is the standard deviation of log rates at one age among all videos of a format, ``within`` that among
    the videos of one channel.
    """
    known = np.nan_to_num(videos)
    own = (known * np.nan_to_num(spread) ** 2 + 5.0 * within**2) / (known + 5.0)
    weight = known / (known + SIBLINGS)
    return shrunk(offset, videos), np.sqrt(weight * own + (1.0 - weight) * among**2)


def shrunk(median: Floats, videos: Floats, *, towards: Floats | float = 0.0, trust: float = SIBLINGS) -> Floats:
    """Shrink a median ``towards`` what is believed anyway, which weighs as much as ``trust`` videos."""
    weight = np.nan_to_num(videos) / (np.nan_to_num(videos) + trust)
    return weight * np.nan_to_num(median) + (1.0 - weight) * towards


def learned(log_rates: Floats, videos: Floats, believed: Floats) -> Floats:
    """Blend what was seen at each knot with what was believed; where nothing was seen the nearest knots speak.

    ``log_rates`` is NaN and ``videos`` 0 where nothing was seen.
    """
    weight = videos / (videos + CONFIDENCE)
    if not weight.any():
        return believed
    knots, off = np.log(KNOTS), np.nan_to_num(log_rates - believed) * weight
    seen = weight > 0
    # What the seen knots are off by is what the others are believed to be off by.
    blended: Floats = believed + np.where(seen, off + (1 - weight) * np.average(off, weights=weight),
                                          np.interp(knots, knots[seen], off[seen]))  # fmt: skip
    return blended


EDGES = tuple(
    [KNOTS[0] / 2] + [float(np.sqrt(young * old)) for young, old in itertools.pairwise(KNOTS)] + [KNOTS[-1] * 2]
)
"""Where the ages that count towards one knot end, and those of the next begin."""


def judge(memory: Memory, reading: Reading, curves: Curves, rules: Rules = RULES) -> Verdict:
    """Score a reading of each video, and remember it; the states stay as they are."""
    at, views, published = reading.at, reading.views, reading.published
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN is "not known", and compares as false
        # A video seen young had no views when it was published.
        born = np.isnan(memory.last_at) & (at - published < rules.longest)
        older, newer, last = (
            _Point(np.where(born, published, when), np.where(born, 0.0, count))
            for when, count in (
                (memory.older_at, memory.older_views),
                (memory.newer_at, memory.newer_views),
                (memory.last_at, memory.last_views),
            )
        )
        stood = (newer.at <= last.at) & (newer.views >= last.views)
        moved = newer.where(stood, last)
        epoch = _epoch(reading)
        level = np.where(np.isnan(memory.level), reading.offset, memory.level)
        new_meaning = (moved.at < epoch) | (memory.last_at < epoch)
        evidence = np.where(new_meaning, 0.0, memory.evidence)

        anew = ~(at - moved.at <= rules.longest) | new_meaning | np.isnan(views)
        older = older.where(older.at >= epoch, moved)
        newer = newer.where(newer.at >= epoch, moved)
        gained = views - moved.views
        usual = curves.between(reading.short, moved.at - published, at - published)
        due = usual * np.exp(level)
        stands = ~anew & ((gained < 0) | ((gained == 0) & (due > rules.frozen)))
        fine = ~anew & ~stands & (at > moved.at)

        begin = _window_start(older, newer, moved, at - rules.window)
        hours = at - begin.at
        count = views - begin.views
        covered = fine & ((hours > rules.window - 0.01) | (begin.at <= published))
        typical = curves.between(reading.short, begin.at - published, at - published)
        doubt = rules.wobble**2 + reading.spread**2 * rules.trust / (rules.trust + evidence)
        own = _deviation(count, typical * np.exp(level), doubt)
        rate = count / hours
        week = curves.between(reading.short, np.zeros_like(at), np.full_like(at, SETTLED)) * np.exp(reading.week)
        age = np.maximum(at - published, SHORTEST)
        soon = np.log((views + rate * age * np.log1p(rules.ahead / age) + 1.0) / (week + 1.0))
        outlook = rules.far + rules.slope * (soon - np.log(HIT))
        score = np.where(views < HIT * week, np.fmax(own, outlook), own)  # a hit is news before it is one
        score = np.where(rate < rules.least, np.minimum(score, 0.0), score)

        gain = at - moved.at
        remembered = evidence * 0.5 ** (gain / rules.memory) + gain
        surprise = np.clip(np.log((gained + 0.5) / (usual + 0.5)) - level, -rules.clip, rules.clip)
        step = gain / (remembered + rules.trust) * due / (due + 1.0)
        learned = np.where(fine, level + step * surprise, level)
        expected = np.minimum(typical * np.exp(level), typical * np.exp(reading.offset))
        times = np.where(score > own, np.exp(soon), count / np.maximum(expected, 1e-6))

        news = _deviation(gained, due, doubt)

        now = _Point(at, views)
        # Anchors move on a window at a time; where the counter stands the last place it moved is kept instead.
        turn = fine & (at - newer.at >= rules.window)
        older = now.where(anew, newer.where(turn, older))
        newer = now.where(anew | turn, moved.where(stands, newer))
    return Verdict(
        Memory(
            older.at, older.views, newer.at, newer.views, at, views,
            learned, np.where(fine, remembered, evidence), memory.state, memory.since,
        ),
        np.where(covered, score, np.nan),
        np.where(covered, rate, np.nan),
        np.where(covered, times, np.nan),
        np.where(covered, news, np.nan),
    )  # fmt: skip


class Turn(NamedTuple):
    """The states after a reading, since when, and which videos have just become VIRAL from quieter states."""

    state: Codes
    since: Floats
    raised: Flags


def turn(state: Codes, since: Floats, at: Floats, score: Floats, fresh: Floats, rules: Rules = RULES) -> Turn:
    """Move each video on by its score; where that is NaN nothing changes.

    Two windows in a row above ``enter``, the second with news of its own, or one above ``far`` raise. A rise that
    cools down and flares up again within ``cool`` hours is the same rise.
    """
    with np.errstate(invalid="ignore"):
        seen = ~np.isnan(score)
        high, far, low = seen & (score >= rules.enter), seen & (score >= rules.far), seen & (score < rules.leave)
        rising, cooling = state == RISING, state == COOLING
        quiet, viral = state == QUIET, state == VIRAL
        raised = ((quiet | rising) & far) | (rising & high & (fresh >= rules.leave))
        rested = cooling & low & (at - since >= rules.cool)
    after = np.select(
        [raised | (cooling & high), quiet & high, (rising & low) | rested, viral & low],
        [VIRAL, RISING, QUIET, COOLING],
        state,
    ).astype(np.int8)
    return Turn(after, np.where(after != state, at, since), raised)


class _Point(NamedTuple):
    """A reading of each video."""

    at: Floats
    views: Floats

    def where(self, chosen: Flags, other: _Point) -> _Point:
        """Take this one where chosen, else the other."""
        return _Point(np.where(chosen, self.at, other.at), np.where(chosen, self.views, other.views))


def _window_start(older: _Point, newer: _Point, moved: _Point, start: Floats) -> _Point:
    """Where the window begins: at ``start`` on the line between two readings, or at the reading that is there."""
    late = start >= newer.at
    low, high = newer.where(late, older), moved.where(late, newer)
    span = high.at - low.at
    share = np.clip(np.where(span > 0, (start - low.at) / span, 0.0), 0.0, 1.0)
    between = _Point(low.at + share * span, low.views + share * (high.views - low.views))
    return moved.where(start >= moved.at, between)


def _deviation(count: Floats, expected: Floats, doubt: Floats) -> Floats:
    """How many standard deviations a count is off in log space: the counting's, and the expectation's own."""
    known = expected / (expected + 1.0)
    return np.log((count + 1.0) / (expected + 1.0)) / np.sqrt(doubt * known**2 + 1.0 / (expected + 1.0))


def _epoch(reading: Reading) -> Floats:
    """When the epoch of each reading began, for its format."""
    begins = [np.concatenate([[-np.inf], instants]) for instants in _EPOCHS]
    long, short = (times[np.searchsorted(times, reading.at, side="right") - 1] for times in begins)
    return np.where(reading.short, short, long)
