"""The Tracker under the adaptive schedule, with database, quota and calls, over virtual days."""

from __future__ import annotations

from datetime import timedelta

from alkyone.backtest.live import Life, live
from atlas.db import DatabaseManager

HOUR = timedelta(hours=1)


async def test_a_day_s_use_is_within_two_per_cent_of_the_budget_and_never_over(database: DatabaseManager) -> None:
    lived = await live(database, Life(videos=600, days=2, per_day=8, every=HOUR))
    assert len(lived.used) == 2
    for used, limit in zip(lived.used, lived.limits, strict=True):
        assert 0.98 * limit <= used <= limit
    # Runs come round four times as seldom as in the replay, and the first day is one of two.
    assert lived.live["unseen_hours"] < 3 * lived.replayed["unseen_hours"]
    assert lived.longest_unseen_hours <= 2 * 24


async def test_after_an_outage_it_catches_up_without_a_burst_and_a_tenth_of_the_quota_starves_no_run(
    database: DatabaseManager,
) -> None:
    lived = await live(
        database, Life(videos=600, days=2, per_day=8, every=HOUR, outage=range(6, 12), cut_after=1, seed=3)
    )
    share = 600 * 8 / 24
    assert lived.turns[6:12] == [0] * 6
    assert max(lived.turns) <= 2 * share + 50
    assert lived.used[0] >= 0.98 * lived.limits[0]
    assert lived.used[1] <= lived.limits[1] == lived.limits[0] // 10
    assert lived.used[1] >= 0.9 * lived.limits[1]
