"""SQL over a vault: every kind is a table without doubles, and a query reads nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigurationError, VaultNotFound, VaultUnavailable
from atlas.history import sql
from atlas.vault import LocalVault, MemoryVault, ShardInfo, VaultStrategy

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def samples(videos: int, looks: int, *, views: int = 0) -> list[dict[str, Any]]:
    return [
        {"video_id": f"v{video}", "timestamp": NOON + look * HOUR, "views": views + look, "likes": None}
        for video in range(videos)
        for look in range(looks)
    ]


@pytest.fixture(params=["local", "memory"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> VaultStrategy:
    return LocalVault(tmp_path / "a vault, isn't it") if request.param == "local" else MemoryVault()


def test_a_question_is_answered_from_all_shards_and_no_row_is_there_twice(vault: VaultStrategy) -> None:
    vault.append_metrics(samples(3, 30))
    vault.append_metrics(samples(2, 5))  # the same rows in another shard
    vault.append_metrics(samples(1, 1, views=900))  # another reading of the same instant
    found = sql("SELECT count(*) AS rows, max(views) AS most, min(date) AS first FROM metrics", vault=vault)
    assert found.to_pylist() == [{"rows": 90, "most": 900, "first": date(2026, 11, 10)}]
    wanted = {"id": "v2", "day": date(2026, 11, 11)}
    found = sql("SELECT * FROM metrics WHERE video_id = $id AND date = $day ORDER BY timestamp", wanted, vault=vault)
    assert found["timestamp"].to_pylist() == [NOON + look * HOUR for look in range(12, 30)]
    assert str(found.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"


def test_what_the_timeline_keeps_of_doubles_sql_keeps_too(vault: VaultStrategy) -> None:
    for views, likes in ((5, None), (5, 2), (None, 9), (4, 9)):
        vault.append_metrics([{"video_id": "v", "timestamp": NOON, "views": views, "likes": likes}])
    query = "SELECT * EXCLUDE (date) FROM metrics"
    assert sql(query, vault=vault).to_pylist() == vault.read_metrics().to_pylist()


def test_every_kind_is_a_table_though_it_may_be_empty(vault: VaultStrategy) -> None:
    vault.store_metadata("v", {"title": "A title", "tags": ["a", "b"], "observed_at": NOON})
    found = sql("SELECT title, tags FROM metadata LEFT JOIN metrics USING (video_id)", vault=vault)
    assert found.to_pylist() == [{"title": "A title", "tags": ["a", "b"]}]
    for kind in ("metrics", "transcripts", "visuals", "events"):
        assert sql(f"SELECT * FROM {kind}", vault=vault).num_rows == 0


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM 'https://example.org/a.parquet'",
        "COPY (SELECT 1) TO '/tmp/pleiades-outside.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '9GB'",
        "SELECT * FROM nowhere",
        "SELECT",
    ],
)
def test_a_query_reads_nothing_but_the_vault_and_fetches_nothing(query: str, vault: VaultStrategy) -> None:
    vault.append_metrics(samples(1, 1))
    with pytest.raises(ValueError, match=r"."):
        sql(query, vault=vault)


def test_more_than_fits_into_memory_is_sorted_on_disk(vault: VaultStrategy) -> None:
    vault.append_metrics(samples(20_000, 24))
    query = (
        "SELECT video_id FROM (SELECT *, row_number() OVER (ORDER BY views, video_id) AS n FROM metrics) WHERE n = 9"
    )
    assert sql(query, vault=vault, memory_mb=32).num_rows == 1


class Compacted(MemoryVault):
    """A vault whose listed shards vanish once: a compaction was at it."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = 1

    def shards(self, kind: str, start: datetime | None = None, end: datetime | None = None) -> list[ShardInfo]:
        found = super().shards(kind, start, end)
        if kind == "metrics" and self.gone:
            self.gone -= 1
            return [
                ShardInfo(
                    f"metrics/date=2026-11-10/part-{self.gone}.parquet", "metrics", NOON.date(), "0", 1, 1, NOON, NOON
                )
            ]
        return found


def test_a_compaction_meanwhile_is_not_noticed() -> None:
    vault = Compacted()
    vault.append_metrics(samples(1, 3))
    assert sql("SELECT count(*) AS n FROM metrics", vault=vault)["n"].to_pylist() == [3]
    vault.gone = 99
    with pytest.raises(VaultNotFound):
        sql("SELECT count(*) FROM metrics", vault=vault)


def test_a_vault_that_does_not_answer_is_told_as_such() -> None:
    class Down(MemoryVault):
        def _open(self, path: str) -> Any:
            raise VaultUnavailable("down", path=path)

    vault = Down()
    vault.append_metrics(samples(1, 3))
    with pytest.raises(VaultUnavailable):
        sql("SELECT sum(views) FROM metrics", vault=vault)


@pytest.fixture
def without_duckdb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delitem(sys.modules, "atlas._duckdb", raising=False)
    monkeypatch.delattr("atlas._duckdb", raising=False)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    yield
    sys.modules.pop("atlas._duckdb", None)


@pytest.mark.usefixtures("without_duckdb")
def test_without_duckdb_the_extra_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"pleiades-atlas\[analytics\]"):
        sql("SELECT 1", vault=MemoryVault())
