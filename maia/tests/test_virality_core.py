"""The detector's arithmetic: what counts as news, what never does, and that a rise has one beginning and one end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.epochs import EPOCHS
from maia.virality import core
from maia.virality.core import COOLING, QUIET, RISING, RULES, VIRAL, Curve, Curves, Memory, Reading, judge, turn

BORN = 500_000.0
"""Hours since 1970: in January 2027, long after the last metric epoch began."""

FLAT = Curves(*(Curve(np.log(np.array([1.0, 9_000.0])), np.log(np.array([100.0, 100.0]))) for _ in range(2)))
"""A hundred views an hour at any age."""


def follow(
    views: Callable[[float], float],
    ages: Sequence[float],
    *,
    born: float = BORN,
    short: bool = False,
    offset: float = 0.0,
    week: float | None = None,
    curves: Curves = FLAT,
) -> tuple[list[float], list[int], int]:
    """The scores and states of a video read at some ages, and how often it was raised."""
    memory, scores, states, raised = Memory.blank(1), [], [], 0
    state, since = np.zeros(1, np.int8), np.full(1, np.nan)
    one = np.ones(1)
    for age in ages:
        at = (born + age) * one
        reading = Reading(
            at, np.floor(views(age)) * one, born * one, np.array([short]), offset * one, 1.2 * one,
            (offset if week is None else week) * one,
        )  # fmt: skip
        said = judge(memory, reading, curves)
        memory = said.memory
        state, since, up = turn(state, since, at, said.score, said.fresh)
        scores.append(float(said.score[0]))
        states.append(int(state[0]))
        raised += int(up[0])
    return scores, states, raised


HOURLY = np.arange(1.0, 120.0)


def steady(age: float) -> float:
    return 100.0 * age


def burst(age: float) -> float:
    """Fifty times as fast from its second day on, for half a day."""
    return steady(age) + 5_000.0 * min(max(age - 30.0, 0.0), 12.0)


def test_a_video_that_does_what_is_expected_is_quiet() -> None:
    scores, states, raised = follow(steady, HOURLY)
    assert raised == 0
    assert set(states) == {QUIET}
    assert max(map(abs, scores)) < 0.5


@pytest.mark.parametrize("every", [0.25, 1.0, 3.7, 12.0, 24.0])
def test_a_burst_is_raised_once_while_it_lasts_or_at_the_next_look_and_ends(every: float) -> None:
    ages = np.arange(1.0, 160.0, every)
    _, states, raised = follow(burst, ages)
    assert raised == 1
    first = next(age for age, state in zip(ages, states, strict=True) if state == VIRAL)
    assert 30.0 < first <= 33.0 + every
    assert states[-1] == QUIET


def test_a_video_on_its_way_to_a_hit_is_raised_days_before_it_is_one_and_no_longer_when_it_is() -> None:
    """Ten times as fast as its channel's weeks come about, and so from birth: nothing it does is news of its own."""
    ages = np.arange(1.0, 200.0)
    _, states, raised = follow(lambda age: 10 * steady(age), ages, offset=float(np.log(10.0)), week=0.0)
    hit = 168.0
    assert raised == 1
    first = next(age for age, state in zip(ages, states, strict=True) if state == VIRAL)
    assert hit - RULES.ahead < first < hit - 24.0
    assert states[int(hit) - 2] == VIRAL
    assert states[int(hit)] == COOLING
    assert follow(lambda age: 5 * steady(age), ages[:150], offset=float(np.log(5.0)), week=0.0)[2] == 0


def test_a_small_rise_is_not_worth_an_alarm() -> None:
    _, _, raised = follow(lambda age: steady(age) * 1.5, HOURLY)
    assert raised == 0


@given(scale=st.floats(0.01, 1_000.0))
@settings(max_examples=10, deadline=None)
def test_a_channel_that_is_used_to_it_hears_nothing(scale: float) -> None:
    _, _, raised = follow(lambda age: scale * steady(age), HOURLY[:48], offset=float(np.log(scale)))
    assert raised == 0


@settings(deadline=None)
@given(expected=st.floats(0.0, 3.0), seen=st.integers(0, 6))
def test_few_views_are_never_news(expected: float, seen: int) -> None:
    hours = np.array([6.0])
    curves = Curves(*(Curve(np.log(np.array([1.0, 9e3])), np.log(np.full(2, max(expected, 1e-6) / 6))) for _ in "12"))
    rate = [0.0, float(seen)]
    scores, _, raised = follow(lambda age: rate[1] if age > hours[0] else 0.0, [1.0, 3.0, 6.0, 6.5], curves=curves)
    assert raised == 0
    assert all(not score > 0 for score in scores)


