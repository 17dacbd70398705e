"""The comparison of detectors: what counts as true and false, and what the virality detector is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from alkyone.__main__ import app
from alkyone.backtest import detectors
from alkyone.backtest.curves import generated, recorded
from alkyone.backtest.detectors import Followed, Learned, Truth, tally, truth
from maia.virality import core


def followed(*curves: list[float], every: float = 1.0) -> Followed:
    """Curves of one channel, read every hour from birth."""
    views = np.array(curves, np.float64)
    at = np.tile(np.arange(views.shape[1]) * every, (len(views), 1))
    return Followed(at, views, np.zeros(len(views)), np.zeros(len(views), np.bool_), np.zeros(len(views), np.int64))


def test_a_hit_crosses_ten_times_its_channels_median_at_an_instant_between_readings() -> None:
    videos = followed([0, 100, 200, 400, 400], [0, 50, 100, 100, 100], [2_000, 2_000, 2_000, 2_000, 2_000])
    assert truth(videos, np.array([30.0, 30.0, 30.0])).hit == pytest.approx([2.5, np.inf, -np.inf])


def test_a_surge_is_a_day_that_brings_five_times_the_day_before() -> None:
    hours = np.arange(200.0)
    steady = 1_000 * hours
    videos = followed(
        list(steady),
        list(steady + 20_000 * np.clip(hours - 100, 0, 30)),
        list(steady / 100 + 20 * np.clip(hours - 100, 0, 30)),  # as steep, but of few views
    )
    first = truth(videos, np.full(3, 1e12)).surge
    assert np.isfinite(first).tolist() == [False, True, False]
    assert 100 < first[1] < 112


def test_alarms_count_as_what_they_were() -> None:
    videos = followed(*[[0.0] * 400] * 4)
    what = Truth(
        np.array([300.0, np.inf, np.inf, -np.inf]), (np.array([]), np.array([200.0, 201.0]), np.array([]), np.array([]))
    )
    raised = np.zeros((4, 400), np.bool_)
    raised[0, [100, 250]] = True  # a week too early; in time
    raised[1, [190, 390]] = True  # in time; long after
    raised[2, 50] = True
    raised[3, 50] = True  # it was a hit already
    found = tally(videos, what, raised)
    assert found.false.tolist() == [1, 1, 1, 0]
    assert found.hit_lead[0] == 50
    assert found.surge_lead[1] == 10
    assert np.isnan(found.hit_lead[1:]).all()


def test_the_detector_finds_more_bursts_than_any_baseline_at_equal_false_alarms() -> None:
    curves = generated(600, seed=3, days=14).followed(samples=10)
    found = detectors.compare(curves.half("report"), curves.half("tune"), [4.0])
    by_name = found.rounds[4.0]
    ours = by_name.pop(detectors.DETECTOR)
    assert len(by_name) == 5
    assert found.surges >= 3
    assert ours.false_alarms.value <= 4.0
    for name, theirs in by_name.items():
        assert ours.recall.value > theirs.recall.value, name
        assert ours.surge_recall.value >= theirs.surge_recall.value, name
        assert ours.surge_lead.value > theirs.surge_lead.value, name
    assert found.precision[detectors.DETECTOR] >= 0.8


def test_the_command_tells_both_people_and_programs() -> None:
    arguments = ["backtest", "detectors", "--curves", "generated:videos=120,days=6", "--false-alarms", "8"]
    run = CliRunner().invoke(app, [*arguments, "--json"])
    assert run.exit_code == 0, run.output
    told = orjson.loads(run.output)
    assert told["at_false_alarms"]["8"].keys() >= {"detector", "last interval", "views / age"}
    assert told["as_set"]["false_alarms"].keys() == {"value", "low", "high"}
    assert CliRunner().invoke(app, [*arguments, "--rule", "speed=3"]).exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "--half", "both"]).exit_code == 2


@pytest.fixture(scope="module")
def learned(recorded_data: Path) -> Learned:
    return detectors.learn(Followed.of(recorded(recorded_data / "youtube" / "timeseries").followed(samples=48)))


@pytest.mark.parametrize("series", ["threehourly", "fine"])
def test_nothing_is_raised_on_recorded_flaps_and_freezes(recorded_data: Path, learned: Learned, series: str) -> None:
    curves = recorded(recorded_data / "youtube" / "timeseries", series)
    step = np.diff(curves.views, prepend=np.inf)
    odd = np.bincount(curves.owner, weights=step <= 0, minlength=len(curves)) > 0  # the others are of no interest here
    videos = Followed.of(curves.where(odd))
    replay = detectors.follow(videos, learned, core.RULES)
    raised = detectors.by_states(videos, replay, core.RULES)(core.RULES.enter)
    what = truth(videos, np.full(len(videos), np.inf))
    step = np.diff(videos.views, axis=1, prepend=np.nan)
    seen = 0
    for video, reading in np.argwhere((step < 0) | ((step == 0) & (videos.views > 500))):
        seen += 1
        at = videos.at[video]
        since = at[reading]
        alarms = at[raised[video] & (at >= since) & (at <= since + 2 * core.RULES.window)]
        assert not len(alarms) or abs(what.surge[video] - alarms[0]) < 48, (video, since)
    assert seen > 200
