"""The Pacific day: what does not need a database. The ledger itself is tested in alkyone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.quota import PACIFIC, pacific_day, reset_at


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "day", "reset"),
    [
        pytest.param("2026-11-10 12:00", date(2026, 11, 10), "2026-11-11 08:00", id="winter: eight hours behind"),
        pytest.param("2026-07-10 12:00", date(2026, 7, 10), "2026-07-11 07:00", id="summer: seven hours behind"),
        pytest.param("2026-11-10 07:59:59", date(2026, 11, 9), "2026-11-10 08:00", id="the last second of a day"),
        pytest.param("2026-11-10 08:00", date(2026, 11, 10), "2026-11-11 08:00", id="midnight begins the new day"),
        pytest.param("2027-01-01 07:59:59", date(2026, 12, 31), "2027-01-01 08:00", id="the last second of a year"),
        pytest.param("2027-01-01 08:00", date(2027, 1, 1), "2027-01-02 08:00", id="the first of a year"),
        pytest.param("2028-02-29 12:00", date(2028, 2, 29), "2028-03-01 08:00", id="a leap day"),
        pytest.param("2026-03-08 08:00", date(2026, 3, 8), "2026-03-09 07:00", id="spring: a day of 23 hours"),
        pytest.param("2026-11-01 07:00", date(2026, 11, 1), "2026-11-02 08:00", id="autumn: a day of 25 hours"),
        pytest.param("2026-11-01 08:30", date(2026, 11, 1), "2026-11-02 08:00", id="the hour that comes twice, first"),
        pytest.param("2026-11-01 09:30", date(2026, 11, 1), "2026-11-02 08:00", id="the hour that comes twice, again"),
    ],
)
def test_the_quota_day_is_the_pacific_day(now: str, day: date, reset: str) -> None:
    assert pacific_day(utc(now)) == day
    assert reset_at(utc(now)) == utc(reset)
    assert reset_at(utc(now)).tzinfo is UTC


def test_the_zone_of_the_question_does_not_matter() -> None:
    tokyo = datetime(2026, 11, 10, 16, 59, tzinfo=timezone(timedelta(hours=9)))

    assert pacific_day(tokyo) == date(2026, 11, 9)
    assert reset_at(tokyo) == utc("2026-11-10 08:00")


@given(st.integers(1_173_657_600, 2_145_744_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_the_reset_is_the_first_instant_of_the_next_day(now: datetime) -> None:
    reset = reset_at(now)

    assert now < reset <= now + timedelta(hours=25)
    assert pacific_day(reset) == pacific_day(now) + timedelta(days=1)
    assert pacific_day(reset - timedelta(microseconds=1)) == pacific_day(now)
    assert reset.astimezone(PACIFIC).hour == 0
