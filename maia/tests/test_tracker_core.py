"""The Tracker's decisions about one video."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from maia.backoff import retry_at
from maia.tracker.core import MISS_INTERVAL, after_miss, smoothed_rate

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class TestSmoothedRate:
    def test_the_first_two_counts_give_the_rate_between_them(self) -> None:
        assert smoothed_rate(None, last_views=100, last_at=NOON - 2 * HOUR, views=300, now=NOON) == 100

    def test_after_twelve_hours_past_and_present_weigh_the_same(self) -> None:
        rate = smoothed_rate(10.0, last_views=0, last_at=NOON - 12 * HOUR, views=12 * 30, now=NOON)
        assert rate == pytest.approx(20)

    def test_a_counter_that_went_down_counts_as_standing_still(self) -> None:
        rate = smoothed_rate(10.0, last_views=500, last_at=NOON - 12 * HOUR, views=400, now=NOON)
        assert rate == pytest.approx(5)

    def test_one_that_fades_for_years_stays_within_what_a_real_holds(self) -> None:
        """PostgreSQL refuses to store less, and with it the readings of the whole batch."""
        rate: float | None = 5_000.0
        for days in range(400):
            at = NOON + timedelta(days=days)
            rate = smoothed_rate(rate, last_views=9, last_at=at, views=9, now=at + timedelta(days=1))
            assert rate == 0.0 or rate > float(np.finfo(np.float32).tiny)
        assert rate == 0.0

    @pytest.mark.parametrize(
        "counts",
        [
            pytest.param({"last_views": None, "last_at": NOON - HOUR, "views": 5}, id="no count before"),
            pytest.param({"last_views": 5, "last_at": None, "views": 5}, id="never read"),
            pytest.param({"last_views": 5, "last_at": NOON - HOUR, "views": None}, id="hidden now"),
            pytest.param({"last_views": 5, "last_at": NOON, "views": 9}, id="no time has passed"),
            pytest.param({"last_views": 5, "last_at": NOON + HOUR, "views": 9}, id="the clock went back"),
        ],
    )
    def test_without_two_counts_the_old_rate_stands(self, counts: dict[str, object]) -> None:
        assert smoothed_rate(7.0, now=NOON, **counts) == 7.0  # type: ignore[arg-type]


class TestMisses:
    @pytest.mark.parametrize("misses", [0, 1])
    def test_a_first_and_second_miss_are_looked_at_again_after_a_day(self, misses: int) -> None:
        assert after_miss("HOURLY", misses, NOON) == ("HOURLY", NOON + MISS_INTERVAL)

    @pytest.mark.parametrize("misses", [2, 3, 40])
    def test_from_the_third_on_a_video_is_dormant(self, misses: int) -> None:
        assert after_miss("DAILY", misses, NOON) == ("DORMANT", NOON + timedelta(days=30))


@pytest.mark.parametrize(
    ("attempts", "wait"),
    [
        pytest.param(0, timedelta(minutes=15), id="first"),
        pytest.param(1, timedelta(minutes=30), id="second"),
        pytest.param(9, timedelta(days=1), id="capped"),
        pytest.param(10_000, timedelta(days=1), id="no overflow"),
    ],
)
def test_a_retry_waits_twice_as_long_each_time(attempts: int, wait: timedelta) -> None:
    assert retry_at(attempts, NOON, longest=timedelta(days=1)) - NOON == wait
