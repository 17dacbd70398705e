"""A vault opens as it stands in what people have: hive-partitioned Parquet, whatever lies beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from atlas.vault import LocalVault

MIDNIGHT = datetime(2026, 11, 9, tzinfo=UTC)
LOOKS = [MIDNIGHT + hour * timedelta(hours=1) for hour in range(48)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    vault = LocalVault(tmp_path / "vault")
    vault.provision()
    vault.append_metrics(
        [
            {"video_id": video, "timestamp": at, "views": number, "likes": None if video == "hidden" else number}
            for video in ("shown", "hidden")
            for number, at in enumerate(LOOKS)
        ]
    )
    vault.store_metadata("shown", {"title": "A title", "tags": ["a"], "observed_at": MIDNIGHT})
    return vault.root


def test_pandas_opens_it(root: Path) -> None:
    frame = pd.read_parquet(root / "metrics", filters=[("video_id", "==", "hidden"), ("date", "==", "2026-11-10")])
    assert list(frame["views"]) == list(range(24, 48))
    assert list(frame["timestamp"]) == LOOKS[24:]
    assert frame["likes"].isna().all()


def test_polars_opens_it(root: Path) -> None:
    frame = (
        pl.scan_parquet(root / "metrics", hive_partitioning=True, try_parse_hive_dates=True)
        .filter(pl.col("date") == date(2026, 11, 10), pl.col("video_id") == "hidden")
        .sort("timestamp")
        .collect()
    )
    assert frame["views"].to_list() == list(range(24, 48))
    assert frame["timestamp"].to_list() == LOOKS[24:]
    assert frame["likes"].null_count() == 24


DATASETS = """
import sys
from datasets import load_dataset

rows = load_dataset("parquet", data_files=sys.argv[1] + "/metrics/**/*.parquet", split="train")
assert sorted(rows.column_names) == ["comment_count", "likes", "timestamp", "video_id", "views"], rows.column_names
assert sorted(row["views"] for row in rows if row["video_id"] == "hidden") == list(range(48))
"""


def test_hugging_face_datasets_opens_it(root: Path, tmp_path: Path) -> None:
    # A process of its own: it patches what it imports, and keeps a cache.
    offline = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DATASETS, str(root)],
        env=os.environ | offline,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
