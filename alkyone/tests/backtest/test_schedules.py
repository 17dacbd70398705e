"""The backtest of schedules: what is read is never over budget, what is judged is the truth, and who wins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from alkyone.__main__ import app
from alkyone.backtest.curves import Curves, generated, recorded
from alkyone.backtest.measures import Judge
from alkyone.backtest.replay import (
    Readings,
    Truth,
    Uniform,
    at_equal_readings,
    free_running,
    in_hindsight,
    within_budget,
)
from alkyone.backtest.schedules import compare
from maia.tracker.schedule import Tiers


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(generated(150, seed=4, days=6).followed())


def one_video(hours: int, per_hour: float) -> Curves:
    times = np.arange(hours + 1) * 3600.0
    nothing = np.full(hours + 1, np.nan)
    return Curves(
        np.array(["v"]), np.zeros(1, np.int64), np.zeros(1), np.array([240]), np.array([0, hours + 1]), times,
        1_000 + per_hour * np.arange(hours + 1), nothing, nothing,
    )  # fmt: skip


def test_tiers_read_a_new_video_hourly_for_a_day_and_then_daily() -> None:
    readings = free_running(Truth(one_video(72, 10)), Tiers())
    assert readings.at.tolist() == [*range(1, 25), 48, 72]


def test_unseen_views_and_the_error_of_a_straight_line_are_what_arithmetic_says() -> None:
    truth = Truth(one_video(48, 10))
    judged = Judge(truth).judge(Readings(np.zeros(2, np.int64), np.array([24.0, 48.0])))
    found = judged.figures(np.ones(1))
    # Between looks a day apart the unseen views grow from 10 to 230 and fall to none: 115 on average, of 10 an hour.
    assert found["unseen_hours"] == pytest.approx(11.5)
    assert found["error_p95"] == pytest.approx(0)
    assert judged.per_day == pytest.approx(1)
    blind = Judge(truth).judge(Readings(np.empty(0, np.int64), np.empty(0))).figures(np.ones(1))
    assert blind["unseen_hours"] == pytest.approx(24.5)
    assert blind["error_p95"] == pytest.approx(460 / 1460, rel=0.05)


def test_the_adaptive_schedule_never_reads_more_than_its_budget(truth: Truth) -> None:
    days = (truth.end - truth.begin).sum() / 24
    for per_day in (1, 4):
        readings = within_budget(truth, per_day)
        assert 0.8 * per_day < len(readings.at) / days <= 1.01 * per_day
        apart = np.diff(readings.at)[np.diff(readings.video) == 0]
        assert apart.min() >= 0.25


def test_in_hindsight_a_video_four_times_as_fast_is_read_twice_as_often() -> None:
    times, nothing = np.tile(np.arange(97) * 3600.0, 2), np.full(194, np.nan)
    curves = Curves(
        np.array(["slow", "fast"]), np.zeros(2, np.int64), np.zeros(2), np.full(2, 240), np.array([0, 97, 194]), times,
        np.concatenate([10.0 * np.arange(97), 40.0 * np.arange(97)]), nothing, nothing,
    )  # fmt: skip
    readings = in_hindsight(Truth(curves), 3)
    assert np.bincount(readings.video).tolist() == [8, 16]
    slow, fast = (np.diff(readings.at[readings.video == number])[0] for number in (0, 1))
    assert slow == pytest.approx(2 * fast)


def test_baselines_are_brought_to_the_same_number_of_readings(truth: Truth) -> None:
    days = (truth.end - truth.begin).sum() / 24
    for make in (Tiers, Uniform):
        assert len(at_equal_readings(truth, make, 2).at) / days == pytest.approx(2, rel=0.06)


def test_the_command_gives_every_figure_with_its_interval(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    arguments = ["--curves", "generated:videos=80,days=4", "--budget", "2", "--rounds", "20", "--plot", str(plot)]
    run = CliRunner().invoke(app, ["backtest", "schedules", *arguments, "--json"])
    assert run.exit_code == 0, run.output
    found = orjson.loads(run.stdout)
    assert [outcome["policy"] for outcome in found["outcomes"]] == [
        "tiers",
        "uniform",
        "proportional",
        "hindsight",
        "adaptive",
    ]
    for outcome in found["outcomes"]:
        value, low, high = outcome["figures"]["unseen_hours"]
        assert low <= value * 1.1
        assert value <= high * 1.1
        assert {"error_median", "error_mean", "error_p95", "error_mean <1 d"} <= outcome["figures"].keys()
    assert "adaptive" in plot.read_text()


def test_on_recorded_curves_adaptive_beats_tiers(recorded_data: Path) -> None:
    curves = recorded(recorded_data / "youtube" / "timeseries").followed().half("report")
    outcomes = {outcome.policy: outcome for outcome in compare(curves, [2.0], rounds=30)}
    times = outcomes["adaptive"].times
    assert times["unseen_hours"].low > 4
    assert times["error_p95"].low > 2
    assert times["error_mean"].low > 1
    assert times["error_median"].low > 1
