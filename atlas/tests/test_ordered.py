"""Rows that come from a reader, in whatever order and number, give the very shards that a table of them gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from atlas.archive import store
from atlas.vault import MemoryVault
from atlas.vault import ordered as many
from atlas.vault.kinds import METADATA, METRICS
from atlas.vault.shards import conform, digest, pack

MIDNIGHT = datetime(2026, 11, 9, tzinfo=UTC)
Row = dict[str, Any]


def rows(videos: int, looks: int, *, every: timedelta = timedelta(hours=1)) -> list[Row]:
    """Samples in no order; some counts are absent."""
    random = Random(7)
    found: list[Row] = [
        {
            "video_id": f"video{video * 7919 % videos:05}",
            "timestamp": MIDNIGHT + look * every + timedelta(microseconds=random.randrange(10**6)),
            "views": random.choice([None, random.randrange(2**62)]),
            "likes": None if video % 3 else video,
            "comment_count": None,
        }
        for video in range(videos)
        for look in range(looks)
    ]
    random.shuffle(found)
    return found


def reader_of(given: Sequence[Row], *, batch: int = 37) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(given), batch):
            yield pa.RecordBatch.from_pylist(given[start : start + batch], METRICS.schema)

    return pa.RecordBatchReader.from_batches(METRICS.schema, batches())


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "SLAB", 100)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(rows(100, 24), id="a day"),
        pytest.param(rows(1, 1), id="one row"),
        pytest.param([], id="none"),
        pytest.param(rows(50, 5, every=timedelta(hours=11)), id="several days"),
        pytest.param(rows(30, 10) + rows(10, 10), id="some twice"),
        pytest.param(
            [row | {"timestamp": MIDNIGHT, "views": n} for n, row in enumerate(rows(20, 3))], id="of one key several"
        ),
        pytest.param([row | {"video_id": "ü\n" * (n % 5)} for n, row in enumerate(rows(20, 1))], id="odd ids"),
        pytest.param(
            [row | {"timestamp": row["timestamp"] - timedelta(days=25_000)} for row in rows(20, 3)], id="before 1970"
        ),
        pytest.param(
            [rows(1, 1)[0] | {"timestamp": MIDNIGHT + timedelta(days=1) - timedelta(microseconds=n)} for n in (1, 9)],
            id="the end of a day",
        ),
    ],
)
def test_a_reader_gives_the_same_shards_as_a_table(given: list[Row]) -> None:
    assert list(pack(METRICS, reader_of(given))) == list(pack(METRICS, given))


def test_what_does_not_fit_is_refused() -> None:
    schema = pa.schema([pa.field("video_id", pa.string()), pa.field("timestamp", pa.timestamp("us"))])
    naive = pa.RecordBatch.from_arrays([pa.array(["v"]), pa.array([0], pa.timestamp("us"))], schema=schema)
    with pytest.raises(ValueError, match="no time zone"):
        list(pack(METRICS, pa.RecordBatchReader.from_batches(schema, [naive])))


def test_every_kind_may_come_from_a_reader() -> None:
    documents = [{"video_id": f"v{n % 3}", "observed_at": MIDNIGHT, "tags": ["a", str(n)]} for n in range(9)]
    table = conform(METADATA, documents)
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))
    assert list(pack(METADATA, reader)) == list(pack(METADATA, table))


def test_a_large_day_becomes_several_shards_that_hold_every_row_once() -> None:
    vault, given = MemoryVault(), rows(100, 10)
    stored = store(vault.append_metrics, reader_of(given), shard_rows=370)
    assert stored.rows == sum(shard.rows for shard in stored.shards) == 1000
    assert len(stored.shards) == 3
    assert digest(METRICS, vault.read_metrics()) == next(pack(METRICS, given)).info.digest


def test_a_day_without_samples_becomes_no_shard() -> None:
    vault = MemoryVault()
    assert store(vault.append_metrics, reader_of([])) == ([], 0)
    assert vault.list_strict() == []


def test_what_the_reader_raises_reaches_the_caller_and_nothing_was_written() -> None:
    class GoneError(Exception):
        pass

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist(rows(10, 1), METRICS.schema)
        raise GoneError

    vault = MemoryVault()
    with pytest.raises(GoneError):
        store(vault.append_metrics, pa.RecordBatchReader.from_batches(METRICS.schema, batches()))
    assert vault.list_strict() == []
