"""``maia timeline``: one video's history from both stores, as a person, a script and a spreadsheet want it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from pyarrow import csv
from typer.testing import CliRunner, Result

from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Sample
from atlas.db import DatabaseManager
from atlas.testing import override
from atlas.vault import LocalVault
from maia.cli import app
from maia.cli.timeline import HEIGHT, curve

TURN = datetime(2026, 8, 24, tzinfo=UTC)
"""When the meaning of a view changed."""

HOUR = timedelta(hours=1)
SAMPLES = [Sample("watched", TURN + hour * HOUR, 1_000 + 10 * hour, None, hour % 7) for hour in range(-30, 30)]

Maia = Callable[..., Result]


@pytest.fixture
def maia(conninfo: str, vault: LocalVault) -> Iterator[Maia]:
    """Run ``maia timeline`` on a history of which the older half is in the vault."""
    vault.append_metrics([sample._asdict() for sample in SAMPLES[:30]])

    async def fill() -> None:
        async with DatabaseManager(conninfo) as database:
            await MaiaDAO(database).log_video_stats_batch(SAMPLES[30:])

    asyncio.run(fill())

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["timeline", *arguments])

    with override(db_=DatabaseManager(conninfo), vault_=vault):
        yield call


def test_the_newest_samples_are_shown_and_nothing_is_gained_across_a_change_of_meaning(maia: Maia) -> None:
    shown = maia("watched", "--last", "32")
    assert shown.exit_code == 0
    assert "60 samples from 2026-08-22 18:00 to 2026-08-25 05:00 UTC" in shown.stdout
    lines = [line.split() for line in shown.stdout.splitlines() if line.startswith("2026-")]
    assert len(lines) == 32
    assert lines[1] == ["2026-08-23", "23:00:00", "990", "10", "6"]
    assert lines[2] == ["2026-08-24", "00:00:00", "1,000", "0"], "no difference"
    assert lines[3] == ["2026-08-24", "01:00:00", "1,010", "10", "1"]


def test_a_script_gets_every_sample_of_the_span_with_its_epoch(maia: Maia) -> None:
    found = orjson.loads(maia("watched", "--since", "2026-08-23T23:00", "--until", "2026-08-24T02:00", "--json").stdout)
    assert found["video_id"] == "watched"
    assert [(sample["timestamp"], sample["views"], sample["epoch"]) for sample in found["samples"]] == [
        ("2026-08-23T23:00:00+00:00", 990, 1),
        ("2026-08-24T00:00:00+00:00", 1000, 2),
        ("2026-08-24T01:00:00+00:00", 1010, 2),
    ]


def test_files_hold_every_sample(maia: Maia, tmp_path: Path) -> None:
    sheet, table = tmp_path / "watched.csv", tmp_path / "watched.parquet"
    assert maia("watched", "--csv", str(sheet), "--parquet", str(table)).exit_code == 0
    wanted = [sample.views for sample in SAMPLES]
    assert csv.read_csv(sheet)["views"].to_pylist() == pq.read_table(table)["views"].to_pylist() == wanted


def test_a_file_that_cannot_be_written_is_told_in_a_line(maia: Maia, tmp_path: Path) -> None:
    refused = maia("watched", "--csv", str(tmp_path / "nowhere" / "a.csv"))
    assert refused.exit_code == 2
    assert "cannot be written" in refused.stderr


def test_a_video_nobody_knows_has_no_samples(maia: Maia) -> None:
    assert maia("unknown").stdout == "no samples of unknown\n"
    assert orjson.loads(maia("unknown", "--json").stdout) == {"video_id": "unknown", "rise": None, "samples": []}


def test_the_curve_rises_with_the_views_and_marks_where_their_meaning_changed(maia: Maia) -> None:
    drawn = maia("watched", "--plot").stdout.splitlines()
    assert len(drawn) == 1 + HEIGHT + 1
    assert drawn[1].startswith("1,290 ")
    assert drawn[1].endswith("█")
    assert "┊" in drawn[1]
    assert "2026-08-22 18:00" in drawn[-1]
    assert "2026-08-25 05:00" in drawn[-1]


@pytest.mark.parametrize(
    ("views", "first"),
    [
        pytest.param([None, None], "views are hidden", id="hidden"),
        pytest.param([0, 0], "0 ", id="none yet"),
        pytest.param([7], "7 █", id="one sample"),
        pytest.param([5, None, 3], "5 █", id="falling, with a gap"),
    ],
)
def test_any_history_can_be_drawn(views: list[int | None], first: str) -> None:
    samples = [
        {
            "video_id": "v",
            "timestamp": TURN + n * HOUR,
            "views": count,
            "likes": None,
            "comment_count": None,
            "epoch": 2,
        }
        for n, count in enumerate(views)
    ]
    lines = list(curve(samples, 40))  # type: ignore[arg-type]
    assert lines[0].startswith(first)
    assert {len(line) <= 40 for line in lines} == {True}
