"""The Tracker under the adaptive schedule, with database, quota and calls, over virtual days."""

from __future__ import annotations

from datetime import timedelta

import pytest
from typer.testing import CliRunner

from alkyone.__main__ import app
from alkyone.backtest.live import Life, live
from atlas.db import DatabaseManager

HOUR = timedelta(hours=1)


async def test_a_day_s_use_is_within_two_per_cent_of_the_budget_and_worth_what_a_replay_s_is(
    database: DatabaseManager,
) -> None:
    lived = await live(database, Life(videos=1_000, days=2, per_day=5, every=HOUR, seed=5))
    assert len(lived.used) == 2
    for used, limit in zip(lived.used, lived.limits, strict=True):
        assert 0.98 * limit <= used <= limit
    assert lived.live["unseen_hours"] == pytest.approx(lived.replayed["unseen_hours"], rel=0.05)
    assert lived.live["error_p95"] == pytest.approx(lived.replayed["error_p95"], rel=0.15)
    assert lived.longest_unseen_hours <= 24  # what was private for longer is not counted


async def test_after_an_outage_it_catches_up_without_a_burst_and_a_tenth_of_the_quota_starves_no_run(
    database: DatabaseManager,
) -> None:
    lived = await live(
        database, Life(videos=600, days=2, per_day=8, every=HOUR, outage=range(6, 12), cut_after=1, seed=3)
    )
    share = lived.limits[0] * 50 / 24
    assert lived.turns[6:12] == [0] * 6
    assert max(lived.turns) <= 2 * share + 2 * 50  # of either bucket a call is rounded up
    assert lived.used[0] >= 0.98 * lived.limits[0]
    assert lived.used[1] <= lived.limits[1] <= 0.12 * lived.limits[0]
    assert lived.used[1] >= 0.9 * lived.limits[1]


def test_a_quota_of_less_than_a_call_a_run_is_refused() -> None:
    run = CliRunner().invoke(app, ["backtest", "live", "--videos", "1000", "--days", "1"])
    assert run.exit_code == 2
    assert "less than a call a run" in run.output