@given(more=st.floats(1.0, 100.0), much=st.floats(1.0, 100.0))
@settings(max_examples=10, deadline=None)
def test_more_views_never_score_less(more: float, much: float) -> None:
    low, high = sorted((more, much))

    def at(times: float) -> float:
        return follow(lambda age: steady(min(age, 40.0)) + times * steady(max(age - 40.0, 0.0)), HOURLY[:46])[0][-1]

    assert at(low) <= at(high) + 1e-9


@settings(deadline=None)
@given(
    waves=st.lists(st.floats(-6.0, 12.0), min_size=1, max_size=60),
    fresh=st.lists(st.floats(-6.0, 12.0), min_size=60, max_size=60),
)
def test_states_never_flap(waves: list[float], fresh: list[float]) -> None:
    """Whatever the scores are: a rise is raised once, is over only below ``leave``, and rests before the next."""
    state, since = np.zeros(1, np.int8), np.full(1, np.nan)
    raised_at, before = [], QUIET
    for hour, (score, news) in enumerate(zip(waves, fresh, strict=False)):
        at = np.array([float(hour)])
        state, since, up = turn(state, since, at, np.array([score]), np.array([news]))
        after = int(state[0])
        if up[0]:
            raised_at.append(hour)
            assert (before, after) in {(QUIET, VIRAL), (RISING, VIRAL)}
            assert score >= RULES.enter
        if before == VIRAL and after != VIRAL:
            assert (after, score < RULES.leave) == (COOLING, True)
        if before == COOLING and after == QUIET:
            assert score < RULES.leave
        before = after
    assert all(late - early > RULES.cool for early, late in itertools.pairwise(raised_at))


def test_silence_changes_no_state() -> None:
    state, since = np.array([QUIET, RISING, VIRAL, COOLING], np.int8), np.zeros(4)
    nothing = np.full(4, np.nan)
    after = turn(state, since, np.full(4, 1_000.0), nothing, nothing)
    assert after.state.tolist() == state.tolist()
    assert not after.raised.any()


@pytest.mark.parametrize(
    ("epoch", "short", "silent"),
    [
        pytest.param(1, True, True, id="Shorts, when Shorts changed"),
        pytest.param(1, False, False, id="long videos, when Shorts changed"),
        pytest.param(2, True, True, id="Shorts, when all changed"),
        pytest.param(2, False, True, id="long videos, when all changed"),
    ],
)
def test_nothing_is_said_across_an_epoch(epoch: int, short: bool, silent: bool) -> None:
    begins = EPOCHS[epoch].begins.timestamp() / 3600
    # Counted otherwise, the same video has three times the views from that hour on.
    ages = np.arange(1.0, 72.0)
    scores, _, raised = follow(
        lambda age: steady(age) + (2.0 * steady(max(age - 48.0, 0.0)) if silent else 0.0),
        ages,
        born=begins - 48.0,
        short=short,
    )
    across = [np.isnan(score) for age, score in zip(ages, scores, strict=True) if 48.0 <= age < 53.0]
    assert all(across) if silent else not any(across)
    assert raised == 0


@pytest.mark.parametrize("length", [0.5, 3.0, 6.0, 12.0, 24.0, 48.0])
def test_a_counter_that_froze_raises_nothing_when_it_jumps(length: float) -> None:
    _, states, raised = follow(
        lambda age: steady(age if not 40.0 <= age < 40.0 + length else 40.0), np.arange(0.5, 120.0, 0.5)
    )
    assert raised == 0
    assert set(states) == {QUIET}


@pytest.mark.parametrize("share", [0.001, 0.03, 0.5, 1.0])
@pytest.mark.parametrize("length", [1.0, 14.0, np.inf])
def test_a_counter_that_falls_and_comes_back_raises_nothing(share: float, length: float) -> None:
    def flapping(age: float) -> float:
        return steady(age) * (1.0 - share) if 40.0 <= age < 40.0 + length else steady(age)

    assert follow(flapping, HOURLY)[2] == 0


def test_a_gap_says_nothing_and_the_next_window_speaks() -> None:
    ages = [*np.arange(1.0, 48.0), *np.arange(100.0, 115.0)]
    scores, _, raised = follow(lambda age: steady(age) * 1.2, ages)
    assert all(np.isnan(scores[47:53]))
    assert not np.isnan(scores[54])
    assert raised == 0


def test_a_hidden_counter_says_nothing() -> None:
    scores, _, raised = follow(lambda age: float("nan") if 20.0 < age < 30.0 else steady(age), HOURLY)
    assert all(np.isnan(scores[20:29]))
    assert raised == 0


