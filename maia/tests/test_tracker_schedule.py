"""When to look next: the bounds and the order that hold for any video, and the price that meets the budget."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maia.tracker.schedule import AHEAD, SHORTEST, Adaptive, Market, Seen, Tiers, appraise, longest, spread, worth

MARKET = Market(price=2_000.0, flow=5_000.0, growth=0.02, newcomer=500.0)

counts = st.one_of(st.just(math.nan), st.sampled_from([0.0, 1.0, 2.0**63]), st.floats(0, 2.0**63))
rates = st.one_of(st.just(math.nan), st.sampled_from([0.0, 1e12]), st.floats(0, 1e12))
ages = st.one_of(st.sampled_from([-1.0, 0.0, 24.0, 168.0]), st.floats(-1, 2e5))
videos = st.tuples(ages, counts, rates, st.floats(0, 1e5), st.floats(0.9, 1.0))
markets = st.builds(
    Market,
    price=st.one_of(st.just(0.0), st.floats(1e-12, 1e15)),
    flow=st.floats(1e-6, 1e12),
    growth=st.floats(1e-9, 20),
    newcomer=st.floats(0, 1e9),
)


def seen(rows: list[tuple[float, ...]]) -> Seen:
    return Seen(*np.array(rows, np.float64).reshape(-1, 5).T)


def population(size: int = 3_000, seed: int = 1) -> Seen:
    """Videos as a watchlist has them: rates over six powers of ten, ages of minutes to months."""
    dice = np.random.default_rng(seed)
    age = np.exp(dice.uniform(-1, 7.5, size))
    rate = np.exp(dice.normal(3, 2.5, size))
    views = rate * age * np.exp(dice.normal(0.5, 0.5, size))
    known = dice.uniform(size=size) > 0.1
    return Seen(age, views, np.where(known, rate, np.nan), age / 2, spread([str(n) for n in range(size)]))


def demand(schedule: Adaptive, videos: Seen) -> float:
    return float(np.mean(1 / schedule.waits(videos)))


@given(st.lists(videos, min_size=1, max_size=20), markets)
def test_every_wait_lies_within_the_bounds_of_the_age(rows: list[tuple[float, ...]], market: Market) -> None:
    known = seen(rows)
    waits = Adaptive(market).waits(known)
    assert np.isfinite(waits).all()
    assert (waits >= 0.9 * SHORTEST).all()
    assert (waits <= longest(np.maximum(known.age, SHORTEST))).all()


@given(videos, rates, markets)
def test_the_faster_of_two_videos_is_not_looked_at_later(
    video: tuple[float, ...], other: float, market: Market
) -> None:
    age, views, rate, observed, share = video
    low, high = sorted([0.0 if math.isnan(rate) else rate, 0.0 if math.isnan(other) else other])
    waits = Adaptive(market).waits(seen([(age, views, low, observed, share), (age, views, high, observed, share)]))
    assert waits[1] <= waits[0] * 1.001


@given(st.lists(videos, min_size=2, max_size=20), markets, st.randoms(use_true_random=False))
def test_a_wait_depends_on_the_video_alone(rows: list[tuple[float, ...]], market: Market, dice: object) -> None:
    order = list(range(len(rows)))
    dice.shuffle(order)  # type: ignore[attr-defined]
    waits = Adaptive(market).waits(seen(rows))
    assert Adaptive(market).waits(seen([rows[place] for place in order])).tolist() == waits[order].tolist()


@given(videos, st.floats(1e-6, 1e12), st.floats(1.01, 1e6))
def test_a_higher_price_never_brings_the_next_look_forward(
    video: tuple[float, ...], price: float, factor: float
) -> None:
    cheap, dear = (Adaptive(MARKET._replace(price=at)).waits(seen([video]))[0] for at in (price, price * factor))
    assert cheap <= dear * 1.001


@settings(max_examples=40)
@given(st.lists(videos, max_size=20), st.floats(0, 4))
def test_an_appraisal_is_finite_whatever_the_sample(rows: list[tuple[float, ...]], budget: float) -> None:
    market = appraise(seen(rows), budget, late=0.5)
    assert all(math.isfinite(value) and value >= 0 for value in market)
    assert market.flow > 0
    assert market.growth > 0
    assert np.isfinite(Adaptive(market).waits(seen(rows))).all()


def test_a_video_is_due_when_its_worth_is_the_price() -> None:
    known = population()._replace(spread=np.ones(3_000))
    waits = Adaptive(MARKET).waits(known)
    inside = (waits > 2) & (waits < 0.99 * longest(known.age))
    assert inside.sum() > 500
    assert worth(known, MARKET, waits)[inside] == pytest.approx(MARKET.price, rel=0.02)


@pytest.mark.parametrize("budget", [1 / 32, 1 / 24, 1 / 6, 1 / 2])
def test_the_appraised_price_makes_demand_meet_the_budget(budget: float) -> None:
    known = population()
    assert demand(Adaptive(appraise(known, budget)), known) == pytest.approx(budget, rel=0.02)


def test_a_sample_s_price_holds_for_all() -> None:
    everyone = population(50_000)
    market = appraise(Seen(*(column[:2_000] for column in everyone)), 1 / 24)
    assert demand(Adaptive(market), everyone) == pytest.approx(1 / 24, rel=0.05)


def test_where_readings_are_plenty_the_price_is_nothing_and_nobody_is_read_early() -> None:
    plenty, scarce = (Adaptive(appraise(population(), budget)) for budget in (5.0, 0.05))
    assert plenty.ahead.total_seconds() == 0
    assert scarce.ahead == AHEAD


def test_even_then_no_look_is_spent_on_a_curve_that_stands_still() -> None:
    still, rising = (1_000.0, 1e6, 1.0, 500.0, 1.0), (1_000.0, 1e6, 1e5, 500.0, 1.0)
    waits = Adaptive(MARKET._replace(price=0.0)).waits(seen([still, rising]))
    assert waits[0] >= 10
    assert waits[1] == SHORTEST


def test_a_tenth_of_the_budget_stretches_all_intervals_and_starves_none() -> None:
    known = population()
    rich, poor = (Adaptive(appraise(known, budget)).waits(known) for budget in (0.1, 0.01))
    assert (poor >= rich * 0.999).all()
    assert (poor <= longest(known.age)).all()


def test_the_price_goes_half_the_way_and_rises_while_readings_are_late() -> None:
    known = population()
    before = appraise(known, 0.1)
    aim, moved, late = (
        appraise(known, 0.05).price,
        appraise(known, 0.05, before=before).price,
        appraise(known, 0.05, before=before, late=0.3).price,
    )
    assert moved == pytest.approx(math.sqrt(before.price * aim), rel=0.02)
    assert late > 1.2 * moved


def test_a_new_upload_is_looked_at_again_before_an_old_video_of_the_same_rate() -> None:
    young, old = (1.0, 50.0, math.nan, 0.0, 1.0), (1_000.0, 50_000.0, 50.0, 900.0, 1.0)
    waits = Adaptive(MARKET).waits(seen([young, old]))
    assert waits[0] < 6
    assert waits[1] > 3 * waits[0]


def test_videos_found_together_are_not_due_together() -> None:
    shares = spread([f"video{number:06}" for number in range(1_000)])
    assert (shares > 0.9).all()
    assert (shares <= 1).all()
    assert len(np.unique(shares)) > 990
    assert shares.tolist() == spread([f"video{number:06}" for number in range(1_000)]).tolist()


def test_tiers_go_by_age_alone() -> None:
    known = seen([(hours, 10.0, 5.0, 1.0, 0.95) for hours in (0.0, 23.99, 24.0, 167.99, 168.0, 9e4)])
    assert Tiers().waits(known).tolist() == [1, 1, 24, 24, 168, 168]
    assert Tiers(0.5).waits(known)[-1] == 84
