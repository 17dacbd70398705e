"""Curves as arrays: what is read, how it is halved, how sure a figure of it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from alkyone.__main__ import app
from alkyone.backtest.curves import Curves, bootstrap, generated, recorded, weighted_quantile
from alkyone.worlds.generated import GeneratedWorld, Spec

SERIES = """video_id,ts,views,likes,published_at
aaaaaaaaaaa,2026-08-10T06:00:00Z,300,,2026-08-10T00:00:00Z
aaaaaaaaaaa,2026-08-10T03:00:00Z,100,7,2026-08-10T00:00:00Z
bbbbbbbbbbb,2026-08-10T03:00:00Z,5,1,2026-08-10T01:00:00Z
aaaaaaaaaaa,2026-08-10T09:00:00Z,290,8,2026-08-10T00:00:00Z
"""


@pytest.fixture(scope="module")
def curves() -> Curves:
    return generated(200, seed=5, days=4)


def test_a_recorded_series_is_read_by_video_and_time(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(SERIES)
    for path, name in ((tmp_path / "mine.csv", "threehourly"), (tmp_path, "mine")):
        found = recorded(path, name)
        assert found.ids.tolist() == ["aaaaaaaaaaa", "bbbbbbbbbbb"]
        assert found.bounds.tolist() == [0, 3, 4]
        assert found.views.tolist() == [100, 300, 290, 5]  # as it was: a counter may fall
        assert np.diff(found.times[found.of(0)]).tolist() == [3 * 3600, 3 * 3600]
        assert np.isnan(found.likes).tolist() == [False, True, False, False]
        assert np.isnan(found.comments).all()
        assert ((found.first - found.published) / 3600).tolist() == [3, 2]


def test_a_folder_without_the_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no series 'daily'"):
        recorded(tmp_path, "daily")


def test_generated_curves_are_what_the_world_serves() -> None:
    world = GeneratedWorld(Spec(seed=5, channels=6, videos=400, days=4, past=0))
    curves = generated(200, seed=5, days=4)
    for video in (0, len(curves) // 2, len(curves) - 1):
        for number in (curves.of(video).start, curves.of(video).stop - 1):
            served = world.counts(str(curves.ids[video]), datetime.fromtimestamp(curves.times[number], UTC))
            assert served is not None
            assert (served.views, served.likes) == (
                curves.views[number],
                None if np.isnan(curves.likes[number]) else curves.likes[number],
            )


def test_samples_lie_within_a_video_s_life_and_ascend(curves: Curves) -> None:
    within = np.diff(curves.owner) == 0
    assert (np.diff(curves.times)[within] >= 3600).all()
    assert (curves.first > curves.published).all()
    assert len(curves.times) == curves.bounds[-1]


def test_the_halves_are_stable_and_share_no_video(curves: Curves) -> None:
    tune, report = curves.half("tune"), curves.half("report")
    assert not set(tune.ids) & set(report.ids)
    assert len(tune) + len(report) == len(curves)
    assert 0.35 < len(tune) / len(curves) < 0.65
    assert curves.where(np.arange(len(curves)) % 3 == 0).half("tune").ids.tolist() == [
        name for name in curves.ids[::3] if name in set(tune.ids)
    ]


def test_keeping_some_videos_keeps_their_samples(curves: Curves) -> None:
    kept = curves.where(np.arange(len(curves)) % 2 == 1)
    assert kept.views[kept.of(3)].tolist() == curves.views[curves.of(7)].tolist()
    long = curves.followed(samples=60, span=timedelta(days=3))
    assert 0 < len(long) < len(curves)
    assert (np.diff(long.bounds) >= 60).all()


def test_the_interval_of_a_mean_has_the_width_that_theory_gives() -> None:
    values = np.random.default_rng(3).normal(10, 2, 400)
    found = bootstrap(lambda weights: float(np.average(values, weights=weights)), 400)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert bootstrap(lambda weights: float(np.average(values, weights=weights)), 400) == found


def test_a_weighted_quantile_counts_a_value_as_often_as_it_weighs() -> None:
    values, weights = np.array([1.0, 2.0, 5.0]), np.array([1.0, 3.0, 0.0])
    assert [weighted_quantile(values, weights, q) for q in (0.2, 0.3, 1.0)] == [1, 2, 2]
    assert np.isnan(weighted_quantile(values, np.zeros(3), 0.5))


def test_the_command_says_what_there_is() -> None:
    run = CliRunner().invoke(app, ["backtest", "curves", "--curves", "generated:videos=60,days=2"])
    assert run.exit_code == 0
    assert "1.0 h apart" in run.output
    assert CliRunner().invoke(app, ["backtest", "curves", "--curves", "generated:speed=3"]).exit_code == 2


def test_recorded_curves_have_enough_for_a_replay(recorded_data: Path) -> None:
    curves = recorded(recorded_data / "youtube" / "timeseries")
    assert len(curves) > 2_000
    assert len(curves.followed()) > 1_000