def test_the_window_begins_on_the_line_between_two_readings() -> None:
    """Six hours at 100 an hour, whatever the readings' own rhythm: the last interval alone is ten times as fast."""
    memory = Memory.blank(1)
    one = np.ones(1)
    rates = []
    for age, views in ((8.0, 800.0), (11.0, 1100.0), (14.0, 1400.0), (17.5, 1750.0), (17.6, 1760.0), (17.7, 1770.0)):
        said = judge(
            memory,
            Reading((BORN + age) * one, views * one, BORN * one, np.array([False]), 0 * one, one, 0 * one),
            FLAT,
        )
        memory = said.memory
        rates.append(float(said.rate[0]))
    assert rates[1:] == pytest.approx([100.0] * 5)


def test_a_batch_is_judged_as_each_of_its_videos_alone() -> None:
    dice = np.random.default_rng(4)
    size = 40
    memory, reading = _anything(dice, size)
    together = judge(memory, reading, FLAT)
    for video in range(size):
        index = np.array([video])
        alone = judge(memory.at(index), Reading(*(column[index] for column in reading)), FLAT)
        for name in ("score", "rate", "times", "fresh"):
            assert getattr(alone, name)[0] == pytest.approx(getattr(together, name)[video], nan_ok=True, rel=1e-9)


def _anything(dice: np.random.Generator, size: int) -> tuple[Memory, Reading]:
    at = BORN + dice.uniform(0, 10, size)
    last = at - dice.uniform(0.2, 50, size)
    newer = last - dice.uniform(0, 8, size)
    older = newer - dice.uniform(0, 8, size)
    views = np.sort(np.floor(10 ** dice.uniform(0, 6, (4, size))), axis=0)
    known = np.where(dice.random(size) < 0.2, np.nan, 1.0)
    memory = Memory(
        older * known, views[0] * known, newer * known, views[1] * known, last * known, views[2] * known,
        dice.normal(0, 2, size) * known, dice.uniform(0, 35, size), np.zeros(size, np.int8), np.full(size, np.nan),
    )  # fmt: skip
    offset = dice.normal(0, 1, size)
    spread = dice.uniform(0.5, 2, size)
    return memory, Reading(
        at, views[3], at - dice.uniform(0, 3_000, size), dice.random(size) < 0.5, offset, spread, offset
    )  # fmt: skip


def test_what_was_not_seen_is_believed_to_be_off_by_as_much_as_what_was() -> None:
    believed = np.array(core.PRIOR_LONG)
    videos = np.where(np.arange(len(believed)) < 9, 3_000.0, 0.0)
    seen = np.where(videos > 0, believed - 2.0, np.nan)
    learned = core.learned(seen, videos, believed)
    assert learned == pytest.approx(believed - 2.0, abs=0.05)
    assert core.learned(np.full(len(believed), np.nan), np.zeros(len(believed)), believed).tolist() == believed.tolist()


def test_few_siblings_are_believed_less_than_many() -> None:
    videos = np.array([0.0, 1.0, 3.0, 100.0])
    offset, spread = core.expectation(np.full(4, 2.0), np.full(4, 0.3), videos)
    assert offset[0] == 0.0
    assert np.all(np.diff(offset) > 0)
    assert np.all(np.diff(spread) < 0)
    assert offset[-1] == pytest.approx(2.0, abs=0.02)


def test_a_channel_of_which_little_is_known_is_believed_to_be_like_the_others() -> None:
    videos = np.array([0.0, 3.0, 100.0, np.nan])
    week = core.shrunk(np.array([np.nan, 2.0, 2.0, np.nan]), videos, towards=np.full(4, -1.0))
    assert week[[0, 3]].tolist() == [-1.0, -1.0]
    assert -1.0 < week[1] < week[2] < 2.0


def test_counts_between_two_ages_add_up() -> None:
    curve = Curves.known().long
    ages = np.array([0.0, 3.0, 6.0, 30.0, 168.0, 2_000.0])
    parts = curve.count(ages[:-1], ages[1:])
    whole = curve.count(ages[:1], ages[-1:])
    assert parts.sum() == pytest.approx(whole[0], rel=0.03)
    fine = np.geomspace(1.0, 169.0, 20_000) - 1.0
    heights = curve.rate(fine)
    exact = float(((heights[1:] + heights[:-1]) / 2 * np.diff(fine)).sum())
    assert curve.count(np.zeros(1), np.array([168.0]))[0] == pytest.approx(exact, rel=0.01)
